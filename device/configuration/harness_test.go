package configuration

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/spake2plus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const label = "1234-5678"

// labelled is the registration of the code on the label, with a fixed salt: derived once.
var labelled = sync.OnceValue(func() spake2plus.Registration {
	r, err := spake2plus.RegisterSalted(exchange, normal(label), []byte("0123456789abcdef"), spake2plus.MinIterations)
	if err != nil {
		panic(err)
	}
	return r
})

// device is a service that keeps what it is given.
type device struct {
	*Service
	mu    sync.Mutex
	taken []Document
}

func newDevice(t testing.TB, store *flash.Store) *device {
	t.Helper()
	d := &device{Service: NewService("lamp", labelled(), store)}
	d.Open(d.apply)
	return d
}

func (d *device) apply(doc Document) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc.Endpoint == "refused.example.com" {
		return errors.New("this endpoint is not for this device")
	}
	d.taken = append(d.taken, doc)
	go func() {
		d.Report(Progress{State: ConnectingCloud})
		if doc.Endpoint == "broken.example.com" {
			d.Report(Progress{State: Failed, Reason: "the server refuses the device's certificate"})
			return
		}
		d.Report(Progress{State: Connected, Thing: doc.Thing})
	}()
	return nil
}

func (d *device) documents() []Document {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Document(nil), d.taken...)
}

var lamp = Document{WiFi: WiFi{"home", "correct horse"}, Endpoint: "iot.example.com:8883", CA: []byte("-----BEGIN CERTIFICATE-----\n"),
	Thing: "lamp", Certificate: []byte("-----BEGIN CERTIFICATE-----\n…"), Key: []byte("-----BEGIN EC PRIVATE KEY-----\n…"),
	Template: Template{"fleet", map[string]string{"Serial": "1"}}, Application: []byte(`{"color":"green"}`)}

// unreliable is a connection that loses, doubles and reorders values, and ends after so many.
type unreliable struct {
	Conn
	mu    sync.Mutex
	r     *rand.Rand
	bad   float64
	left  int // values until the end; 0 is no end
	held  []byte
	heldC Channel
}

func (u *unreliable) Send(c Channel, value []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left > 0 {
		if u.left--; u.left == 0 {
			u.Close()
			return io.ErrClosedPipe
		}
	}
	switch x := u.r.Float64(); {
	case x < u.bad:
		return nil // lost
	case x < 2*u.bad:
		_ = u.Conn.Send(c, value)
	case x < 3*u.bad && u.held == nil:
		u.held, u.heldC = append([]byte(nil), value...), c
		return nil
	}
	err := u.Conn.Send(c, value)
	if u.held != nil && err == nil {
		err = u.Conn.Send(u.heldC, u.held)
		u.held = nil
	}
	return err
}

// central connects to a peripheral over a pipe for each attempt. change may put something in between.
func central(t testing.TB, s *Service, change func(Conn) Conn) *Central {
	t.Helper()
	p := NewPeripheral(s)
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	c := NewCentral(func(context.Context) (Conn, error) {
		near, far := net.Pipe()
		serving.Go(func() { _ = p.Serve(ctx, change(NewNetConn(far, 0))) })
		return change(NewNetConn(near, 0)), nil
	})
	t.Cleanup(func() {
		cancel()
		c.Close()
		serving.Wait()
	})
	return c
}

func unchanged(c Conn) Conn { return c }

type readWriteCloser = io.ReadWriteCloser

// scripted is a transport that answers what it was told to.
type scripted struct{ answers []received }

func (s *scripted) Send(context.Context, Channel, []byte) error { return nil }

func (s *scripted) Receive(context.Context) (Channel, []byte, error) {
	if len(s.answers) == 0 {
		return 0, nil, io.EOF
	}
	r := s.answers[0]
	s.answers = s.answers[1:]
	return r.c, r.message, nil
}
