package simulate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

var errRefused = errors.New("connection refused")

// network connects devices and the server in memory, so that time can be virtual. It counts what is
// dialled and can be cut.
type network struct {
	mu        sync.Mutex
	listeners map[int]*listener
	nextPort  int
	capacity  int           // connections taken in a second; 0 for all
	free      time.Time     // when the server takes the next one
	backlog   time.Duration // how long a connection may wait to be taken
	dialled   func(at time.Time)
}

func newNetwork(capacity int) *network {
	return &network{listeners: make(map[int]*listener), nextPort: 40000, capacity: capacity, backlog: 10 * time.Second, dialled: func(time.Time) {}}
}

// listen is net.Listen.
func (n *network) listen(_, address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port := 0
	if _, err := fmt.Sscan(text, &port); err != nil {
		return nil, err
	}
	if port == 0 {
		n.nextPort++
		port = n.nextPort
	}
	l := &listener{network: n, port: port, arrivals: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[port] = l
	return l, nil
}

type listener struct {
	network  *network
	port     int
	arrivals chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.arrivals:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		if l.network.listeners[l.port] == l {
			delete(l.network.listeners, l.port)
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.port} }

// wire is how a device is connected.
type wire struct {
	latency   time.Duration // of each write, one way
	bandwidth int           // bytes in a second; 0 for no limit
}

// count counts an attempt that does not come as far as dial.
func (n *network) count(at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialled(at)
}

// dial connects over a wire to a port. A server at its capacity lets connections wait, and those that
// would wait too long time out, as with a full backlog.
func (n *network) dial(ctx context.Context, port int, w wire) (net.Conn, error) {
	n.mu.Lock()
	n.dialled(time.Now())
	l := n.listeners[port]
	wait := w.latency
	if l != nil && n.capacity > 0 {
		now := time.Now()
		if n.free.Before(now) {
			n.free = now
		}
		wait += n.free.Sub(now)
		if wait > n.backlog {
			l = nil
			wait = n.backlog
		} else {
			n.free = n.free.Add(time.Second / time.Duration(n.capacity))
		}
	}
	n.mu.Unlock()
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errRefused}
	}
	device, server := pipe(w)
	select {
	case l.arrivals <- server:
		return device, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	device.Close()
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errRefused}
}

// pipe is a connection with a buffer each way.
func pipe(w wire) (a, b *conn) {
	there, back := newStream(), newStream()
	return &conn{in: back, out: there, wire: w}, &conn{in: there, out: back, wire: w}
}

type conn struct {
	in, out *stream
	wire    wire
	mu      sync.Mutex
	free    time.Time // when the wire has taken what was written
}

// streamBytes is how much is on its way at most.
const streamBytes = 64 << 10

// parcel is bytes that arrive at a time.
type parcel struct {
	at time.Time
	b  []byte
}

// stream is one direction. Its writers and readers wait on changed.
type stream struct {
	mu       sync.Mutex
	changed  chan struct{}
	parcels  []parcel
	size     int
	ended    bool // the writer has closed it
	broken   bool // nobody reads any more
	reading  time.Time
	writing  time.Time
	swallows bool // what is written goes nowhere
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

func (s *stream) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait waits for a change until a time, if that is not zero.
func wait(changed <-chan struct{}, until time.Time) {
	if until.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (c *conn) Read(p []byte) (int, error) {
	s := c.in
	for {
		s.mu.Lock()
		now := time.Now()
		switch {
		case s.broken:
			s.mu.Unlock()
			return 0, net.ErrClosed
		case !s.reading.IsZero() && !now.Before(s.reading):
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(s.parcels) > 0 && !s.parcels[0].at.After(now):
			first := &s.parcels[0]
			n := copy(p, first.b)
			if first.b = first.b[n:]; len(first.b) == 0 {
				s.parcels = s.parcels[1:]
			}
			s.size -= n
			close(s.changed)
			s.changed = make(chan struct{})
			s.mu.Unlock()
			return n, nil
		case len(s.parcels) == 0 && s.ended:
			s.mu.Unlock()
			return 0, io.EOF
		}
		until := s.reading
		if len(s.parcels) > 0 {
			until = earlier(until, s.parcels[0].at)
		}
		changed := s.changed
		s.mu.Unlock()
		wait(changed, until)
	}
}

func (c *conn) Write(p []byte) (written int, err error) {
	s := c.out
	for len(p) > 0 {
		s.mu.Lock()
		now := time.Now()
		switch {
		case s.broken || s.ended:
			s.mu.Unlock()
			return written, &net.OpError{Op: "write", Net: "tcp", Err: net.ErrClosed}
		case !s.writing.IsZero() && !now.Before(s.writing):
			s.mu.Unlock()
			return written, os.ErrDeadlineExceeded
		case s.swallows:
			s.mu.Unlock()
			return written + len(p), nil
		case s.size < streamBytes:
			n := min(len(p), streamBytes-s.size)
			s.parcels = append(s.parcels, parcel{c.arrival(now, n), append([]byte(nil), p[:n]...)})
			s.size += n
			written, p = written+n, p[n:]
			close(s.changed)
			s.changed = make(chan struct{})
			s.mu.Unlock()
			continue
		}
		until, changed := s.writing, s.changed
		s.mu.Unlock()
		wait(changed, until)
	}
	return written, nil
}

// arrival is when n bytes that are written now have crossed the wire.
func (c *conn) arrival(now time.Time, n int) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free.Before(now) {
		c.free = now
	}
	if c.wire.bandwidth > 0 {
		c.free = c.free.Add(time.Duration(n) * time.Second / time.Duration(c.wire.bandwidth))
	}
	return c.free.Add(c.wire.latency)
}

func (c *conn) Close() error {
	c.out.change(func() { c.out.ended = true })
	c.in.change(func() { c.in.broken = true })
	return nil
}

// blackhole makes everything on its way, and what follows, go nowhere, without telling either end.
func (c *conn) blackhole() {
	for _, s := range []*stream{c.in, c.out} {
		s.change(func() { s.parcels, s.size, s.swallows = nil, 0, true })
	}
}

func (c *conn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (c *conn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.reading = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.change(func() { c.out.writing = t })
	return nil
}
