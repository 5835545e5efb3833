package session

import (
	"context"
	"testing"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/mqtt"
)

// during is a user's password that is right while something else goes on.
type during struct {
	script
	meanwhile func()
}

func (d *during) Authenticate(ctx context.Context, r *Request, p *mqtt.Connect) (Principal, *Grant, error) {
	_, g, err := d.script.Authenticate(ctx, r, p)
	g.UserPolicies, g.Refresh, g.RefreshAfter, g.DisconnectAfter = []string{"p"}, nil, 0, 0
	d.meanwhile()
	return Principal{Kind: Custom, ID: p.UserName}, g, err
}

// TestEndWhileConnecting: who loses the right to connect while it is connecting is disconnected, who has lost
// it before and has it again is not.
func TestEndWhileConnecting(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		user := func(meanwhile func()) *during {
			return &during{script{t, []step{{topic: "a"}}}, meanwhile}
		}
		for name, end := range map[string]func(){
			"user":   func() { a.EndUser("u", "changed") },
			"server": func() { a.EndServerName("", "disabled") },
		} {
			l := newLine()
			go func() {
				l.toServer <- (&mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true, HasUserName: true, UserName: "u"}).Append(nil)
			}()
			a.Accept(context.Background(), l, Admission{Authenticator: user(end)})
			if types, _ := l.packets(t); len(types) == 0 || types[len(types)-1] != mqtt.DISCONNECT {
				t.Errorf("%s: %v", name, types)
			}
		}
		a.EndUser("u", "changed")
		l, _ := connect(t, a, user(func() { a.EndUser("v", "changed") }))
		if code := l.publish(t, "a"); code.Failed() {
			t.Error(code)
		}
	})
}
