// Package domain is domain configurations: endpoints with names of their own, chosen by the server
// name that a client asks for (SNI), each with its server certificate, its way of authentication,
// its protocol and its authorizer (AWS IoT developer guide, "Configurable endpoints"). All of them
// share the same things, topics and policies.
//
// Clients that ask for no name, or for one that is not configured, are at the configuration
// [Default], which always exists.
package domain

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Default is the name of the configuration of the endpoint itself. It can be changed, not deleted.
const Default = "iot:Data-ATS"

// Statuses.
const (
	Enabled  = "ENABLED"
	Disabled = "DISABLED"
)

// Kinds of domain.
const (
	Endpoint        = "ENDPOINT"
	AWSManaged      = "AWS_MANAGED"      // a name below the endpoint's
	CustomerManaged = "CUSTOMER_MANAGED" // a name of the caller's
)

// Authentication types. With AuthDefault, port and ALPN decide, and what the client brings.
const (
	AuthDefault    = "DEFAULT"
	AuthX509       = "AWS_X509"
	AuthSigV4      = "AWS_SIGV4"
	AuthCustom     = "CUSTOM_AUTH"
	AuthCustomX509 = "CUSTOM_AUTH_X509" // a client certificate and an authorizer
)

// Application protocols. With ProtocolDefault, port and ALPN decide.
const (
	ProtocolDefault = "DEFAULT"
	SecureMQTT      = "SECURE_MQTT"
	WebSocket       = "MQTT_WSS"
	HTTPS           = "HTTPS"
)

// Configuration is one domain configuration. Those that Domains return are shared: do not change
// them.
type Configuration struct {
	Name, ARN, Type, DomainName string
	ServerCertificate           string // ARN of one that was uploaded; "" lets the authority issue one
	ValidationCertificate       string // ARN, kept only
	Settings
	Created, StatusChanged time.Time

	certificate *tls.Certificate // of ServerCertificate
}

// Settings are what can be changed. Empty fields stand for the defaults.
type Settings struct {
	Status              string          `json:"status,omitempty"`
	Authorizer          *Authorizer     `json:"authorizer,omitempty"`
	SecurityPolicy      string          `json:"securityPolicy,omitempty"`
	Authentication      string          `json:"authentication,omitempty"`
	Protocol            string          `json:"protocol,omitempty"`
	ServerCertificateIs json.RawMessage `json:"serverCertificateConfig,omitempty"` // kept only
}

// Authorizer is the authorizer of a domain.
type Authorizer struct {
	Default  string `json:"defaultAuthorizerName,omitempty"`
	Override bool   `json:"allowAuthorizerOverride"`
}

// Plain reports whether a connection is to be treated as if there were no configurations.
func (c *Configuration) Plain() bool {
	return c.Type == Endpoint && c.Status == Enabled && c.SecurityPolicy == "" && c.Authentication == AuthDefault && c.Protocol == ProtocolDefault
}

// Config is what Domains work with.
type Config struct {
	Store    *store.DB
	ARN      func(resource string) string // such as registry.Registry.ARN
	Region   string
	Account  string
	Endpoint string // host name of the default configuration
	Log      *slog.Logger
	Now      func() time.Time // default time.Now

	// Issue returns the certificate for a host name that has none of its own.
	Issue func(host string, hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// Seal and Unseal keep the keys of uploaded certificates from lying in the store in the clear.
	Seal   func(label string, plain []byte) []byte
	Unseal func(label string, sealed []byte) ([]byte, error)
	// KnowsAuthorizer reports whether an authorizer exists, in the transaction that begins to use it; nil for any.
	KnowsAuthorizer func(tx *store.Tx, name string) (bool, error)
	// Ended hears of a domain whose clients must go, with the reason; nil for nobody.
	Ended func(domainName, reason string)
}

// Domains are all domain configurations. Their methods may be called concurrently.
type Domains struct {
	cfg   Config
	write sync.Mutex // held from a change to the reading of its result
	state atomic.Pointer[state]
}

type state struct {
	names    []string // in order
	byName   map[string]*Configuration
	byDomain map[string]*Configuration // without the default
	usual    *Configuration
}

// Count counts the domain configurations of a name.
const Count = `SELECT count(*) FROM domain_configuration WHERE name = ?`

var schema = []string{`
CREATE TABLE domain_configuration (
	name TEXT PRIMARY KEY, type TEXT NOT NULL, domain TEXT NOT NULL, certificate TEXT NOT NULL, validation TEXT NOT NULL,
	settings TEXT NOT NULL, created BIGINT NOT NULL, status_changed BIGINT NOT NULL
);
CREATE UNIQUE INDEX domain_configuration_domain ON domain_configuration (domain);
CREATE TABLE server_certificate (arn TEXT PRIMARY KEY, chain TEXT NOT NULL, sealed_key BLOB NOT NULL, created BIGINT NOT NULL)`}

// Open prepares the tables and loads the configurations.
func Open(ctx context.Context, cfg Config) (*Domains, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Endpoint = strings.ToLower(cfg.Endpoint)
	if err := cfg.Store.Migrate(ctx, "domain", schema); err != nil {
		return nil, err
	}
	d := &Domains{cfg: cfg}
	return d, d.load(ctx)
}

// query runs a query of the store or of a transaction.
type query func(query string, args []any, scan func(row store.Row) error) error

func (d *Domains) load(ctx context.Context) error {
	st, err := d.read(func(query string, args []any, scan func(row store.Row) error) error {
		return d.cfg.Store.Query(ctx, query, args, scan)
	})
	if err != nil {
		return fmt.Errorf("read domain configurations: %w", err)
	}
	d.state.Store(st)
	return nil
}

func (d *Domains) read(query query) (*state, error) {
	st := &state{byName: make(map[string]*Configuration), byDomain: make(map[string]*Configuration)}
	err := query(`SELECT c.name, c.type, c.domain, c.certificate, c.validation, c.settings, c.created, c.status_changed,
		coalesce(s.chain, ''), s.sealed_key FROM domain_configuration c LEFT JOIN server_certificate s ON s.arn = c.certificate`, nil, func(row store.Row) error {
		var c Configuration
		var settings, chain string
		var sealed []byte
		var created, changed int64
		if err := row.Scan(&c.Name, &c.Type, &c.DomainName, &c.ServerCertificate, &c.ValidationCertificate, &settings, &created, &changed, &chain, &sealed); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(settings), &c.Settings); err != nil {
			return fmt.Errorf("domain configuration %s: %w", c.Name, err)
		}
		if c.ServerCertificate != "" {
			var err error
			if c.certificate, err = d.open(c.ServerCertificate, chain, sealed); err != nil {
				return fmt.Errorf("domain configuration %s: server certificate: %w", c.Name, err)
			}
		}
		c.Created, c.StatusChanged = time.UnixMilli(created).UTC(), time.UnixMilli(changed).UTC()
		st.add(d, &c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if st.usual == nil {
		st.add(d, d.untouched())
	}
	slices.Sort(st.names)
	return st, nil
}

// untouched is the default configuration before anybody changed it.
func (d *Domains) untouched() *Configuration {
	return &Configuration{Name: Default, Type: Endpoint, Settings: Settings{Status: Enabled, Authentication: AuthDefault, Protocol: ProtocolDefault}}
}

func (st *state) add(d *Domains, c *Configuration) {
	c.ARN = d.cfg.ARN("domainconfiguration/" + c.Name)
	st.names = append(st.names, c.Name)
	st.byName[c.Name] = c
	if c.Name == Default {
		c.DomainName = d.cfg.Endpoint
		st.usual = c
		return
	}
	st.byDomain[c.DomainName] = c
}

// Lookup returns the configuration for a server name, never nil. It is quick.
func (d *Domains) Lookup(serverName string) *Configuration {
	st := d.state.Load()
	if len(st.byDomain) > 0 {
		if c := st.byDomain[strings.ToLower(serverName)]; c != nil {
			return c
		}
	}
	return st.usual
}

// Describe returns a configuration, or registry.ErrNotFound.
func (d *Domains) Describe(name string) (*Configuration, error) { return d.state.Load().describe(name) }

func (st *state) describe(name string) (*Configuration, error) {
	if c := st.byName[name]; c != nil {
		return c, nil
	}
	return nil, refuse(registry.ErrNotFound, "domain configuration %s not found", name)
}

// List lists configurations by name.
func (d *Domains) List(page registry.Page) ([]*Configuration, string, error) {
	st := d.state.Load()
	all := make([]*Configuration, len(st.names))
	for i, name := range st.names {
		all[i] = st.byName[name]
	}
	return registry.PageOf(all, page, false, func(c *Configuration) string { return c.Name })
}

// UsingAuthorizer names in a transaction a configuration whose default is an authorizer, if there is one.
func (d *Domains) UsingAuthorizer(tx *store.Tx, authorizer string) (name string, err error) {
	st, err := d.read(tx.Query)
	if err != nil {
		return "", err
	}
	for _, name := range st.names {
		if a := st.byName[name].Authorizer; a != nil && a.Default == authorizer {
			return name, nil
		}
	}
	return "", nil
}

// GetCertificate returns the server certificate for a client of the configuration c; ok is false
// if it is that of the endpoint.
func (d *Domains) GetCertificate(c *Configuration, hello *tls.ClientHelloInfo) (cert *tls.Certificate, ok bool, err error) {
	switch {
	case c.Type == Endpoint:
		return nil, false, nil
	case c.certificate != nil:
		return c.certificate, true, nil
	}
	cert, err = d.cfg.Issue(c.DomainName, hello)
	return cert, true, err
}

func refuse(kind error, format string, args ...any) error {
	return &registry.Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}
