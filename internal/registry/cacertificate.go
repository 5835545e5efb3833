package registry

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

const caPrefix = "cacert/"

// maxSameSubject is the number of CA certificates that may share a subject.
const maxSameSubject = 10

// CACertificate is a certificate authority whose device certificates may be registered.
type CACertificate struct {
	ID, ARN, Status, Mode string
	AutoRegistration      bool
	PEM                   string
	Created, Modified     time.Time
	NotBefore, NotAfter   time.Time
	CustomerVersion       int64
	GenerationID          string
	Registration          RegistrationConfig
}

// RegistrationConfig is the provisioning template that runs when a certificate of the CA connects
// for the first time.
type RegistrationConfig struct{ TemplateBody, RoleARN, TemplateName string }

func (c RegistrationConfig) check() error {
	if len(c.TemplateBody) > 10240 {
		return refuse(ErrInvalid, "template body is longer than 10240 characters")
	}
	if c.TemplateName != "" {
		return templateName.check(c.TemplateName)
	}
	return nil
}

// NewCACertificate is what RegisterCACertificate needs. In mode DEFAULT (the default) the
// verification certificate is required: signed by the CA, with the registration code as its CN.
type NewCACertificate struct {
	PEM, VerificationPEM, Mode string
	Active, AutoRegistration   bool
	Registration               RegistrationConfig
	Tags                       []Tag
}

const caColumns = `id, status, auto_registration, mode, pem, created, modified, not_before, not_after, customer_version, generation, template_body, role_arn, template_name`

func (r *Registry) scanCACertificate(row store.Row) (*CACertificate, error) {
	var c CACertificate
	var auto, created, modified, notBefore, notAfter int64
	err := row.Scan(&c.ID, &c.Status, &auto, &c.Mode, &c.PEM, &created, &modified, &notBefore, &notAfter, &c.CustomerVersion, &c.GenerationID,
		&c.Registration.TemplateBody, &c.Registration.RoleARN, &c.Registration.TemplateName)
	if err != nil {
		return nil, err
	}
	c.ARN, c.AutoRegistration = r.ARN(caPrefix+c.ID), auto != 0
	c.Created, c.Modified, c.NotBefore, c.NotAfter = instant(created), instant(modified), time.UnixMilli(notBefore).UTC(), time.UnixMilli(notAfter).UTC()
	return &c, nil
}

func (r *Registry) caCertificate(rd reader, id string) (*CACertificate, error) {
	c, err := r.scanCACertificate(one(rd, `SELECT `+caColumns+` FROM ca_certificate WHERE id = ?`, id))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "CA certificate %s not found", id)
	}
	return c, err
}

// withSubject returns the CA certificates whose subject is the given DER name.
func (r *Registry) withSubject(rd reader, rawSubject []byte) ([]*CACertificate, error) {
	cas, _, err := pageOf(rd, MaxPage, `SELECT `+caColumns+` FROM ca_certificate WHERE subject = ? LIMIT ?`, []any{hex.EncodeToString(rawSubject)},
		func(row store.Row) (*CACertificate, []string, error) {
			c, err := r.scanCACertificate(row)
			return c, []string{""}, err
		})
	return cas, err
}

// signerOf finds the registered CA that signed a certificate: the one named by only, if given.
func (r *Registry) signerOf(rd reader, cert *x509.Certificate, only string) (*CACertificate, error) {
	cas, err := r.withSubject(rd, cert.RawIssuer)
	if err != nil {
		return nil, err
	}
	var found *CACertificate
	for _, c := range cas {
		if only != "" && c.ID != only {
			continue
		}
		ca, err := ParseCertificate(c.PEM)
		if err != nil || cert.CheckSignatureFrom(ca) != nil {
			continue
		}
		if found != nil {
			return nil, refuse(ErrCertificateConflict, "several registered CA certificates have this subject and key: name one by its PEM")
		}
		found = c
	}
	if found == nil {
		return nil, refuse(ErrCertificateValidation, "no registered CA certificate signed this certificate: issuer %s", cert.Issuer)
	}
	return found, nil
}

// SignerOf returns the registered CA certificate that signed cert, whatever its status.
// ErrCertificateValidation when there is none, ErrCertificateConflict when there are several.
func (r *Registry) SignerOf(ctx context.Context, cert *x509.Certificate) (*CACertificate, error) {
	return r.signerOf(r.reader(ctx), cert, "")
}

// RegisterCACertificate stores a CA certificate. ErrCertificateValidation for one that is no CA,
// ErrRegistrationCode, ErrAlreadyExists, ErrLimit for the eleventh of one subject.
func (r *Registry) RegisterCACertificate(ctx context.Context, in NewCACertificate) (*CACertificate, error) {
	cert, err := ParseCertificate(in.PEM)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, refuse(ErrCertificateValidation, "the certificate is not a CA certificate: its basic constraints do not say CA")
	}
	if in.Mode == "" {
		in.Mode = ModeDefault
	}
	if err := errors.Join(oneOf(in.Mode, "certificateMode", ModeDefault, ModeSNIOnly), in.Registration.check()); err != nil {
		return nil, err
	}
	var verification *x509.Certificate
	if in.Mode == ModeDefault {
		if in.VerificationPEM == "" {
			return nil, refuse(ErrInvalid, "a verification certificate is required in mode DEFAULT")
		}
		if verification, err = ParseCertificate(in.VerificationPEM); err != nil {
			return nil, err
		}
		if !bytes.Equal(verification.RawIssuer, cert.RawSubject) || verification.CheckSignatureFrom(cert) != nil {
			return nil, refuse(ErrRegistrationCode, "the verification certificate is not signed by the CA certificate")
		}
	}
	var c *CACertificate
	err = r.write(ctx, func(tx *store.Tx, _ *changes) error {
		id := CertificateID(cert.Raw)
		if old, err := r.caCertificate(tx, id); err == nil {
			return exists(id, old.ARN, "the CA certificate is already registered")
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		if verification != nil {
			code, err := registrationCode(tx, r.account)
			if err != nil {
				return err
			}
			if code == "" || verification.Subject.CommonName != code {
				return refuse(ErrRegistrationCode, "the common name of the verification certificate is not the registration code")
			}
		}
		same, err := r.withSubject(tx, cert.RawSubject)
		if err != nil {
			return err
		}
		if len(same) >= maxSameSubject {
			return refuse(ErrLimit, "%d CA certificates already have the subject %s", len(same), cert.Subject)
		}
		now := r.now()
		c = &CACertificate{
			ID: id, ARN: r.ARN(caPrefix + id), Status: Inactive, Mode: in.Mode, AutoRegistration: in.AutoRegistration,
			PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})), Created: now, Modified: now,
			NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, CustomerVersion: 1, GenerationID: uuid.NewString(), Registration: in.Registration,
		}
		if in.Active {
			c.Status = Active
		}
		_, err = tx.Exec(`INSERT INTO ca_certificate (`+caColumns+`, subject) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			c.ID, c.Status, number(c.AutoRegistration), c.Mode, c.PEM, millis(now), millis(now), millis(c.NotBefore), millis(c.NotAfter), c.CustomerVersion, c.GenerationID,
			c.Registration.TemplateBody, c.Registration.RoleARN, c.Registration.TemplateName, hex.EncodeToString(cert.RawSubject))
		if err != nil {
			return err
		}
		return setTags(tx, caPrefix+id, in.Tags)
	})
	return c, err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// DescribeCACertificate returns a CA certificate, or ErrNotFound.
func (r *Registry) DescribeCACertificate(ctx context.Context, id string) (*CACertificate, error) {
	if err := certificateID.check(id); err != nil {
		return nil, err
	}
	return r.caCertificate(r.reader(ctx), id)
}

// CACertificateUpdate changes a CA certificate; zero fields change nothing.
type CACertificateUpdate struct {
	Status             string // Active or Inactive
	AutoRegistration   *bool
	Registration       *RegistrationConfig
	RemoveRegistration bool // forget the template and, unless AutoRegistration says otherwise, register no more
}

// UpdateCACertificate changes a CA certificate. ErrNotFound.
func (r *Registry) UpdateCACertificate(ctx context.Context, id string, up CACertificateUpdate) error {
	return r.write(ctx, func(tx *store.Tx, _ *changes) error {
		if err := certificateID.check(id); err != nil {
			return err
		}
		c, err := r.caCertificate(tx, id)
		if err != nil {
			return err
		}
		if up.Status != "" {
			if err := oneOf(up.Status, "newStatus", Active, Inactive); err != nil {
				return err
			}
			c.Status = up.Status
		}
		if up.RemoveRegistration {
			c.Registration, c.AutoRegistration = RegistrationConfig{}, false
		}
		if up.AutoRegistration != nil {
			c.AutoRegistration = *up.AutoRegistration
		}
		if up.Registration != nil {
			if err := up.Registration.check(); err != nil {
				return err
			}
			c.Registration = *up.Registration
		}
		_, err = tx.Exec(`UPDATE ca_certificate SET status = ?, auto_registration = ?, template_body = ?, role_arn = ?, template_name = ?,
			modified = ?, customer_version = customer_version + 1, generation = ? WHERE id = ?`,
			c.Status, number(c.AutoRegistration), c.Registration.TemplateBody, c.Registration.RoleARN, c.Registration.TemplateName,
			millis(r.now()), uuid.NewString(), id)
		return err
	})
}

// DeleteCACertificate removes an inactive CA certificate; those it signed stay. ErrCertificateState
// while active, ErrNotFound.
func (r *Registry) DeleteCACertificate(ctx context.Context, id string) error {
	return r.write(ctx, func(tx *store.Tx, _ *changes) error {
		if err := certificateID.check(id); err != nil {
			return err
		}
		c, err := r.caCertificate(tx, id)
		if err != nil {
			return err
		}
		if c.Status == Active {
			return refuse(ErrCertificateState, "CA certificate %s must be deactivated before deletion", id)
		}
		if err := dropTags(tx, caPrefix+id); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM ca_certificate WHERE id = ?`, id)
		return err
	})
}

// ListCACertificates lists CA certificates by creation time, newest first unless ascending; with a
// template's name only those that use it.
func (r *Registry) ListCACertificates(ctx context.Context, template string, ascending bool, page Page) ([]*CACertificate, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	compare, direction, created, id, err := r.byTime(page, ascending)
	if err != nil {
		return nil, "", err
	}
	where, args := "", []any(nil)
	if template != "" {
		where, args = "template_name = ? AND", []any{template}
	}
	query := `SELECT ` + caColumns + ` FROM ca_certificate WHERE ` + where + ` (created, id) ` + compare + ` (?, ?) ORDER BY created ` + direction + `, id ` + direction + ` LIMIT ?`
	return pageOf(r.reader(ctx), limit, query, append(args, created, id), func(row store.Row) (*CACertificate, []string, error) {
		c, err := r.scanCACertificate(row)
		if err != nil {
			return nil, nil, err
		}
		return c, []string{strconv.FormatInt(millis(c.Created), 10), c.ID}, nil
	})
}
