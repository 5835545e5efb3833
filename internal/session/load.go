package session

import (
	"container/heap"
	"context"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// load reads the persistent sessions with their subscriptions, each table once, in the order of client
// identifiers, so that neither has to be looked up in the other.
func (a *Sessions) load(ctx context.Context) error {
	now := time.Now()
	var ordered []*Session
	var expiry uint32
	var since int64
	var id string
	err := a.db.Scan(ctx, `SELECT client_id, expiry, offline_since FROM session ORDER BY client_id`, func(row store.Row) error {
		if err := row.Scan(&id, &expiry, &since); err != nil {
			return err
		}
		s := a.newSession(id)
		s.persistent, s.restored, s.expiry = true, true, expiry
		ordered = append(ordered, s)
		if s.place != nil {
			s.place.online = since == 0
			return nil
		}
		if expiry != never {
			from := now
			if since != 0 {
				from = time.UnixMilli(since)
			}
			s.deadline = from.Add(time.Duration(expiry) * time.Second)
			a.deadlines = append(a.deadlines, due{s.deadline, s})
		}
		return nil
	})
	if err != nil {
		return err
	}
	heap.Init(&a.deadlines)
	a.sessions = make(map[string]*Session, len(ordered))
	for _, s := range ordered {
		a.sessions[s.id] = s
	}
	if err := a.loadSubscriptions(ctx, ordered); err != nil || a.node != nil {
		return err
	}
	return a.db.Query(ctx, `SELECT client_id, count(*), min(seq), max(seq) FROM session_queue GROUP BY client_id`, nil, func(row store.Row) error {
		var n int
		var first, last int64
		if err := row.Scan(&id, &n, &first, &last); err != nil {
			return err
		}
		if s := a.sessions[id]; s != nil {
			s.backlog, s.loaded, s.seq = n, first-1, last
		}
		return nil
	})
}

// loadSubscriptions reads those of sessions in the order of client identifiers.
func (a *Sessions) loadSubscriptions(ctx context.Context, ordered []*Session) error {
	var id, filter string
	var sub router.Subscription
	return a.db.Scan(ctx, `SELECT client_id, filter, qos, no_local, retain_as_published, identifier FROM session_subscription
		ORDER BY client_id, filter`, func(row store.Row) error {
		if err := row.Scan(&id, &filter, &sub.QoS, &sub.NoLocal, &sub.RetainAsPublished, &sub.ID); err != nil {
			return err
		}
		for len(ordered) > 0 && ordered[0].id < id {
			ordered = ordered[1:]
		}
		if len(ordered) == 0 || ordered[0].id != id {
			return nil // of a session that is gone
		}
		s := ordered[0]
		s.subscriptions.set(filter, sub)
		a.router.Subscribe(s, filter, sub)
		return nil
	})
}
