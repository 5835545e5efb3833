package broker

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/session"
)

// Application protocols that devices and SDKs ask for (AWS IoT developer guide, "Device
// communication protocols").
const (
	alpnMQTT       = "x-amzn-mqtt-ca"
	alpnCustomAuth = "mqtt"
	alpnHTTP       = "x-amzn-http-ca"
)

// protocols are all application protocols, on every TLS port.
var protocols = []string{alpnMQTT, alpnCustomAuth, alpnHTTP, "http/1.1"}

// Certificates decides over client certificates.
type Certificates interface {
	// Check reports why a certificate may not be used; nil if it may. It is called during the
	// handshake, before the client has proved that it has the key.
	Check(ctx context.Context, cert *x509.Certificate, serverName string) error
}

// Newcomers takes devices whose certificates are not in use yet.
type Newcomers interface {
	// Admit is offered a certificate that the client has proved to own and of which Check has said
	// that a newcomer has it. The connection ends in any case; the error says in words why.
	Admit(ctx context.Context, cert *x509.Certificate) error
}

// CustomAuth decides over clients by what they say of themselves rather than by a certificate.
type CustomAuth interface {
	// Possible reports whether it could decide over any client at all. It is quick.
	Possible() bool
	// Authenticator returns what decides over a client that came to a server name.
	Authenticator(serverName string) session.Authenticator
	// PlainAuthenticator returns what decides over a client without TLS; nil if all of them are
	// anonymous.
	PlainAuthenticator() session.Authenticator
}

// Broker turns network connections into MQTT clients and HTTP requests.
type Broker struct {
	Sessions     *session.Sessions
	Certificates Certificates
	Newcomers    Newcomers // nil for none
	CustomAuth   CustomAuth
	Domains      *domain.Domains
	// ServerCertificate returns the certificate for a client.
	ServerCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Denials           *denial.Log
	Log               *slog.Logger
	Tickets           *Tickets // nil for keys that end with the process
	// Handshakes bounds those under way.
	Handshakes Handshakes

	counters  Counters
	http      httpListener
	newcomers sync.Map // of *x509.Certificate: those in handshakes that go on for Newcomers alone
	lastLog   atomic.Int64
	begin     sync.Once
	computing *turns // handshakes that use the processor
	begun     *turns // handshakes under way
}

// Counters count network connections.
type Counters struct {
	Accepted          atomic.Uint64
	Surplus           atomic.Uint64 // closed at once: too many files are open
	HandshakesFailed  atomic.Uint64
	HandshakesDropped atomic.Uint64 // closed without a handshake: too many waited
	Resumed           atomic.Uint64 // handshakes that resumed a TLS session
}

// Counters returns the counters.
func (b *Broker) Counters() *Counters { return &b.counters }

// CertificateID is the certificate identifier of AWS IoT: the SHA-256 of the DER in lower-case hex.
func CertificateID(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// ServeTLS accepts connections until the listener closes. Clients that do not say which protocol
// they speak get MQTT or, if http is set, HTTP.
func (b *Broker) ServeTLS(ctx context.Context, l net.Listener, http bool) error {
	cfg := b.tlsConfig(ctx, http)
	b.begin.Do(b.limitHandshakes)
	return b.accept(ctx, l, func(c net.Conn) { b.queue(ctx, c, cfg, http) })
}

// ServePlain accepts MQTT without TLS. The principal is "anonymous", unless CustomAuth finds out another.
func (b *Broker) ServePlain(ctx context.Context, l net.Listener) error {
	return b.accept(ctx, l, func(c net.Conn) {
		adm := session.Admission{Principal: session.Principal{Kind: session.Anonymous, ID: "anonymous"}}
		if b.CustomAuth != nil {
			adm.Authenticator = b.CustomAuth.PlainAuthenticator()
		}
		if raw, ok := newRawConn(c); ok {
			b.serve(c, func() { b.Sessions.Accept(ctx, plain{raw}, adm) })
		} else {
			b.serve(c, func() { b.Sessions.Accept(ctx, newBlocking(c, remoteAddr(c)), adm) })
		}
	})
}

// serve runs f on a goroutine of its own.
func (b *Broker) serve(c net.Conn, f func()) {
	go func() {
		defer b.recovered(c)
		f()
	}()
}

// spareFiles is how many of the files that may be open are no connection's.
const spareFiles = 128

// fileNumber is the number of a connection's file, which is about how many are open: the lowest that is free is
// taken. It is 0 for what is no file.
func fileNumber(c net.Conn) (n int) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	if rc, err := sc.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

// accept hands every connection to serve, which must not block.
//
// The last few files that may be open are left to what is no device's connection: the database, rules, and
// whoever looks what is the matter.
func (b *Broker) accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	var pause time.Duration
	files := openFiles()
	files -= min(files/8, spareFiles)
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, for example: wait a little and go on.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			b.warn("accept failed", "error", err)
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
				return nil
			}
		}
		pause = 0
		b.counters.Accepted.Add(1)
		if files > 0 && fileNumber(c) >= files {
			b.counters.Surplus.Add(1)
			b.warn("too many connections: raise the limit of open files", "remote", c.RemoteAddr(), "files", files)
			c.Close()
			continue
		}
		serve(c)
	}
}

// recovered keeps a bug in the handling of one connection from ending the process.
func (b *Broker) recovered(c net.Conn) {
	if r := recover(); r != nil {
		b.Log.Error("connection handler panicked", "remote", c.RemoteAddr(), "panic", r)
		c.Close()
	}
}

// warn logs at most one line a second.
func (b *Broker) warn(msg string, args ...any) {
	now := time.Now().Unix()
	if last := b.lastLog.Load(); last != now && b.lastLog.CompareAndSwap(last, now) {
		b.Log.Warn(msg, args...)
	}
}

// cipherSuites are those of AWS IoT for TLS 1.2 that Go knows; TLS 1.3 has its own.
func cipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	}
}

// admission is what TLS says about a client.
func (b *Broker) admission(cs *tls.ConnectionState, d *domain.Configuration) session.Admission {
	adm := session.Admission{ServerName: cs.ServerName}
	if len(cs.PeerCertificates) > 0 && d.Authentication != domain.AuthCustom {
		cert := cs.PeerCertificates[0]
		adm.Principal = session.Principal{Kind: session.Certificate, ID: CertificateID(cert)}
		adm.Certificate = cert
		if d.Authentication != domain.AuthCustomX509 {
			return adm
		}
	}
	adm.Authenticator = b.CustomAuth.Authenticator(cs.ServerName)
	return adm
}

// admit offers a certificate to Newcomers. Whoever slips by is refused at CONNECT or by the HTTP
// surface, which look at the certificate again.
func (b *Broker) admit(ctx context.Context, cert *x509.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := b.Newcomers.Admit(ctx, cert); err != nil {
		return &CertificateError{CertificateID: CertificateID(cert), Reason: err.Error()}
	}
	return nil
}

// handshakeFailed records why, in words.
func (b *Broker) handshakeFailed(remote netip.AddrPort, t *tls.Conn, err error) {
	b.counters.HandshakesFailed.Add(1)
	reason := explainHandshake(err)
	b.warn("TLS handshake failed", "remote", remote, "reason", reason)
	if b.Denials.Admit() {
		rec := denial.Record{Kind: denial.Handshake, SourceIP: remote.Addr().Unmap().String(), Reason: reason}
		if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
			rec.Principal = CertificateID(certs[0])
		}
		var bad *CertificateError
		if errors.As(err, &bad) {
			rec.Principal = bad.CertificateID
		}
		b.Denials.Add(rec)
	}
}

// CertificateError is why a client certificate may not be used.
type CertificateError struct {
	CertificateID string
	Reason        string
	// Newcomer says that Newcomers will take the certificate.
	Newcomer bool
}

func (e *CertificateError) Error() string { return e.Reason }

// explainHandshake puts the failure of a TLS handshake into words that a person with a device on
// the bench can act on. The alerts are those of RFC 8446 section 6.
func explainHandshake(err error) string {
	var bad *CertificateError
	if errors.As(err, &bad) {
		return bad.Reason
	}
	var alert tls.AlertError
	if errors.As(err, &alert) {
		if why, ok := alerts[uint8(alert)]; ok {
			return why
		}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		for code, why := range alerts {
			if op.Err.Error() == tls.AlertError(code).Error() {
				return why
			}
		}
		return "the device ended the handshake: " + op.Err.Error()
	}
	var plaintext tls.RecordHeaderError
	switch {
	case errors.As(err, &plaintext):
		return "the client did not speak TLS on a TLS port"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the client closed the connection during the TLS handshake"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("the client did not finish the TLS handshake within %v", handshakeTimeout)
	}
	switch err.Error() {
	case "tls: client didn't provide a certificate":
		return "the client sent no certificate: MQTT over TLS needs a client certificate and its private key, or an authorizer that decides over clients without"
	case "tls: no cipher suite supported by both client and server":
		return "no cipher suite in common: the server offers ECDHE with AES-GCM, AES-CBC or ChaCha20"
	}
	return err.Error()
}

// alerts are what a client's TLS alert says about the client.
var alerts = map[uint8]string{
	40: "the device found no common TLS parameters (handshake_failure)",
	42: "the device did not accept the server's certificate (bad_certificate): check that berth's ca.pem is its root CA, that the name it connects to is in the server certificate, and that its clock is set",
	43: "the device does not support the server certificate's type (unsupported_certificate)",
	45: "the device says that the server certificate has expired or is not yet valid (certificate_expired): its clock is probably not set, so that it reads 1970; set the time over SNTP before TLS",
	46: "the device could not use the server's certificate (certificate_unknown): check its clock and its root CA",
	48: "the device does not know the certificate authority (unknown_ca): give it berth's ca.pem as root CA",
	51: "the device could not verify a signature (decrypt_error): its root CA has the right name and another key",
	70: "the device speaks no TLS version that the server does (protocol_version): TLS 1.2 or 1.3 is needed",
	80: "the device failed inside its TLS library (internal_error), often for lack of memory",
	90: "the device gave the handshake up (user_canceled)",
}
