package domain

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// maxConfigurations is the number of configurations besides the default.
const maxConfigurations = 100

var (
	namePattern   = regexp.MustCompile(`^[\w.-]{1,128}$`)
	domainPattern = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// version is a range of TLS versions.
type version struct{ min, max uint16 }

// securityPolicies are the security policies of AWS IoT (developer guide, "Security policies"). Of
// the cipher suites that they name, Go chooses those of TLS 1.3 itself and lacks DHE.
func securityPolicies() map[string]version {
	return map[string]version{
		"IotSecurityPolicy_TLS13_1_3_2022_10": {tls.VersionTLS13, tls.VersionTLS13},
		"IotSecurityPolicy_TLS13_1_2_2022_10": {tls.VersionTLS12, tls.VersionTLS13},
		"IotSecurityPolicy_TLS12_1_2_2022_10": {tls.VersionTLS12, tls.VersionTLS12},
		"IotSecurityPolicy_TLS12_1_0_2016_01": {tls.VersionTLS10, tls.VersionTLS12},
		"IotSecurityPolicy_TLS12_1_0_2015_01": {tls.VersionTLS10, tls.VersionTLS12},
	}
}

// Versions are the lowest and highest TLS version of a configuration.
func (c *Configuration) Versions() (min, max uint16) {
	if v, ok := securityPolicies()[c.SecurityPolicy]; ok {
		return v.min, v.max
	}
	return tls.VersionTLS12, tls.VersionTLS13
}

// Update is a change to a configuration; zero fields change nothing.
type Update struct {
	Settings
	RemoveAuthorizer bool
}

func oneOf(field, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return refuse(registry.ErrInvalid, "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy enum value set: %v", value, field, allowed)
}

// check refuses settings that cannot be, and gives those that are empty their defaults.
func (d *Domains) check(s *Settings) error {
	for _, f := range []struct {
		value *string
		usual string
	}{{&s.Status, Enabled}, {&s.Authentication, AuthDefault}, {&s.Protocol, ProtocolDefault}} {
		if *f.value == "" {
			*f.value = f.usual
		}
	}
	if err := oneOf("domainConfigurationStatus", s.Status, Enabled, Disabled); err != nil {
		return err
	}
	if err := oneOf("authenticationType", s.Authentication, AuthCustomX509, AuthCustom, AuthX509, AuthSigV4, AuthDefault); err != nil {
		return err
	}
	if err := oneOf("applicationProtocol", s.Protocol, SecureMQTT, WebSocket, HTTPS, ProtocolDefault); err != nil {
		return err
	}
	if _, ok := securityPolicies()[s.SecurityPolicy]; !ok && s.SecurityPolicy != "" {
		return refuse(registry.ErrInvalid, "securityPolicy %q is not one that AWS IoT has", s.SecurityPolicy)
	}
	if s.Protocol == SecureMQTT && s.Authentication == AuthSigV4 || s.Protocol == WebSocket && s.Authentication == AuthX509 {
		return refuse(registry.ErrInvalid, "applicationProtocol %s does not go with authenticationType %s", s.Protocol, s.Authentication)
	}
	if r := s.ServerCertificateIs; len(r) > 1024 || len(r) > 0 && !bytes.HasPrefix(r, []byte("{")) {
		return refuse(registry.ErrInvalid, "serverCertificateConfig is not a small object")
	}
	return nil
}

// Create makes a configuration. An empty DomainName becomes a name below the endpoint's.
// registry.ErrInvalid, registry.ErrAlreadyExists, registry.ErrCertificateValidation,
// registry.ErrLimit.
func (d *Domains) Create(ctx context.Context, c Configuration) (*Configuration, error) {
	if !namePattern.MatchString(c.Name) {
		return nil, refuse(registry.ErrInvalid, `domainConfigurationName %.200q is not 1 to 128 of the characters [\w.-]`, c.Name)
	}
	c.Type, c.DomainName = CustomerManaged, strings.ToLower(c.DomainName)
	if c.DomainName == "" {
		c.Type, c.DomainName = AWSManaged, strings.ToLower(c.Name)+"."+d.cfg.Endpoint
		if c.ServerCertificate != "" {
			return nil, refuse(registry.ErrInvalid, "serverCertificateArns needs a domainName")
		}
	}
	if len(c.DomainName) > 253 || !domainPattern.MatchString(c.DomainName) || net.ParseIP(c.DomainName) != nil {
		return nil, refuse(registry.ErrInvalid, "domainName %.200q is not a host name", c.DomainName)
	}
	if c.DomainName == d.cfg.Endpoint {
		return nil, refuse(registry.ErrInvalid, "domainName %s is the endpoint's: its configuration is %s", c.DomainName, Default)
	}
	if err := d.check(&c.Settings); err != nil {
		return nil, err
	}
	err := d.change(ctx, func(tx *store.Tx, st *state) error {
		if old := st.byName[c.Name]; old != nil {
			return &registry.Error{Kind: registry.ErrAlreadyExists, Message: fmt.Sprintf("domain configuration %s already exists", c.Name), ID: c.Name, ARN: old.ARN}
		}
		if old := st.byDomain[c.DomainName]; old != nil {
			return &registry.Error{Kind: registry.ErrAlreadyExists, Message: fmt.Sprintf("domain name %s belongs to domain configuration %s", c.DomainName, old.Name), ID: old.Name, ARN: old.ARN}
		}
		if len(st.byDomain) >= maxConfigurations {
			return refuse(registry.ErrLimit, "there are %d domain configurations, which is the limit", maxConfigurations)
		}
		if c.ServerCertificate != "" {
			if err := d.covers(tx, c.ServerCertificate, c.DomainName); err != nil {
				return err
			}
		}
		now := d.cfg.Now()
		c.Created, c.StatusChanged = now, now
		return d.put(tx, &c)
	})
	if err != nil {
		return nil, err
	}
	return d.Describe(c.Name)
}

func (d *Domains) put(tx *store.Tx, c *Configuration) error {
	if a := c.Authorizer; a != nil && a.Default != "" && d.cfg.KnowsAuthorizer != nil {
		known, err := d.cfg.KnowsAuthorizer(tx, a.Default)
		if err != nil {
			return err
		}
		if !known {
			return refuse(registry.ErrInvalid, "authorizer %s does not exist", a.Default)
		}
	}
	settings, err := json.Marshal(c.Settings)
	if err != nil {
		return err
	}
	domainName := c.DomainName
	if c.Type == Endpoint {
		domainName = c.Name // that of the endpoint is a setting of the server
	}
	_, err = tx.Exec(`INSERT INTO domain_configuration (name, type, domain, certificate, validation, settings, created, status_changed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, status_changed = excluded.status_changed`,
		c.Name, c.Type, domainName, c.ServerCertificate, c.ValidationCertificate, string(settings), c.Created.UnixMilli(), c.StatusChanged.UnixMilli())
	return err
}

// change writes and reads the result back. fn gets what there is in its transaction: another node may have
// changed it a moment ago.
func (d *Domains) change(ctx context.Context, fn func(tx *store.Tx, st *state) error) error {
	d.write.Lock()
	defer d.write.Unlock()
	if err := d.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, "")
		st, err := d.read(tx.Query)
		if err != nil {
			return err
		}
		return fn(tx, st)
	}); err != nil {
		return err
	}
	return d.load(context.WithoutCancel(ctx))
}

// Feed is the kind of change that nodes of a cluster tell each other.
const Feed = "domain"

// Reload reads again what another node has changed.
func (d *Domains) Reload([]string) error {
	d.write.Lock()
	defer d.write.Unlock()
	if err := d.load(context.Background()); err != nil {
		return err
	}
	for _, c := range d.state.Load().byName {
		if c.Status == Disabled && d.cfg.Ended != nil {
			d.cfg.Ended(c.DomainName, "domain configuration "+c.Name+" is DISABLED")
		}
	}
	return nil
}

// Update changes a configuration. One that is disabled loses its clients. registry.ErrNotFound,
// registry.ErrInvalid.
func (d *Domains) Update(ctx context.Context, name string, up Update) (*Configuration, error) {
	if up.RemoveAuthorizer && up.Authorizer != nil {
		return nil, refuse(registry.ErrInvalid, "authorizerConfig cannot be given and removed at once")
	}
	err := d.change(ctx, func(tx *store.Tx, st *state) error {
		old, err := st.describe(name)
		if err != nil {
			return err
		}
		c := *old
		for _, f := range []struct{ to, from *string }{{&c.Status, &up.Status}, {&c.SecurityPolicy, &up.SecurityPolicy},
			{&c.Authentication, &up.Authentication}, {&c.Protocol, &up.Protocol}} {
			if *f.from != "" {
				*f.to = *f.from
			}
		}
		if up.Authorizer != nil {
			c.Authorizer = up.Authorizer
		}
		if up.RemoveAuthorizer {
			c.Authorizer = nil
		}
		if up.ServerCertificateIs != nil {
			c.ServerCertificateIs = up.ServerCertificateIs
		}
		if err := d.check(&c.Settings); err != nil {
			return err
		}
		if name == Default && c.Status == Disabled {
			return refuse(registry.ErrInvalid, "domain configuration %s cannot be disabled", Default)
		}
		if c.Status != old.Status {
			c.StatusChanged = d.cfg.Now()
		}
		return d.put(tx, &c)
	})
	if err != nil {
		return nil, err
	}
	c, err := d.Describe(name)
	if err == nil && c.Status == Disabled && d.cfg.Ended != nil {
		d.cfg.Ended(c.DomainName, "domain configuration "+name+" is DISABLED")
	}
	return c, err
}

// Delete removes a configuration that is DISABLED. registry.ErrNotFound, registry.ErrInvalid.
func (d *Domains) Delete(ctx context.Context, name string) error {
	return d.change(ctx, func(tx *store.Tx, st *state) error {
		c, err := st.describe(name)
		if err != nil {
			return err
		}
		switch {
		case name == Default:
			return refuse(registry.ErrInvalid, "domain configuration %s cannot be deleted", Default)
		case c.Status != Disabled:
			return refuse(registry.ErrInvalid, "domain configuration %s is ENABLED: set it DISABLED with UpdateDomainConfiguration first", name)
		}
		if _, err := tx.Exec(`DELETE FROM domain_configuration WHERE name = ?`, name); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM server_certificate WHERE arn = ?
			AND NOT EXISTS (SELECT 1 FROM domain_configuration WHERE certificate = ?)`, c.ServerCertificate, c.ServerCertificate)
		return err
	})
}
