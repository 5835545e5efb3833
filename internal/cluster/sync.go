package cluster

import (
	"context"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// syncPatience is how long Sync waits for nodes that do not answer: those that reach the database have
// looked by then without being asked.
const syncPatience = pollPause + 300*time.Millisecond

// Sync waits until the other nodes have heard of everything that was committed before the call, or until
// those that did not answer can be expected to have looked. Calls at the same time share a round.
func (n *Node) Sync(ctx context.Context) {
	done := make(chan struct{})
	n.syncing.Lock()
	n.waiting = append(n.waiting, done)
	if len(n.waiting) == 1 && !n.round {
		n.round = true
		go n.syncRounds()
	}
	n.syncing.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (n *Node) syncRounds() {
	for {
		n.syncing.Lock()
		waiting := n.waiting
		n.waiting = nil
		if n.round = len(waiting) > 0; !n.round {
			n.syncing.Unlock()
			return
		}
		n.syncing.Unlock()
		n.syncOnce()
		for _, done := range waiting {
			close(done)
		}
	}
}

func (n *Node) syncOnce() {
	missing := make(map[string]bool)
	end := time.Now().Add(syncPatience)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	// A node that has just joined may not have been seen yet.
	readErr := n.db.Query(ctx, `SELECT instance FROM cluster_node WHERE instance <> ? AND name <> ''`, []any{n.Instance()}, func(row store.Row) error {
		var instance string
		err := row.Scan(&instance)
		missing[instance] = true
		return err
	})
	if readErr == nil && len(missing) == 0 {
		return
	}
	inbox := n.bus.conn.NewRespInbox()
	sub, err := n.bus.conn.SubscribeSync(inbox)
	if err == nil {
		defer sub.Unsubscribe()
		err = n.bus.conn.PublishRequest(n.bus.prefix+"sync", inbox, nil)
	}
	for err == nil && len(missing) > 0 && time.Now().Before(end) {
		m, nextErr := sub.NextMsg(time.Until(end))
		if err = nextErr; err == nil {
			delete(missing, string(m.Data))
		}
	}
	if len(missing) > 0 || readErr != nil {
		select {
		case <-n.lost:
		case <-time.After(time.Until(end)):
		}
	}
}

// synced answers another node's Sync.
func (n *Node) synced([]byte) []byte {
	if err := n.follow(context.Background()); err != nil {
		return nil
	}
	return []byte(n.Instance())
}
