package factory

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"time"
)

// ownCA signs certificates without a network. The CA is registered in the cloud, which gets to know
// the devices in bulk or when they first connect.
type ownCA struct {
	certificate *x509.Certificate
	key         crypto.Signer
	days        int
	now         func() time.Time
}

// ownCADays is the life of certificates unless the recipe says otherwise.
const ownCADays = 365 * 20

func loadOwnCA(r *Recipe, now func() time.Time) (*ownCA, error) {
	bad := func(err error, what string) error {
		return &Error{Kind: ErrRecipe, Reason: what, Cause: err, Fix: "name the PEM files of a CA under own-ca"}
	}
	certText, err := os.ReadFile(r.path(r.OwnCA.Certificate))
	if err != nil {
		return nil, bad(err, "the certificate of the CA cannot be read")
	}
	keyText, err := os.ReadFile(r.path(r.OwnCA.Key))
	if err != nil {
		return nil, bad(err, "the key of the CA cannot be read")
	}
	cert, err := x509.ParseCertificate(derOf(certText))
	if err != nil {
		return nil, bad(err, "the certificate of the CA is none")
	}
	key, _, err := parseKey(keyText)
	if err != nil {
		return nil, bad(err, "the key of the CA is none")
	}
	if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, fail(ErrRecipe, "", "%s is not the key of %s", r.OwnCA.Key, r.OwnCA.Certificate)
	}
	if !cert.IsCA {
		return nil, fail(ErrRecipe, "", "%s is not the certificate of a CA", r.OwnCA.Certificate)
	}
	days := r.OwnCA.Days
	if days == 0 {
		days = ownCADays
	}
	return &ownCA{cert, key, days, now}, nil
}

func (a *ownCA) issue(public crypto.PublicKey, thing string) (*Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := a.now()
	until := now.AddDate(0, 0, a.days)
	if until.After(a.certificate.NotAfter) {
		until = a.certificate.NotAfter
	}
	// A day back, for devices whose clock is a little behind.
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName(thing)}, NotBefore: now.Add(-24 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.certificate, public, a.key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &Certificate{ID: hex.EncodeToString(sum[:]), PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}, nil
}
