package domain

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Limits of a server certificate (AWS IoT developer guide, "Creating and configuring custom
// domains").
const (
	maxChain = 16 << 10 // bytes of PEM
	maxDepth = 5
)

// ServerCertificate is a certificate that was uploaded.
type ServerCertificate struct {
	ARN      string    `json:"serverCertificateArn"`
	DNSNames []string  `json:"dnsNames"`
	NotAfter time.Time `json:"notAfter"`
}

func (d *Domains) open(arn, chain string, sealed []byte) (*tls.Certificate, error) {
	if chain == "" {
		return nil, errors.New("it is gone")
	}
	key, err := d.cfg.Unseal(arn, sealed)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(chain), key)
	return &pair, err
}

// AddCertificate keeps a chain, the leaf first, and its private key, both in PEM, for
// configurations to name by the ARN returned. registry.ErrCertificateValidation.
func (d *Domains) AddCertificate(ctx context.Context, chain, key []byte) (*ServerCertificate, error) {
	bad := func(format string, args ...any) error {
		return refuse(registry.ErrCertificateValidation, "server certificate: "+format, args...)
	}
	if len(chain) > maxChain {
		return nil, bad("the chain has %d bytes, the limit is %d", len(chain), maxChain)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, bad("%v", err)
	}
	leaf := pair.Leaf
	switch now := d.cfg.Now(); {
	case len(pair.Certificate) > maxDepth:
		return nil, bad("the chain has %d certificates, the limit is %d", len(pair.Certificate), maxDepth)
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth):
		return nil, bad("the leaf lacks the extended key usage serverAuth")
	case now.After(leaf.NotAfter) || now.Before(leaf.NotBefore):
		return nil, bad("it is valid from %s to %s, which is not now", leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	out := &ServerCertificate{ARN: "arn:aws:acm:" + d.cfg.Region + ":" + d.cfg.Account + ":certificate/" + uuid.NewString(), DNSNames: leaf.DNSNames, NotAfter: leaf.NotAfter}
	return out, d.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO server_certificate (arn, chain, sealed_key, created) VALUES (?, ?, ?, ?)`,
			out.ARN, string(chain), d.cfg.Seal(out.ARN, key), d.cfg.Now().UnixMilli())
		return err
	})
}

// covers says why a certificate that was uploaded does not serve a domain name.
func (d *Domains) covers(tx *store.Tx, arn, domainName string) error {
	var chain string
	var sealed []byte
	err := tx.QueryRow(`SELECT chain, sealed_key FROM server_certificate WHERE arn = ?`, []any{arn}, &chain, &sealed)
	if errors.Is(err, store.ErrNoRows) {
		return refuse(registry.ErrCertificateValidation, "server certificate %s is not known here, and AWS Certificate Manager cannot be asked for it: upload it with berth domain create --certificate, or leave serverCertificateArns out", arn)
	}
	if err != nil {
		return err
	}
	pair, err := d.open(arn, chain, sealed)
	if err != nil {
		return err
	}
	if err := pair.Leaf.VerifyHostname(domainName); err != nil {
		return refuse(registry.ErrCertificateValidation, "server certificate %s: %v", arn, err)
	}
	return nil
}
