// Package link holds a device's MQTT connection: it connects, reconnects with full jitter, keeps
// subscriptions, and carries messages of QoS 1 through outages and restarts in order.
//
// It speaks MQTT 5 and 3.1.1 over whatever Config.Dial returns, usually mutual TLS; it knows neither
// TLS nor certificates itself. No method but Close waits for the network. Callbacks run on the event
// loop, except those of Route and Watch, which are for services and must return at once.
//
// Goroutines: one for as long as the link lives, and one that reads while there is a connection.
package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/topic"
)

// Config is what a link is made from.
type Config struct {
	// Dial opens a transport to the server, authenticated as far as the transport does that. An
	// error that is a *Failure says what kind it is; any other counts as Unreachable.
	Dial func(ctx context.Context) (net.Conn, error)
	// Explain turns an error of an open transport into a *Failure if it knows better: with TLS 1.3
	// a refused certificate is told at the first read. May be nil.
	Explain func(error) error
	Loop    *event.Loop

	ClientID      string
	Version       mqtt.Version  // 0 means 5, and 3.1.1 with a server that does not know it
	CleanStart    bool          // begin every connection with a new session
	SessionExpiry time.Duration // of MQTT 5 sessions; 0 means an hour
	KeepAlive     time.Duration // 0 means 2 min: below the idle limits of home routers and load balancers
	Will          *mqtt.Will
	UserName      string
	Password      []byte

	ConnectTimeout time.Duration // from Dial to CONNACK; 0 means 30 s
	WriteTimeout   time.Duration // of one write; 0 means 30 s
	Backoff        Backoff
	Stable         time.Duration // a connection that lasted as long clears the back-off; 0 means 30 s

	Limits          Limits // message budget
	Queue           QueueOptions
	ReceiveMessages int // ring of received messages; 0 means 100, also the Receive Maximum
	ReceiveBytes    int // 0 means 64 KiB
	MaxPacket       int // largest packet taken from the server, bytes; 0 means 256 KiB

	Store  *flash.Store // of the queue and the budget; nil: they do not survive a restart
	Clock  *Clock       // nil: time.Now, taken to be right
	Time   TimeSource   // remedy for a clock that is not set; may be nil
	Events func(Event)  // runs on the loop; may be nil

	Random func(n int64) int64 // in [0, n); nil means math/rand/v2
}

func (c *Config) fill() error {
	switch {
	case c.Dial == nil || c.Loop == nil:
		return errors.New("new link: Dial and Loop must be set")
	case c.Version != 0 && c.Version != mqtt.V311 && c.Version != mqtt.V5:
		return fmt.Errorf("new link: MQTT version %d is not known", c.Version)
	case c.KeepAlive > 65535*time.Second:
		return fmt.Errorf("new link: keep-alive %v is beyond 65,535 s", c.KeepAlive)
	case c.Will != nil && topic.Standard.CheckName(c.Will.Topic) != nil:
		return fmt.Errorf("new link: will: %w", topic.Standard.CheckName(c.Will.Topic))
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.SessionExpiry, time.Hour}, {&c.KeepAlive, 2 * time.Minute}, {&c.ConnectTimeout, 30 * time.Second}, {&c.WriteTimeout, 30 * time.Second}, {&c.Stable, 30 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	for _, n := range []struct{ v, def *int }{{&c.ReceiveMessages, ptr(100)}, {&c.ReceiveBytes, ptr(64 << 10)}, {&c.MaxPacket, ptr(256 << 10)}} {
		if *n.v <= 0 {
			*n.v = *n.def
		}
	}
	c.ReceiveMessages = min(c.ReceiveMessages, 65535)
	if c.Clock == nil {
		c.Clock = NewClock(nil, time.Unix(0, 0))
	}
	if c.Random == nil {
		c.Random = rand.Int64N
	}
	if c.Events == nil {
		c.Events = func(Event) {}
	}
	if c.Explain == nil {
		c.Explain = func(err error) error { return err }
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

// Link is a connection that is made again whenever it ends. Its methods may be called concurrently.
type Link struct {
	cfg Config

	mu        sync.Mutex
	started   bool
	closed    bool
	held      bool
	dropped   bool // Reconnect was called: the end of the connection is no failure
	conn      *connection
	lastConn  uint64
	version   mqtt.Version // to try next
	queue     *queue
	budget    *Budget
	budgetAt  int // messages counted when the budget was last stored
	throttled time.Time
	quota     int // refusals with Quota Exceeded in a row
	ring      *ring
	onMessage func(Message)
	delivers  bool // deliver is posted, or running
	overrun   int  // messages dropped since the last event was posted
	subs      map[string]*subscription
	order     []string // filters in the order in which they were asked for
	routes    []route
	watchers  []Watcher
	lastID    uint16
	inflight  map[uint16]*entry
	asked     map[uint16]*request
	damaged   int

	arrived chan struct{}
	room    chan struct{} // has a value when a message was taken out of the ring
	kick    chan struct{} // wakes the goroutine that connects
	ctx     context.Context
	cancel  context.CancelFunc
	stopped chan struct{}
}

// route takes messages past the ring to a service.
type route struct {
	filter string
	handle func(Message) // guarded by the link's lock
}

// Watcher hears of a connection on the network's goroutine. Its functions must return at once and
// may call the link's methods; each may be nil.
type Watcher struct {
	Restored func()      // connected, every subscription acknowledged
	Lost     func(error) // the connection has ended, or an attempt has failed
}

// New returns a link that does nothing yet. Messages that an earlier run left in the store are in
// its queue.
func New(cfg Config) (*Link, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	l := &Link{cfg: cfg, version: cfg.Version, subs: make(map[string]*subscription), inflight: make(map[uint16]*entry),
		asked: make(map[uint16]*request), arrived: make(chan struct{}, 1), room: make(chan struct{}, 1), kick: make(chan struct{}, 1), stopped: make(chan struct{})}
	if l.version == 0 {
		l.version = mqtt.V5
	}
	l.queue, l.damaged = openQueue(cfg.Queue, cfg.Store)
	l.ring = newRing(cfg.ReceiveMessages, cfg.ReceiveBytes)
	l.budget = NewBudget(cfg.Limits)
	if cfg.Store != nil {
		state, _ := cfg.Store.Get("budget")
		l.budget.RestoreState(state)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Start begins to connect. Calling it again does nothing.
func (l *Link) Start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started || l.closed {
		return
	}
	l.started = true
	go l.run()
}

// Close sends DISCONNECT, so that the will is not published, and returns when nothing of the link
// runs any more. Messages that are not in flash by then are put there; those that cannot be end with
// ErrClosed. The context bounds the goodbye, not the clean-up.
func (l *Link) Close(ctx context.Context) error {
	l.mu.Lock()
	already := l.closed
	l.closed = true
	c := l.conn
	if c == nil {
		l.cancel()
	} else {
		c.signal()
	}
	started := l.started
	l.mu.Unlock()
	l.wakeRun()
	if started {
		stop := context.AfterFunc(ctx, l.cancel)
		<-l.stopped
		stop()
	}
	l.cancel()
	if already {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.saveBudget()
	l.keepUnsent()
	for _, e := range l.queue.entries {
		if !e.stored {
			l.finish(e, ErrClosed)
		}
	}
	return nil
}

// Hold ends the connection and makes no other until Release. Messages wait in the queue.
func (l *Link) Hold() {
	l.mu.Lock()
	l.held = true
	if l.conn != nil {
		l.conn.signal()
	}
	l.mu.Unlock()
	l.wakeRun()
}

// Release undoes Hold.
func (l *Link) Release() {
	l.mu.Lock()
	l.held = false
	l.mu.Unlock()
	l.wakeRun()
}

// Reconnect ends the connection and makes another at once, with another identity for example.
func (l *Link) Reconnect() {
	l.mu.Lock()
	l.dropped = true
	if l.conn != nil {
		l.conn.signal()
	}
	l.mu.Unlock()
	l.wakeRun()
}

// Loop is the event loop of the link's callbacks.
func (l *Link) Loop() *event.Loop { return l.cfg.Loop }

// Connected reports whether there is a connection.
func (l *Link) Connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil && l.conn.up
}

// Queued counts the messages of QoS 1 that are not acknowledged, and their bytes.
func (l *Link) Queued() (messages, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue.entries), l.queue.bytes
}

// Damaged counts queued messages of an earlier run that could not be read.
func (l *Link) Damaged() int { return l.damaged }

// Watch adds a watcher. Call it before Start.
func (l *Link) Watch(w Watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = append(l.watchers, w)
}

// Route hands the messages whose topic matches a filter to a service instead of to the ring. handle
// runs on the network's goroutine. The first route that matches wins; another one for the same filter
// replaces it.
func (l *Link) Route(filter string, handle func(Message)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.routes {
		if l.routes[i].filter == filter {
			l.routes[i].handle = handle
			return
		}
	}
	l.routes = append(l.routes, route{filter, handle})
}

// OnMessage makes the loop hand received messages to a function, one after another. Without it, they
// wait for Receive. A message of QoS 1 is acknowledged when the function has returned.
func (l *Link) OnMessage(handle func(Message)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onMessage = handle
	l.deliverNext()
}

// deliverNext posts the delivery of one message, if there is one and no other delivery: however fast
// messages come, the loop holds one.
func (l *Link) deliverNext() {
	if l.onMessage != nil && l.ring.n > 0 && !l.delivers {
		l.delivers = true
		l.post("message", l.deliver)
	}
}

// lostMessages counts dropped messages, and posts an event that tells of all until it runs.
func (l *Link) lostMessages(n int) {
	if l.overrun += n; l.overrun != n {
		return
	}
	l.post(Overrun.String(), func() {
		l.mu.Lock()
		count := l.overrun
		l.overrun = 0
		l.mu.Unlock()
		l.cfg.Events(Event{Kind: Overrun, Count: count})
	})
}

// Receive takes the oldest received message; ok is false when there is none. A message of QoS 1 is
// acknowledged by it.
func (l *Link) Receive() (m Message, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.ring.take()
	if ok {
		l.acknowledge(r)
		l.madeRoom()
	}
	return r.Message, ok
}

func (l *Link) madeRoom() {
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// Arrived has a value whenever messages may have come since the last Receive that found none.
func (l *Link) Arrived() <-chan struct{} { return l.arrived }

// deliver hands one message to the application, on the loop.
func (l *Link) deliver() {
	l.mu.Lock()
	handle := l.onMessage
	r, ok := l.ring.take()
	l.mu.Unlock()
	// Acknowledged even if the handler crashes: it would crash again.
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.delivers = false
		l.acknowledge(r)
		l.madeRoom()
		l.deliverNext()
	}()
	if ok && handle != nil {
		handle(r.Message)
	}
}

func (l *Link) acknowledge(r received) {
	if c := l.conn; c != nil && r.packetID != 0 && r.connection == c.id {
		c.outbox = mqtt.AppendAck(c.outbox, mqtt.PUBACK, r.packetID, mqtt.Success, c.version)
		c.signal()
	}
}

func (l *Link) post(name string, f func()) { l.cfg.Loop.Post(name, f) }

// tell posts an event.
func (l *Link) tell(e Event) { l.post(e.Kind.String(), func() { l.cfg.Events(e) }) }

func (l *Link) wakeRun() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}
