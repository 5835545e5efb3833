package router

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/topic"
)

var retainedTable = &store.Table{Name: "retained_message", Key: 1, Feed: "retained",
	Columns: []string{"topic", "payload", "qos", "properties", "expires_at", "modified_at"}}

var retainedSchema = []string{`CREATE TABLE retained_message (
	topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos BIGINT NOT NULL, properties BLOB NOT NULL,
	expires_at BIGINT NOT NULL, modified_at BIGINT NOT NULL)`}

// retained holds the retained messages, in memory for reading and in the database for good.
type retained struct {
	mu     sync.RWMutex
	tree   *topic.Tree[*Message]
	db     *store.DB
	loaded chan struct{}
	failed error // when loaded is closed

	bytes       int64        // of topics and payloads
	maxMessages atomic.Int64 // 0 for any number
	maxBytes    atomic.Int64 // 0 for any number
	refused     atomic.Uint64
}

// set makes a message that of its topic. r.mu is held.
func (r *retained) set(m *Message) {
	if old, ok := r.tree.Get(m.Topic); ok {
		r.bytes -= sizeOf(old)
	}
	r.tree.Set(m.Topic, m)
	r.bytes += sizeOf(m)
}

// drop reports whether there was a message. r.mu is held.
func (r *retained) drop(name string) bool {
	if old, ok := r.tree.Get(name); ok {
		r.bytes -= sizeOf(old)
	}
	return r.tree.Remove(name)
}

func sizeOf(m *Message) int64 { return int64(len(m.Topic) + len(m.Payload)) }

func (r *retained) open(ctx context.Context, rules topic.Rules, db *store.DB) error {
	r.tree, r.db = topic.NewTree[*Message](rules), db
	if err := db.Migrate(ctx, "retained", retainedSchema); err != nil {
		return err
	}
	r.loaded = make(chan struct{})
	r.mu.Lock() // until everything is there, so that nobody takes a topic for one without a message
	go r.load(ctx)
	return nil
}

func (r *retained) load(ctx context.Context) {
	defer close(r.loaded)
	defer r.mu.Unlock()
	err := r.db.Scan(ctx, selectRetained, func(row store.Row) error {
		m, err := scanRetained(row)
		if err == nil {
			r.set(m)
		}
		return err
	})
	if err != nil {
		r.failed = fmt.Errorf("load retained messages: %w", err)
	}
}

// Loaded waits until all retained messages are in memory. Until then, who asks for one or publishes one
// waits.
func (r *Router) Loaded() error {
	<-r.retained.loaded
	return r.retained.failed
}

const selectRetained = `SELECT topic, payload, qos, properties, expires_at, modified_at FROM retained_message`

func scanRetained(row store.Row) (*Message, error) {
	m := &Message{Retain: true}
	var props []byte
	var expires, modified int64
	if err := row.Scan(&m.Topic, &m.Payload, &m.QoS, &props, &expires, &modified); err != nil {
		return nil, err
	}
	if err := m.LoadProperties(props); err != nil {
		return nil, fmt.Errorf("retained message of %q: %w", m.Topic, err)
	}
	m.Expires, m.Modified = fromMillis(expires), fromMillis(modified)
	return m, nil
}

// RefreshRetained reads the retained messages of topics again that nodes of a cluster have changed.
func (r *Router) RefreshRetained(topics []string) error {
	for _, name := range topics {
		var m *Message
		err := r.retained.db.Query(context.Background(), selectRetained+` WHERE topic = ?`, []any{name}, func(row store.Row) (err error) {
			m, err = scanRetained(row)
			return err
		})
		if err != nil {
			return err
		}
		r.retained.mu.Lock()
		if m != nil {
			r.retained.set(m)
		} else {
			r.retained.drop(name)
		}
		r.retained.mu.Unlock()
	}
	return nil
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// publish keeps or, with an empty payload, removes the retained message of a topic
// [MQTT-3.3.1-5] [MQTT-3.3.1-6]. The acknowledgement of QoS 1 and 2 waits for the disk, and so
// does a caller of Router.Publish who wants to know.
func (r *retained) publish(p *Publication) {
	var done func(error)
	if p.QoS > 0 || p.awaited {
		done = p.Hold().Release
	}
	r.mu.Lock()
	defer r.mu.Unlock() // held over queueing, so that memory and disk agree on the order
	if len(p.Payload) == 0 {
		// What is not in memory may still be on disk, if an earlier removal failed there.
		if r.drop(p.Topic) || done != nil {
			r.db.Delete(retainedTable, [][]any{{p.Topic}}, done)
		}
		return
	}
	m := p.Keep()
	m.Modified = time.Now()
	r.set(m)
	r.db.Put(retainedTable, [][]any{{m.Topic, m.Payload, m.QoS, m.StoredProperties(),
		toMillis(m.Expires), toMillis(m.Modified)}}, done)
}

// Retained returns the retained message of a topic, or nil.
func (r *Router) Retained(name string) *Message {
	r.retained.mu.RLock()
	defer r.retained.mu.RUnlock()
	m, _ := r.retained.tree.Get(name)
	if m == nil || m.Expired(time.Now()) {
		return nil
	}
	return m
}

// RetainedMatching returns the retained messages of all topics that a filter, not shared, matches,
// in the order of topics.
func (r *Router) RetainedMatching(filter string) []*Message {
	var found []*Message
	if !topic.Wild(filter) {
		if m := r.Retained(filter); m != nil {
			found = append(found, m)
		}
		return found
	}
	now := time.Now()
	r.retained.mu.RLock()
	r.retained.tree.Match(filter, func(m *Message) {
		if !m.Expired(now) {
			found = append(found, m)
		}
	})
	r.retained.mu.RUnlock()
	sort.Slice(found, func(i, j int) bool { return found[i].Topic < found[j].Topic })
	return found
}

// RetainedAfter lists up to n retained messages whose topics sort after a name.
func (r *Router) RetainedAfter(ctx context.Context, after string, n int) ([]*Message, error) {
	var found []*Message
	for rows := n; rows == n && len(found) < n; { // some of them may have expired meanwhile
		rows = 0
		err := r.retained.db.Query(ctx, `SELECT topic FROM retained_message WHERE topic > ? ORDER BY topic LIMIT ?`,
			[]any{after, n}, func(row store.Row) error {
				rows++
				if err := row.Scan(&after); err != nil {
					return err
				}
				if m := r.Retained(after); m != nil && len(found) < n {
					found = append(found, m)
				}
				return nil
			})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// RetainedCount is the number of retained messages.
func (r *Router) RetainedCount() int {
	r.retained.mu.RLock()
	defer r.retained.mu.RUnlock()
	return r.retained.tree.Len()
}

// ExpireRetained removes retained messages that have outlived their message expiry interval.
func (r *Router) ExpireRetained(now time.Time) {
	var gone []string
	r.retained.mu.RLock()
	r.retained.tree.Match("#", func(m *Message) {
		if m.Expired(now) {
			gone = append(gone, m.Topic)
		}
	})
	r.retained.mu.RUnlock()
	r.retained.mu.Lock()
	defer r.retained.mu.Unlock()
	for _, name := range gone {
		if m, ok := r.retained.tree.Get(name); ok && m.Expired(now) {
			r.retained.drop(name)
			if r.retained.db.Membership() == nil {
				r.retained.db.Delete(retainedTable, [][]any{{name}}, nil)
				continue
			}
			expired := toMillis(m.Expires)
			r.retained.db.SubmitLoose(func(tx *store.Tx) error { // another node may have a newer one
				_, err := tx.Exec(`DELETE FROM retained_message WHERE topic = ? AND expires_at = ?`, name, expired)
				return err
			}, nil)
		}
	}
}
