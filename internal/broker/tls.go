package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/berth-iot/berth/internal/domain"
)

// tlsConfig is the configuration of a listener. Connections to a domain without settings of its own
// use one of two that are made here; the others get theirs made at the handshake.
func (b *Broker) tlsConfig(ctx context.Context, http bool) *tls.Config {
	base := &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		GetCertificate:              b.ServerCertificate,
		NextProtos:                  protocols,
		DynamicRecordSizingDisabled: true,
		// Certificates are verified by their fingerprint against the registry, not by a chain.
		ClientAuth:       tls.RequestClientCert,
		VerifyConnection: func(cs tls.ConnectionState) error { return b.verify(ctx, &cs) },
		CipherSuites:     cipherSuites(),
	}
	mqtt := base.Clone()
	mqtt.ClientAuth = tls.RequireAnyClientCert
	base12, mqtt12 := base.Clone(), mqtt.Clone()
	base12.CurvePreferences, mqtt12.CurvePreferences = nistCurves, nistCurves
	b.Tickets.use(base, mqtt, base12, mqtt12)
	base.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		d := b.Domains.Lookup(h.ServerName)
		certificate := b.clientAuth(d, speaksMQTT(firstKnown(h.SupportedProtos), http, d))
		switch {
		case !d.Plain():
			return b.domainConfig(base, d, certificate), nil
		case certificate == tls.RequireAnyClientCert && prefersNIST(h):
			return mqtt12, nil
		case certificate == tls.RequireAnyClientCert:
			return mqtt, nil
		case prefersNIST(h):
			return base12, nil
		}
		return nil, nil
	}
	return base
}

// nistCurves are for those whom prefersNIST.
var nistCurves = []tls.CurveID{tls.CurveP256, tls.CurveP384, tls.CurveP521}

// prefersNIST is whether a client is better served with the curve P-256 than with X25519, which crypto/tls
// prefers: chips with an accelerator for elliptic curves have P-256, and here it costs half. A client of TLS
// 1.3 has chosen its curve already.
func prefersNIST(h *tls.ClientHelloInfo) bool {
	return slices.Contains(h.SupportedCurves, tls.CurveP256) && !slices.Contains(h.SupportedVersions, tls.VersionTLS13)
}

// clientAuth is whether a client must show a certificate.
func (b *Broker) clientAuth(d *domain.Configuration, mqtt bool) tls.ClientAuthType {
	switch d.Authentication {
	case domain.AuthX509, domain.AuthCustomX509:
		return tls.RequireAnyClientCert
	case domain.AuthCustom, domain.AuthSigV4:
		return tls.NoClientCert
	}
	if mqtt && !b.CustomAuth.Possible() {
		return tls.RequireAnyClientCert
	}
	return tls.RequestClientCert
}

// domainConfig is the configuration for a domain with settings of its own.
func (b *Broker) domainConfig(base *tls.Config, d *domain.Configuration, certificate tls.ClientAuthType) *tls.Config {
	cfg := base.Clone()
	cfg.GetConfigForClient = nil
	cfg.ClientAuth = certificate
	cfg.MinVersion, cfg.MaxVersion = d.Versions()
	cfg.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if cert, ok, err := b.Domains.GetCertificate(d, h); ok {
			return cert, err
		}
		return b.ServerCertificate(h)
	}
	return cfg
}

// verify judges a handshake: the domain that the client came to, and its certificate.
func (b *Broker) verify(ctx context.Context, cs *tls.ConnectionState) error {
	if d := b.Domains.Lookup(cs.ServerName); d.Status == domain.Disabled {
		return &CertificateError{Reason: fmt.Sprintf("domain configuration %s, which has the name %s that the client asked for, is DISABLED", d.Name, d.DomainName)}
	}
	if len(cs.PeerCertificates) == 0 {
		return nil
	}
	err := b.Certificates.Check(ctx, cs.PeerCertificates[0], cs.ServerName)
	var bad *CertificateError
	if b.Newcomers != nil && errors.As(err, &bad) && bad.Newcomer {
		b.newcomers.Store(cs.PeerCertificates[0], struct{}{})
		return nil
	}
	return err
}

// firstKnown is the protocol that the handshake will agree on.
func firstKnown(offered []string) string {
	for _, p := range protocols {
		if slices.Contains(offered, p) {
			return p
		}
	}
	return ""
}

// speaksMQTT is whether a connection is MQTT rather than HTTP, by its domain or else by ALPN and
// port.
func speaksMQTT(alpn string, http bool, d *domain.Configuration) bool {
	switch d.Protocol {
	case domain.SecureMQTT:
		return true
	case domain.WebSocket, domain.HTTPS:
		return false
	}
	switch alpn {
	case alpnMQTT, alpnCustomAuth:
		return true
	case "":
		return !http
	}
	return false
}
