package session

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// revoking lets a client in and takes that back before the connect has come to its end.
type revoking struct {
	all   *Sessions
	asked atomic.Int64
}

func (r *revoking) Access(ctx context.Context, req *Request) (*policy.Set, error) {
	set, err := byGrant{}.Access(ctx, req)
	if r.asked.Add(1) > 1 {
		return nil, ErrRefused
	}
	r.all.Reauthorize(ctx, []string{req.Principal.ID})
	return set, err
}

// What is taken back while a client is being admitted, and not yet among those who are asked about again, ends it.
func TestRevokedWhileConnecting(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		r := &revoking{all: a}
		a.authority = r
		l := newLine()
		go func() {
			l.toServer <- (&mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true}).Append(nil)
		}()
		a.Accept(t.Context(), l, Admission{Authenticator: &script{t: t, steps: []step{{topic: "a"}}}})
		types, _ := l.packets(t)
		synctest.Wait()
		if n := a.Counts().ConnectedNow; n != 0 || r.asked.Load() != 2 {
			t.Errorf("%d clients are connected, asked %d times, answered %v", n, r.asked.Load(), types)
		}
	})
}
