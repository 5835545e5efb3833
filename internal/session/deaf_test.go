package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// anyone lets everybody do everything.
type anyone struct{ t *testing.T }

func (a anyone) Authenticate(context.Context, *Request, *mqtt.Connect) (Principal, *Grant, error) {
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`))
	if err != nil {
		a.t.Fatal(err)
	}
	return Principal{Kind: Custom, ID: "P"}, &Grant{Policies: []policy.Named{{Name: "p", Doc: doc}}}, nil
}

// TestClientThatDoesNotAcknowledge: who subscribes and acknowledges nothing takes a bounded amount of
// memory, by number and by size, and holds those who publish to it up for a while only.
func TestClientThatDoesNotAcknowledge(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Limits){
		"number": func(l *Limits) { l.QueueMemory = 8 },
		"bytes":  func(l *Limits) { l.QueueBytes = 8 * 100 },
	} {
		t.Run(name, func(t *testing.T) {
			withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
				join := func(id string) *line {
					l := newLine()
					go func() {
						l.toServer <- (&mqtt.Connect{Version: mqtt.V5, ClientID: id, CleanStart: true}).Append(nil)
					}()
					a.Accept(t.Context(), l, Admission{Authenticator: anyone{t}})
					l.packets(t)
					return l
				}
				deaf, publisher := join("deaf"), join("publisher")
				deaf.toServer <- (&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 1}}}).Append(nil, mqtt.V5)
				deaf.packets(t)
				acknowledged := func() (n int) {
					types, _ := publisher.packets(t)
					for _, p := range types {
						if p == mqtt.PUBACK {
							n++
						}
					}
					return n
				}
				const sent = 16
				for id := range uint16(sent) {
					publisher.toServer <- (&mqtt.Publish{QoS: 1, PacketID: id + 1, Topic: []byte("a"), Payload: make([]byte, 100)}).Append(nil, mqtt.V5)
				}
				if n := acknowledged(); n != 4+8 { // in flight, and in memory
					t.Errorf("%d were acknowledged at once", n)
				}
				time.Sleep(a.limits.DeafTime - time.Second)
				if n := acknowledged(); n != 0 {
					t.Errorf("%d were acknowledged too early", n)
				}
				time.Sleep(2 * time.Second)
				if n := acknowledged(); n != sent-12 {
					t.Errorf("%d were acknowledged in the end", n)
				}
				select {
				case <-deaf.ended:
				default:
					t.Error("the client is still there")
				}
				publisher.Interrupt()
				synctest.Wait()
			}, change, func(l *Limits) { l.Inflight = 4 })
		})
	}
}
