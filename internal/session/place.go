package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/mqtt"
)

// place is where the client of a session is, in a cluster. A node owns the sessions of the clients that
// are connected to it, and nobody those of others: their messages wait in the table cluster_inbox. A
// connect takes the row of cluster_session, which only the owner gives back, or who declares it dead;
// after that nothing that it writes is committed any more. So a client identifier is never live twice.
// The fields are guarded by the session's mu.
type place struct {
	here   bool  // this node owns it
	online bool  // it is connected to another node
	epoch  int64 // rises with every owner
	// behind says that rows of the inbox have not been taken yet, so that what is published here has to
	// go there too, to keep its order.
	behind bool
	added  int // rows that this node has added to the inbox since the client left
	// lasting is what the interest in the subscriptions was announced with.
	lasting bool
}

// clusterSchema are the tables that nodes share. about describes the connection for its presence event,
// will is what to publish if the owner dies, due when a will is to be published that nobody else will.
// All indexes but those of keys hold few rows.
var clusterSchema = []string{
	`CREATE TABLE IF NOT EXISTS cluster_session (client_id TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch BIGINT NOT NULL,
		wanted TEXT NOT NULL, about TEXT NOT NULL, will BLOB NOT NULL, will_delay BIGINT NOT NULL, due BIGINT NOT NULL)`,
	`CREATE INDEX IF NOT EXISTS cluster_session_owner ON cluster_session (owner) WHERE owner <> ''`,
	`CREATE INDEX IF NOT EXISTS cluster_session_wanted ON cluster_session (owner) WHERE wanted <> ''`,
	`CREATE INDEX IF NOT EXISTS cluster_session_left ON cluster_session (client_id) WHERE owner = '' AND about <> ''`,
	`CREATE INDEX IF NOT EXISTS cluster_session_due ON cluster_session (due) WHERE due <> 0`,
	`CREATE TABLE IF NOT EXISTS cluster_inbox (client_id TEXT NOT NULL, id BIGINT GENERATED ALWAYS AS IDENTITY, topic TEXT NOT NULL,
		payload BLOB NOT NULL, qos BIGINT NOT NULL, retain BIGINT NOT NULL, properties BLOB NOT NULL, identifiers BLOB NOT NULL,
		expires_at BIGINT NOT NULL, PRIMARY KEY (client_id, id))`,
}

// takePatience is how long a connect waits for another node to give a session up.
const takePatience = 15 * time.Second

// storedWill is a will in the database.
type storedWill struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties []byte
	Expiry     uint32 // message expiry interval in seconds
	HasExpiry  bool
	From       *router.Origin
}

func encodeWill(w *mqtt.Will, from *router.Origin) []byte {
	if w == nil {
		return []byte{}
	}
	props := w.Properties
	s := storedWill{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, From: from,
		Expiry: props.MessageExpiry, HasExpiry: props.Has(mqtt.PropMessageExpiry)}
	props.Clear(mqtt.PropWillDelay)
	props.Clear(mqtt.PropMessageExpiry)
	s.Properties = (&router.Message{Properties: &props}).StoredProperties()
	b, err := json.Marshal(s)
	if err != nil {
		return []byte{}
	}
	return b
}

func decodeWill(b []byte) (*mqtt.Will, *router.Origin, error) {
	var s storedWill
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, nil, fmt.Errorf("read a will: %w", err)
	}
	w := &mqtt.Will{Topic: s.Topic, Payload: s.Payload, QoS: s.QoS, Retain: s.Retain}
	var m router.Message
	if err := m.LoadProperties(s.Properties); err != nil {
		return nil, nil, fmt.Errorf("read a will: %w", err)
	}
	if m.Properties != nil {
		w.Properties = *m.Properties
	}
	if s.HasExpiry {
		w.Properties.MessageExpiry = s.Expiry
		w.Properties.Mark(mqtt.PropMessageExpiry)
	}
	return w, s.From, nil
}

// willDelay is how long after a lost connection its will is due.
func willDelay(w *mqtt.Will, expiry uint32) time.Duration {
	if w == nil || !w.Properties.Has(mqtt.PropWillDelay) {
		return 0
	}
	return time.Duration(min(w.Properties.WillDelay, expiry)) * time.Second
}

// taken is what a connect finds of a session.
type taken struct {
	epoch int64
	about string // of a connection whose node died
	will  []byte // of it, or of an earlier one
	early bool   // the will's delay has not passed
}

// errElsewhere says that another node has the session.
var errElsewhere = errors.New("another node has the session")

// take makes this node the owner of a session and reads what is known of it. s.changing is held.
func (a *Sessions) take(s *Session, c *Conn, will *mqtt.Will, expiry uint32) (*taken, error) {
	if !a.node.Alive() {
		return nil, errors.New("the lease of this node has ended")
	}
	about, err := json.Marshal(c.client())
	if err != nil {
		return nil, err
	}
	stored, delay := encodeWill(will, c.origin), willDelay(will, expiry).Milliseconds()
	ctx, cancel := context.WithTimeout(context.Background(), takePatience)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		found, owner, err := a.tryTake(ctx, s, string(about), stored, delay)
		if err == nil {
			return found, a.read(ctx, s, found.epoch)
		}
		if !errors.Is(err, errElsewhere) {
			return nil, err
		}
		if a.askFor(ctx, owner, s.id) {
			continue
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("take the session over: %w", err)
		case <-time.After(pause): // the owner looks every second
		}
	}
}

func (a *Sessions) tryTake(ctx context.Context, s *Session, about string, will []byte, delay int64) (found *taken, owner string, err error) {
	me := a.node.Instance()
	err = a.db.WriteLoose(ctx, func(tx *store.Tx) error {
		found, owner = &taken{}, ""
		err := tx.QueryRow(`INSERT INTO cluster_session AS c (client_id, owner, epoch, wanted, about, will, will_delay, due) VALUES (?, ?, 1, '', '', '', 0, 0)
			ON CONFLICT (client_id) DO UPDATE SET owner = excluded.owner, epoch = c.epoch + 1, wanted = '' WHERE c.owner IN ('', excluded.owner)
			RETURNING epoch, about, will, due > `+store.Now, []any{s.id, me}, &found.epoch, &found.about, &found.will, &found.early)
		if errors.Is(err, store.ErrNoRows) {
			return tx.QueryRow(`UPDATE cluster_session SET wanted = ? WHERE client_id = ? RETURNING owner`, []any{me, s.id}, &owner)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE cluster_session SET about = ?, will = ?, will_delay = ?, due = 0 WHERE client_id = ?`, about, will, delay, s.id); err != nil {
			return err
		}
		return absorb(tx, s.id)
	})
	if err == nil && owner != "" {
		err = errElsewhere
	}
	return found, owner, err
}

// absorb moves the rows of the inbox to the end of the queue, or drops what came after the end of the
// session.
func absorb(tx *store.Tx, clientID string) error {
	var sessions int
	if err := tx.QueryRow(`SELECT count(*) FROM session WHERE client_id = ?`, []any{clientID}, &sessions); err != nil {
		return err
	}
	if sessions == 0 {
		for _, table := range []string{"cluster_inbox", "session_queue", "session_subscription"} {
			if _, err := tx.Exec(`DELETE FROM `+table+` WHERE client_id = ?`, clientID); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := tx.Exec(`WITH gone AS (DELETE FROM cluster_inbox WHERE client_id = ? RETURNING *)
		INSERT INTO session_queue (client_id, seq, topic, payload, qos, retain, properties, identifiers, expires_at)
		SELECT client_id, (SELECT coalesce(max(q.seq), 0) FROM session_queue q WHERE q.client_id = ?) + row_number() OVER (ORDER BY id),
			topic, payload, qos, retain, properties, identifiers, expires_at FROM gone`, clientID, clientID)
	return err
}

// read reads the state of a session that this node has just taken.
func (a *Sessions) read(ctx context.Context, s *Session, epoch int64) error {
	var expiry uint32
	err := a.db.QueryRow(ctx, `SELECT expiry FROM session WHERE client_id = ?`, []any{s.id}, &expiry)
	persistent := err == nil
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	if err := a.readSubscriptions(ctx, s); err != nil {
		return err
	}
	var n int
	var first, last int64
	err = a.db.QueryRow(ctx, `SELECT count(*), coalesce(min(seq), 1), coalesce(max(seq), 0) FROM session_queue WHERE client_id = ?`, []any{s.id}, &n, &first, &last)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.persistent, s.restored, s.expiry = persistent, persistent, expiry // its packet identifiers are known elsewhere
	s.inflight, s.queue, s.incoming = window{}, fifo{}, nil
	s.backlog, s.loaded, s.seq = n, first-1, last
	p := s.place
	p.here, p.online, p.epoch, p.added = true, false, epoch, 0
	p.behind = persistent // what was published here meanwhile went to the inbox
	s.mu.Unlock()
	a.inbox.look(s.id)
	return nil
}

// readSubscriptions makes the subscriptions of a session those of the database.
func (a *Sessions) readSubscriptions(ctx context.Context, s *Session) error {
	var wanted subscriptions
	err := a.db.Query(ctx, `SELECT filter, qos, no_local, retain_as_published, identifier FROM session_subscription WHERE client_id = ?`, []any{s.id},
		func(row store.Row) error {
			var filter string
			var sub router.Subscription
			err := row.Scan(&filter, &sub.QoS, &sub.NoLocal, &sub.RetainAsPublished, &sub.ID)
			wanted.set(filter, sub)
			return err
		})
	if err != nil {
		return err
	}
	s.mu.Lock()
	before := s.subscriptions
	s.subscriptions = wanted
	s.mu.Unlock()
	for filter := range before.all() {
		if _, still := wanted.get(filter); !still {
			a.router.Unsubscribe(s, filter)
		}
	}
	for filter, sub := range wanted.all() {
		if have, ok := before.get(filter); !ok || have != sub {
			a.router.Subscribe(s, filter, sub)
		}
	}
	return nil
}

// askFor asks the owner of a session to give it up. It reports whether the owner says that it has.
func (a *Sessions) askFor(ctx context.Context, owner, clientID string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	answer, err := a.node.Bus().Request(ctx, "node."+owner+".release", []byte(clientID))
	return err == nil && len(answer) > 0
}

// inherit deals with what the connections of a previous node left: the rule of take-over is that their
// ends are told, and their wills published, before the new connection is acknowledged.
func (a *Sessions) inherit(found *taken, resumed bool) {
	if found.about != "" {
		var before Client
		if json.Unmarshal([]byte(found.about), &before) == nil {
			a.lifecycle.Disconnected(before, DuplicateClientID)
		}
	}
	if len(found.will) == 0 || resumed && found.early {
		return // [MQTT-3.1.3-9]
	}
	if will, from, err := decodeWill(found.will); err != nil {
		a.log.Error("publish a will", "error", err)
	} else {
		a.publishWill(will, from)
	}
}

// leave gives a session up after its connection has ended. will is one that is due after a delay.
// s.changing is held, and what s has to keep is queued for the database.
func (a *Sessions) leave(s *Session, will *mqtt.Will, from *router.Origin, delay time.Duration, done func(error)) {
	s.mu.Lock()
	persistent := s.persistent
	held := s.depart()
	s.mu.Unlock()
	a.inbox.release(held)
	me, stored := a.node.Instance(), encodeWill(will, from)
	a.db.SubmitLoose(func(tx *store.Tx) error {
		if !persistent {
			_, err := tx.Exec(`DELETE FROM cluster_session WHERE client_id = ? AND owner = ?`, s.id, me)
			return err
		}
		if _, err := tx.Exec(`UPDATE session SET offline_since = `+store.Now+` WHERE client_id = ?`, s.id); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE cluster_session SET owner = '', wanted = '', about = '', will = ?, will_delay = 0,
			due = CASE WHEN length(?::bytea) = 0 THEN 0 ELSE `+store.Now+` + ? END WHERE client_id = ? AND owner = ?`,
			stored, stored, delay.Milliseconds(), s.id, me)
		return err
	}, done)
}

// depart forgets what is on its way to a client that is gone, all of which the database has, and returns
// the rows of the inbox among it. s.mu is held.
func (s *Session) depart() (held []int64) {
	s.inflight.each(func(_ uint16, d *delivery) {
		if d.inbox != 0 {
			held = append(held, d.inbox)
		}
	})
	for _, d := range s.queue.all() {
		if d.inbox != 0 {
			held = append(held, d.inbox)
		}
	}
	s.inflight, s.queue, s.incoming = window{}, fifo{}, nil
	s.backlog = 0
	p := s.place
	p.here, p.online, p.behind, p.added = false, false, false, 0
	return held
}

// release gives a session to a node that has a new connection of the client.
func (a *Sessions) release(clientID string) {
	a.mu.Lock()
	s := a.sessions[clientID]
	a.mu.Unlock()
	done := make(chan struct{})
	ended := func(error) { close(done) }
	if s != nil {
		s.changing.Lock()
		defer s.changing.Unlock()
		s.mu.Lock()
		c, here := s.conn, s.place.here
		s.mu.Unlock()
		if c != nil {
			c.end(ending{DuplicateClientID, mqtt.SessionTakenOver, "another connection took the client identifier over"})
			a.detach(s, c)
		} else if here {
			a.leave(s, nil, nil, 0, nil)
		}
	}
	// A session that this node has not, it gives up too.
	me := a.node.Instance()
	a.db.SubmitLoose(func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE cluster_session SET owner = '', wanted = '' WHERE client_id = ? AND owner = ?`, clientID, me)
		return err
	}, ended)
	<-done
}

// refresh reads sessions that other nodes have changed again.
func (a *Sessions) refresh(clientIDs []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cluster.ReadTimeout)
	defer cancel()
	for _, id := range clientIDs {
		var expiry uint32
		var since int64
		err := a.db.QueryRow(ctx, `SELECT expiry, offline_since FROM session WHERE client_id = ?`, []any{id}, &expiry, &since)
		exists := err == nil
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			return fmt.Errorf("read the session of %q: %w", id, err)
		}
		a.mu.Lock()
		s := a.sessions[id]
		if s == nil && exists {
			s = a.newSession(id)
			a.sessions[id] = s
		}
		a.mu.Unlock()
		if s == nil || !s.changing.TryLock() { // a connect reads for itself
			continue
		}
		s.mu.Lock()
		here, gone := s.place.here, s.gone
		if !here && !gone {
			s.persistent, s.restored, s.expiry = exists, exists, expiry
			if s.place.online = since == 0; s.place.online {
				s.place.added = 0
			}
		}
		s.mu.Unlock()
		switch {
		case here || gone:
		case !exists:
			a.remove(s)
		default:
			if err := a.readSubscriptions(ctx, s); err != nil {
				s.changing.Unlock()
				return fmt.Errorf("read the subscriptions of %q: %w", id, err)
			}
		}
		s.changing.Unlock()
	}
	return nil
}

// newSession returns a session that is not listed yet.
func (a *Sessions) newSession(id string) *Session {
	s := &Session{id: id, all: a}
	if a.node != nil {
		s.place = &place{}
	}
	return s
}

// Fits implements router.Selective: messages of QoS 0 for clients of other nodes go over NATS.
func (s *Session) Fits(qos byte) bool {
	if s.place == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place.here || qos > 0
}

// DeliverForwarded implements router.Forwardee. What a session keeps comes through the inbox.
func (s *Session) DeliverForwarded(p *router.Publication, t *router.Target) {
	s.mu.Lock()
	wanted := s.place != nil && s.place.here && s.conn != nil && (!s.persistent || min(p.QoS, t.QoS) == 0)
	s.mu.Unlock()
	if wanted {
		s.Deliver(p, t)
	}
}

// joinCluster connects the sessions with those of other nodes.
func (a *Sessions) joinCluster(ctx context.Context, node *cluster.Node, interest *cluster.Interest) error {
	a.node, a.interest = node, interest
	a.inbox = newInbox(a)
	if err := a.db.Create(ctx, clusterSchema...); err != nil {
		return err
	}
	node.OnChange("session", a.refresh)
	node.OnEveryChange(feedLeft, a.refresh)
	node.OnPeers(func([]cluster.Peer) { a.yield() })
	node.OnDeath(a.bequeath)
	node.Lead("tell of clients of dead nodes", time.Second, a.mourn)
	node.Lead("end expired sessions", 10*time.Second, a.expire)
	node.Lead("forget what is left of ended sessions", time.Minute, a.tidy)
	bus := node.Bus()
	if err := bus.Serve("node."+node.Instance()+".release", func(data []byte) []byte {
		a.release(string(data))
		return []byte("released")
	}); err != nil {
		return err
	}
	if err := bus.Serve("node."+node.Instance()+".disconnect", a.disconnectFor); err != nil {
		return err
	}
	return bus.Subscribe("wake", a.inbox.woken)
}
