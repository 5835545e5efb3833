package linux

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/link"
)

// Transport dials a server with mutual TLS. Sessions are resumed where the server allows it. Its
// methods may be called concurrently.
type Transport struct {
	Address string         // host:port
	Name    string         // of the server in its certificate; "" means the host of Address
	Roots   *x509.CertPool // nil means the system's
	ALPN    string         // "" offers none, and x-amzn-mqtt-ca on port 443
	Clock   *link.Clock    // nil means time.Now
	// Connect opens the connection below TLS; nil is that of a net.Dialer.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	cache tls.ClientSessionCache
	cert  string // whose sessions the cache holds
}

// Dial connects with an identity's certificate. It satisfies device.Config.Dial.
func (t *Transport) Dial(ctx context.Context, id device.Identity) (net.Conn, error) {
	cfg, err := t.config(id)
	if err != nil {
		return nil, err
	}
	connect := t.Connect
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	raw, err := connect(ctx, "tcp", t.Address)
	if err != nil {
		return nil, &link.Failure{Kind: link.Unreachable, Reason: "the server cannot be reached", Err: err}
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, t.Explain(err)
	}
	return conn, nil
}

func (t *Transport) config(id device.Identity) (*tls.Config, error) {
	host, port, err := net.SplitHostPort(t.Address)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", t.Address, err)
	}
	cfg := &tls.Config{ServerName: t.Name, RootCAs: t.Roots, MinVersion: tls.VersionTLS12}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if t.Clock != nil {
		cfg.Time = t.Clock.Now
	}
	if id.Certificate != nil {
		cert, err := tls.X509KeyPair(id.Certificate, id.Key)
		if err != nil {
			return nil, &link.Failure{Kind: link.Refused, Reason: "the device's certificate and key cannot be used", Err: err}
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	switch {
	case t.ALPN != "":
		cfg.NextProtos = []string{t.ALPN}
	case port == "443":
		cfg.NextProtos = []string{"x-amzn-mqtt-ca"}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// A session resumed would prove the identity that began it.
	if t.cache == nil || t.cert != string(id.Certificate) {
		t.cache, t.cert = tls.NewLRUClientSessionCache(4), string(id.Certificate)
	}
	cfg.ClientSessionCache = t.cache
	return cfg, nil
}

// Explain turns an error of TLS into a *link.Failure in words. It satisfies device.Config.Explain.
func (t *Transport) Explain(err error) error {
	now := time.Now()
	if t.Clock != nil {
		now = t.Clock.Now()
	}
	var known *link.Failure
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var verify *tls.CertificateVerificationError
	var alert *net.OpError
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil && now.Before(invalid.Cert.NotBefore):
		return &link.Failure{Kind: link.WrongClock, Err: err, Reason: fmt.Sprintf(
			"the server's certificate is not yet valid for the device's clock, which reads %s: it holds from %s. Set the clock, from network time for example",
			now.UTC().Format(time.RFC3339), invalid.Cert.NotBefore.UTC().Format(time.RFC3339))}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &link.Failure{Kind: link.WrongClock, Err: err, Reason: fmt.Sprintf(
			"the server's certificate has expired for the device's clock, which reads %s: either the clock is wrong or the server needs a new certificate", now.UTC().Format(time.RFC3339))}
	case errors.As(err, &host):
		return &link.Failure{Kind: link.Untrusted, Err: err, Reason: "the server's certificate is for another name than the one that the device dials"}
	case errors.As(err, &unknown), errors.As(err, &verify):
		return &link.Failure{Kind: link.Untrusted, Err: err, Reason: "the server's certificate was not issued by an authority that the device trusts"}
	case errors.As(err, &alert) && alert.Op == "remote error":
		f := &link.Failure{Kind: link.Refused, Err: err, Reason: "the server refuses the device's certificate"}
		for part, reason := range map[string]string{
			"expired certificate":           "the server says that the device's certificate has expired or is not valid yet",
			"certificate required":          "the server wants a certificate and the device has none",
			"unknown certificate authority": "the server does not know who issued the device's certificate",
			"protocol version":              "the server does not speak a version of TLS that the device speaks",
			"no application protocol":       "the server does not take the application protocol that the device offers",
		} {
			if strings.Contains(alert.Err.Error(), part) {
				f.Reason = reason
			}
		}
		return f
	}
	return err
}
