package defender

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/store"
)

// Kinds of links.
const (
	linkShared   = "shared"   // certificate, client that used it while another did
	linkConflict = "conflict" // client, certificate whose connection was taken over
)

// links remembers which certificates several clients have used at once, and which clients took each
// other's connection over. It listens to connections; only what looks wrong is written.
type links struct {
	service *Service

	mu      sync.Mutex
	ready   sync.Cond
	live    map[string]map[string]int // clients by certificate, with the number of their connections
	pending map[link]int
	closed  bool
	stop    chan struct{}
	writing sync.Mutex
}

type link struct{ kind, key, other string }

// maxPending bounds the links that wait to be written.
const maxPending = 1 << 14

// linksPause lies between two writes: a whole fleet that shares a certificate is no reason for a commit for
// each of its connects.
const linksPause = time.Second

func (l *links) init(s *Service) {
	l.service, l.live, l.pending, l.stop = s, make(map[string]map[string]int), make(map[link]int), make(chan struct{})
	l.ready.L = &l.mu
}

func (l *links) add(list ...link) {
	for _, x := range list {
		if len(l.pending) < maxPending {
			l.pending[x]++
		}
	}
	l.ready.Signal()
}

func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.ready.Signal()
		close(l.stop)
	}
}

func (l *links) loop() {
	for {
		l.mu.Lock()
		for len(l.pending) == 0 && !l.closed {
			l.ready.Wait()
		}
		over := len(l.pending) == 0
		l.mu.Unlock()
		if over {
			return
		}
		l.write()
		select {
		case <-l.stop:
		case <-time.After(linksPause):
		}
	}
}

// write writes what is known and not written yet.
func (l *links) write() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	batch := l.pending
	l.pending = make(map[link]int)
	l.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	now := l.service.now().UnixMilli()
	err := l.service.cfg.Store.Write(context.Background(), func(tx *store.Tx) error {
		for x, n := range batch {
			if _, err := tx.Exec(`INSERT INTO defender_link (kind, key, other, n, at) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (kind, key, other) DO UPDATE SET n = defender_link.n + excluded.n, at = excluded.at`, x.kind, x.key, x.other, n, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.service.cfg.Log.Error("connections not noted", "error", err)
	}
}

// isCertificate tells the principals that audits are about.
func isCertificate(principal string) bool { return len(principal) == 64 }

// Connected, and the methods below, make the service a session.Lifecycle.
func (s *Service) Connected(c session.Client) {
	if !isCertificate(c.Principal) {
		return
	}
	l := &s.links
	l.mu.Lock()
	defer l.mu.Unlock()
	clients := l.live[c.Principal]
	if clients == nil {
		clients = make(map[string]int)
		l.live[c.Principal] = clients
	}
	clients[c.ClientID]++
	switch len(clients) {
	case 1:
	case 2: // the other one is noted now, too
		for id := range clients {
			l.add(link{linkShared, c.Principal, id})
		}
	default:
		l.add(link{linkShared, c.Principal, c.ClientID})
	}
}

// ConnectFailed implements session.Lifecycle.
func (s *Service) ConnectFailed(session.Client) {}

// Disconnected implements session.Lifecycle.
func (s *Service) Disconnected(c session.Client, reason session.DisconnectReason) {
	l := &s.links
	l.mu.Lock()
	defer l.mu.Unlock()
	if clients := l.live[c.Principal]; clients != nil {
		if clients[c.ClientID]--; clients[c.ClientID] <= 0 {
			delete(clients, c.ClientID)
		}
		if len(clients) == 0 {
			delete(l.live, c.Principal)
		}
	}
	if reason == session.DuplicateClientID {
		l.add(link{linkConflict, c.ClientID, c.Principal})
	}
}

// Subscribed implements session.Lifecycle.
func (s *Service) Subscribed(session.Client, []string) {}

// Unsubscribed implements session.Lifecycle.
func (s *Service) Unsubscribed(session.Client, []string) {}

// linked is what is known of one key.
type linked struct {
	key    string
	others []string
	n      int
}

func (s *Service) linked(ctx context.Context, kind string) (list []linked, err error) {
	s.links.write()
	since := s.now().Add(-linksKept).UnixMilli()
	err = s.reader(ctx).Query(`SELECT key, other, n FROM defender_link WHERE kind = ? AND at > ? ORDER BY key, other`, []any{kind, since}, func(row store.Row) error {
		var x linked
		var other string
		if err := row.Scan(&x.key, &other, &x.n); err != nil {
			return err
		}
		if n := len(list); n > 0 && list[n-1].key == x.key {
			list[n-1].others = append(list[n-1].others, other)
			list[n-1].n += x.n
			return nil
		}
		x.others = slices.Clip([]string{other})
		list = append(list, x)
		return nil
	})
	return list, err
}
