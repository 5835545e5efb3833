package ca_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/ca"
)

func open(t testing.TB, dir string, opts ca.Options) *ca.Authority {
	t.Helper()
	a, err := ca.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parse(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM in %q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func pool(t testing.TB, a *ca.Authority) *x509.CertPool {
	t.Helper()
	text, err := a.RootPEM()
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(text)
	return p
}

// shake runs a handshake against the authority and returns the server's leaf.
func shake(t testing.TB, a *ca.Authority, client *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go tls.Server(far, &tls.Config{GetCertificate: a.GetCertificate}).Handshake()
	conn := tls.Client(near, client)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestServerCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Now()
	names := []string{"iot.example.com", "192.0.2.7"}
	opts := ca.Options{Names: func() []string { return names }, Now: func() time.Time { return now }}
	a := open(t, dir, opts)
	leaf := func(a *ca.Authority, name string) *x509.Certificate {
		t.Helper()
		cert, err := shake(t, a, &tls.Config{RootCAs: pool(t, a), ServerName: name, Time: func() time.Time { return now }})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return cert
	}
	first := leaf(a, "iot.example.com")
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "192.0.2.7"} {
		leaf(a, name)
	}
	if _, ok := first.PublicKey.(*ecdsa.PublicKey); !ok {
		t.Errorf("server key is a %T", first.PublicKey)
	}
	if years := a.Root().NotAfter.Sub(now).Hours() / 24 / 365; years < 30 {
		t.Errorf("the root lasts %.0f years", years)
	}
	for _, file := range []string{"ca.key", "server.key"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}

	again := open(t, dir, opts)
	if !leaf(again, "localhost").Equal(first) || !again.Root().Equal(a.Root()) {
		t.Error("a restart changed the certificates")
	}
	names = append(names, "new.example.com")
	if err := again.Renew(); err != nil {
		t.Fatal(err)
	}
	renamed := leaf(again, "new.example.com")
	if renamed.Equal(first) {
		t.Error("a new name did not make a new certificate")
	}
	now = renamed.NotAfter.Add(-24 * time.Hour)
	late := leaf(again, "localhost") // GetCertificate renews by itself
	if !late.NotAfter.After(now.Add(300 * 24 * time.Hour)) {
		t.Errorf("a day before the end the certificate still ends %v", late.NotAfter)
	}
	if !again.Root().Equal(a.Root()) {
		t.Error("renewing changed the root")
	}
}

func TestOldClientGetsRSA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, dir, ca.Options{})
	old := func(a *ca.Authority) (*x509.Certificate, error) {
		return shake(t, a, &tls.Config{
			RootCAs: pool(t, a), ServerName: "localhost", MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "ca-rsa.pem")); err == nil {
		t.Error("the RSA root is there before anybody needs it")
	}
	old(a) // the first does not trust the new root yet
	cert, err := old(a)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		t.Errorf("an old client got a %T", cert.PublicKey)
	}
	again := open(t, dir, ca.Options{})
	if second, err := old(again); err != nil || !second.Equal(cert) {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := shake(t, again, &tls.Config{RootCAs: pool(t, again), ServerName: "localhost"}); err != nil {
		t.Error(err)
	}
	if text, _ := again.RootPEM(); strings.Count(string(text), "BEGIN CERTIFICATE") != 2 {
		t.Errorf("ca.pem:\n%s", text)
	}
}

func TestPassphrase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := open(t, dir, ca.Options{}).Root()
	sealed := ca.Options{Passphrase: []byte("open sesame")}
	if !open(t, dir, sealed).Root().Equal(root) { // seals the plain key
		t.Error("another root")
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil || !strings.Contains(string(text), "ENCRYPTED") {
		t.Errorf("the key lies in the clear: %v", err)
	}
	if !open(t, dir, sealed).Root().Equal(root) {
		t.Error("another root")
	}
	for _, opts := range []ca.Options{{}, {Passphrase: []byte("guess")}} {
		if _, err := ca.Open(dir, opts); err == nil {
			t.Errorf("opened with passphrase %q", opts.Passphrase)
		}
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Open(dir, sealed); err == nil {
		t.Error("a lost key was replaced behind everybody's back")
	}
}

func csr(t testing.TB, key crypto.Signer, subject pkix.Name) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// sha1CSR signs a request anew with SHA-1, as old clients do.
func sha1CSR(t testing.TB, key crypto.Signer, algorithm asn1.ObjectIdentifier, spoil bool) string {
	t.Helper()
	block, _ := pem.Decode([]byte(csr(t, key, pkix.Name{CommonName: "old"})))
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(parsed.RawTBSCertificateRequest)
	if spoil {
		sum[0] ^= 1
	}
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: parsed.RawTBSCertificateRequest}, pkix.AlgorithmIdentifier{Algorithm: algorithm}, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { key, _ := rsa.GenerateKey(rand.Reader, 2048); return key })

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestIssueFromCSR(t *testing.T) {
	t.Parallel()
	a := open(t, t.TempDir(), ca.Options{})
	sha1RSA, sha1ECDSA := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	good := csr(t, ecKey(t, elliptic.P256()), pkix.Name{CommonName: "c"})
	block, _ := pem.Decode([]byte(good))
	block.Bytes[len(block.Bytes)-1] ^= 1
	tests := []struct {
		name, csr string
		subject   string // of the certificate; "" for a refusal
	}{
		{"P-256", good, "CN=c"},
		{"P-384", csr(t, ecKey(t, elliptic.P384()), pkix.Name{CommonName: "c", Organization: []string{"o"}}), "CN=c,O=o"},
		{"P-521", csr(t, ecKey(t, elliptic.P521()), pkix.Name{CommonName: "c"}), "CN=c"},
		{"RSA 2048", csr(t, rsaKey(), pkix.Name{CommonName: "c"}), "CN=c"},
		{"without a subject", csr(t, ecKey(t, elliptic.P256()), pkix.Name{}), "CN=AWS IoT Certificate"},
		{"RSA with SHA-1", sha1CSR(t, rsaKey(), sha1RSA, false), "CN=old"},
		{"ECDSA with SHA-1", sha1CSR(t, ecKey(t, elliptic.P256()), sha1ECDSA, false), "CN=old"},
		{"RSA with SHA-1, wrong", sha1CSR(t, rsaKey(), sha1RSA, true), ""},
		{"ECDSA with SHA-1, wrong", sha1CSR(t, ecKey(t, elliptic.P256()), sha1ECDSA, true), ""},
		{"wrong signature", string(pem.EncodeToMemory(block)), ""},
		{"P-224", csr(t, ecKey(t, elliptic.P224()), pkix.Name{}), ""},
		{"Ed25519", csr(t, edKey, pkix.Name{}), ""},
		{"no PEM", "hello", ""},
		{"a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""},
		{"no DER", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", ""},
		{"too long", strings.Repeat(" ", 4097), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text, err := a.IssueFromCSR(test.csr)
			if test.subject == "" {
				if !errors.Is(err, ca.ErrCSR) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			cert := parse(t, text)
			if cert.Subject.String() != test.subject || cert.CheckSignatureFrom(a.Root()) != nil || cert.IsCA || cert.NotAfter.Year() != 2049 {
				t.Errorf("%v until %v", cert.Subject, cert.NotAfter)
			}
		})
	}
}

func TestKeyLoop(t *testing.T) {
	t.Parallel()
	a := open(t, t.TempDir(), ca.Options{})
	loop, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.KeyLoop(loop); close(done) }()
	seen := map[string]bool{}
	for range 3 {
		issued, err := a.IssueWithNewKey()
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair([]byte(issued.CertificatePEM), []byte(issued.PrivateKeyPEM))
		if err != nil {
			t.Fatal(err)
		}
		if seen[issued.PrivateKeyPEM] || pair.Leaf.CheckSignatureFrom(a.Root()) != nil {
			t.Error("a key came twice, or its certificate is not ours")
		}
		seen[issued.PrivateKeyPEM] = true
	}
	stop()
	<-done
}

func FuzzIssueFromCSR(f *testing.F) {
	a := open(f, f.TempDir(), ca.Options{})
	f.Add(csr(f, ecKey(f, elliptic.P256()), pkix.Name{CommonName: "c"}))
	f.Add(sha1CSR(f, ecKey(f, elliptic.P256()), asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}, false))
	f.Add("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		cert, err := a.IssueFromCSR(text)
		if (cert == "") == (err == nil) {
			t.Error("neither a certificate nor an error")
		}
	})
}
