package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// ErrCSR is what every refusal of a certificate signing request matches.
var ErrCSR = errors.New("certificate signing request refused")

type csrError struct{ reason string }

func (e *csrError) Error() string { return "certificate signing request: " + e.reason }
func (e *csrError) Unwrap() error { return ErrCSR }

func refuseCSR(format string, args ...any) error { return &csrError{fmt.Sprintf(format, args...)} }

// maxCSR is the length of a request in PEM. AWS IoT API reference, CreateCertificateFromCsr.
const maxCSR = 4096

// pooledKeys is the number of RSA keys that KeyLoop keeps ready.
const pooledKeys = 8

// deviceEnd is when every device certificate ends, as AWS IoT's do.
func deviceEnd() time.Time { return time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC) }

// Issued is a new device certificate with its key, which exists nowhere else.
type Issued struct {
	CertificatePEM string
	PrivateKeyPEM  string // PKCS#1 ("RSA PRIVATE KEY")
	PublicKeyPEM   string // SubjectPublicKeyInfo ("PUBLIC KEY")
}

type deviceKey struct{ *rsa.PrivateKey }

// IssueWithNewKey issues a device certificate for a new RSA 2048 key, as CreateKeysAndCertificate
// does.
func (a *Authority) IssueWithNewKey() (*Issued, error) { return a.issueWithNewKey(deviceEnd()) }

// IssueClaim issues a temporary claim certificate, with its key, that ends at a time.
func (a *Authority) IssueClaim(end time.Time) (*Issued, error) { return a.issueWithNewKey(end) }

func (a *Authority) issueWithNewKey(end time.Time) (*Issued, error) {
	var key *rsa.PrivateKey
	select {
	case ready := <-a.keys:
		key = ready.PrivateKey
	default:
		var err error
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return nil, fmt.Errorf("make device key: %w", err)
		}
	}
	cert, err := a.issue(&key.PublicKey, nil, end)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Issued{
		CertificatePEM: cert,
		PrivateKeyPEM:  string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		PublicKeyPEM:   string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	}, nil
}

// KeyLoop makes RSA keys ahead of time, a few, until ctx ends. It rests three times as long as it
// works, so that it never takes more than a quarter of one core.
func (a *Authority) KeyLoop(ctx context.Context) {
	for {
		start := time.Now()
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			a.opts.Log.Error("device key not made", "error", err)
			return
		}
		rest := time.NewTimer(3 * time.Since(start))
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case a.keys <- deviceKey{key}:
		}
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case <-rest.C:
		}
	}
}

// IssueFromCSR issues a device certificate for a PKCS#10 request (RFC 2986) in PEM: its subject and
// its key, RSA of at least 2048 bits or ECDSA on P-256, P-384 or P-521. Signatures with SHA-1 are
// taken too: old clients make them, and they prove possession of the key only. Refusals match
// [ErrCSR].
func (a *Authority) IssueFromCSR(csrPEM string) (certPEM string, err error) {
	if len(csrPEM) > maxCSR {
		return "", refuseCSR("longer than %d characters", maxCSR)
	}
	block, _ := pem.Decode([]byte(csrPEM))
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return "", refuseCSR("no PEM block CERTIFICATE REQUEST found")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return "", refuseCSR("%v", err)
	}
	switch key := csr.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 || bits > 8192 {
			return "", refuseCSR("an RSA key of %d bits is not between 2048 and 8192", bits)
		}
	case *ecdsa.PublicKey:
		if c := key.Curve; c != elliptic.P256() && c != elliptic.P384() && c != elliptic.P521() {
			return "", refuseCSR("curve %s is not P-256, P-384 or P-521", c.Params().Name)
		}
	default:
		return "", refuseCSR("key algorithm %v is neither RSA nor ECDSA", csr.PublicKeyAlgorithm)
	}
	if err := checkCSRSignature(csr); err != nil {
		return "", refuseCSR("its signature does not verify: %v", err)
	}
	return a.issue(csr.PublicKey, csr.RawSubject, deviceEnd())
}

// checkCSRSignature adds SHA-1, which crypto/x509 refuses, to what it checks.
func checkCSRSignature(csr *x509.CertificateRequest) error {
	switch csr.SignatureAlgorithm {
	case x509.SHA1WithRSA:
		key, ok := csr.PublicKey.(*rsa.PublicKey)
		if !ok {
			return errors.New("signature and key algorithm differ")
		}
		sum := sha1.Sum(csr.RawTBSCertificateRequest)
		return rsa.VerifyPKCS1v15(key, crypto.SHA1, sum[:], csr.Signature)
	case x509.ECDSAWithSHA1:
		key, ok := csr.PublicKey.(*ecdsa.PublicKey)
		sum := sha1.Sum(csr.RawTBSCertificateRequest)
		if !ok || !ecdsa.VerifyASN1(key, sum[:], csr.Signature) {
			return errors.New("ECDSA verification failure")
		}
		return nil
	}
	return csr.CheckSignature()
}

// issue signs a device certificate; an empty subject becomes AWS's.
func (a *Authority) issue(key crypto.PublicKey, rawSubject []byte, end time.Time) (string, error) {
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		RawSubject:            rawSubject,
		NotBefore:             a.opts.Now().Add(-backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if len(rawSubject) <= 2 { // an empty SEQUENCE
		template.RawSubject, template.Subject = nil, pkix.Name{CommonName: "AWS IoT Certificate"}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root.cert, key, a.root.key)
	if err != nil {
		return "", fmt.Errorf("issue device certificate: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}
