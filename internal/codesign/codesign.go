// Package codesign keeps keys that sign firmware, by the name of a signing profile. Each has a
// self-signed certificate to build into the firmware, with the key usages that the FreeRTOS user
// guide asks for ("Creating a code-signing certificate"). Private keys stay in the store, sealed.
//
// A signature is over the SHA-256 of a file: ECDSA in ASN.1, or RSA with PKCS #1 v1.5, which are the
// two forms that the OTA job document of FreeRTOS has names for.
package codesign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"time"

	"github.com/berth-iot/berth/internal/seal"
	"github.com/berth-iot/berth/internal/store"
)

// Algorithms of keys. Signatures of RSA-3072 have 384 bytes, the most that FreeRTOS devices take.
const (
	ECDSAP256 = "ecdsa-p256"
	RSA2048   = "rsa-2048"
	RSA3072   = "rsa-3072"
)

// Errors of this package match one of these with errors.Is, or come from the store.
var (
	ErrNotFound = errors.New("signing profile not found")
	ErrExists   = errors.New("signing profile already exists")
	ErrInvalid  = errors.New("invalid signing profile")
)

var (
	namePattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{2,64}$`)
	pathPattern = regexp.MustCompile(`^[!-~]{1,255}$`)
)

var schema = []string{`CREATE TABLE signing_profile (
	name TEXT PRIMARY KEY, algorithm TEXT NOT NULL, certificate TEXT NOT NULL, certificate_path TEXT NOT NULL,
	private_key BLOB NOT NULL, created_at BIGINT NOT NULL
)`}

// validity is that of a certificate: devices check the key, and few of them know the date.
const validity = 30 * 365 * 24 * time.Hour

// Profile is a signing profile without its private key.
type Profile struct {
	Name        string
	Algorithm   string
	Certificate string // PEM
	// CertificatePath is where devices find the certificate, certfile in a job document.
	CertificatePath string
	Created         time.Time
}

// SignatureAlgorithm returns the algorithm's name in a job document, ecdsa or rsa.
func (p *Profile) SignatureAlgorithm() string {
	if p.Algorithm == ECDSAP256 {
		return "ecdsa"
	}
	return "rsa"
}

// Profiles are the signing profiles of a server. Methods may be called concurrently.
type Profiles struct {
	db  *store.DB
	box *seal.Box
	now func() time.Time
}

// Open prepares the table; dir holds secrets.key. now may be nil for time.Now.
func Open(ctx context.Context, db *store.DB, dir string, now func() time.Time) (*Profiles, error) {
	if now == nil {
		now = time.Now
	}
	if err := db.Migrate(ctx, "codesign", schema); err != nil {
		return nil, err
	}
	box, err := seal.Open(dir, false)
	if err != nil {
		return nil, fmt.Errorf("open signing profiles: %w", err)
	}
	return &Profiles{db: db, box: box, now: now}, nil
}

// owner keeps the sealed keys of profiles apart from other secrets.
func owner(name string) string { return "codesign/" + name }

// Create makes a profile with a new key. Its name has 2 to 64 letters, digits, underscores and
// hyphens; an empty algorithm is ECDSAP256, an empty path NAME.crt.pem. ErrExists, ErrInvalid.
func (p *Profiles) Create(ctx context.Context, name, algorithm, path string) (*Profile, error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("%w: name %q is not 2 to 64 letters, digits, underscores and hyphens", ErrInvalid, name)
	}
	if algorithm == "" {
		algorithm = ECDSAP256
	}
	if path == "" {
		path = name + ".crt.pem"
	}
	if !pathPattern.MatchString(path) {
		return nil, fmt.Errorf("%w: certificate path %q is not 1 to 255 visible ASCII characters", ErrInvalid, path)
	}
	if _, err := p.Get(ctx, name); err == nil {
		return nil, fmt.Errorf("create signing profile %q: %w", name, ErrExists)
	}
	key, err := generate(algorithm)
	if err != nil {
		return nil, err
	}
	v := &Profile{Name: name, Algorithm: algorithm, CertificatePath: path, Created: p.now().Truncate(time.Millisecond)}
	if v.Certificate, err = selfSigned(name, key, v.Created); err != nil {
		return nil, fmt.Errorf("create signing profile %q: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("create signing profile %q: %w", name, err)
	}
	err = p.db.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO signing_profile (name, algorithm, certificate, certificate_path, private_key, created_at)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			name, algorithm, v.Certificate, path, p.box.Seal(owner(name), der), v.Created.UnixMilli())
		if err == nil && n == 0 {
			err = ErrExists
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create signing profile %q: %w", name, err)
	}
	return v, nil
}

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("%w: algorithm %q is not %s, %s or %s", ErrInvalid, algorithm, ECDSAP256, RSA2048, RSA3072)
}

func selfSigned(name string, key crypto.Signer, now time.Time) (string, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), err
}

const columns = `name, algorithm, certificate, certificate_path, created_at`

func scan(row store.Row, more ...any) (*Profile, error) {
	v := &Profile{}
	var created int64
	err := row.Scan(append([]any{&v.Name, &v.Algorithm, &v.Certificate, &v.CertificatePath, &created}, more...)...)
	v.Created = time.UnixMilli(created)
	return v, err
}

// Get returns a profile. ErrNotFound.
func (p *Profiles) Get(ctx context.Context, name string) (*Profile, error) {
	var v *Profile
	err := p.db.Query(ctx, `SELECT `+columns+` FROM signing_profile WHERE name = ?`, []any{name}, func(row store.Row) (err error) {
		v, err = scan(row)
		return err
	})
	if err == nil && v == nil {
		err = fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	return v, err
}

// List returns all profiles by name.
func (p *Profiles) List(ctx context.Context) ([]*Profile, error) {
	list := []*Profile{}
	err := p.db.Query(ctx, `SELECT `+columns+` FROM signing_profile ORDER BY name`, nil, func(row store.Row) error {
		v, err := scan(row)
		list = append(list, v)
		return err
	})
	return list, err
}

// Delete removes a profile and its key for good; signatures made with it stay valid. ErrNotFound.
func (p *Profiles) Delete(ctx context.Context, name string) error {
	return p.db.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM signing_profile WHERE name = ?`, name)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: %q", ErrNotFound, name)
		}
		return err
	})
}

// Sign signs the SHA-256 of a file with a profile's key. ErrNotFound; ErrInvalid for a digest of
// another length than 32 bytes.
func (p *Profiles) Sign(ctx context.Context, name string, digest []byte) ([]byte, error) {
	if len(digest) != sha256.Size {
		return nil, fmt.Errorf("%w: a SHA-256 has %d bytes, not %d", ErrInvalid, sha256.Size, len(digest))
	}
	var sealed []byte
	err := p.db.QueryRow(ctx, `SELECT private_key FROM signing_profile WHERE name = ?`, []any{name}, &sealed)
	if errors.Is(err, store.ErrNoRows) {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	if err != nil {
		return nil, err
	}
	der, err := p.box.Unseal(owner(name), sealed)
	if err != nil {
		return nil, fmt.Errorf("sign with profile %q: %w", name, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("sign with profile %q: %w", name, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("sign with profile %q: a %T does not sign", name, parsed)
	}
	return key.Sign(rand.Reader, digest, crypto.SHA256) // with RSA and these options PKCS #1 v1.5
}
