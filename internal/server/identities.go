package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/berth-iot/berth/internal/authority"
	"github.com/berth-iot/berth/internal/authorizer"
	"github.com/berth-iot/berth/internal/awsapi/iotauthn"
	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/hook"
	"github.com/berth-iot/berth/internal/password"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/rolealias"
	"github.com/berth-iot/berth/internal/seal"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/throttle"
)

// identities are the ways to prove who one is besides certificates and access keys: authorizers,
// the domains that choose between them, and temporary credentials.
type identities struct {
	db       *store.DB
	secrets  *seal.Box
	registry *registry.Registry
	certs    *ca.Authority
	hooks    *hook.Caller
	sessions *session.Sessions
	denials  *denial.Log
	log      *slog.Logger

	authorizers *authorizer.Service
	users       *password.Users
	domains     *domain.Domains
	aliases     *rolealias.Aliases
	issuer      *rolealias.Issuer
	logins      *logins
}

func (i *identities) open(ctx context.Context, cfg *Config) (err error) {
	i.authorizers, err = authorizer.Open(ctx, authorizer.Config{Store: i.db, Hooks: i.hooks, ARN: i.registry.ARN, Log: i.log,
		InUse: func(tx *store.Tx, name string) (string, error) { return i.domains.UsingAuthorizer(tx, name) }})
	if err != nil {
		return err
	}
	i.domains, err = domain.Open(ctx, domain.Config{Store: i.db, ARN: i.registry.ARN, Region: cfg.Region, Account: cfg.Account, Endpoint: cfg.Endpoint,
		Issue: i.certs.GetHostCertificate, Seal: i.secrets.Seal, Unseal: i.secrets.Unseal, Ended: i.sessions.EndServerName,
		KnowsAuthorizer: i.authorizers.Known})
	if err != nil {
		return err
	}
	if i.aliases, err = rolealias.Open(ctx, i.db, i.registry.ARN, nil); err != nil {
		return err
	}
	i.users, err = password.Open(ctx, i.db, nil, func(name string) { i.sessions.EndUser(name, "the user was changed or removed") })
	if err != nil {
		return err
	}
	i.logins = &logins{authorizers: i.authorizers, users: i.users, domains: i.domains, denials: i.denials,
		guesses: throttle.Throttle{Limits: throttle.Limits{Free: 10, First: time.Second, Longest: time.Minute}}}
	i.issuer, err = rolealias.NewIssuer(i.secrets.Derive, nil)
	return err
}

func (i *identities) api() iotauthn.Config {
	return iotauthn.Config{Authorizers: i.authorizers, Domains: i.domains, Aliases: i.aliases, Account: i.registry.Account()}
}

func (i *identities) credentials(c *callers, auth *authority.Authority) iotauthn.CredentialsConfig {
	return iotauthn.CredentialsConfig{Aliases: i.aliases, Issuer: i.issuer, Access: auth, Sessions: i.sessions, Authenticate: c.authenticate}
}

// tagged are the operations that make something with tags.
func (i *identities) tagged() map[string]string {
	return map[string]string{"CreateAuthorizer": "authorizer/{authorizerName}",
		"CreateDomainConfiguration": "domainconfiguration/{domainConfigurationName}", "CreateRoleAlias": "rolealias/{roleAlias}"}
}
