package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/authorizer"
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/password"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/throttle"
	"github.com/berth-iot/berth/mqtt"
)

// logins bring authorizers and the connections they decide over together. It implements
// broker.CustomAuth.
type logins struct {
	authorizers *authorizer.Service
	users       *password.Users
	domains     *domain.Domains
	denials     *denial.Log
	guesses     throttle.Throttle // of passwords
}

// Possible implements broker.CustomAuth.
func (l *logins) Possible() bool { return l.authorizers.Active() || l.users.Any() }

// Authenticator implements broker.CustomAuth.
func (l *logins) Authenticator(serverName string) session.Authenticator {
	return &login{l, l.request(serverName, true)}
}

// request is what is known of a client before it says anything.
func (l *logins) request(serverName string, tls bool) authorizer.Request {
	r := authorizer.Request{ServerName: serverName, TLS: tls, Override: true}
	if a := l.domains.Lookup(serverName).Authorizer; a != nil {
		r.Default, r.Override = a.Default, a.Override || a.Default == ""
	}
	return r
}

// ofHTTP is what an HTTP request tells an authorizer.
func (l *logins) ofHTTP(r *http.Request) authorizer.Request {
	out := l.request(serverName(r), r.TLS != nil)
	out.Connection = r.RemoteAddr
	headers := map[string]string{"host": r.Host}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	out.HTTP = &authorizer.HTTP{Headers: headers, Query: r.URL.RawQuery}
	return out
}

func serverName(r *http.Request) string {
	if r.TLS == nil {
		return ""
	}
	return r.TLS.ServerName
}

// login is the session.Authenticator of one connection.
type login struct {
	*logins
	known authorizer.Request
}

// Authenticate implements session.Authenticator. The grant's Refresh repeats it.
func (l *login) Authenticate(ctx context.Context, r *session.Request, p *mqtt.Connect) (session.Principal, *session.Grant, error) {
	req := l.known
	req.MQTT = &authorizer.MQTT{UserName: p.UserName, Password: p.Password, ClientID: p.ClientID}
	if p.UserName != "" && l.users.Any() && !l.authorizers.Applies(&req) {
		return l.user(ctx, r, p)
	}
	certificateID := ""
	if r.Principal.Kind == session.Certificate {
		certificateID = r.Principal.ID
	}
	var ask func(ctx context.Context) (string, *session.Grant, error)
	ask = func(ctx context.Context) (string, *session.Grant, error) {
		d, err := l.authorizers.Authenticate(ctx, &req)
		if err != nil {
			return "", nil, refusal(err)
		}
		return d.PrincipalID, &session.Grant{Policies: d.Policies, CertificateID: certificateID, RefreshAfter: d.Refresh, DisconnectAfter: d.Disconnect,
			Refresh: func(ctx context.Context) (*session.Grant, error) {
				_, grant, err := ask(ctx)
				return grant, err
			}}, nil
	}
	id, grant, err := ask(ctx)
	return session.Principal{Kind: session.Custom, ID: id}, grant, err
}

// user lets a client in by its user name and password.
func (l *logins) user(ctx context.Context, r *session.Request, p *mqtt.Connect) (session.Principal, *session.Grant, error) {
	var policies []string
	allowed := func() error {
		if wait := l.guesses.Wait(r.SourceIP, p.UserName, time.Now()); wait > 0 {
			return fmt.Errorf("%w: too many wrong passwords of user %.128q came from here: the next is looked at in %d s", password.ErrRefused, p.UserName, int(wait.Seconds())+1)
		}
		return nil
	}
	err := allowed() // before it takes others' turns
	if err == nil {
		policies, err = l.users.Authenticate(ctx, p.UserName, p.Password, password.Attempt{Allowed: allowed,
			Refused: func() { l.guesses.Failed(r.SourceIP, p.UserName, time.Now()) }})
	}
	if err == nil {
		l.guesses.Succeeded(r.SourceIP, p.UserName)
	}
	switch {
	case errors.Is(err, password.ErrBusy):
		err = &classed{err, session.ErrBusy}
	case err != nil:
		err = &classed{err, session.ErrCredentials}
	}
	return session.Principal{Kind: session.Custom, ID: p.UserName},
		&session.Grant{UserPolicies: policies, Context: map[string][]string{"berth:UserName": {p.UserName}}}, err
}

// PlainAuthenticator implements broker.CustomAuth.
func (l *logins) PlainAuthenticator() session.Authenticator {
	if !l.users.Any() {
		return nil
	}
	return plainLogin{l}
}

// plainLogin is the session.Authenticator of connections without TLS: a client that gives a user name is
// that user, any other is anonymous.
type plainLogin struct{ *logins }

// Authenticate implements session.Authenticator.
func (l plainLogin) Authenticate(ctx context.Context, r *session.Request, p *mqtt.Connect) (session.Principal, *session.Grant, error) {
	if p.UserName == "" {
		return r.Principal, nil, nil
	}
	return l.user(ctx, r, p)
}

// refusal gives an authorizer's refusal the kind that decides over the reason code.
func refusal(err error) error {
	switch {
	case errors.Is(err, authorizer.ErrCredentials):
		return &classed{err, session.ErrCredentials}
	case errors.Is(err, authorizer.ErrBusy):
		return &classed{err, session.ErrBusy}
	}
	return err
}

// classed is an error with the words of one and the kind of another.
type classed struct{ words, kind error }

func (c *classed) Error() string   { return c.words.Error() }
func (c *classed) Unwrap() []error { return []error{c.words, c.kind} }

// custom finds out with an authorizer who sent a request.
func (c *callers) custom(r *http.Request) (awsapi.Caller, error) {
	if !forDevices(r.URL.Path) {
		return awsapi.Caller{}, forbidden("authorizers decide over requests to the data planes only")
	}
	req := c.logins.ofHTTP(r)
	d, err := c.logins.authorizers.Authenticate(r.Context(), &req)
	if err != nil {
		return awsapi.Caller{}, c.logins.refuse(r, err)
	}
	access, err := c.authority.GrantAccess(r.Context(), &session.Grant{Policies: d.Policies}, source(r), req.ServerName)
	return awsapi.Caller{Principal: d.PrincipalID, Access: access}, err
}

// refuse records why an authorizer did not let a request in, and says it as an exception.
func (l *logins) refuse(r *http.Request, err error) error {
	if l.denials.Admit() {
		l.denials.Add(denial.Record{Kind: denial.Identity, SourceIP: source(r).String(), Reason: err.Error()})
	}
	switch {
	case errors.Is(err, authorizer.ErrCredentials):
		return &awsapi.Error{Type: "UnauthorizedException", Status: http.StatusUnauthorized, Message: err.Error()}
	case errors.Is(err, authorizer.ErrBusy):
		return &awsapi.Error{Type: "ThrottlingException", Status: http.StatusTooManyRequests, Message: err.Error()}
	}
	return &awsapi.Error{Type: "ForbiddenException", Status: http.StatusForbidden, Message: err.Error()}
}
