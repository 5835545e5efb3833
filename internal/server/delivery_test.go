package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/mqtt"
)

var versions = []mqtt.Version{mqtt.V311, mqtt.V5}

func TestDelivery(t *testing.T) {
	t.Parallel()
	f := standard(t)
	for _, from := range versions {
		for _, to := range versions {
			for qos := range byte(3) {
				name := fmt.Sprintf("%d-%d-%d", from, to, qos)
				t.Run(name, func(t *testing.T) {
					s := f.connect(nil, "s"+name, to)
					p := f.connect(nil, "p"+name, from)
					s.sub(qos, name+"/#")
					for i := range 300 {
						p.pub(qos, fmt.Sprintf("%s/%d", name, i%7), fmt.Sprint(i))
					}
					for i := range 300 {
						if m := s.want(fmt.Sprintf("%s/%d", name, i%7), fmt.Sprint(i)); m.QoS != qos {
							t.Fatalf("QoS %d", m.QoS)
						}
					}
				})
			}
		}
	}
}

func TestQoSIsTheLower(t *testing.T) {
	t.Parallel()
	f := standard(t)
	a, b := f.connect(nil, "a", 5), f.connect(nil, "b", 4)
	a.sub(0, "t")
	b.sub(2, "t")
	b.pub(1, "t", "x")
	if m := a.want("t", "x"); m.QoS != 0 {
		t.Errorf("QoS %d, want 0", m.QoS)
	}
	if m := b.want("t", "x"); m.QoS != 1 {
		t.Errorf("QoS %d, want 1", m.QoS)
	}
}

func TestParentOfMultiLevelWildcard(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*fixture{"aws": start(t), "mqtt": standard(t)} {
		c := f.connect(nil, "c", 5)
		c.sub(0, "sensor/#")
		c.pub(0, "sensor", "parent")
		c.pub(0, "sensor/1", "child")
		if name == "mqtt" {
			c.want("sensor", "parent")
		}
		c.want("sensor/1", "child")
	}
}

func TestRetained(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*fixture{"aws": start(t), "mqtt": standard(t)} {
		p := f.connect(nil, "p", 5)
		live := f.connect(nil, "live", 4)
		live.sub(1, "state/a")
		p.pub(1, "state/a", "on", retained)
		p.pub(1, "state/b", "off", retained)
		p.pub(1, "state/b", "", retained)
		if m := live.want("state/a", "on"); m.Retain {
			t.Errorf("%s: retain flag on a live message", name)
		}
		f.restart()
		s := f.connect(nil, "s", 4)
		s.sub(1, "state/b")
		s.quiet()
		s.sub(1, "state/a")
		if m := s.want("state/a", "on"); !m.Retain || m.QoS != 1 {
			t.Errorf("%s: %+v", name, m)
		}
		s.sub(1, "state/+") // AWS: wildcard subscribers get no retained messages
		if name == "mqtt" {
			s.want("state/a", "on")
		}
		s.quiet()
	}
}

// TestRetainedQuota fills the retained messages: MQTT 5 is told 0x97, MQTT 3.1.1 loses its connection, HTTPS
// gets 429, and all may replace, delete and then retain again.
func TestRetainedQuota(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) { c.MaxRetained = 2 })
	ctx := t.Context()
	five := f.connect(nil, "five", 5)
	try := func(c *conn, qos byte, name, payload string) (mqtt.ReasonCode, error) {
		return c.Publish(ctx, client.Message{Topic: name, Payload: []byte(payload), QoS: qos, Retain: true})
	}
	five.pub(1, "a", "1", retained)
	five.pub(1, "b", "1", retained)
	if code, _ := try(five, 1, "c", "1"); code != mqtt.QuotaExceeded {
		t.Errorf("MQTT 5: reason code %s", code)
	}
	five.pub(1, "c", "not retained")
	five.pub(1, "b", "2", retained)
	four := f.connect(nil, "four", 4)
	try(four, 0, "c", "1")
	four.pub(1, "b", "3", retained) // the connection is still there
	if _, err := try(four, 1, "c", "1"); err == nil {
		t.Error("MQTT 3.1.1: acknowledged")
	}
	<-four.Done()
	if status, body := f.request("POST", "/topics/c?retain=true&qos=1", []byte("1")); status != 429 || !strings.Contains(string(body), "room") {
		t.Errorf("HTTPS: %d %s", status, body)
	}
	f.restart()
	again := f.connect(nil, "again", 5)
	if code, _ := try(again, 1, "c", "1"); code != mqtt.QuotaExceeded {
		t.Errorf("after a start: reason code %s", code)
	}
	again.pub(1, "a", "", retained)
	again.pub(1, "c", "1", retained)
	again.sub(1, "c")
	again.want("c", "1")
}

func TestPersistentSession(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		f := standard(t)
		s := f.connect(nil, "s", v, persistent)
		if s.Connack().SessionPresent {
			t.Error("session present on the first connect")
		}
		s.sub(1, "q/#")
		s.sub(0, "zero")
		s.bye()
		p := f.connect(nil, "p", 4)
		const n = 1200 // more than one page of the backlog
		for i := range n {
			p.pub(1, "q/x", fmt.Sprint(i))
		}
		p.pub(0, "zero", "not kept")
		f.restart()
		s = f.connect(nil, "s", v, persistent)
		if !s.Connack().SessionPresent {
			t.Error("no session after the restart")
		}
		p = f.connect(nil, "p", 4)
		p.pub(1, "q/x", fmt.Sprint(n)) // live, behind the queue
		for i := range n + 1 {
			s.want("q/x", fmt.Sprint(i))
		}
		s.quiet()
		s.bye()

		s = f.connect(nil, "s", v, persistent)
		s.quiet() // acknowledged messages do not come again
		s.bye()
		s = f.connect(nil, "s", v) // clean start forgets
		s.bye()
		s = f.connect(nil, "s", v, persistent)
		if s.Connack().SessionPresent {
			t.Error("session present after a clean one")
		}
		p.pub(1, "q/x", "gone")
		s.quiet()
	}
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	f := start(t)
	w := f.connect(nil, "w", 5)
	w.sub(1, "will")
	first := f.connect(nil, "same", 5, func(o *client.Options) {
		o.Will = &mqtt.Will{Topic: "will", Payload: []byte("taken over"), QoS: 1}
	})
	second := f.connect(nil, "same", 5)
	if code := first.ended(); code != mqtt.SessionTakenOver {
		t.Errorf("old connection ended with %v", code)
	}
	w.want("will", "taken over")
	second.quiet()
}

func TestWill(t *testing.T) {
	t.Parallel()
	f := standard(t)
	w := f.connect(nil, "w", 5)
	w.sub(1, "will/#")
	with := func(delay uint32) func(*client.Options) {
		return func(o *client.Options) {
			o.Will = &mqtt.Will{Topic: "will/" + o.ClientID, Payload: []byte("gone"), QoS: 1, Retain: true}
			if delay > 0 {
				o.Will.Properties.WillDelay = delay
				o.Will.Properties.Mark(mqtt.PropWillDelay)
				o.SessionExpiry = time.Hour
			}
		}
	}
	c := f.connect(nil, "leaves", 5, with(0))
	c.bye() // with DISCONNECT: no will
	w.quiet()
	raw := f.raw()
	raw.send(connectPacket("cut", func(c *mqtt.Connect) {
		c.Will = &mqtt.Will{Topic: "will/cut", Payload: []byte("gone")}
	}))
	raw.wantType(mqtt.CONNACK)
	raw.Close()
	w.want("will/cut", "gone")

	// A delayed will is not sent if the client is back in time, and is sent if it is not.
	for _, back := range []bool{true, false} {
		raw := f.raw()
		raw.send(connectPacket("delayed", func(c *mqtt.Connect) {
			c.Version = mqtt.V5
			c.Properties.SessionExpiry = 100
			c.Properties.Mark(mqtt.PropSessionExpiry)
			c.Will = &mqtt.Will{Topic: "will/delayed", Payload: []byte("gone")}
			c.Will.Properties.WillDelay = 1
			c.Will.Properties.Mark(mqtt.PropWillDelay)
		}))
		raw.wantType(mqtt.CONNACK)
		cut := time.Now()
		raw.Close()
		if back {
			f.connect(nil, "delayed", 5, persistent).bye()
			continue
		}
		w.want("will/delayed", "gone")
		if took := time.Since(cut); took < 900*time.Millisecond {
			t.Errorf("the will came after %v, not after its delay", took)
		}
	}
}

func TestSharedSubscriptions(t *testing.T) {
	t.Parallel()
	f := start(t)
	var members []*conn
	for i := range 4 {
		c := f.connect(nil, fmt.Sprint("m", i), versions[i%2])
		c.sub(1, "$share/g/task/+")
		members = append(members, c)
	}
	other := f.connect(nil, "other", 4)
	other.sub(1, "$share/h/task/+")
	p := f.connect(nil, "p", 5)
	const n = 400
	for i := range n {
		p.pub(1, fmt.Sprintf("task/%d", i%3), fmt.Sprint(i))
	}
	for range n {
		other.next()
	}
	total := 0
	for _, m := range members {
		m.quietly()
		got := len(m.ch)
		if got < n/16 {
			t.Errorf("%s got %d of %d", m.ClientID(), got, n)
		}
		total += got
	}
	if total != n {
		t.Errorf("the group got %d messages, want %d", total, n)
	}
	for _, m := range members[1:] {
		m.bye()
	}
	before := len(members[0].ch)
	eventually(t, "the last member gets every message", func() bool {
		p.pub(1, "task/1", "more")
		return len(members[0].ch) > before+10
	})
}

// quietly waits until everything sent so far has arrived.
func (c *conn) quietly() {
	c.t.Helper()
	ctx, cancel := timeout()
	defer cancel()
	if err := c.Ping(ctx); err != nil {
		c.t.Fatal(err)
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	f := start(t)
	s, old, p := f.connect(nil, "s", 5), f.connect(nil, "old", 4), f.connect(nil, "p", 5)
	s.sub(1, "t")
	old.sub(1, "t")
	p.pub(1, "t", "x", func(m *client.Message) {
		m.Properties.ContentType, m.Properties.ResponseTopic, m.Properties.CorrelationData = "text/plain", "answer", []byte{1, 2}
		m.Properties.User = []mqtt.UserProperty{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}
		m.Properties.PayloadFormat, m.Properties.MessageExpiry = 1, 100
		m.Properties.Mark(mqtt.PropContentType, mqtt.PropResponseTopic, mqtt.PropCorrelationData, mqtt.PropUserProperty,
			mqtt.PropPayloadFormat, mqtt.PropMessageExpiry)
	})
	m := s.want("t", "x")
	got := fmt.Sprint(m.Properties.ContentType, m.Properties.ResponseTopic, m.Properties.CorrelationData, m.Properties.User, m.Properties.PayloadFormat)
	if want := fmt.Sprint("text/plain", "answer", []byte{1, 2}, []mqtt.UserProperty{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}, 1); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if e := m.Properties.MessageExpiry; e < 98 || e > 100 {
		t.Errorf("message expiry %d", e)
	}
	old.want("t", "x")
}

func TestMessageExpiry(t *testing.T) {
	t.Parallel()
	f := standard(t)
	s := f.connect(nil, "s", 5, persistent)
	s.sub(1, "t")
	s.bye()
	p := f.connect(nil, "p", 5)
	p.pub(1, "t", "short", func(m *client.Message) {
		m.Properties.MessageExpiry = 1
		m.Properties.Mark(mqtt.PropMessageExpiry)
	})
	p.pub(1, "t", "long")
	time.Sleep(1100 * time.Millisecond) // the interval has whole seconds
	s = f.connect(nil, "s", 5, persistent)
	s.want("t", "long")
	s.quiet()
}

// TestAcknowledgedMeansSafe: the PUBACK of a message for a persistent subscriber waits for that
// subscriber's own PUBACK, or for the disk if it is slow.
func TestAcknowledgedMeansSafe(t *testing.T) {
	t.Parallel()
	f := standard(t)
	raw := f.raw()
	raw.send(connectPacket("slow", func(c *mqtt.Connect) { c.CleanStart = false }))
	raw.wantType(mqtt.CONNACK)
	raw.send((&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t", QoS: 1}}}).Append(nil, mqtt.V311))
	raw.wantType(mqtt.SUBACK)
	p := f.connect(nil, "p", 4)
	p.pub(1, "t", "kept") // returns although "slow" never acknowledges
	raw.wantType(mqtt.PUBLISH)
	raw.Close()
	f.restart()
	s := f.connect(nil, "slow", 4, persistent)
	s.want("t", "kept")
}

// TestReceiveMaximum: no more messages are in flight than the client allows, and all arrive in
// order.
func TestReceiveMaximum(t *testing.T) {
	t.Parallel()
	f := standard(t)
	raw := f.raw()
	raw.send(connectPacket("narrow", func(c *mqtt.Connect) {
		c.Version = mqtt.V5
		c.Properties.ReceiveMaximum = 3
		c.Properties.Mark(mqtt.PropReceiveMaximum)
	}))
	raw.wantType(mqtt.CONNACK)
	raw.send((&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t", QoS: 1}}}).Append(nil, mqtt.V5))
	raw.wantType(mqtt.SUBACK)
	p := f.connect(nil, "p", 5)
	for i := range 10 {
		p.pub(1, "t", fmt.Sprint(i))
	}
	var waiting []uint16
	for i := range 10 {
		if len(waiting) == 3 {
			raw.send(mqtt.AppendAck(nil, mqtt.PUBACK, waiting[0], mqtt.Success, mqtt.V5))
			waiting = waiting[1:]
		}
		h, body := raw.wantType(mqtt.PUBLISH)
		var m mqtt.Publish
		if err := m.Decode(h, body, mqtt.V5); err != nil || string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d: %q, %v", i, m.Payload, err)
		}
		waiting = append(waiting, m.PacketID)
		if len(waiting) == 3 {
			raw.send(mqtt.AppendPingreq(nil))
			raw.wantType(mqtt.PINGRESP) // and not a fourth message
		}
	}
}

func TestTopicAlias(t *testing.T) {
	t.Parallel()
	f := start(t)
	s := f.connect(nil, "s", 5)
	s.sub(1, "long/topic")
	raw := f.raw()
	raw.send(connectPacket("alias", func(c *mqtt.Connect) { c.Version = mqtt.V5 }))
	raw.wantType(mqtt.CONNACK)
	publish := func(topic, payload string, alias uint16) {
		p := mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload)}
		p.Properties.TopicAlias = alias
		p.Properties.Mark(mqtt.PropTopicAlias)
		raw.send(p.Append(nil, mqtt.V5))
	}
	publish("long/topic", "1", 8)
	publish("", "2", 8)
	s.want("long/topic", "1")
	s.want("long/topic", "2")
	publish("", "3", 9)
	if code := raw.wantDisconnect(); code != mqtt.TopicAliasInvalid {
		t.Errorf("alias 9: %v", code)
	}
}

func TestSubscriptionIdentifiersAndOptions(t *testing.T) {
	t.Parallel()
	f := standard(t)
	c := f.connect(nil, "c", 5)
	raw := f.raw()
	raw.send(connectPacket("r", func(c *mqtt.Connect) { c.Version = mqtt.V5 }))
	raw.wantType(mqtt.CONNACK)
	for id, sub := range []mqtt.Subscription{{}, {Filter: "t", QoS: 1, NoLocal: true}, {Filter: "+", QoS: 1, NoLocal: true, RetainAsPublished: true}} {
		if id == 0 {
			continue
		}
		p := mqtt.Subscribe{PacketID: uint16(id), Subscriptions: []mqtt.Subscription{sub}}
		p.Properties.SubscriptionIDs = []uint32{uint32(id) * 100}
		p.Properties.Mark(mqtt.PropSubscriptionID)
		raw.send(p.Append(nil, mqtt.V5))
		raw.wantType(mqtt.SUBACK)
	}
	raw.send((&mqtt.Publish{Topic: []byte("t"), Payload: []byte("own")}).Append(nil, mqtt.V5)) // No Local
	c.pub(1, "t", "other", retained)
	h, body := raw.wantType(mqtt.PUBLISH)
	var m mqtt.Publish
	if err := m.Decode(h, body, mqtt.V5); err != nil {
		t.Fatal(err)
	}
	ids := fmt.Sprint(m.Properties.SubscriptionIDs)
	if string(m.Payload) != "other" || ids != "[100 200]" && ids != "[200 100]" || !m.Retain {
		t.Errorf("%q with identifiers %s, retain %v", m.Payload, ids, m.Retain)
	}
}
