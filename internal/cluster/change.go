package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// changesKept is how long changes stay for others to read. A node that has read nothing for a lease is
// dead.
const changesKept = 10 * time.Minute

// changed is called after commits of this node that have changes for others.
func (n *Node) changed() {
	if n.bus != nil {
		n.bus.Publish("changed", nil)
	}
	n.wake()
}

// wake makes the node look for changes now.
func (n *Node) wake() {
	select {
	case n.look <- struct{}{}:
	default:
	}
}

func (n *Node) changeLoop(ctx context.Context) {
	t := time.NewTicker(pollPause)
	defer t.Stop()
	trim := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-n.look:
		}
		if err := n.follow(ctx); err != nil && ctx.Err() == nil {
			if n.failed.Add(1) == 1 {
				n.log.Error("read the changes of other nodes", "error", err)
			}
			continue
		}
		n.failed.Store(0)
		if n.Leader() && time.Since(trim) > time.Minute {
			trim = time.Now()
			n.db.SubmitLoose(func(tx *store.Tx) error {
				_, err := tx.Exec(`DELETE FROM cluster_change WHERE at < `+store.Now+` - ?`, changesKept.Milliseconds())
				return err
			}, nil)
		}
	}
}

// ReadTimeout bounds what nodes read again because others have changed it.
const ReadTimeout = 15 * time.Second

// Patience is how long a node waits for an answer of the database before it asks again, or does without, so as
// not to go on with what it knew: a network may swallow answers.
func (n *Node) Patience() time.Duration { return min(ReadTimeout, n.lease/3) }

// followPage is the number of changes read at a time.
const followPage = 2000

// follow tells of the changes since the last that was heard of.
func (n *Node) follow(ctx context.Context) error {
	n.following.Lock()
	defer n.following.Unlock()
	for {
		since, newest, rows, asked := n.version.Load(), int64(0), 0, clock()
		keys := make(map[string][]string)
		var kinds []string
		// A commit's changes have one number: a page ends with the last whole one.
		page, cancel := context.WithTimeout(ctx, n.Patience())
		err := n.db.Query(page, `SELECT version, instance, kind, key FROM cluster_change
			WHERE version > ? AND version <= (SELECT coalesce(max(version), 0) FROM (SELECT version FROM cluster_change WHERE version > ? ORDER BY version LIMIT ?) AS page)
			ORDER BY version, number`, []any{since, since, followPage}, func(row store.Row) error {
			var instance, kind, key string
			if err := row.Scan(&newest, &instance, &kind, &key); err != nil {
				return err
			}
			rows++
			if instance == n.Instance() && !n.own[kind] {
				return nil
			}
			if keys[kind] == nil {
				kinds = append(kinds, kind)
			}
			keys[kind] = append(keys[kind], key)
			return nil
		})
		cancel()
		if err != nil {
			return err
		}
		if err := n.tell(kinds, keys, asked); err != nil || rows == 0 {
			return err
		}
		n.version.Store(newest)
		if rows < followPage {
			return nil
		}
	}
}

// tell tells of changes that were asked for at a time, which counts as heard of when all have been told. One kind
// that fails holds no other up. That may take long, as when many connections have to be decided on again, and is no
// reason to let clients go.
func (n *Node) tell(kinds []string, keys map[string][]string, asked int64) error {
	n.telling.Store(true)
	defer n.telling.Store(false)
	began := clock()
	var errs []error
	for _, kind := range kinds {
		if handle := n.handlers[kind]; handle != nil {
			if err := handle(keys[kind]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", kind, err))
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) { // the others could not read either
					break
				}
			}
		}
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	if now := clock(); now-began > int64(pollPause) {
		asked = now
		n.wake()
	}
	n.heard.Store(asked)
	return nil
}

// Applied is the number of the last change that was heard of.
func (n *Node) Applied() int64 { return n.version.Load() }
