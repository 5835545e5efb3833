package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/authority"
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/broker"
	"github.com/berth-iot/berth/internal/console"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/rolealias"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/throttle"
	"github.com/berth-iot/berth/sigv4"
)

// callers finds out who sent an HTTP request: the holder of an access key or of temporary
// credentials by its signature, a device by its client certificate, which the handshake has checked,
// somebody by what an authorizer says, or by a session of the console, which comes with the context.
type callers struct {
	registry  *registry.Registry
	authority *authority.Authority
	keys      *accesskey.Keys
	issuer    *rolealias.Issuer
	domains   *domain.Domains
	logins    *logins
	broker    *broker.Broker
	verifier  sigv4.Verifier
	guesses   throttle.Throttle // of secrets of access keys
}

// verify says which signatures are good.
func (c *callers) verify(region string) {
	v := &c.verifier
	c.guesses.Limits = throttle.Limits{Free: 20, First: 250 * time.Millisecond, Longest: 10 * time.Second}
	v.Region, v.Skew, v.Secret, v.SessionToken = region, sigv4.DefaultSkew, c.secret, c.sessionToken
}

func (c *callers) authenticate(r *http.Request, body []byte) (awsapi.Caller, error) {
	if caller, ok := console.CallerOf(r.Context()); ok {
		return caller, nil
	}
	if caller, err, ok := c.unsigned(r); ok {
		return caller, err
	}
	return c.signed(r, sigv4.HashPayload(body))
}

// unsigned judges a request that is not to be judged by its signature; ok is false for one that is.
func (c *callers) unsigned(r *http.Request) (caller awsapi.Caller, err error, ok bool) {
	d := c.domains.Lookup(serverName(r))
	if err := open(d, domain.HTTPS); err != nil {
		return caller, err, true
	}
	certificate := r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	switch d.Authentication {
	case domain.AuthCustom:
		caller, err = c.custom(r)
		return caller, err, true
	case domain.AuthCustomX509:
		if !certificate {
			return caller, forbidden("domain configuration %s wants a client certificate", d.Name), true
		}
		if caller, err = c.certificate(r); err == nil {
			caller, err = c.custom(r)
		}
		return caller, err, true
	case domain.AuthX509:
		if !certificate {
			return caller, forbidden("domain configuration %s wants a client certificate", d.Name), true
		}
		caller, err = c.certificate(r)
		return caller, err, true
	case domain.AuthSigV4:
		return caller, nil, false
	}
	switch {
	case sigv4.Signed(r):
		return caller, nil, false
	case certificate:
		caller, err = c.certificate(r)
		return caller, err, true
	}
	if forDevices(r.URL.Path) {
		if req := c.logins.ofHTTP(r); c.logins.authorizers.Applies(&req) {
			caller, err = c.custom(r)
			return caller, err, true
		}
	}
	return caller, nil, false
}

// open says why a domain does not take a request: it may have been disabled since the handshake.
func open(d *domain.Configuration, protocol string) error {
	switch {
	case d.Status == domain.Disabled:
		return forbidden("domain configuration %s is DISABLED", d.Name)
	case d.Protocol != domain.ProtocolDefault && d.Protocol != protocol:
		return forbidden("domain configuration %s is for %s only", d.Name, d.Protocol)
	}
	return nil
}

// forDevices reports whether a path is of the data planes. On any other an authorizer could change
// nothing, and is not asked: whoever tries paths shall not keep it busy.
func forDevices(path string) bool {
	for _, prefix := range []string{"/topics/", "/things/", "/retainedMessage", "/connections/", "/api/things/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

func forbidden(format string, args ...any) error {
	return &awsapi.Error{Type: "ForbiddenException", Status: http.StatusForbidden, Message: fmt.Sprintf(format, args...)}
}

// source is the address that a request came from.
func source(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return a.Addr().Unmap()
}

// secret finds the secret of an access key, or of temporary credentials.
func (c *callers) secret(id string) (string, bool) {
	if k, ok := c.keys.Lookup(id); ok {
		return k.Secret, k.Enabled
	}
	return c.issuer.Secret(id)
}

// sessionToken accepts the tokens of temporary credentials.
func (c *callers) sessionToken(id, token string) error {
	_, err := c.issuer.Session(id, token)
	if errors.Is(err, rolealias.ErrExpired) {
		return &sigv4.Error{Code: sigv4.CodeExpiredToken, Status: http.StatusForbidden, Message: "the security token included in the request is expired"}
	}
	return err
}

// signed judges a request by its signature; hash is the SHA-256 of its body.
func (c *callers) signed(r *http.Request, hash string) (awsapi.Caller, error) {
	if caller, ok := console.CallerOf(r.Context()); ok {
		return caller, nil
	}
	caller, _, err := c.bySignature(r, hash)
	return caller, err
}

// bySignature is signed, with the grant of temporary credentials and when they end.
func (c *callers) bySignature(r *http.Request, hash string) (awsapi.Caller, *temporary, error) {
	as, now := sigv4.AccessKeyID(r), time.Now()
	as = as[:min(len(as), 128)]
	if wait := c.guesses.Wait(source(r), as, now); wait > 0 {
		return awsapi.Caller{}, nil, &awsapi.Error{Type: "ThrottlingException", Status: http.StatusTooManyRequests,
			Message: fmt.Sprintf("too many requests with this access key had a wrong signature: try again in %d s", int(wait.Seconds())+1)}
	}
	cred, err := c.verifier.VerifyHash(r, hash)
	if err != nil {
		if wrong := (*sigv4.Error)(nil); errors.As(err, &wrong) && (wrong.Code == sigv4.CodeInvalidSignature || wrong.Code == sigv4.CodeUnrecognizedClient) {
			c.guesses.Failed(source(r), as, now)
		}
		return awsapi.Caller{}, nil, exception(err)
	}
	key, ok := c.keys.Lookup(cred.AccessKeyID)
	switch {
	case ok && key.Enabled:
		c.keys.Used(key.ID)
		return awsapi.Caller{AccessKeyID: key.ID, Role: key.Role, Service: cred.Service}, nil, nil
	case cred.SessionToken == "":
		return awsapi.Caller{}, nil, &awsapi.Error{Type: sigv4.CodeUnrecognizedClient, Status: http.StatusForbidden,
			Message: "the access key does not exist or is disabled, or its session token is missing"}
	}
	s, err := c.issuer.Session(cred.AccessKeyID, cred.SessionToken)
	if err != nil {
		return awsapi.Caller{}, nil, &awsapi.Error{Type: sigv4.CodeUnrecognizedClient, Status: http.StatusForbidden, Message: err.Error()}
	}
	t := &temporary{session.Grant{RolePolicy: s.Policy, Context: s.Context(), CertificateID: s.CertificateID}, s.Expires}
	caller := awsapi.Caller{Principal: cred.AccessKeyID, Service: cred.Service}
	if caller.Access, err = c.authority.GrantAccess(r.Context(), &t.grant, source(r), serverName(r)); errors.Is(err, session.ErrRefused) {
		err = forbidden("%v", err)
	}
	return caller, t, err
}

// temporary is what temporary credentials are good for, and how long.
type temporary struct {
	grant   session.Grant
	expires time.Time
}

// certificate is asked at every request of a kept-alive connection: the certificate may have been
// revoked since the handshake.
func (c *callers) certificate(r *http.Request) (awsapi.Caller, error) {
	id := broker.CertificateID(r.TLS.PeerCertificates[0])
	status, err := c.registry.CertificateStatus(r.Context(), id)
	if errors.Is(err, registry.ErrNotFound) || err == nil && status != registry.Active {
		return awsapi.Caller{}, forbidden("certificate %s is not registered and ACTIVE", id)
	}
	return awsapi.Caller{CertificateID: id}, err
}

func exception(err error) error {
	var e *sigv4.Error
	if errors.As(err, &e) {
		return &awsapi.Error{Type: e.Code, Status: e.Status, Message: e.Message}
	}
	return err
}

// maxWebSocket is the longest life of a signed WebSocket (AWS IoT developer guide, "AWS IoT Core
// message broker limits").
const maxWebSocket = 24 * time.Hour

// webSocket upgrades to MQTT over WebSocket.
func (c *callers) webSocket(w http.ResponseWriter, r *http.Request) {
	adm, err := c.admission(r)
	if err != nil {
		e := awsapi.ErrorOf(err)
		w.Header().Set("x-amzn-ErrorType", e.Type)
		http.Error(w, e.Message, e.Status)
		return
	}
	adm.ServerName = serverName(r)
	c.broker.ServeWebSocket(w, r, adm)
}

// admission judges an upgrade to WebSocket.
func (c *callers) admission(r *http.Request) (session.Admission, error) {
	var adm session.Admission
	if caller, ok := console.CallerOf(r.Context()); ok {
		adm.Until = time.Now().Add(maxWebSocket)
		adm.Principal = session.Principal{Kind: session.AccessKey, ID: caller.AccessKeyID, ReadOnly: caller.Role != awsapi.RoleAdmin}
		return adm, nil
	}
	adm.Asked = c.broker.Sessions.Endings()
	d := c.domains.Lookup(serverName(r))
	if err := open(d, domain.WebSocket); err != nil {
		return adm, err
	}
	certificate := r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	wants := d.Authentication
	if wants == domain.AuthDefault {
		switch {
		case sigv4.Signed(r):
			wants = domain.AuthSigV4
		case certificate:
			wants = domain.AuthX509
		case c.logins.Possible(): // CONNECT may bring what the upgrade did not
			wants = domain.AuthCustom
		default:
			wants = domain.AuthSigV4 // which says what is missing
		}
	}
	if wants == domain.AuthX509 || wants == domain.AuthCustomX509 {
		if !certificate {
			return adm, forbidden("domain configuration %s wants a client certificate", d.Name)
		}
		caller, err := c.certificate(r)
		if err != nil {
			return adm, err
		}
		adm.Principal = session.Principal{Kind: session.Certificate, ID: caller.CertificateID}
		adm.Certificate = r.TLS.PeerCertificates[0]
	}
	switch wants {
	case domain.AuthCustom, domain.AuthCustomX509:
		req := c.logins.ofHTTP(r)
		if err := c.logins.authorizers.Prove(&req); err != nil {
			return adm, c.logins.refuse(r, err)
		}
		adm.Authenticator = &login{c.logins, req}
	case domain.AuthSigV4:
		caller, t, err := c.bySignature(r, sigv4.HashPayload(nil))
		if err != nil {
			return adm, err
		}
		adm.Until = time.Now().Add(maxWebSocket)
		if t == nil {
			adm.Principal = session.Principal{Kind: session.AccessKey, ID: caller.AccessKeyID, ReadOnly: caller.Role != awsapi.RoleAdmin}
			break
		}
		adm.Principal, adm.Grant = session.Principal{Kind: session.Role, ID: caller.Principal}, &t.grant
		if t.expires.Before(adm.Until) {
			adm.Until = t.expires
		}
	}
	return adm, nil
}
