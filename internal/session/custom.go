package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// Grant is what a principal may do that has no policies in the registry. It is never changed.
type Grant struct {
	Policies []policy.Named
	// RolePolicy names a policy of the registry, looked up at every decision, instead of Policies.
	RolePolicy string
	// UserPolicies name policies of the registry as RolePolicy does, of a user with a password.
	UserPolicies []string
	// Context holds further keys for variables and conditions, as policy.Context.Extra.
	Context map[string][]string
	// CertificateID is the certificate that the grant hangs on: it must be ACTIVE; "" for none.
	CertificateID string

	// Refresh asks for the grant again when RefreshAfter has passed; nil for never. Its errors are
	// those of an Authenticator.
	Refresh      func(ctx context.Context) (*Grant, error)
	RefreshAfter time.Duration
	// DisconnectAfter is the longest duration of the connection; 0 for any.
	DisconnectAfter time.Duration
}

// concerns reports whether a change of these principals may change what the request is allowed.
func (r *Request) concerns(ids map[string]bool) bool {
	g := r.Grant
	switch {
	case ids[r.Principal.ID], r.Principal.Kind == Anonymous && ids[""]:
		return true
	case g == nil:
		return false
	}
	return g.CertificateID != "" && ids[g.CertificateID] || (g.RolePolicy != "" || g.UserPolicies != nil) && ids[""]
}

// Authenticator finds out who a client is by its CONNECT packet. It may take seconds: it is called
// on the connection's own goroutine and holds nobody else up.
type Authenticator interface {
	// Authenticate returns the principal and what it may do. Errors match ErrCredentials or ErrBusy,
	// or mean that the client cannot be judged. The grant of an anonymous client is nil.
	Authenticate(ctx context.Context, r *Request, p *mqtt.Connect) (Principal, *Grant, error)
}

// Why an Authenticator lets nobody in.
var (
	ErrCredentials = errors.New("the credentials are not accepted")
	ErrBusy        = errors.New("too busy to check credentials")
)

// custom is the part of a connection that a custom authorizer decided over.
type custom struct {
	grant atomic.Pointer[Grant]

	deciding sync.Mutex // held from the reading of grant until what it allows is in force

	mu         sync.Mutex
	stopped    bool
	refresh    *time.Timer
	disconnect *time.Timer
	ctx        context.Context // ends with the connection
	cancel     context.CancelFunc
}

// authenticate asks who the client is.
func (c *Conn) authenticate(ctx context.Context, p *mqtt.Connect, by Authenticator) *refusal {
	r := &c.request
	principal, grant, err := by.Authenticate(ctx, r, p)
	if err != nil {
		code := mqtt.NotAuthorized
		switch {
		case errors.Is(err, ErrCredentials):
			code = mqtt.BadUserNameOrPassword
		case errors.Is(err, ErrBusy):
			code = mqtt.ServerBusy
		}
		c.all.refusedAs(denial.Identity, *r, err.Error())
		return &refusal{code, err.Error()}
	}
	if r.Principal, r.Grant = principal, grant; grant == nil {
		return nil
	}
	c.custom = &custom{}
	c.custom.grant.Store(grant)
	c.custom.ctx, c.custom.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return nil
}

// start begins the time that the grant lasts.
func (k *custom) start(c *Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return
	}
	grant := k.grant.Load()
	if grant.Refresh != nil {
		k.refresh = time.AfterFunc(grant.RefreshAfter, func() { k.renew(c) })
	}
	if grant.DisconnectAfter > 0 {
		k.disconnect = time.AfterFunc(grant.DisconnectAfter, func() {
			c.end(ending{CustomAuthTTL, mqtt.AdministrativeAction, "the connection reached the duration that the authorizer gave it"})
		})
	}
}

// stop ends everything that would still happen.
func (k *custom) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	k.cancel()
	for _, t := range []*time.Timer{k.refresh, k.disconnect} {
		if t != nil {
			t.Stop()
		}
	}
}

// busyPause is when a refresh is tried again that found the authorizer busy.
const busyPause = 10 * time.Second

// renew asks the authorizer again and puts its answer in force, or ends the connection.
func (k *custom) renew(c *Conn) {
	grant, err := k.grant.Load().Refresh(k.ctx)
	if k.ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrBusy) {
		k.again(busyPause)
		return
	}
	if err != nil {
		c.all.refusedAs(denial.Identity, c.request, err.Error())
		c.end(ending{AuthError, mqtt.NotAuthorized, err.Error()})
		return
	}
	k.grant.Store(grant)
	c.reauthorize(k.ctx)
	k.again(grant.RefreshAfter)
}

// again sets the next refresh.
func (k *custom) again(after time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.stopped {
		k.refresh.Reset(after)
	}
}
