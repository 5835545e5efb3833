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

// overtaken decides twice over a client that is there: what was asked first, before a change, is answered last.
type overtaken struct {
	asked  atomic.Int64
	second chan struct{}
}

func (o *overtaken) Access(ctx context.Context, req *Request) (*policy.Set, error) {
	set, err := byGrant{}.Access(ctx, req)
	switch o.asked.Add(1) {
	case 1:
		return set, err
	case 2:
		<-o.second
		return set, err
	}
	doc, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`))
	return policy.Compile([]policy.Named{{Doc: doc}}, &policy.Context{ARNPrefix: "arn:aws:iot:r:000000000000:", ClientID: req.ClientID}), err
}

// Of two decisions under way at the same time the one that knows the later state counts.
func TestDecisionOvertaken(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		o := &overtaken{second: make(chan struct{})}
		a.authority = o
		l, _ := connect(t, a, everything{t})
		a.mu.Lock()
		c := a.sessions["c"].conn
		a.mu.Unlock()
		c.custom = nil // as of a client with a certificate
		go a.Reauthorize(t.Context(), nil)
		synctest.Wait()
		a.Reauthorize(t.Context(), nil)
		close(o.second)
		synctest.Wait()
		if code := l.publish(t, "a"); code != mqtt.NotAuthorized {
			t.Errorf("a permission that was taken back is there again: %v", code)
		}
		l.Interrupt()
		synctest.Wait()
	})
}
