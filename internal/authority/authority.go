// Package authority decides what a principal may do: it brings the registry's certificates and
// attachments together with the policy language, for connections and for requests.
package authority

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/broker"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/policy"
)

// Authority implements session.Authority and broker.Certificates over a registry.
type Authority struct {
	registry    *registry.Registry
	prefix      string // of every ARN, such as "arn:aws:iot:us-east-1:000000000000:"
	plainPolicy string
	admin       []policy.Named
	readOnly    []policy.Named
	newcomers   Newcomers
	keyStands   func(id string) bool

	mu     sync.Mutex
	parsed map[string]*policy.Document // by the text of the document
}

// Newcomers knows of certificates that the registry does not hold, or not as ACTIVE.
type Newcomers interface {
	// Claim returns a temporary claim certificate in PEM and the policy that holds for it; ok is
	// false for one that is none or has expired.
	Claim(ctx context.Context, certificateID string) (certPEM string, policy []byte, ok bool, err error)
	// Expects reports whether a device with this certificate, unknown or PENDING_ACTIVATION, may
	// register itself.
	Expects(ctx context.Context, cert *x509.Certificate) bool
}

// SetNewcomers names who is asked about certificates that are not in use. It must be called before
// anything else.
func (a *Authority) SetNewcomers(n Newcomers) { a.newcomers = n }

// SetKeys names what tells whether an access key may still be used; without it all may. It must be called
// before anything else.
func (a *Authority) SetKeys(stands func(id string) bool) { a.keyStands = stands }

// New returns an authority. plainPolicy names the policy of the principal "anonymous"; it may be
// empty, and the policy need not exist yet: until then anonymous may do nothing.
func New(reg *registry.Registry, plainPolicy string) (*Authority, error) {
	a := &Authority{registry: reg, prefix: reg.ARN(""), plainPolicy: plainPolicy, parsed: make(map[string]*policy.Document)}
	for _, role := range []struct {
		into *[]policy.Named
		name string
		body string
	}{
		{&a.admin, "the admin role", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`},
		{&a.readOnly, "the read-only role", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*","Action":[
			"iot:Connect","iot:Subscribe","iot:Receive","iot:Get*","iot:List*","iot:Describe*"]},
			{"Sid":"TakesNobodysMessages","Effect":"Deny","Action":"iot:Subscribe","Resource":"` + a.prefix + `topicfilter/${$}share/*"}]}`},
	} {
		doc, err := a.parse([]byte(role.body))
		if err != nil {
			return nil, fmt.Errorf("policy of %s: %w", role.name, err)
		}
		*role.into = []policy.Named{{Name: role.name, Version: "1", Doc: doc}}
	}
	return a, nil
}

// maxParsed bounds the documents kept parsed.
const maxParsed = 4096

func (a *Authority) parse(body []byte) (*policy.Document, error) {
	a.mu.Lock()
	doc := a.parsed[string(body)]
	a.mu.Unlock()
	if doc != nil {
		return doc, nil
	}
	doc, err := policy.Parse(body)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.parsed) >= maxParsed {
		clear(a.parsed)
	}
	a.parsed[string(body)] = doc
	return doc, nil
}

func (a *Authority) named(docs []registry.PolicyDocument) ([]policy.Named, error) {
	named := make([]policy.Named, 0, len(docs))
	for _, d := range docs {
		doc, err := a.parse(d.Body)
		if err != nil {
			return nil, fmt.Errorf("policy %q: %w", d.Name, err)
		}
		named = append(named, policy.Named{Name: d.Name, Version: d.Version, Target: d.Target, Doc: doc})
	}
	return named, nil
}

// Access implements session.Authority.
func (a *Authority) Access(ctx context.Context, r *session.Request) (*policy.Set, error) {
	pc := &policy.Context{
		ARNPrefix: a.prefix, Protocol: policy.MQTT, ClientID: r.ClientID, SourceIP: r.SourceIP, DomainName: r.ServerName,
		ConnectAttributes: r.ConnectAttributes, Now: time.Now(), Certificate: r.Certificate,
	}
	if r.WillTopic != "" {
		pc.LastWillTopic = a.prefix + "topic/" + r.WillTopic
	}
	switch r.Principal.Kind {
	case session.AccessKey:
		return a.accessKey(ctx, r, pc)
	case session.Anonymous:
		return a.anonymous(ctx, pc)
	case session.Custom, session.Role:
		return a.granted(ctx, r.Grant, pc)
	}
	set, identity, err := a.certificate(ctx, r.Principal.ID, r.ClientID, pc)
	if err == nil && identity.Exclusive {
		r.ThingName = identity.Thing.Name
	}
	return set, err
}

// accessKey compiles what the holder of an access key may do. A read-only one does not pose as a thing:
// others would take it to be connected.
func (a *Authority) accessKey(ctx context.Context, r *session.Request, pc *policy.Context) (*policy.Set, error) {
	if a.keyStands != nil && !a.keyStands(r.Principal.ID) {
		return nil, fmt.Errorf("%w: access key %s is disabled or deleted", session.ErrRefused, r.Principal.ID)
	}
	if !r.Principal.ReadOnly {
		return policy.Compile(a.admin, pc), nil
	}
	switch _, err := a.registry.DescribeThing(ctx, r.ClientID); {
	case err == nil:
		return nil, fmt.Errorf("%w: %q is the name of a thing, and access key %s is read-only", session.ErrRefused, r.ClientID, r.Principal.ID)
	case !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, registry.ErrInvalid):
		return nil, err
	}
	return policy.Compile(a.readOnly, pc), nil
}

// HTTPAccess compiles the policies that hold for an HTTP request with a client certificate. There
// is no client identifier and so no associated thing.
func (a *Authority) HTTPAccess(ctx context.Context, certificateID string, source netip.Addr) (*policy.Set, error) {
	set, _, err := a.certificate(ctx, certificateID, "", &policy.Context{ARNPrefix: a.prefix, Protocol: policy.HTTP, SourceIP: source, Now: time.Now()})
	return set, err
}

// GrantAccess compiles what a grant allows for an HTTP request.
func (a *Authority) GrantAccess(ctx context.Context, g *session.Grant, source netip.Addr, serverName string) (*policy.Set, error) {
	return a.granted(ctx, g, &policy.Context{ARNPrefix: a.prefix, Protocol: policy.HTTP, SourceIP: source, DomainName: serverName, Now: time.Now()})
}

// granted compiles the policies of a custom authorizer's answer, or of the role of temporary
// credentials.
func (a *Authority) granted(ctx context.Context, g *session.Grant, pc *policy.Context) (*policy.Set, error) {
	pc.Extra, pc.CertificateID = g.Context, g.CertificateID
	if id := g.CertificateID; id != "" {
		status, err := a.registry.CertificateStatus(ctx, id)
		if errors.Is(err, registry.ErrNotFound) {
			return nil, fmt.Errorf("%w: certificate %s is not registered", session.ErrRefused, id)
		}
		if err != nil {
			return nil, err
		}
		if status != registry.Active {
			return nil, fmt.Errorf("%w: certificate %s is %s, not ACTIVE", session.ErrRefused, id, status)
		}
	}
	if g.UserPolicies != nil {
		return a.byName(ctx, pc, g.UserPolicies...)
	}
	if g.RolePolicy != "" {
		return a.byName(ctx, pc, g.RolePolicy)
	}
	return policy.Compile(g.Policies, pc), nil
}

func (a *Authority) anonymous(ctx context.Context, pc *policy.Context) (*policy.Set, error) {
	if a.plainPolicy == "" {
		return policy.Compile(nil, pc), nil
	}
	return a.byName(ctx, pc, a.plainPolicy)
}

// byName compiles policies; one that does not exist allows nothing.
func (a *Authority) byName(ctx context.Context, pc *policy.Context, names ...string) (*policy.Set, error) {
	var docs []registry.PolicyDocument
	for _, name := range names {
		doc, err := a.registry.PolicyByName(ctx, name)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	named, err := a.named(docs)
	if err != nil {
		return nil, err
	}
	return policy.Compile(named, pc), nil
}

func (a *Authority) certificate(ctx context.Context, id, clientID string, pc *policy.Context) (*policy.Set, *registry.Identity, error) {
	identity, err := a.registry.Identity(ctx, id, clientID)
	if errors.Is(err, registry.ErrNotFound) {
		set, err := a.claim(ctx, id, pc)
		return set, &registry.Identity{CertificateID: id}, err
	}
	if err != nil {
		return nil, nil, err
	}
	if identity.Status != registry.Active {
		return nil, nil, fmt.Errorf("%w: certificate %s is %s, not ACTIVE", session.ErrRefused, id, identity.Status)
	}
	named, err := a.named(identity.Policies)
	if err != nil {
		return nil, nil, err
	}
	pc.CertificateID = id
	pc.ThingAttached = identity.ThingAttached
	if t := identity.Thing; t != nil {
		pc.Thing = &policy.Thing{Name: t.Name, Type: t.Type, Attributes: t.Attributes}
	}
	if pc.Certificate == nil {
		c, err := a.registry.DescribeCertificate(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		if pc.Certificate, err = registry.ParseCertificate(c.PEM); err != nil {
			return nil, nil, err
		}
	}
	return policy.Compile(named, pc), identity, nil
}

// claim compiles the policy of a temporary claim certificate.
func (a *Authority) claim(ctx context.Context, id string, pc *policy.Context) (*policy.Set, error) {
	certPEM, document, ok, err := "", []byte(nil), false, error(nil)
	if a.newcomers != nil {
		certPEM, document, ok, err = a.newcomers.Claim(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: certificate %s is not registered", session.ErrRefused, id)
	}
	named, err := a.named([]registry.PolicyDocument{{Name: "temporary claim", Version: "1", Body: document}})
	if err != nil {
		return nil, err
	}
	pc.CertificateID = id
	if pc.Certificate == nil {
		if pc.Certificate, err = registry.ParseCertificate(certPEM); err != nil {
			return nil, err
		}
	}
	return policy.Compile(named, pc), nil
}

// Check implements broker.Certificates: a certificate may be used if it is registered, ACTIVE and
// in date.
func (a *Authority) Check(ctx context.Context, cert *x509.Certificate, _ string) error {
	id := broker.CertificateID(cert)
	newcomer := false
	bad := func(format string, args ...any) error {
		return &broker.CertificateError{CertificateID: id, Reason: fmt.Sprintf(format, args...), Newcomer: newcomer}
	}
	status, err := a.registry.CertificateStatus(ctx, id)
	if errors.Is(err, registry.ErrNotFound) && a.newcomers != nil {
		_, _, ok, claimErr := a.newcomers.Claim(ctx, id)
		if claimErr != nil {
			return claimErr
		}
		if ok {
			status, err = registry.Active, nil
		}
	}
	if a.newcomers != nil && (errors.Is(err, registry.ErrNotFound) || status == registry.PendingActivation) {
		newcomer = a.newcomers.Expects(ctx, cert)
	}
	if errors.Is(err, registry.ErrNotFound) {
		return bad("certificate %s (subject %q, issuer %q) is not registered: register it, or create one with CreateKeysAndCertificate", id, cert.Subject, cert.Issuer)
	}
	if err != nil {
		return err
	}
	if status != registry.Active {
		return bad("certificate %s is %s: set it ACTIVE with UpdateCertificate", id, status)
	}
	now := time.Now()
	if now.Before(cert.NotBefore) {
		return bad("certificate %s is not valid before %s and it is %s now: it was made by a machine whose clock is ahead, or this server's clock is behind", id, cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if now.After(cert.NotAfter) {
		return bad("certificate %s expired on %s: give the device a new one", id, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// RoleAccess compiles the policies that hold when a device asks for the credentials of a role alias
// with its certificate and, if thing is not empty, as that thing. associated is that thing, or
// nil if the certificate is not attached to thing.
func (a *Authority) RoleAccess(ctx context.Context, certificateID, thing string, source netip.Addr) (set *policy.Set, associated *registry.Thing, err error) {
	pc := &policy.Context{ARNPrefix: a.prefix, Protocol: policy.HTTP, SourceIP: source, Now: time.Now()}
	if thing != "" {
		pc.Protocol = policy.MQTT // which has variables of things
	}
	set, identity, err := a.certificate(ctx, certificateID, thing, pc)
	if err != nil {
		return nil, nil, err
	}
	if t := identity.Thing; t != nil && t.Name == thing {
		associated = t
	}
	return set, associated, nil
}
