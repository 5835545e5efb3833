package iotauthn

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/rolealias"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/policy"
)

// CredentialsPath is the path of the credentials endpoint, as http.ServeMux knows it.
const CredentialsPath = "/role-aliases/{alias}/credentials"

// Access decides what a device may do that asks for credentials.
type Access interface {
	// RoleAccess compiles the policies of a certificate for a device that calls itself thing, which
	// may be empty; associated is nil if the certificate is not attached to that thing.
	RoleAccess(ctx context.Context, certificateID, thing string, source netip.Addr) (set *policy.Set, associated *registry.Thing, err error)
}

// CredentialsConfig is what the credentials endpoint works on.
type CredentialsConfig struct {
	Aliases  *rolealias.Aliases
	Issuer   *rolealias.Issuer
	Access   Access
	Sessions *session.Sessions // records denials
	// Authenticate says who sent the request.
	Authenticate func(r *http.Request, body []byte) (awsapi.Caller, error)
}

// credentialsAnswer is the answer of the endpoint (AWS IoT developer guide, "How to use a
// certificate to get a security token").
type credentialsAnswer struct {
	Credentials struct {
		AccessKeyID     string `json:"accessKeyId"`
		SecretAccessKey string `json:"secretAccessKey"`
		SessionToken    string `json:"sessionToken"`
		Expiration      string `json:"expiration"` // ISO 8601, to the second
	} `json:"credentials"`
}

// Credentials answers devices that ask with their certificate for the credentials of a role alias.
func Credentials(cfg CredentialsConfig) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		answer, err := cfg.issue(r)
		if err != nil {
			e := awsapi.ErrorOf(err)
			w.Header().Set("x-amzn-ErrorType", e.Type)
			w.WriteHeader(e.Status)
			json.NewEncoder(w).Encode(map[string]string{"message": e.Message})
			return
		}
		json.NewEncoder(w).Encode(answer)
	})
}

func accessDenied(message string) error {
	return &awsapi.Error{Type: "AccessDeniedException", Status: http.StatusForbidden, Message: message}
}

// maxThingName is the length of a thing name.
const maxThingName = 128

func (cfg *CredentialsConfig) issue(r *http.Request) (*credentialsAnswer, error) {
	ctx := r.Context()
	caller, err := cfg.Authenticate(r, nil)
	if err != nil {
		return nil, err
	}
	if caller.CertificateID == "" {
		return nil, accessDenied("the credentials of a role alias are for a client certificate: connect with one")
	}
	name, thing := r.PathValue("alias"), r.Header.Get("x-amzn-iot-thingname")
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	source := addr.Addr().Unmap()
	if len(thing) > maxThingName {
		return nil, awsapi.Invalid("x-amzn-iot-thingname is longer than %d characters", maxThingName)
	}
	set, associated, err := cfg.Access.RoleAccess(ctx, caller.CertificateID, thing, source)
	if errors.Is(err, session.ErrRefused) {
		return nil, accessDenied(err.Error())
	}
	if err != nil {
		return nil, err
	}
	if thing != "" && associated == nil {
		return nil, accessDenied("the certificate is not attached to the thing that x-amzn-iot-thingname names")
	}
	if !set.Allows(policy.AssumeRoleWithCertificate, policy.KindRoleAlias, name) {
		asked := session.Request{Principal: session.Principal{Kind: session.Certificate, ID: caller.CertificateID}, ClientID: thing, SourceIP: source}
		return nil, accessDenied(cfg.Sessions.Denied(asked, set, policy.AssumeRoleWithCertificate, policy.KindRoleAlias, name))
	}
	alias, err := cfg.Aliases.Describe(ctx, name)
	if err != nil {
		return nil, err
	}
	s := rolealias.Session{Alias: name, Policy: alias.Policy(), CertificateID: caller.CertificateID}
	if associated != nil {
		s.ThingName, s.ThingType = associated.Name, associated.Type
	}
	made, err := cfg.Issuer.Issue(s, alias.Duration)
	if err != nil {
		return nil, err
	}
	var out credentialsAnswer
	c := &out.Credentials
	c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expiration = made.AccessKeyID, made.SecretAccessKey, made.SessionToken, made.Expires.Format(time.RFC3339)
	return &out, nil
}
