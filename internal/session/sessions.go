package session

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// Config is what Sessions are made of.
type Config struct {
	Limits    Limits
	Router    *router.Router
	Store     *store.DB
	Authority Authority
	Denials   *denial.Log
	Lifecycle Lifecycle // may be nil
	Log       *slog.Logger

	// Of a node of a cluster; nil without one.
	Node     *cluster.Node
	Interest *cluster.Interest
}

// Sessions are all sessions of a server. Methods may be called concurrently.
type Sessions struct {
	limits      Limits
	router      *router.Router
	db          *store.DB
	authority   Authority
	denials     *denial.Log
	lifecycle   Lifecycle
	log         *slog.Logger
	count       counters
	completions completions
	paces       *paces
	epoch       time.Time    // an hour before Open, so that no later time is 0
	clock       atomic.Int64 // milliseconds since epoch, coarse
	generations atomic.Uint32
	decisions   atomic.Uint64 // how often connections were to be decided on again
	places      atomic.Int64  // clients connected or being admitted
	warned      atomic.Int64  // the second of the last warning about a client
	rested      int           // of tickLoop: connections that gave memory back since returned
	returned    time.Time     // of tickLoop: when the process last returned memory to the system

	node     *cluster.Node // nil without a cluster
	interest *cluster.Interest
	inbox    *inbox

	mu        sync.Mutex
	sessions  map[string]*Session
	conns     map[*Conn]struct{}
	endings   endings
	deadlines deadlines
	holders   []*Session
	stopping  bool
	parted    sync.WaitGroup // connections not yet parted
	stop      chan struct{}
	stopped   chan struct{}
}

// Open loads the persistent sessions and starts serving them. Sessions that were connected when
// the server died count as disconnected now.
func Open(ctx context.Context, cfg Config) (*Sessions, error) {
	a := &Sessions{limits: cfg.Limits, router: cfg.Router, db: cfg.Store, authority: cfg.Authority, denials: cfg.Denials, log: cfg.Log,
		sessions: make(map[string]*Session), conns: make(map[*Conn]struct{}), stop: make(chan struct{}), stopped: make(chan struct{})}
	if a.lifecycle = cfg.Lifecycle; a.lifecycle == nil {
		a.lifecycle = silence{}
	}
	a.paces = newPaces(cfg.Limits.Rates)
	a.epoch = time.Now().Add(-time.Hour)
	a.clock.Store(a.coarse(time.Now()))
	if err := a.db.Migrate(ctx, "session", schema); err != nil {
		return nil, err
	}
	if cfg.Node != nil {
		if err := a.joinCluster(ctx, cfg.Node, cfg.Interest); err != nil {
			return nil, fmt.Errorf("open sessions of a cluster: %w", err)
		}
	}
	if a.node == nil {
		if err := a.absorbAll(ctx); err != nil {
			return nil, fmt.Errorf("take over from a cluster: %w", err)
		}
	}
	if err := a.load(ctx); err != nil {
		return nil, fmt.Errorf("load sessions: %w", err)
	}
	a.completions.start()
	go a.tickLoop()
	if a.node != nil {
		a.inbox.start()
	}
	return a, nil
}

// attach makes c the connection of its session, ending another one, and sends CONNACK and what
// waits for the client.
func (a *Sessions) attach(c *Conn, p *mqtt.Connect, expiry uint32, ack *mqtt.Connack) error {
	id := c.request.ClientID
	var s *Session
	for {
		a.mu.Lock()
		if a.stopping {
			a.mu.Unlock()
			return fmt.Errorf("the server is shutting down")
		}
		s = a.sessions[id]
		if s == nil {
			s = a.newSession(id)
			a.sessions[id] = s
		}
		a.mu.Unlock()
		s.changing.Lock()
		if !s.gone {
			break
		}
		s.changing.Unlock()
	}
	defer s.changing.Unlock()

	s.mu.Lock()
	old, hadState := s.conn, s.persistent
	s.mu.Unlock()
	if by := c.request.Principal; by.ReadOnly && (old != nil || hadState) && s.owner != by {
		return fmt.Errorf("%w: client identifier %q has a session of somebody else, and access key %s is read-only", ErrRefused, id, by.ID)
	}
	if old != nil { // [MQTT-3.1.4-3]
		old.end(ending{DuplicateClientID, mqtt.SessionTakenOver, "another connection took the client identifier over"})
		a.detach(s, old)
		hadState = s.persistent && !s.gone
		if s.gone { // the old session ended with its connection
			s.gone = false
			a.mu.Lock()
			a.sessions[id] = s
			a.mu.Unlock()
		}
	}
	c.sessionID = newSessionID()
	var found *taken
	if a.node != nil {
		var err error
		if found, err = a.take(s, c, p.Will, expiry); err != nil {
			a.giveUp(s)
			return err
		}
		hadState = s.persistent
		defer func() {
			s.mu.Lock()
			attached := s.conn == c
			s.mu.Unlock()
			if !attached {
				a.giveUp(s)
			}
		}()
	}
	ack.SessionPresent = hadState && !p.CleanStart // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
	if !ack.SessionPresent {
		if err := a.discardState(s); err != nil {
			return err
		}
	}
	if found != nil {
		a.inherit(found, ack.SessionPresent)
		a.inbox.barrier()
	}

	// A resumed session counts as connected before a crash can say otherwise; only a new one has to
	// be on disk before the client hears of it.
	if expiry > 0 {
		row := [][]any{{id, expiry, int64(0)}}
		if ack.SessionPresent {
			a.db.Put(sessionTable, row, nil)
		} else if err := a.wait(func(done func(error)) { a.db.Put(sessionTable, row, done) }); err != nil {
			return err
		}
	} else if ack.SessionPresent {
		a.forgetOnDisk(s.id)
	}

	s.owner = c.request.Principal
	s.mu.Lock()
	s.persistent, s.expiry = expiry > 0, expiry
	s.will, s.deadline = nil, time.Time{} // [MQTT-3.1.3-9]
	c.session = s
	c.active.Store(a.clock.Load())
	c.append(ack.Append(nil, c.version))
	s.will = p.Will
	s.conn = c
	if s.place != nil {
		s.place.lasting = s.persistent
		s.place.behind = s.place.behind && s.persistent
		for filter := range s.subscriptions.all() {
			a.interest.Add(filter, s.persistent)
		}
	}
	s.resend(c)
	s.pump()
	a.mu.Lock()
	a.conns[c] = struct{}{}
	a.endings.missed(c)
	a.parted.Add(1)
	stopping := a.stopping
	a.mu.Unlock()
	if stopping {
		c.end(ending{ServerInitiated, mqtt.ServerShuttingDown, "the server is shutting down"})
	}
	a.count.connected.Add(1)
	a.log.Debug("connected", "client_id", id, "principal", c.request.Principal.ID, "session_present", ack.SessionPresent)
	c.flush() // unlocks
	a.lifecycle.Connected(c.client())
	return nil
}

// connected reports whether a client identifier has a connection, which another one would take over.
func (a *Sessions) connected(id string) bool {
	a.mu.Lock()
	s := a.sessions[id]
	a.mu.Unlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

func (a *Sessions) wait(start func(done func(error))) error {
	done := make(chan error, 1)
	start(func(err error) { done <- err })
	return <-done
}

// part ends a connection: its read loop calls it last.
func (a *Sessions) part(c *Conn) {
	s := c.session
	c.input.Drop()
	if t, ok := c.transport.(Resting); ok {
		t.Parted()
	}
	mine := true
	if a.node != nil && !a.node.Alive() {
		// Others may speak for this client already: it is cut off, and told of, and its will published,
		// only if they have not.
		c.transport.Close(true)
		mine = a.node.AwaitLease()
	}
	if mine {
		s.changing.Lock()
		a.detach(s, c)
		s.changing.Unlock()
	}
	a.mu.Lock()
	delete(a.conns, c)
	a.mu.Unlock()
	if c.custom != nil {
		c.custom.stop()
	}
	a.parted.Done()
	c.transport.Close(c.goodbye == nil) // may wait a moment for the client
}

// detach separates a connection from its session, once: it says goodbye, publishes the will or
// schedules it, and keeps or drops the session. s.changing is held.
func (a *Sessions) detach(s *Session, c *Conn) {
	s.mu.Lock()
	if s.conn != c {
		s.mu.Unlock()
		return
	}
	e := *c.ended.Load()
	if c.version == mqtt.V5 && e.code != mqtt.Success && !c.parted {
		c.append((&mqtt.Disconnect{Code: e.code}).Append(nil, c.version))
	}
	s.conn = nil
	if s.place != nil {
		for filter := range s.subscriptions.all() {
			a.interest.Remove(filter, s.place.lasting)
		}
	}
	will := s.will
	s.will = nil
	if c.goodbye != nil {
		if c.goodbye.Properties.Has(mqtt.PropSessionExpiry) {
			s.expiry = min(c.goodbye.Properties.SessionExpiry, a.ceiling())
		}
		if c.goodbye.Code != mqtt.DisconnectWithWill { // [MQTT-3.14.4-3]
			will = nil
		}
	}
	now := time.Now()
	if s.expiry == 0 && s.persistent {
		s.persistent = false
		a.forgetOnDisk(s.id)
	}
	persistent := s.persistent
	if persistent {
		s.spill()
		a.db.Put(sessionTable, [][]any{{s.id, s.expiry, now.UnixMilli()}}, nil)
	} else {
		s.inflight.each(func(_ uint16, d *delivery) {
			if d.receipt != nil {
				d.receipt.Release(nil)
			}
		})
		for _, d := range s.queue.all() {
			if d.receipt != nil {
				d.receipt.Release(nil)
			}
		}
		if s.queue.packets != nil {
			s.queue.packets.release()
		}
		s.inflight, s.queue, s.incoming = window{}, fifo{}, nil
	}
	var delay uint32
	if will != nil && persistent && will.Properties.Has(mqtt.PropWillDelay) {
		delay = min(will.Properties.WillDelay, s.expiry)
	}
	if s.place != nil {
		// The leader publishes delayed wills and ends sessions.
	} else if will != nil && delay > 0 {
		s.will, s.willFrom = will, c.origin
		s.deadline = now.Add(time.Duration(delay) * time.Second)
	} else if persistent && s.expiry != never {
		s.deadline = now.Add(time.Duration(s.expiry) * time.Second)
	}
	deadline := s.deadline
	c.flush() // unlocks; the last words of the connection
	c.owed.abandon()
	a.count.connected.Add(-1)
	a.places.Add(-1)
	a.log.Debug("disconnected", "client_id", s.id, "reason", string(e.reason), "detail", e.detail)

	a.lifecycle.Disconnected(c.client(), e.reason)
	if will != nil && delay == 0 {
		a.publishWill(will, c.origin)
		will = nil
	}
	if a.node != nil {
		a.leave(s, will, c.origin, time.Duration(delay)*time.Second, nil)
	}
	if !deadline.IsZero() {
		a.mu.Lock()
		heap.Push(&a.deadlines, due{deadline, s})
		a.mu.Unlock()
	}
	if !persistent {
		a.remove(s)
	}
}

func (a *Sessions) ceiling() uint32 {
	if a.limits.MaxSessionExpiry < 0 {
		return never
	}
	return uint32(a.limits.MaxSessionExpiry / time.Second)
}

// remove ends a session. s.changing is held.
func (a *Sessions) remove(s *Session) {
	s.gone = true
	s.mu.Lock()
	filters := s.subscriptions
	s.subscriptions = subscriptions{}
	s.mu.Unlock()
	for f := range filters.all() {
		a.router.Unsubscribe(s, f)
	}
	a.mu.Lock()
	if a.sessions[s.id] == s {
		delete(a.sessions, s.id)
	}
	a.mu.Unlock()
}

// discardState makes a session new, in memory and on disk. s.changing is held.
func (a *Sessions) discardState(s *Session) error {
	s.mu.Lock()
	filters := s.subscriptions
	had := s.persistent
	s.subscriptions = subscriptions{}
	s.inflight, s.queue, s.incoming = window{}, fifo{}, nil
	s.backlog, s.loaded, s.persistent, s.restored = 0, s.seq, false, false
	if s.place != nil {
		s.place.behind = false
	}
	will, from := s.will, s.willFrom
	s.will = nil
	s.mu.Unlock()
	for f := range filters.all() {
		a.router.Unsubscribe(s, f)
	}
	if will != nil { // the session ends, and with it the will delay [MQTT-3.1.2-8]
		a.publishWill(will, from)
	}
	if !had {
		return nil
	}
	return a.wait(func(done func(error)) { a.db.SubmitLoose(func(tx *store.Tx) error { return a.forget(tx, s.id) }, done) })
}

func (a *Sessions) forgetOnDisk(id string) {
	a.db.SubmitLoose(func(tx *store.Tx) error { return a.forget(tx, id) }, nil)
}

func (a *Sessions) forget(tx *store.Tx, id string) error {
	tables := []string{"session_queue", "session_subscription", "session"}
	if a.node != nil {
		tables = append(tables, "cluster_inbox")
		tx.Note("session", id)
	}
	for _, t := range tables {
		if _, err := tx.Exec(`DELETE FROM `+t+` WHERE client_id = ?`, id); err != nil {
			return err
		}
	}
	return nil
}

func (a *Sessions) publishWill(w *mqtt.Will, from *router.Origin) {
	p := router.Publication{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, Origin: from, Will: true}
	props := w.Properties
	props.Clear(mqtt.PropWillDelay)
	if props.Has(mqtt.PropMessageExpiry) {
		p.Expires = a.messageExpiry(time.Now(), props.MessageExpiry)
		props.Clear(mqtt.PropMessageExpiry)
	}
	p.Properties = &props
	a.count.wills.Add(1)
	a.router.Publish(&p, nil)
}

// Reauthorize decides again over the connections of the given certificates, or over all with nil:
// their policies or the state of their certificates changed. The identifier "" stands for those who
// know a policy by name.
func (a *Sessions) Reauthorize(ctx context.Context, certificateIDs []string) {
	a.decisions.Add(1) // for those that are being admitted, and in no list yet
	var wanted map[string]bool
	if certificateIDs != nil {
		wanted = make(map[string]bool, len(certificateIDs))
		for _, id := range certificateIDs {
			wanted[id] = true
		}
	}
	a.mu.Lock()
	var conns []*Conn
	for c := range a.conns {
		if wanted == nil || c.request.concerns(wanted) {
			conns = append(conns, c)
		}
	}
	a.mu.Unlock()
	for i, c := range conns {
		if err := c.reauthorize(ctx); a.node != nil && errors.Is(err, context.DeadlineExceeded) {
			for _, c := range conns[i:] { // none goes on with what it was allowed for longer than this
				c.end(ending{ServerError, mqtt.ServerUnavailable, "what the client may do could not be read again"})
			}
			return
		}
	}
}

// reauthorize decides again over a connection, until nobody has asked for that meanwhile: what was read first must
// not be put in force last. The error is that of the decision, which ends it.
func (c *Conn) reauthorize(ctx context.Context) error {
	a := c.all
	if c.custom != nil {
		c.custom.deciding.Lock()
		defer c.custom.deciding.Unlock()
	}
	for {
		decisions := a.decisions.Load()
		if err := c.decide(ctx); err != nil || a.decisions.Load() == decisions {
			return err
		}
	}
}

func (c *Conn) decide(ctx context.Context) error {
	a, r := c.all, c.request
	if c.custom != nil {
		r.Grant = c.custom.grant.Load()
	}
	if a.node != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.node.Patience())
		defer cancel()
	}
	access, err := a.authority.Access(ctx, &r)
	switch {
	case err != nil:
		a.refused(r, err.Error())
		c.end(ending{AuthError, mqtt.NotAuthorized, err.Error()})
	case !access.Allows(policy.Connect, policy.KindClient, r.ClientID):
		c.end(ending{AuthError, mqtt.NotAuthorized, a.Denied(r, access, policy.Connect, policy.KindClient, r.ClientID)})
	default:
		c.setAccess(access)
	}
	return err
}

// endAll ends every connection.
func (a *Sessions) endAll(e ending) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		c.end(e)
	}
}

// Close ends every connection, keeps what persistent sessions have not acknowledged, and returns
// when everything is queued for the disk or ctx ends.
func (a *Sessions) Close(ctx context.Context) error {
	a.mu.Lock()
	if a.stopping {
		a.mu.Unlock()
		return nil
	}
	a.stopping = true
	a.mu.Unlock()
	code := mqtt.ServerShuttingDown
	if a.node != nil {
		code = mqtt.UseAnotherServer
	}
	a.endAll(ending{ServerInitiated, code, "the server is shutting down"})
	close(a.stop)
	<-a.stopped
	all := make(chan struct{})
	go func() { a.parted.Wait(); close(all) }()
	select {
	case <-all:
	case <-ctx.Done():
		return fmt.Errorf("close sessions: %w", ctx.Err())
	}
	if err := a.db.Flush(ctx); err != nil {
		return err
	}
	a.completions.close()
	return nil
}
