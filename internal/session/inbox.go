package session

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// inboxTable holds messages of QoS 1 and 2 for sessions that the publisher's node does not own. PostgreSQL
// numbers the rows. Those of one node become visible in the order of their numbers.
var (
	inboxTable = &store.Table{Name: "cluster_inbox",
		Columns: []string{"client_id", "topic", "payload", "qos", "retain", "properties", "identifiers", "expires_at"}}
	inboxKey = &store.Table{Name: "cluster_inbox", Columns: []string{"client_id", "id"}, Key: 2}
)

// inboxMemory is the number of messages that wait in memory for one client; the others stay in the inbox.
const inboxMemory = 256

// inboxPage is the number of rows read at a time.
const inboxPage = 400

// sweepPause is how often the node looks for rows that nobody has told it of.
const sweepPause = time.Second

// inbox takes the messages that other nodes have left for sessions of this one. Who has left some says so
// over NATS; one goroutine reads them. A row is deleted when the client has acknowledged its message.
type inbox struct {
	all *Sessions

	mu      sync.Mutex
	waiting map[string]bool // clients to look for
	sweep   bool            // all clients
	after   []chan struct{} // closed after the next sweep
	tell    map[string]bool // clients that other nodes are to be told of
	held    map[int64]bool  // rows in the memory of a session, or being deleted
	deleted []int64         // the read that is under way may still have seen them
	ready   chan struct{}
	telling chan struct{}
	running sync.WaitGroup
}

func newInbox(a *Sessions) *inbox {
	return &inbox{all: a, waiting: make(map[string]bool), tell: make(map[string]bool), held: make(map[int64]bool),
		ready: make(chan struct{}, 1), telling: make(chan struct{}, 1)}
}

func (b *inbox) start() {
	b.running.Go(b.loop)
	b.running.Go(b.tellLoop)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// look has the inbox of a client read.
func (b *inbox) look(clientID string) {
	b.mu.Lock()
	b.waiting[clientID] = true
	b.mu.Unlock()
	signal(b.ready)
}

// barrier waits until all rows that were committed before it are taken or known.
func (b *inbox) barrier() {
	done := make(chan struct{})
	b.mu.Lock()
	b.sweep, b.after = true, append(b.after, done)
	b.mu.Unlock()
	signal(b.ready)
	select {
	case <-done:
	case <-b.all.stop:
	}
}

// announce tells the owner of a session, whoever it is, of a row.
func (b *inbox) announce(clientID string) {
	b.mu.Lock()
	b.tell[clientID] = true
	b.mu.Unlock()
	signal(b.telling)
}

func (b *inbox) tellLoop() {
	for {
		select {
		case <-b.all.stop:
			return
		case <-b.telling:
		}
		b.mu.Lock()
		ids := make([]string, 0, len(b.tell))
		for id := range b.tell {
			ids = append(ids, id)
		}
		clear(b.tell)
		b.mu.Unlock()
		b.wakeHere(ids)
		for len(ids) > 0 {
			n := min(len(ids), 500)
			if data, err := json.Marshal(ids[:n]); err == nil {
				b.all.node.Bus().Publish("wake", data)
			}
			ids = ids[n:]
		}
	}
}

// woken takes what another node says.
func (b *inbox) woken(data []byte) []byte {
	var ids []string
	if json.Unmarshal(data, &ids) == nil {
		b.wakeHere(ids)
	}
	return nil
}

func (b *inbox) wakeHere(ids []string) {
	for _, id := range ids {
		b.all.mu.Lock()
		s := b.all.sessions[id]
		b.all.mu.Unlock()
		if s == nil {
			continue
		}
		s.mu.Lock()
		here := s.place.here
		s.mu.Unlock()
		if here {
			b.look(id)
		}
	}
}

// release forgets rows that a session held: whoever owns it next takes them.
func (b *inbox) release(ids []int64) {
	if len(ids) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		delete(b.held, id)
	}
}

// remove deletes the row of a message that was acknowledged or outlived.
func (b *inbox) remove(clientID string, id int64) {
	b.all.db.Delete(inboxKey, [][]any{{clientID, id}}, func(error) {
		b.mu.Lock()
		b.deleted = append(b.deleted, id)
		b.mu.Unlock()
	})
}

func (b *inbox) loop() {
	t := time.NewTicker(sweepPause)
	defer t.Stop()
	for {
		select {
		case <-b.all.stop:
			return
		case <-t.C:
			b.mu.Lock()
			b.sweep = true
			b.mu.Unlock()
		case <-b.ready:
		}
		b.mu.Lock()
		sweep, after := b.sweep, b.after
		b.sweep, b.after = false, nil
		clients := make([]string, 0, len(b.waiting))
		for id := range b.waiting {
			clients = append(clients, id)
		}
		clear(b.waiting)
		for _, id := range b.deleted { // no read is under way that may have seen them
			delete(b.held, id)
		}
		b.deleted = nil
		b.mu.Unlock()
		if sweep {
			b.readAll()
			for _, done := range after {
				close(done)
			}
		}
		for _, id := range clients {
			b.read(id)
		}
	}
}

// readAll looks for rows of all sessions of this node.
func (b *inbox) readAll() {
	var clients []string
	ctx, cancel := context.WithTimeout(context.Background(), cluster.ReadTimeout)
	defer cancel()
	err := b.all.db.Query(ctx, `SELECT c.client_id FROM cluster_session c WHERE c.owner = ?
		AND EXISTS (SELECT FROM cluster_inbox i WHERE i.client_id = c.client_id)`, []any{b.all.node.Instance()}, func(row store.Row) error {
		var id string
		err := row.Scan(&id)
		clients = append(clients, id)
		return err
	})
	if err != nil {
		b.all.log.Debug("read the inbox", "error", err)
	}
	for _, id := range clients {
		b.read(id)
	}
}

// row is a message in the inbox.
type row struct {
	delivery
	epoch int64
}

// read takes the rows of a client for its session, as many as it may have in memory.
func (b *inbox) read(clientID string) {
	a := b.all
	a.mu.Lock()
	s := a.sessions[clientID]
	a.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	here, added := s.place.here, s.place.added
	settled := s.unsettled.Load() == 0
	s.mu.Unlock()
	if !here {
		return
	}
	for after, all := int64(0), true; ; {
		rows, err := b.page(clientID, after)
		if err != nil {
			a.log.Debug("read the inbox", "client_id", clientID, "error", err)
			return
		}
		s.mu.Lock()
		for i := range rows {
			if after = rows[i].inbox; !s.takeRow(&rows[i]) {
				all = false
				break
			}
		}
		if all && len(rows) < inboxPage && settled && s.place.added == added && s.place.here {
			s.place.behind, s.place.added = false, 0
		}
		again := all && len(rows) == inboxPage
		c := s.conn
		if c == nil || len(c.out) == 0 {
			s.mu.Unlock()
		} else {
			c.flush() // unlocks
		}
		if !again {
			return // of what came meanwhile its commit tells
		}
	}
}

func (b *inbox) page(clientID string, after int64) (rows []row, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), cluster.ReadTimeout)
	defer cancel()
	err = b.all.db.Query(ctx, `SELECT i.id, c.epoch, i.topic, i.payload, i.qos, i.retain, i.properties, i.identifiers, i.expires_at
		FROM cluster_inbox i JOIN cluster_session c ON c.client_id = i.client_id
		WHERE i.client_id = ? AND i.id > ? AND c.owner = ? ORDER BY i.id LIMIT ?`, []any{clientID, after, b.all.node.Instance(), inboxPage},
		func(r store.Row) error {
			m := &router.Message{}
			d := row{delivery: delivery{message: m, stored: true}}
			var props, ids []byte
			var expires int64
			if err := r.Scan(&d.inbox, &d.epoch, &m.Topic, &m.Payload, &d.qos, &d.retain, &props, &ids, &expires); err != nil {
				return err
			}
			if err := d.restore(props, ids, expires); err != nil {
				return err
			}
			rows = append(rows, d)
			return nil
		})
	return rows, err
}

// takeRow takes one row of the inbox; false leaves it and those after it there. s.mu is held.
func (s *Session) takeRow(r *row) bool {
	a, c, p := s.all, s.conn, s.place
	if !p.here || p.epoch != r.epoch {
		return false
	}
	b := a.inbox
	b.mu.Lock()
	held := b.held[r.inbox]
	b.mu.Unlock()
	if held {
		return true
	}
	if c == nil || s.backlog > 0 || s.queue.len() >= inboxMemory {
		p.behind = true
		return false
	}
	if r.message.Expired(time.Now()) || !s.mayReceive(c, r.message.Topic) {
		b.remove(s.id, r.inbox)
		return true
	}
	b.mu.Lock()
	b.held[r.inbox] = true
	b.mu.Unlock()
	s.seq++
	s.loaded = s.seq
	d := r.delivery
	d.seq = s.seq
	s.queue.push(d)
	s.pump()
	return true
}

// forward leaves a message in the inbox; the publisher waits for the commit. s.mu is held.
func (s *Session) forward(p *router.Publication, t *router.Target, qos byte) {
	a, at := s.all, s.place
	if at.added >= a.limits.QueueStored {
		a.count.dropped.Add(1)
		return
	}
	at.added++
	m, receipt := p.Keep(), p.Hold()
	ids := []byte{}
	for _, id := range t.IDs {
		ids = binary.AppendUvarint(ids, uint64(id))
	}
	s.unsettled.Add(1)
	a.db.Put(inboxTable, [][]any{{s.id, m.Topic, m.Payload, qos, p.Retain && t.RetainAsPublished, m.StoredProperties(), ids, millis(m.Expires)}}, func(err error) {
		s.unsettled.Add(-1)
		receipt.Release(err)
		a.inbox.announce(s.id)
	})
}
