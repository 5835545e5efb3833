package session

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// everything is an Authenticator that allows all.
type everything struct{ t *testing.T }

func (e everything) Authenticate(context.Context, *Request, *mqtt.Connect) (Principal, *Grant, error) {
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`))
	if err != nil {
		e.t.Fatal(err)
	}
	return Principal{Kind: Custom, ID: "P"}, &Grant{Policies: []policy.Named{{Name: "p", Doc: doc}}}, nil
}

// resume connects a client whose session lasts.
func resume(t *testing.T, a *Sessions, id string, v mqtt.Version) *line {
	t.Helper()
	l := newLine()
	p := mqtt.Connect{Version: v, ClientID: id}
	if v == mqtt.V5 {
		p.Properties.SessionExpiry = 3600
		p.Properties.Mark(mqtt.PropSessionExpiry)
	}
	go func() { l.toServer <- p.Append(nil) }()
	a.Accept(context.Background(), l, Admission{Authenticator: everything{t}})
	return l
}

func (l *line) part() {
	l.Interrupt()
	synctest.Wait()
}

// offlineReceiver makes a session that is offline and wants "a" with QoS 2.
func offlineReceiver(t *testing.T, a *Sessions) {
	t.Helper()
	l := resume(t, a, "receiver", mqtt.V5)
	l.toServer <- (&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 2}}}).Append(nil, mqtt.V5)
	if types, _ := l.packets(t); !slices.Equal(types, []mqtt.Type{mqtt.CONNACK, mqtt.SUBACK}) {
		t.Fatal(types)
	}
	l.part()
}

func exactlyOnce(id uint16, v mqtt.Version) []byte {
	return (&mqtt.Publish{QoS: 2, PacketID: id, Topic: []byte("a"), Payload: []byte("x")}).Append(nil, v)
}

func (a *Sessions) rows(t *testing.T) (n int) {
	t.Helper()
	if err := a.db.QueryRow(context.Background(), `SELECT count(*) FROM session_queue`, nil, &n); err != nil {
		t.Error(err)
	}
	return n
}

// TestMessageThatCannotBeKept: a QoS 2 message that could not be kept has not come, and what follows under
// its packet identifier is no repetition of it. A client of MQTT 3.1.1 is not told that it failed; its
// connection ends, so that it sends the message again.
func TestMessageThatCannotBeKept(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		offlineReceiver(t, a)
		rename := func(from, to string) {
			if err := a.db.Write(context.Background(), func(tx *store.Tx) error {
				_, err := tx.Exec("ALTER TABLE " + from + " RENAME TO " + to)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		l, old := resume(t, a, "new", mqtt.V5), resume(t, a, "old", mqtt.V311)
		l.packets(t)
		old.packets(t)
		rename("session_queue", "hidden")
		l.toServer <- exactlyOnce(1, mqtt.V5)
		old.toServer <- exactlyOnce(1, mqtt.V311)
		types, body := l.packets(t)
		var ack mqtt.Ack
		if len(types) != 1 || types[0] != mqtt.PUBREC || ack.Decode(mqtt.PUBREC, body, mqtt.V5) != nil || !ack.Code.Failed() {
			t.Errorf("got %v % x, want PUBREC with an error", types, body)
		}
		if types, _ := old.packets(t); len(types) != 0 {
			t.Errorf("MQTT 3.1.1: got %v, want silence", types)
		}
		select {
		case <-old.ended:
		default:
			t.Error("MQTT 3.1.1: the connection lasts")
		}
		rename("hidden", "session_queue")
		old = resume(t, a, "old", mqtt.V311)
		old.packets(t)
		for _, c := range []struct {
			l *line
			v mqtt.Version
		}{{l, mqtt.V5}, {old, mqtt.V311}} {
			c.l.toServer <- exactlyOnce(1, c.v)
			if types, body := c.l.packets(t); len(types) != 1 || types[0] != mqtt.PUBREC || len(body) > 2 && body[2] != 0 {
				t.Errorf("got %v % x, want PUBREC", types, body)
			}
		}
		if n := a.rows(t); n != 2 {
			t.Errorf("%d messages are kept, want 2", n)
		}
		l.part()
		old.part()
	}, func(l *Limits) { l.MaxQoS = 2 })
}

// TestRepetitionBeforeTheCommit: a QoS 2 message that comes again before the first one is on disk is
// acknowledged when that is, and kept once.
func TestRepetitionBeforeTheCommit(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		offlineReceiver(t, a)
		l := resume(t, a, "c", mqtt.V311)
		l.packets(t)
		disk := make(chan struct{})
		a.db.Submit(func(*store.Tx) error { <-disk; return nil }, nil)
		l.toServer <- exactlyOnce(5, mqtt.V311)
		l.part()
		l = resume(t, a, "c", mqtt.V311)
		l.packets(t)
		l.toServer <- exactlyOnce(5, mqtt.V311)
		if types, _ := l.packets(t); len(types) != 0 {
			t.Errorf("got %v before the message is on disk", types)
		}
		close(disk)
		time.Sleep(time.Second)
		if types, _ := l.packets(t); !slices.Equal(types, []mqtt.Type{mqtt.PUBREC}) {
			t.Errorf("got %v, want PUBREC", types)
		}
		if n := a.rows(t); n != 1 {
			t.Errorf("%d messages are kept, want 1", n)
		}
		l.part()
	}, func(l *Limits) { l.MaxQoS = 2 })
}

// TestPacketIdentifiersOfBefore: a client may hold QoS 2 messages under packet identifiers that the server
// has forgotten. It is made to forget them before they are used again.
func TestPacketIdentifiersOfBefore(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, denials *denial.Log) {
		offlineReceiver(t, a)
		p := resume(t, a, "publisher", mqtt.V5)
		for id := range uint16(2) {
			p.toServer <- exactlyOnce(id+1, mqtt.V5)
		}
		p.packets(t)
		p.part()
		ctx := context.Background()
		if err := a.Close(ctx); err != nil {
			t.Fatal(err)
		}
		r, err := router.New(ctx, AWS().Topics, a.db)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(ctx, Config{Limits: a.limits, Router: r, Store: a.db, Authority: byGrant{}, Denials: denials, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		l := resume(t, again, "receiver", mqtt.V5)
		if types, _ := l.packets(t); !slices.Equal(types, []mqtt.Type{mqtt.CONNACK, mqtt.PUBREL, mqtt.PUBLISH, mqtt.PUBREL, mqtt.PUBLISH}) {
			t.Fatal(types)
		}
		for id := range uint16(2) {
			out := mqtt.AppendAck(nil, mqtt.PUBCOMP, id+1, mqtt.PacketIdentifierNotFound, mqtt.V5)
			l.toServer <- mqtt.AppendAck(out, mqtt.PUBREC, id+1, mqtt.Success, mqtt.V5)
			if types, _ := l.packets(t); !slices.Equal(types, []mqtt.Type{mqtt.PUBREL}) {
				t.Fatal(types)
			}
			l.toServer <- mqtt.AppendAck(nil, mqtt.PUBCOMP, id+1, mqtt.Success, mqtt.V5)
		}
		if types, _ := l.packets(t); len(types) != 0 {
			t.Error(types)
		}
		if n := again.rows(t); n != 0 {
			t.Errorf("%d messages are left", n)
		}
		l.part()
		if err := again.Close(ctx); err != nil {
			t.Error(err)
		}
	}, func(l *Limits) { l.MaxQoS = 2 })
}

// A message that comes again has been taken, whatever would be said to a new one: a refusal would end it for the
// client, and the next message under its packet identifier would be taken for it, acknowledged and lost.
func TestRepetitionIsNotRefused(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		retained := func(id uint16) []byte {
			return (&mqtt.Publish{QoS: 2, PacketID: id, Retain: true, Topic: []byte("a"), Payload: []byte("x")}).Append(nil, mqtt.V5)
		}
		code := func(l *line) mqtt.ReasonCode {
			t.Helper()
			types, body := l.packets(t)
			var ack mqtt.Ack
			if len(types) != 1 || types[0] != mqtt.PUBREC || ack.Decode(mqtt.PUBREC, body, mqtt.V5) != nil {
				t.Fatalf("no PUBREC: %v", types)
			}
			return ack.Code
		}
		l := resume(t, a, "publisher", mqtt.V5)
		l.packets(t)
		l.toServer <- retained(1)
		if c := code(l); c != mqtt.Success {
			t.Fatal(c)
		}
		for _, p := range []router.Publication{{Topic: "a"}, {Topic: "b", Payload: []byte("full")}} {
			p.Retain = true
			a.router.Publish(&p, nil)
		}
		a.router.LimitRetained(1, 0)
		l.toServer <- retained(1)
		if c := code(l); c != mqtt.Success {
			t.Errorf("what was taken is refused when it comes again: %v", c)
		}
		a.mu.Lock()
		c := a.sessions["publisher"].conn
		a.mu.Unlock()
		c.setAccess(policy.Compile(nil, &policy.Context{}))
		l.toServer <- retained(1)
		if c := code(l); c != mqtt.Success {
			t.Errorf("what was taken is denied when it comes again: %v", c)
		}
		l.toServer <- retained(2)
		if c := code(l); c != mqtt.NotAuthorized {
			t.Errorf("a new message gets %v", c)
		}
		l.part()
	}, func(l *Limits) { l.MaxQoS = 2 })
}
