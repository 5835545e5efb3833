package session

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/mqtt"
)

var (
	sessionTable = &store.Table{Name: "session", Key: 1,
		Columns: []string{"client_id", "expiry", "offline_since"}, Feed: "session"}
	subscriptionTable = &store.Table{Name: "session_subscription", Key: 2,
		Columns: []string{"client_id", "filter", "qos", "no_local", "retain_as_published", "identifier"}, Feed: "session"}
	queueTable = &store.Table{Name: "session_queue", Key: 2,
		Columns: []string{"client_id", "seq", "topic", "payload", "qos", "retain", "properties", "identifiers", "expires_at"}}
)

var schema = []string{`
	CREATE TABLE session (client_id TEXT PRIMARY KEY, expiry BIGINT NOT NULL, offline_since BIGINT NOT NULL) /*sqlite WITHOUT ROWID*/;
	CREATE TABLE session_subscription (client_id TEXT NOT NULL, filter TEXT NOT NULL, qos BIGINT NOT NULL,
		no_local BIGINT NOT NULL, retain_as_published BIGINT NOT NULL, identifier BIGINT NOT NULL,
		PRIMARY KEY (client_id, filter)) /*sqlite WITHOUT ROWID*/;
	CREATE TABLE session_queue (client_id TEXT NOT NULL, seq BIGINT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
		qos BIGINT NOT NULL, retain BIGINT NOT NULL, properties BLOB NOT NULL, identifiers BLOB NOT NULL,
		expires_at BIGINT NOT NULL, PRIMARY KEY (client_id, seq)) /*sqlite WITHOUT ROWID*/`}

// keep commits a message to the session's queue on disk; the publisher waits for the commit.
func (s *Session) keep(p *router.Publication, t *router.Target, qos byte) {
	if s.backlog >= s.all.limits.QueueStored {
		s.all.count.dropped.Add(1)
		return
	}
	s.seq++
	s.backlog++
	d := delivery{message: p.Keep(), qos: qos, retain: p.Retain && t.RetainAsPublished, ids: t.IDs, seq: s.seq, receipt: p.Hold()}
	s.store(&d)
}

// store queues the row of a delivery and moves its receipt to the commit. The session looks at its
// backlog afterwards: it may have connected, and looked, before the row could be read.
func (s *Session) store(d *delivery) {
	m, receipt := d.message, d.receipt
	d.stored, d.receipt = true, nil
	ids := []byte{}
	for _, id := range d.ids {
		ids = binary.AppendUvarint(ids, uint64(id))
	}
	row := []any{s.id, d.seq, m.Topic, m.Payload, d.qos, d.retain, m.StoredProperties(), ids, millis(m.Expires)}
	s.unsettled.Add(1)
	s.all.db.Put(queueTable, [][]any{row}, func(err error) {
		s.unsettled.Add(-1)
		if receipt != nil {
			receipt.Release(err)
		}
		s.all.completions.wake(s)
	})
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// spill commits everything in memory to disk and forgets what waits for the window. What is in
// flight stays in memory too, with its packet identifiers.
func (s *Session) spill() {
	s.inflight.each(func(_ uint16, d *delivery) {
		if !d.stored && d.message != nil && d.state == published {
			s.store(d)
		}
	})
	waiting := s.queue.all()
	for i := range waiting {
		if d := &waiting[i]; !d.stored {
			s.store(d)
		}
	}
	if s.queue.len() > 0 {
		s.loaded = waiting[0].seq - 1
		s.backlog += len(waiting)
		s.queue = fifo{}
	}
}

// storeHeld commits the messages that have made their publishers wait since before a time. The connection
// of a session that keeps nothing ends instead, if they have waited since deaf. It reports whether others
// still do.
func (s *Session) storeHeld(before, deaf int64) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	visit := func(d *delivery) {
		switch {
		case d.receipt == nil:
		case d.since <= before:
			s.store(d)
		default:
			more = true
		}
	}
	waiting := s.queue.all()
	if s.persistent {
		s.inflight.each(func(_ uint16, d *delivery) { visit(d) })
		for i := range waiting {
			visit(&waiting[i])
		}
	} else if i := slices.IndexFunc(waiting, func(d delivery) bool { return d.receipt != nil }); i >= 0 && s.conn != nil {
		// What it cannot take must not hold others up without end, and there is nowhere else to keep it. A
		// client that waits for its rate is not to blame.
		if more = true; !s.paced && waiting[i].since <= deaf {
			s.conn.end(ending{ServerError, mqtt.QuotaExceeded, "the client does not acknowledge what it gets, and others wait for it"})
		}
	}
	s.holding = more
	return more
}

// loadPage is the number of messages read from the backlog at a time.
const loadPage = 256

// load reads the next page of the backlog into the queue, and again if the session changed
// meanwhile.
func (s *Session) load() {
	for again := true; again; {
		s.mu.Lock()
		after := s.loaded
		s.again = false
		seq, settled := s.seq, s.unsettled.Load() == 0
		s.mu.Unlock()
		page, err := s.readPage(after)
		if err != nil {
			s.all.log.Error("read queued messages", "client_id", s.id, "error", err)
		}
		s.mu.Lock()
		if err == nil && settled && s.seq == seq && s.loaded == after && len(page) < loadPage {
			s.backlog = min(s.backlog, len(page)) // rows that could not be written are not waited for
		}
		c := s.conn
		wanted := err == nil && c != nil && s.queue.len() == 0 && s.backlog > 0
		again = wanted && (s.loaded != after || len(page) == 0 && s.again)
		s.again = false
		moved := false
		if !again {
			s.loading = false
			if wanted && len(page) > 0 { // an empty page: the rows are not committed yet, the commit wakes
				s.queue = fifoOf(page)
				s.backlog -= len(page)
				s.loaded = page[len(page)-1].seq
				moved = s.pump()
			}
		}
		s.mu.Unlock()
		if moved {
			c.Flush()
		}
	}
}

func (s *Session) readPage(after int64) (page []delivery, err error) {
	err = s.all.db.Query(context.Background(), `SELECT seq, topic, payload, qos, retain, properties, identifiers, expires_at
		FROM session_queue WHERE client_id = ? AND seq > ? ORDER BY seq LIMIT ?`, []any{s.id, after, loadPage},
		func(row store.Row) error {
			m := &router.Message{}
			d := delivery{message: m, stored: true}
			var props, ids []byte
			var expires int64
			if err := row.Scan(&d.seq, &m.Topic, &m.Payload, &d.qos, &d.retain, &props, &ids, &expires); err != nil {
				return err
			}
			if err := d.restore(props, ids, expires); err != nil {
				return err
			}
			page = append(page, d)
			return nil
		})
	return page, err
}

// restore fills in the rest of a message that was read from a row: its properties, the subscription
// identifiers and the end of its life in milliseconds, 0 for none.
func (d *delivery) restore(props, ids []byte, expires int64) error {
	m := d.message
	m.QoS, m.Retain = d.qos, d.retain
	if err := m.LoadProperties(props); err != nil {
		return err
	}
	for len(ids) > 0 {
		id, n := binary.Uvarint(ids)
		if n <= 0 {
			break
		}
		d.ids = append(d.ids, uint32(id))
		ids = ids[n:]
	}
	if expires != 0 {
		m.Expires = time.UnixMilli(expires)
	}
	return nil
}

// forgetStored deletes the row of a message that was acknowledged or outlived.
func (s *Session) forgetStored(d *delivery) {
	if d.inbox != 0 {
		s.all.inbox.remove(s.id, d.inbox)
		return
	}
	s.all.db.Delete(queueTable, [][]any{{s.id, d.seq}}, nil)
}
