package configuration

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Conn carries values of the four characteristics between a device and who configures it, over
// Bluetooth for example. Receive is called by one goroutine, Send by another.
type Conn interface {
	// Size is the largest value in bytes, MinValue at least: the ATT MTU less 3.
	Size() int
	// Send sends a value: a notification from the device, a write to it.
	Send(c Channel, value []byte) error
	// Receive waits for a value, or for the end of the connection.
	Receive() (Channel, []byte, error)
	Close() error
}

// streams are the four streams over a connection.
type streams struct {
	message func(Channel, []byte) // called by the goroutine that receives
	// more is asked for a message of a channel on which nothing is on its way. May be nil.
	more func(Channel) []byte

	mu   sync.Mutex
	of   [Channels]*Stream
	wake chan struct{}
}

func newStreams(device bool) *streams {
	s := &streams{wake: make(chan struct{}, 1)}
	for c := range s.of {
		s.of[c] = NewStream(device)
	}
	return s
}

func (s *streams) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *streams) send(c Channel, message []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.signal()
	return s.of[c%Channels].Send(message)
}

// run works with a connection until its end, which it returns the reason of. What was on its way over
// an earlier connection goes on.
func (s *streams) run(ctx context.Context, conn Conn) error {
	s.mu.Lock()
	for _, stream := range s.of {
		stream.Resume()
	}
	s.mu.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- s.receive(conn) }()
	err := s.pump(ctx, conn, ended)
	conn.Close()
	if err != nil {
		return err
	}
	return <-ended
}

func (s *streams) receive(conn Conn) error {
	for {
		c, value, err := conn.Receive()
		if err != nil {
			return err
		}
		if c >= Channels {
			continue
		}
		s.mu.Lock()
		message, ok := s.of[c].Receive(value, time.Now())
		s.mu.Unlock()
		s.signal()
		if ok {
			s.message(c, message)
		}
	}
}

// pump sends until the context or the connection ends. A nil error means that the reason is in ended.
func (s *streams) pump(ctx context.Context, conn Conn, ended chan error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		c, value, wait := s.next(conn.Size())
		if value != nil {
			if err := conn.Send(c, value); err != nil {
				conn.Close()
				<-ended
				return err
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		case err := <-ended:
			ended <- err
			return nil
		case <-ctx.Done():
			conn.Close()
			<-ended
			return ctx.Err()
		}
	}
}

// next returns the next value to send, or how long there is none.
func (s *streams) next(size int) (c Channel, value []byte, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wait = time.Hour
	for c := range Channel(Channels) {
		stream := s.of[c]
		if s.more != nil && stream.Idle() {
			if m := s.more(c); m != nil {
				_ = stream.Send(m)
			}
		}
		if value, ok := stream.Next(now, size); ok {
			return c, value, 0
		}
		if d := stream.Deadline(); !d.IsZero() {
			wait = min(wait, max(d.Sub(now), time.Millisecond))
		}
	}
	return 0, nil, wait
}

// Peripheral is a service over connections of values, one at a time. It keeps what was on its way
// when a connection is lost, so that the next one can go on with it.
type Peripheral struct {
	service *Service
	streams *streams

	mu      sync.Mutex
	changed [Channels]bool
}

// NewPeripheral returns a peripheral without connection.
func NewPeripheral(s *Service) *Peripheral {
	p := &Peripheral{service: s, streams: newStreams(true)}
	p.streams.message = func(c Channel, message []byte) {
		if c == Status || c == Result {
			p.tell(c)
		} else if answer := s.Handle(c, message); answer != nil {
			_ = p.streams.send(c, answer) // who sends more than the stream holds gets no answer
		}
	}
	p.streams.more = func(c Channel) []byte {
		p.mu.Lock()
		changed := p.changed[c]
		p.changed[c] = false
		p.mu.Unlock()
		if !changed {
			return nil
		}
		return s.Message(c)
	}
	return p
}

func (p *Peripheral) tell(channels ...Channel) {
	p.mu.Lock()
	for _, c := range channels {
		p.changed[c] = true
	}
	p.mu.Unlock()
	p.streams.signal()
}

// Serve answers one connection until it or the context ends.
func (p *Peripheral) Serve(ctx context.Context, conn Conn) error {
	cancel := p.service.Watch(func() { p.tell(Status, Result) })
	defer cancel()
	p.tell(Status, Result)
	return p.streams.run(ctx, conn)
}

// Central is a Transport over connections of values, for who configures. It connects again when a
// connection is lost and goes on where it was.
type Central struct {
	streams *streams
	inbox   chan received
	stop    context.CancelFunc
	ended   chan struct{}

	mu  sync.Mutex
	err error // of the last attempt to connect
}

type received struct {
	c       Channel
	message []byte
}

// redial is the pause before a lost connection is made again.
const redial = time.Second

// NewCentral returns a transport that connects with dial. End it with Close.
func NewCentral(dial func(ctx context.Context) (Conn, error)) *Central {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Central{streams: newStreams(false), inbox: make(chan received, 64), stop: cancel, ended: make(chan struct{})}
	t.streams.message = func(c Channel, message []byte) {
		select {
		case t.inbox <- received{c, message}:
		case <-ctx.Done():
		}
	}
	go t.run(ctx, dial)
	return t
}

func (t *Central) run(ctx context.Context, dial func(context.Context) (Conn, error)) {
	defer close(t.ended)
	for ctx.Err() == nil {
		conn, err := dial(ctx)
		if err == nil {
			err = t.streams.run(ctx, conn)
		}
		t.mu.Lock()
		t.err = err
		t.mu.Unlock()
		select {
		case <-time.After(redial):
		case <-ctx.Done():
		}
	}
}

// Close ends the connection.
func (t *Central) Close() error {
	t.stop()
	<-t.ended
	return nil
}

// Send queues a message. It goes out when there is a connection.
func (t *Central) Send(_ context.Context, c Channel, message []byte) error {
	return t.streams.send(c, message)
}

// Receive waits for a message. When the context ends, the error says why there is no connection, too.
func (t *Central) Receive(ctx context.Context) (Channel, []byte, error) {
	select {
	case r := <-t.inbox:
		return r.c, r.message, nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		return 0, nil, errors.Join(ctx.Err(), t.err)
	}
}
