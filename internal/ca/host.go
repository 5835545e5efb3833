package ca

import (
	"crypto/tls"
	"fmt"
	"sync"
)

// hosts are the server certificates of further host names. They are made when a client first asks
// for one and kept in memory only: a new one after a restart is as good to whoever trusts the root.
type hosts struct {
	mu    sync.Mutex
	certs map[hostKey]*serverCertificate
}

type hostKey struct {
	host string
	rsa  bool
}

// GetHostCertificate returns a certificate for one host name and no other, signed by the root: with
// an ECDSA key, or with an RSA key for a client that cannot verify ECDSA. It is for the hosts of a
// configuration, not for whatever a client asks: each is kept.
func (a *Authority) GetHostCertificate(host string, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, err := a.hostCertificate(hostKey{host: host})
	if err != nil {
		return nil, err
	}
	nameless := *hello
	nameless.ServerName = "" // chosen by the configuration already
	if nameless.SupportsCertificate(cert) == nil {
		return cert, nil
	}
	return a.hostCertificate(hostKey{host, true})
}

func (a *Authority) hostCertificate(key hostKey) (*tls.Certificate, error) {
	a.hosts.mu.Lock()
	defer a.hosts.mu.Unlock()
	if s := a.hosts.certs[key]; s != nil && a.opts.Now().Before(s.renewAt) {
		return &s.Certificate, nil
	}
	from, newKey := a.root, newECDSAKey
	if key.rsa {
		var err error
		if from, err = a.openedRSA(); err != nil {
			return nil, err
		}
		newKey = newRSAKey
	}
	chain, keyText, end, err := a.makeServer(from, []string{key.host}, nil, newKey)
	if err != nil {
		return nil, fmt.Errorf("issue server certificate for %s: %w", key.host, err)
	}
	pair, err := tls.X509KeyPair(chain, keyText)
	if err != nil {
		return nil, err
	}
	if a.hosts.certs == nil {
		a.hosts.certs = make(map[hostKey]*serverCertificate)
	}
	s := &serverCertificate{pair, end.Add(-renewBefore)}
	a.hosts.certs[key] = s
	a.opts.Log.Info("server certificate issued", "dns_names", key.host, "not_after", end)
	return &s.Certificate, nil
}

// openedRSA returns the RSA root, making it if no client needed it before.
func (a *Authority) openedRSA() (*root, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rsaRoot == nil {
		if err := a.openRSA(); err != nil {
			return nil, err
		}
	}
	return a.rsaRoot, nil
}
