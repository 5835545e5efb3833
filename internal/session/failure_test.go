package session

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/mqtt"
)

// failing is a subscriber that cannot keep what it gets.
type failing struct{ got []string }

func (f *failing) Deliver(p *router.Publication, _ *router.Target) {
	f.got = append(f.got, string(p.Payload))
	p.Hold().Release(errors.New("no room"))
}
func (f *failing) Online() bool  { return true }
func (f *failing) Durable() bool { return false }

// TestNothingAfterAFailure: of what a client of MQTT 3.1.1 has sent, nothing is taken after a message that could
// not be kept: it will send it again, and what came after it. One of MQTT 5 is told, and goes on.
func TestNothingAfterAFailure(t *testing.T) {
	t.Parallel()
	for version, want := range map[mqtt.Version][]string{mqtt.V311: {"1"}, mqtt.V5: {"1", "2", "3"}} {
		withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
			f := &failing{}
			a.router.Subscribe(f, "t", router.Subscription{QoS: 1})
			everything := grantOf(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`)
			l := newLine()
			go func() { l.toServer <- (&mqtt.Connect{Version: version, ClientID: "c", CleanStart: true}).Append(nil) }()
			a.Accept(context.Background(), l, Admission{Authenticator: everything})
			l.packets(t)
			var sent []byte
			for i, payload := range []string{"1", "2", "3"} {
				sent = (&mqtt.Publish{QoS: 1, PacketID: uint16(i + 1), Topic: []byte("t"), Payload: []byte(payload)}).Append(sent, version)
			}
			l.toServer <- sent
			l.packets(t)
			if !slices.Equal(f.got, want) {
				t.Errorf("%v: %q were taken, want %q", version, f.got, want)
			}
		})
	}
}
