package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-iot/berth/internal/seal"
)

// rootYears is how long a root lasts: longer than the device certificates it signs, which end with
// 2049.
const rootYears = 40

// backdate lets clients with a slightly slow clock in.
const backdate = 24 * time.Hour

type root struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newECDSAKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
func newRSAKey() (crypto.Signer, error)   { return rsa.GenerateKey(rand.Reader, 2048) }

// openRoot reads name.pem and name.key, or makes both.
func (a *Authority) openRoot(name string, newKey func() (crypto.Signer, error)) (*root, error) {
	certFile, keyFile := filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	key, err := a.readKey(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(certFile); err == nil {
			return nil, fmt.Errorf("%s is there without its key %s: restore the key, or move the certificate away to begin anew", certFile, keyFile)
		}
		return a.makeRoot(certFile, keyFile, newKey)
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		// The key is written first: a crash came in between.
		return a.selfSign(certFile, key)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no PEM certificate", certFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	if !cert.IsCA || !samePublicKey(cert.PublicKey, key.Public()) {
		return nil, fmt.Errorf("%s and %s do not belong together", certFile, keyFile)
	}
	return &root{cert, key}, nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func (a *Authority) makeRoot(certFile, keyFile string, newKey func() (crypto.Signer, error)) (*root, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	if err := a.writeKey(keyFile, key); err != nil {
		return nil, err
	}
	return a.selfSign(certFile, key)
}

func (a *Authority) selfSign(certFile string, key crypto.Signer) (*root, error) {
	now := a.opts.Now()
	kind := "ECDSA"
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		kind = "RSA"
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{Organization: []string{"berth"}, CommonName: "berth root CA " + kind},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(rootYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := seal.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &root{cert, key}, err
}

// newSerial returns a positive serial number of up to 159 bits (RFC 5280 section 4.1.2.2).
func newSerial() *big.Int {
	b := make([]byte, 20)
	rand.Read(b)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}
