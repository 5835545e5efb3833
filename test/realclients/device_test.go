package realclients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// device is a certificate and its key, in files as clients want them.
type device struct {
	id, arn, cert, key string
}

// write puts text into a file of the test.
func write(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// device prepares a device with the calls of the AWS guide: keys and certificate, thing, policy.
func (s *server) device(t *testing.T, thing, document string) *device {
	t.Helper()
	c := ctx(t, time.Minute)
	made, err := s.iot.CreateKeysAndCertificate(c, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	d := &device{id: *made.CertificateId, arn: *made.CertificateArn,
		cert: write(t, "device.pem", []byte(*made.CertificatePem)), key: write(t, "device.key", []byte(*made.KeyPair.PrivateKey))}
	if _, err := s.iot.CreateThing(c, &iot.CreateThingInput{ThingName: &thing}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.iot.AttachThingPrincipal(c, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: &d.arn}); err != nil {
		t.Fatal(err)
	}
	s.policy(t, thing, document)
	if _, err := s.iot.AttachPolicy(c, &iot.AttachPolicyInput{PolicyName: &thing, Target: &d.arn}); err != nil {
		t.Fatal(err)
	}
	return d
}

// tls is the configuration of a client that is the device.
func (d *device) tls(s *server) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(d.cert, d.key)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: s.roots(), ServerName: "localhost"}, err
}

func (s *server) policy(t *testing.T, name, document string) {
	t.Helper()
	if _, err := s.iot.CreatePolicy(ctx(t, time.Minute), &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document}); err != nil {
		t.Fatal(err)
	}
}

// selfMade is a certificate that nobody has registered.
func selfMade(t *testing.T) *device {
	t.Helper()
	return issue(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

// expired is a registered, ACTIVE certificate whose time is over.
func (s *server) expired(t *testing.T) *device {
	t.Helper()
	d := issue(t, time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
	text, err := os.ReadFile(d.cert)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.iot.RegisterCertificateWithoutCA(ctx(t, time.Minute),
		&iot.RegisterCertificateWithoutCAInput{CertificatePem: aws.String(string(text)), Status: "ACTIVE"})
	if err != nil {
		t.Fatal(err)
	}
	d.id, d.arn = *out.CertificateId, *out.CertificateArn
	return d
}

// issue makes a key and a certificate, signed by itself.
func issue(t *testing.T, from, to time.Time) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "self-made"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &device{
		cert: write(t, "device.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key:  write(t, "device.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})),
	}
}

// signingRequest makes a key, in a file, and a certificate signing request of it in PEM.
func signingRequest(t *testing.T) (key, csr string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device"}}, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key = write(t, "request.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}))
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}
