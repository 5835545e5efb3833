package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Feed is the kind of change that nodes of a cluster tell each other: sessions that have ended or are in use.
const Feed = "console_session"

// readPatience is how long a request waits to learn whether another node has its session.
const readPatience = 5 * time.Second

// Reload hears what other nodes say of sessions.
func (c *Console) Reload(ids []string) error { return c.sessions.reload(ids) }

// fetch reads a session from the store; nil if it is not there.
func (all *sessions) fetch(ctx context.Context, id string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	s := &session{id: id, conns: make(map[net.Conn]struct{})}
	var created, seen int64
	err := all.db.QueryRow(ctx, `SELECT who, role, proof, created_at, seen_at FROM console_session WHERE id = ?`, []any{id}, &s.who, &s.role, &s.proof, &created, &seen)
	if errors.Is(err, store.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read console session: %w", err)
	}
	s.created, s.seen, s.saved = time.UnixMilli(created), time.UnixMilli(seen), time.UnixMilli(seen)
	return s, nil
}

// find returns a session that may have been opened on another node.
func (all *sessions) find(ctx context.Context, id string) *session {
	all.mu.Lock()
	s := all.byID[id]
	all.mu.Unlock()
	if s != nil || !all.shared {
		return s
	}
	for {
		changes := all.changes.Load()
		s, err := all.fetch(ctx, id)
		if s == nil || err != nil {
			return nil
		}
		all.mu.Lock()
		before := all.byID[id]
		_, ended := all.ended.Load(id)
		changed := all.changes.Load() != changes
		if before == nil && !ended && !changed {
			all.byID[id] = s
		}
		all.mu.Unlock()
		switch {
		case before != nil:
			return before
		case ended:
			return nil
		case !changed:
			return s
		}
	}
}

func (all *sessions) reload(ids []string) error {
	all.changes.Add(1)
	for _, id := range ids {
		all.mu.Lock()
		s := all.byID[id]
		all.mu.Unlock()
		if s == nil {
			continue
		}
		now, err := all.fetch(context.Background(), id)
		switch {
		case err != nil:
			return err
		case now == nil:
			all.drop(s)
		default:
			s.mu.Lock()
			if now.seen.After(s.seen) {
				s.seen, s.saved = now.seen, now.saved
			}
			s.mu.Unlock()
		}
	}
	return nil
}
