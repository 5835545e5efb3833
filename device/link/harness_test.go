package link

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is the server's side of one connection.
type script struct {
	t       *testing.T
	conn    net.Conn
	version mqtt.Version
	buf     []byte
	size    int
}

// read returns the next packet that is no PINGREQ, or type 0 at the end.
func (s *script) read() (mqtt.Header, []byte) {
	for {
		s.buf, s.size = s.buf[s.size:], 0
		h, body, size, err := mqtt.Frame(s.buf, 1<<20)
		if err != nil {
			s.t.Errorf("client sends a broken packet: %v", err)
			return 0, nil
		}
		if body == nil {
			chunk := make([]byte, 4096)
			n, err := s.conn.Read(chunk)
			if err != nil {
				return 0, nil
			}
			s.buf = append(s.buf, chunk[:n]...)
			continue
		}
		s.size = size
		if h.Type() != mqtt.PINGREQ {
			return h, body
		}
		s.write(mqtt.AppendPingresp(nil))
	}
}

func (s *script) write(packets ...[]byte) { s.conn.Write(bytes.Join(packets, nil)) }

func (s *script) accept(present bool, change ...func(*mqtt.Connack)) mqtt.Connect {
	var c mqtt.Connect
	if h, body := s.read(); h.Type() != mqtt.CONNECT || c.Decode(body) != nil {
		s.t.Errorf("%v instead of CONNECT", h.Type())
	}
	s.version = c.Version
	a := mqtt.Connack{SessionPresent: present}
	for _, ch := range change {
		ch(&a)
	}
	s.write(a.Append(nil, s.version))
	return c
}

func (s *script) publish() mqtt.Publish {
	s.t.Helper()
	h, body := s.read()
	var p mqtt.Publish
	if h.Type() != mqtt.PUBLISH || p.Decode(h, body, s.version) != nil {
		s.t.Errorf("%v instead of PUBLISH", h.Type())
	}
	return p
}

func (s *script) ack(p mqtt.Publish) {
	s.write(mqtt.AppendAck(nil, mqtt.PUBACK, p.PacketID, mqtt.Success, s.version))
}

func (s *script) grant() []string {
	s.t.Helper()
	h, body := s.read()
	var sub mqtt.Subscribe
	if h.Type() != mqtt.SUBSCRIBE || sub.Decode(body, s.version) != nil {
		s.t.Errorf("%v instead of SUBSCRIBE", h.Type())
	}
	a := mqtt.Suback{PacketID: sub.PacketID}
	var filters []string
	for _, f := range sub.Subscriptions {
		filters = append(filters, f.Filter)
		code := mqtt.ReasonCode(f.QoS)
		if f.Filter == "forbidden" {
			code = mqtt.NotAuthorized
		}
		a.Codes = append(a.Codes, code)
	}
	s.write(a.Append(nil, mqtt.SUBACK, s.version))
	return filters
}

// idle answers pings until the client ends the connection.
func (s *script) idle() {
	for h, _ := s.read(); h != 0; h, _ = s.read() {
	}
}

// bench is a link against scripts, one for each connection in turn.
type bench struct {
	*Link
	t      *testing.T
	mu     sync.Mutex
	events []Event
	dials  []time.Time
}

var errNoRoute = errors.New("no route to host")

// against makes a link; a nil script is an attempt that finds no network.
func against(t *testing.T, cfg Config, scripts ...func(*script)) *bench {
	t.Helper()
	b := &bench{t: t}
	var servers sync.WaitGroup
	if cfg.Loop == nil {
		cfg.Loop = event.NewLoop(func(err error) { t.Logf("%v", err) })
	}
	cfg.ClientID = "lamp"
	cfg.Dial = func(context.Context) (net.Conn, error) {
		b.mu.Lock()
		n := len(b.dials)
		b.dials = append(b.dials, time.Now())
		b.mu.Unlock()
		if n >= len(scripts) || scripts[n] == nil {
			return nil, errNoRoute
		}
		near, far := net.Pipe()
		servers.Go(func() {
			defer far.Close()
			scripts[n](&script{t: t, conn: far, version: mqtt.V5})
		})
		return near, nil
	}
	cfg.Events = func(e Event) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, e)
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Link = l
	t.Cleanup(func() {
		l.Close(context.Background())
		cfg.Loop.Close()
		<-cfg.Loop.Done()
		servers.Wait()
	})
	return b
}

func (b *bench) kinds() (kinds []EventKind) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (b *bench) find(kind EventKind) (found []Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func (b *bench) pub(payload string, done func(error)) {
	b.t.Helper()
	if err := b.Publish(Publication{Topic: "t", Payload: []byte(payload), QoS: 1}, done); err != nil {
		b.t.Error(err)
	}
}

func half(n int64) int64 { return n / 2 }
