// Package ca is berth's certificate authority: the root that devices trust, the server's own
// certificates, and the device certificates that CreateKeysAndCertificate and
// CreateCertificateFromCsr hand out.
//
// Everything lies as PEM in one folder: `ca.pem` is what clients are given to trust, `ca.key` its
// key, `server.pem` and `server.key` the server's certificate (leaf first, root after). All are
// ECDSA P-256 (RFC 5280, RFC 5480). A client whose ClientHello cannot do ECDSA makes the authority
// add an RSA root (`ca-rsa.pem`, appended to `ca.pem`) and an RSA server certificate. Keys have
// mode 0600; the root keys are encrypted when a passphrase is given. Device keys are handed out
// once and neither stored nor logged.
package ca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/seal"
)

// Options is what an authority can be told; zero fields have defaults.
type Options struct {
	// Names returns the DNS names and IP addresses that the server must be known by. It is asked
	// at every check. localhost, 127.0.0.1 and ::1 are always among them.
	Names      func() []string
	Passphrase []byte // of the root keys; empty leaves them in the clear
	RSA        bool   // make the RSA chain at once rather than when a client needs it
	Now        func() time.Time
	Log        *slog.Logger
}

// Authority issues certificates. All methods may be called concurrently.
type Authority struct {
	dir  string
	opts Options
	root *root

	mu     sync.Mutex // held while files are written
	server atomic.Pointer[serverCertificate]
	rsa    atomic.Pointer[serverCertificate] // nil until a client needs it
	keys   chan deviceKey

	rsaRoot *root // with rsa, guarded by mu
	hosts   hosts
}

// Open opens the authority in dir, making the folder, root and server certificate on first use and
// a new server certificate when the names or the dates ask for it.
func Open(dir string, opts Options) (*Authority, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Names == nil {
		opts.Names = func() []string { return nil }
	}
	a := &Authority{dir: dir, opts: opts, keys: make(chan deviceKey, pooledKeys)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	var err error
	if a.root, err = a.openRoot("ca", newECDSAKey); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	if err := a.openServer(); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	return a, nil
}

// openServer loads or makes the server certificates.
func (a *Authority) openServer() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	server, err := a.serverFor(a.root, "server", newECDSAKey)
	if err != nil {
		return err
	}
	a.server.Store(server)
	_, err = os.Stat(filepath.Join(a.dir, "ca-rsa.pem"))
	if err == nil || a.opts.RSA {
		return a.openRSA()
	}
	return nil
}

// RootPEM returns what clients are to trust: the contents of ca.pem.
func (a *Authority) RootPEM() ([]byte, error) {
	return os.ReadFile(filepath.Join(a.dir, "ca.pem"))
}

// Root returns the ECDSA root certificate, which signs device certificates.
func (a *Authority) Root() *x509.Certificate { return a.root.cert }

// GetCertificate is for tls.Config: the ECDSA chain, or the RSA chain for a client that cannot
// verify ECDSA.
func (a *Authority) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	server := a.server.Load()
	if a.opts.Now().After(server.renewAt) && a.mu.TryLock() {
		a.mu.Unlock()
		if err := a.Renew(); err != nil {
			a.opts.Log.Error("server certificate not renewed", "error", err)
		}
		server = a.server.Load()
	}
	nameless := *hello
	nameless.ServerName = "" // an unknown name is for the client to judge
	if nameless.SupportsCertificate(&server.Certificate) == nil {
		return &server.Certificate, nil
	}
	old := a.rsa.Load()
	if old == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if old = a.rsa.Load(); old == nil {
			a.opts.Log.Warn("a client cannot verify ECDSA: adding an RSA root to ca.pem, which such clients must be given")
			if err := a.openRSA(); err != nil {
				return nil, err
			}
			old = a.rsa.Load()
		}
	}
	return &old.Certificate, nil
}

// openRSA loads or makes the RSA chain; the caller holds mu.
func (a *Authority) openRSA() error {
	root, err := a.openRoot("ca-rsa", newRSAKey)
	if err != nil {
		return err
	}
	trusted, err := a.RootPEM()
	if err != nil {
		return err
	}
	if !containsCertificate(trusted, root.cert.Raw) {
		trusted = append(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw})...)
		if err := seal.WriteFile(filepath.Join(a.dir, "ca.pem"), trusted, 0o644); err != nil {
			return err
		}
	}
	server, err := a.serverFor(root, "server-rsa", newRSAKey)
	if err != nil {
		return err
	}
	a.rsaRoot = root
	a.rsa.Store(server)
	return nil
}

func containsCertificate(text, der []byte) bool {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if string(block.Bytes) == string(der) {
			return true
		}
	}
	return false
}
