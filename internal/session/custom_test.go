package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// line is a Transport whose client is the test.
type line struct {
	toServer chan []byte
	ended    chan struct{}
	once     sync.Once

	mu  sync.Mutex
	out bytes.Buffer
}

func newLine() *line { return &line{toServer: make(chan []byte), ended: make(chan struct{})} }

func (l *line) Fill(in *Input, idle func()) error {
	idle()
	select {
	case b := <-l.toServer:
		in.Filled(copy(in.Space(), b))
		return nil
	case <-l.ended:
		return io.EOF
	}
}

func (l *line) Write(b []byte) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.Write(b)
	return false, nil
}

func (l *line) Drain() error               { return nil }
func (l *line) Pending() int               { return 0 }
func (l *line) Interrupt()                 { l.once.Do(func() { close(l.ended) }) }
func (l *line) Close(bool) error           { l.Interrupt(); return nil }
func (l *line) RemoteAddr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:1000") }

// packets are the packets that the server sent since the last call.
func (l *line) packets(t *testing.T) (types []mqtt.Type, last []byte) {
	t.Helper()
	l.each(t, func(h mqtt.Header, body []byte) { types, last = append(types, h.Type()), body })
	return types, last
}

// each visits the packets that the server sent since the last call.
func (l *line) each(t *testing.T, visit func(h mqtt.Header, body []byte)) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.out.Len() > 0 {
		h, body, size, err := mqtt.Frame(l.out.Bytes(), 1<<20)
		if err != nil || body == nil {
			t.Fatal("the server sent no whole packet", err)
		}
		visit(h, bytes.Clone(body))
		l.out.Next(size)
	}
}

// byGrant is an Authority that knows grants alone.
type byGrant struct{}

func (byGrant) Access(_ context.Context, r *Request) (*policy.Set, error) {
	return policy.Compile(r.Grant.Policies, &policy.Context{ARNPrefix: "arn:aws:iot:r:000000000000:", ClientID: r.ClientID}), nil
}

// script is an Authenticator that answers one step after another.
type script struct {
	t     *testing.T
	steps []step
}

type step struct {
	topic string // that may be published to
	err   error
}

func (s *script) Authenticate(context.Context, *Request, *mqtt.Connect) (Principal, *Grant, error) {
	g, err := s.next(context.Background())
	return Principal{Kind: Custom, ID: "P"}, g, err
}

func (s *script) next(context.Context) (*Grant, error) {
	if len(s.steps) == 0 {
		s.t.Error("asked once more")
		return nil, errors.New("no more steps")
	}
	now := s.steps[0]
	s.steps = s.steps[1:]
	if now.err != nil {
		return nil, now.err
	}
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:r:000000000000:topic/` + now.topic + `"}]}`))
	if err != nil {
		s.t.Fatal(err)
	}
	return &Grant{Policies: []policy.Named{{Name: "p", Doc: doc}}, Refresh: s.next, RefreshAfter: 300 * time.Second, DisconnectAfter: 3600 * time.Second}, nil
}

// withSessions runs fn in a bubble of its own time.
func withSessions(t *testing.T, fn func(t *testing.T, a *Sessions, denials *denial.Log), change ...func(*Limits)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, log := context.Background(), slog.New(slog.DiscardHandler)
		db := storetest.Open(t, t.TempDir())
		r, err := router.New(ctx, AWS().Topics, db)
		if err != nil {
			t.Fatal(err)
		}
		limits, denials := AWS(), denial.NewLog(10)
		limits.MinKeepAlive, limits.MaxKeepAlive = 0, 0
		for _, c := range change {
			c(&limits)
		}
		a, err := Open(ctx, Config{Limits: limits, Router: r, Store: db, Authority: byGrant{}, Denials: denials, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		fn(t, a, denials)
		if err := a.Close(ctx); err != nil {
			t.Error(err)
		}
		db.Close()
	})
}

func connect(t *testing.T, a *Sessions, by Authenticator) (*line, mqtt.Connack) {
	t.Helper()
	l := newLine()
	go func() {
		l.toServer <- (&mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true, HasUserName: true, UserName: "u"}).Append(nil)
	}()
	a.Accept(context.Background(), l, Admission{Authenticator: by})
	types, body := l.packets(t)
	var ack mqtt.Connack
	if len(types) != 1 || types[0] != mqtt.CONNACK || ack.Decode(body, mqtt.V5) != nil {
		t.Fatal("no CONNACK:", types)
	}
	return l, ack
}

// publish returns the reason code of PUBACK.
func (l *line) publish(t *testing.T, name string) mqtt.ReasonCode {
	t.Helper()
	l.toServer <- (&mqtt.Publish{QoS: 1, PacketID: 1, Topic: []byte(name)}).Append(nil, mqtt.V5)
	types, body := l.packets(t)
	var ack mqtt.Ack
	if len(types) != 1 || types[0] != mqtt.PUBACK || ack.Decode(mqtt.PUBACK, body, mqtt.V5) != nil {
		t.Fatal("no PUBACK:", types)
	}
	return ack.Code
}

// gone returns the reason code of the DISCONNECT that the server sent last.
func (l *line) gone(t *testing.T) mqtt.ReasonCode {
	t.Helper()
	types, body := l.packets(t)
	var d mqtt.Disconnect
	if len(types) != 1 || types[0] != mqtt.DISCONNECT || d.Decode(mqtt.DISCONNECT, body, mqtt.V5) != nil {
		t.Fatal("no DISCONNECT:", types)
	}
	return d.Code
}

// TestRefresh: what the authorizer answers later holds for the connection that is there; while it is
// busy the old answer goes on.
func TestRefresh(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, denials *denial.Log) {
		l, ack := connect(t, a, &script{t, []step{{topic: "a"}, {topic: "b"}, {err: ErrBusy}, {topic: "c"}, {err: ErrCredentials}}})
		if ack.Code != mqtt.Success {
			t.Fatal(ack.Code)
		}
		want := func(allowed, denied string) {
			t.Helper()
			if code := l.publish(t, allowed); code.Failed() {
				t.Errorf("%s: %v", allowed, code)
			}
			if code := l.publish(t, denied); code != mqtt.NotAuthorized {
				t.Errorf("%s: %v", denied, code)
			}
		}
		want("a", "b")
		time.Sleep(301 * time.Second)
		want("b", "a")
		a.Reauthorize(context.Background(), nil)
		want("b", "a")
		time.Sleep(300 * time.Second) // busy
		want("b", "c")
		time.Sleep(busyPause)
		want("c", "b")
		time.Sleep(301 * time.Second)
		if code := l.gone(t); code != mqtt.NotAuthorized {
			t.Error(code)
		}
		if r := denials.Latest(1, "c"); len(r) != 1 || r[0].Kind != denial.Identity || r[0].Principal != "P" {
			t.Errorf("%+v", r)
		}
	})
}

// TestDisconnectAfter: the connection ends when its time is over.
func TestDisconnectAfter(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		steps := make([]step, 20)
		l, _ := connect(t, a, &script{t, steps})
		time.Sleep(3599 * time.Second)
		if types, _ := l.packets(t); types != nil {
			t.Fatal("too early:", types)
		}
		time.Sleep(2 * time.Second)
		if code := l.gone(t); code != mqtt.AdministrativeAction {
			t.Error(code)
		}
		time.Sleep(time.Hour) // nobody asks the authorizer any more: its steps would run out
	})
}

func TestRefusedByAuthenticator(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, denials *denial.Log) {
		for err, want := range map[error]mqtt.ReasonCode{ErrCredentials: mqtt.BadUserNameOrPassword, ErrBusy: mqtt.ServerBusy, errors.New("broken"): mqtt.NotAuthorized} {
			if _, ack := connect(t, a, &script{t, []step{{err: err}}}); ack.Code != want {
				t.Errorf("%v: %v, want %v", err, ack.Code, want)
			}
			if r := denials.Latest(1, "c"); len(r) != 1 || r[0].Reason != err.Error() {
				t.Errorf("%+v", r)
			}
		}
	})
}
