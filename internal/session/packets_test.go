package session

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// TestPackets compares with a slice.
func TestPackets(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var p packets
	var model [][]byte
	for i := range 20_000 {
		grows := i/2000%2 == 0 // for a while it grows, then it shrinks
		if random.IntN(10) < 5 == grows || len(model) == 0 {
			b := bytes.Repeat([]byte{byte(i)}, 1+random.IntN(maxPacked))
			if kept := p.add(b); !bytes.Equal(kept, b) {
				t.Fatal("kept something else")
			}
			model = append(model, b)
			continue
		}
		p.next(len(model[0]), func(got []byte) {
			if !bytes.Equal(got, model[0]) {
				t.Fatalf("packet %d: %d bytes of %d, want %d of %d", i, len(got), got[0], len(model[0]), model[0][0])
			}
		})
		if model = model[1:]; len(model) == 0 && len(p.buffers) > 0 {
			t.Fatal("holds buffers without packets")
		}
	}
}

func TestPublishTopic(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for _, n := range []int{0, 1, 100, 1000} {
			packet, want := mqtt.AppendPublish(nil, v, 1<<1, 7, "a/b", make([]byte, n), nil)
			if topic, at := publishTopic(packet); string(topic) != "a/b" || at != want {
				t.Errorf("%v, %d bytes: topic %q, identifier at %d, want %d", v, n, topic, at, want)
			}
		}
	}
}

// TestMessagesThatWait: messages wait for a window of two in their order, the retain flag and the payload with
// them, and are not delivered to whom may not receive them any more.
func TestMessagesThatWait(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		everything := grantOf(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`)
		reader, writer := newLine(), newLine()
		for id, l := range map[string]*line{"reader": reader, "writer": writer} {
			connect := mqtt.Connect{Version: mqtt.V5, ClientID: id, CleanStart: true}
			if id == "reader" {
				connect.Properties.ReceiveMaximum = 2
				connect.Properties.Mark(mqtt.PropReceiveMaximum)
			}
			go func() { l.toServer <- connect.Append(nil) }()
			a.Accept(context.Background(), l, Admission{Authenticator: everything})
			l.packets(t)
		}
		reader.toServer <- (&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t/+", QoS: 1, RetainAsPublished: true}}}).Append(nil, mqtt.V5)
		reader.packets(t)
		const sent = 300
		for i := range sent {
			writer.toServer <- (&mqtt.Publish{QoS: 1, PacketID: uint16(i + 1), Topic: fmt.Append(nil, "t/", i%7), Payload: fmt.Append(nil, i),
				Retain: i%50 == 0}).Append(nil, mqtt.V5)
			time.Sleep(10 * time.Millisecond)
		}
		got := 0
		take := func(until int) {
			t.Helper()
			for got < until {
				messages := reader.publishes(t)
				if len(messages) == 0 || len(messages) > 2 {
					t.Fatalf("%d messages at once after %d", len(messages), got)
				}
				for _, m := range messages {
					if string(m.Payload) != fmt.Sprint(got) || string(m.Topic) != fmt.Sprint("t/", got%7) || m.Retain != (got%50 == 0) {
						t.Fatalf("message %d is %s of %s, retained %t", got, m.Payload, m.Topic, m.Retain)
					}
					got++
					reader.toServer <- mqtt.AppendAck(nil, mqtt.PUBACK, m.PacketID, mqtt.Success, mqtt.V5)
				}
			}
		}
		take(100)
		less, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:Connect","iot:Subscribe"],"Resource":"*"},
			{"Effect":"Allow","Action":"iot:Receive","Resource":"arn:aws:iot:r:000000000000:topic/t/3"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		a.mu.Lock()
		c := a.sessions["reader"].conn
		a.mu.Unlock()
		reader.publishes(t)
		c.setAccess(policy.Compile([]policy.Named{{Name: "less", Doc: less}}, &policy.Context{ARNPrefix: "arn:aws:iot:r:000000000000:", ClientID: "reader"}))
		for id := range uint16(1000) {
			reader.toServer <- mqtt.AppendAck(nil, mqtt.PUBACK, id+1, mqtt.Success, mqtt.V5)
			for _, m := range reader.publishes(t) {
				got++
				if string(m.Topic) != "t/3" {
					t.Fatalf("%s was delivered", m.Topic)
				}
			}
		}
		if got < 120 {
			t.Errorf("%d messages were delivered", got)
		}
	})
}

// always is an Authenticator that gives everybody the same.
type always struct{ grant *Grant }

func (a always) Authenticate(context.Context, *Request, *mqtt.Connect) (Principal, *Grant, error) {
	return Principal{Kind: Custom, ID: "P"}, a.grant, nil
}

func grantOf(t *testing.T, document string) always {
	t.Helper()
	doc, err := policy.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return always{&Grant{Policies: []policy.Named{{Name: "p", Doc: doc}}}}
}

// publishes are the messages that the server sent since the last call.
func (l *line) publishes(t *testing.T) (list []mqtt.Publish) {
	t.Helper()
	l.each(t, func(h mqtt.Header, body []byte) {
		var p mqtt.Publish
		if h.Type() != mqtt.PUBLISH {
			return
		}
		if err := p.Decode(h, body, mqtt.V5); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	})
	return list
}
