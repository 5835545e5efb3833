package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

func TestParseRates(t *testing.T) {
	t.Parallel()
	aws := AWSRates()
	aws.Bytes = 0
	for text, want := range map[string]Rates{
		"":                             {},
		"none":                         {},
		"aws":                          AWSRates(),
		"aws,bytes=0":                  aws,
		"publish=0.5,connect-client=2": {Publish: 0.5, ConnectClient: 2},
		"none,subscribe=3":             {Subscribe: 3},
	} {
		if got, err := ParseRates(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"AWS", "publish", "publish=-1", "publish=NaN", "publish=1,aws", "speed=3"} {
		if r, err := ParseRates(text); err == nil {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	b := newBucket(10)
	for i := range 10 { // a second's worth at once
		if wait := b.reserve(1, now); wait != 0 {
			t.Fatalf("%d: waits %v", i, wait)
		}
	}
	for i, want := range []time.Duration{100, 200, 300} { // then one after another
		if wait := b.reserve(1, now); wait != want*time.Millisecond {
			t.Errorf("%d: waits %v, want %v ms", i, wait, want)
		}
	}
	if now = now.Add(350 * time.Millisecond); !b.has(now) {
		t.Error("nothing after its time")
	}
	if now = now.Add(time.Hour); b.reserve(10, now) != 0 || b.reserve(1, now) == 0 {
		t.Error("an hour of silence is worth other than a second")
	}
	var free bucket
	if free.reserve(1e9, now) != 0 || !free.has(now) {
		t.Error("a rate of 0 bounds")
	}
}

// allowed lets the client "c" do everything and returns its session.
func allowed(t *testing.T, a *Sessions) *Session {
	t.Helper()
	a.mu.Lock()
	s := a.sessions["c"]
	a.mu.Unlock()
	all, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`))
	if err != nil {
		t.Fatal(err)
	}
	s.conn.setAccess(policy.Compile([]policy.Named{{Doc: all}}, &policy.Context{ARNPrefix: "arn:aws:iot:r:000000000000:"}))
	return s
}

func rated(rates string) func(*Limits) {
	return func(l *Limits) {
		r, err := ParseRates(rates)
		if err != nil {
			panic(err)
		}
		l.Rates = r
	}
}

// TestRateOfPublishes: a client that publishes faster is answered at its rate, and loses nothing.
func TestRateOfPublishes(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		l, _ := connect(t, a, &script{t: t, steps: []step{{topic: "a"}}})
		start := time.Now()
		var burst []byte
		for i := range 50 {
			burst = (&mqtt.Publish{QoS: 1, PacketID: uint16(i + 1), Topic: []byte("a")}).Append(burst, mqtt.V5)
		}
		l.toServer <- burst
		types, last := l.packets(t)
		if len(types) > 11 {
			t.Errorf("%d are answered at once", len(types))
		}
		n := len(types)
		for n < 50 && time.Since(start) < time.Minute {
			time.Sleep(100 * time.Millisecond)
			types, body := l.packets(t)
			if n += len(types); len(types) > 0 {
				last = body
			}
		}
		if took := time.Since(start); n != 50 || last[1] != 50 || took < 3900*time.Millisecond || took > 5*time.Second {
			t.Errorf("%d answers in %v, the last of %d", n, took, last[1])
		}
		if a.Counts().Throttled == 0 {
			t.Error("nothing is counted")
		}
		l.Interrupt()
		synctest.Wait()
	}, rated("publish=10"))
}

// TestRateOfConnects: the same client identifier again within the second is refused, another is not.
func TestRateOfConnects(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		by := func() Authenticator { return &script{t: t, steps: []step{{topic: "a"}}} }
		_, first := connect(t, a, by())
		_, again := connect(t, a, by())
		time.Sleep(1100 * time.Millisecond)
		l, later := connect(t, a, by())
		if first.Code != mqtt.Success || again.Code != mqtt.QuotaExceeded || later.Code != mqtt.Success {
			t.Errorf("codes %v, %v, %v", first.Code, again.Code, later.Code)
		}
		l.Interrupt()
		synctest.Wait()
	}, rated("connect-client=1"))
}

// TestRateOfDeliveries: to a client beyond its rate QoS 1 waits and QoS 0 is dropped.
func TestRateOfDeliveries(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		l, _ := connect(t, a, &script{t: t, steps: []step{{topic: "a"}}})
		s := allowed(t, a)
		a.router.Subscribe(s, "in", router.Subscription{QoS: 1})
		for range 30 {
			a.router.Publish(&router.Publication{Topic: "in", QoS: 1}, nil)
		}
		types, _ := l.packets(t)
		if len(types) != 10 {
			t.Errorf("%d of QoS 1 at once, want 10", len(types))
		}
		time.Sleep(2500 * time.Millisecond)
		if types, _ := l.packets(t); len(types) != 20 {
			t.Errorf("%d of QoS 1 later, want 20", len(types))
		}
		time.Sleep(time.Minute)
		for range 30 {
			a.router.Publish(&router.Publication{Topic: "in"}, nil)
		}
		if types, _ := l.packets(t); len(types) != 10 || a.Counts().MessagesDropped != 20 {
			t.Errorf("%d of QoS 0 and %d dropped, want 10 and 20", len(types), a.Counts().MessagesDropped)
		}
		l.Interrupt()
		synctest.Wait()
	}, rated("publish=10"))
}

// TestRateOfRetained: messages to be retained on one topic follow each other at their rate; other topics and
// other messages do not wait for them.
func TestRateOfRetained(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		l, _ := connect(t, a, &script{t: t, steps: []step{{topic: "a"}, {topic: "b"}}})
		allowed(t, a)
		answered := func(send ...*mqtt.Publish) time.Duration {
			t.Helper()
			start := time.Now()
			var burst []byte
			for i, p := range send {
				p.QoS, p.PacketID, p.Payload = 1, uint16(i+1), []byte("x")
				burst = p.Append(burst, mqtt.V5)
			}
			l.toServer <- burst
			for n := 0; n < len(send) && time.Since(start) < time.Minute; time.Sleep(100 * time.Millisecond) {
				types, _ := l.packets(t)
				n += len(types)
			}
			return time.Since(start)
		}
		retained := func(topic string) *mqtt.Publish { return &mqtt.Publish{Topic: []byte(topic), Retain: true} }
		if took := answered(retained("a"), retained("a"), retained("a")); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("three on one topic take %v", took)
		}
		time.Sleep(time.Minute)
		if took := answered(retained("a"), retained("b"), &mqtt.Publish{Topic: []byte("a")}, &mqtt.Publish{Topic: []byte("a")}); took > time.Second {
			t.Errorf("one on each topic takes %v", took)
		}
		time.Sleep(time.Minute)
		a.paces.mu.Lock()
		if len(a.paces.retained) != 0 {
			t.Errorf("%d topics are remembered for ever", len(a.paces.retained))
		}
		a.paces.mu.Unlock()
		l.Interrupt()
		synctest.Wait()
	}, rated("retain-topic=1"))
}

// TestRateOfStored: stored messages come at their rate, others besides.
func TestRateOfStored(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		l, _ := connect(t, a, &script{t: t, steps: []step{{topic: "a"}}})
		s := allowed(t, a)
		s.mu.Lock()
		for range 30 {
			s.queue.push(delivery{qos: 1, stored: true, message: &router.Message{Topic: "in"}})
		}
		s.pump()
		s.mu.Unlock()
		s.conn.Flush()
		if types, _ := l.packets(t); len(types) != 10 {
			t.Errorf("%d at once, want 10", len(types))
		}
		time.Sleep(1050 * time.Millisecond)
		if types, _ := l.packets(t); len(types) != 10 {
			t.Errorf("%d in the next second, want 10", len(types))
		}
		l.Interrupt()
		synctest.Wait()
	}, rated("drain=10"))
}

// TestMaxConnections: a client too many is refused; one that is connected may connect again.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		by := func() Authenticator { return &script{t: t, steps: []step{{topic: "a"}}} }
		_, first := connect(t, a, by())
		l, again := connect(t, a, by())
		if first.Code != mqtt.Success || again.Code != mqtt.Success {
			t.Errorf("codes %v, %v", first.Code, again.Code)
		}
		other := newLine()
		go func() {
			other.toServer <- (&mqtt.Connect{Version: mqtt.V5, ClientID: "other", CleanStart: true}).Append(nil)
		}()
		a.Accept(t.Context(), other, Admission{Authenticator: by()})
		types, body := other.packets(t)
		if len(types) != 1 || types[0] != mqtt.CONNACK || body[1] != byte(mqtt.QuotaExceeded) {
			t.Errorf("answered %v % x", types, body)
		}
		l.Interrupt()
		synctest.Wait()
	}, func(l *Limits) { l.MaxConnections = 1 })
}

// TestMaxConnectionsAtOnce: those who come at the same moment are not let in together.
func TestMaxConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		under, release := make(chan struct{}), make(chan struct{})
		a.db.Submit(func(*store.Tx) error { // new sessions that last wait for the disk
			close(under)
			<-release
			return nil
		}, nil)
		<-under
		var lines []*line
		for _, id := range []string{"a", "b", "c", "d"} {
			l := newLine()
			lines = append(lines, l)
			p := mqtt.Connect{Version: mqtt.V5, ClientID: id}
			p.Properties.SessionExpiry = 3600
			p.Properties.Mark(mqtt.PropSessionExpiry)
			go func() { l.toServer <- p.Append(nil) }()
			go a.Accept(t.Context(), l, Admission{Authenticator: everything{t}})
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		if n := a.Counts().ConnectedNow; n != 2 {
			t.Errorf("%d clients are connected, the limit is 2", n)
		}
		for _, l := range lines {
			l.Interrupt()
		}
		synctest.Wait()
		if _, ack := connect(t, a, everything{t}); ack.Code != mqtt.Success {
			t.Errorf("when all have gone: %v", ack.Code)
		}
		a.endAll(ending{ServerInitiated, mqtt.ServerShuttingDown, ""})
		synctest.Wait()
	}, func(l *Limits) { l.MaxConnections = 2 })
}
