package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-iot/berth/internal/seal"
)

const (
	serverLife  = 397 * 24 * time.Hour // the longest that common clients accept
	renewBefore = 60 * 24 * time.Hour
	renewEvery  = time.Hour
)

type serverCertificate struct {
	tls.Certificate
	renewAt time.Time
}

// LocalNames returns the names and addresses under which this host can be reached: its host name
// and the addresses of its interfaces, without those that only have meaning on one link.
func LocalNames() []string {
	var names []string
	if name, err := os.Hostname(); err == nil && name != "" {
		names = append(names, name)
	}
	addrs, _ := net.InterfaceAddrs()
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			names = append(names, prefix.Addr().String())
		}
	}
	return names
}

// names returns what the server certificate must cover, in order and without repeats.
func (a *Authority) names() (dns []string, ips []net.IP) {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, a.opts.Names()...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
		} else if name != "" {
			dns = append(dns, name)
		}
	}
	return dns, ips
}

// Renew makes new server certificates where names are missing or the end is near.
func (a *Authority) Renew() error { return a.openServer() }

// RenewLoop calls Renew every hour until ctx ends.
func (a *Authority) RenewLoop(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := a.Renew(); err != nil {
				a.opts.Log.Error("server certificate not renewed", "error", err)
			}
		}
	}
}

// serverFor reads name.pem and name.key if they still serve, or makes both.
func (a *Authority) serverFor(root *root, name string, newKey func() (crypto.Signer, error)) (*serverCertificate, error) {
	certFile, keyFile := filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	dns, ips := a.names()
	if pair, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil {
		s := &serverCertificate{pair, pair.Leaf.NotAfter.Add(-renewBefore)}
		if covers(pair.Leaf, dns, ips) && pair.Leaf.CheckSignatureFrom(root.cert) == nil && a.opts.Now().Before(s.renewAt) {
			return s, nil
		}
	}
	chain, keyText, end, err := a.makeServer(root, dns, ips, newKey)
	if err != nil {
		return nil, err
	}
	// A crash between the two leaves a pair that does not load, and is made anew.
	if err := seal.WriteFile(keyFile, keyText, 0o600); err != nil {
		return nil, err
	}
	if err := seal.WriteFile(certFile, chain, 0o644); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, keyText)
	if err != nil {
		return nil, err
	}
	a.opts.Log.Info("server certificate issued", "file", certFile, "dns_names", dns, "ip_addresses", ips, "not_after", end)
	return &serverCertificate{pair, end.Add(-renewBefore)}, nil
}

// makeServer issues a server certificate: its chain and its key in PEM.
func (a *Authority) makeServer(root *root, dns []string, ips []net.IP, newKey func() (crypto.Signer, error)) (chain, keyText []byte, end time.Time, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, end, err
	}
	now := a.opts.Now()
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{Organization: []string{"berth"}, CommonName: "berth server"},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(serverLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     dns,
		IPAddresses:  ips,

		BasicConstraintsValid: true,
	}
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // for RSA key exchange of TLS 1.2
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root.cert, key.Public(), root.key)
	if err != nil {
		return nil, nil, end, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, end, err
	}
	chain = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw})...)
	return chain, pem.EncodeToMemory(&pem.Block{Type: plainKey, Bytes: pkcs8}), template.NotAfter, nil
}

func covers(leaf *x509.Certificate, dns []string, ips []net.IP) bool {
	for _, name := range dns {
		if !slices.Contains(leaf.DNSNames, name) {
			return false
		}
	}
	for _, ip := range ips {
		if !slices.ContainsFunc(leaf.IPAddresses, ip.Equal) {
			return false
		}
	}
	return true
}
