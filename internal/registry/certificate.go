package registry

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

// States of a certificate. Only ACTIVE ones may connect; see AWS IoT developer guide, "Manage
// device certificates".
const (
	Active            = "ACTIVE"
	Inactive          = "INACTIVE"
	Revoked           = "REVOKED"
	PendingTransfer   = "PENDING_TRANSFER"
	PendingActivation = "PENDING_ACTIVATION"
	RegisterInactive  = "REGISTER_INACTIVE" // deprecated by AWS, never set here
)

// Modes of a certificate: checked against a registered CA, or registered without one.
const (
	ModeDefault = "DEFAULT"
	ModeSNIOnly = "SNI_ONLY"
)

const certPrefix = "cert/"

// Certificate is a device certificate. Its identifier is the lower-case SHA-256 of its DER form.
type Certificate struct {
	ID, ARN, Status, Mode string
	CACertificateID       string // the registered CA that signed it, or ""
	PEM                   string
	OwnedBy               string // account
	PreviousOwnedBy       string
	Created, Modified     time.Time
	NotBefore, NotAfter   time.Time
	CustomerVersion       int64
	GenerationID          string
	Transfer              Transfer
}

// Transfer is the state of moving a certificate to another account; dates are zero until reached.
type Transfer struct {
	To, Message, RejectReason string
	Date, Accepted, Rejected  time.Time
}

// NewCertificate is what AddCertificate needs.
type NewCertificate struct {
	PEM             string
	Status          string // Active, Inactive, Revoked or PendingActivation; default Inactive
	Mode            string // default ModeDefault
	CACertificateID string // "" for those that berth issues itself
}

// CertificateID returns the identifier of a certificate in DER form.
func CertificateID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// ParseCertificate reads the first certificate of a PEM text; ErrCertificateValidation.
func ParseCertificate(text string) (*x509.Certificate, error) {
	if len(text) > 65536 {
		return nil, refuse(ErrInvalid, "certificate PEM is longer than 65536 characters")
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, refuse(ErrCertificateValidation, "no PEM certificate found")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, refuse(ErrCertificateValidation, "parse certificate: %v", err)
	}
	return cert, nil
}

const certColumns = `id, status, mode, ca, pem, owner, previous_owner, created, modified, not_before, not_after,
	customer_version, generation, transfer_to, transfer_message, transfer_date, accept_date, reject_date, reject_reason`

func (r *Registry) scanCertificate(row store.Row) (*Certificate, error) {
	var c Certificate
	var created, modified, notBefore, notAfter, transferred, accepted, rejected int64
	err := row.Scan(&c.ID, &c.Status, &c.Mode, &c.CACertificateID, &c.PEM, &c.OwnedBy, &c.PreviousOwnedBy, &created, &modified, &notBefore, &notAfter,
		&c.CustomerVersion, &c.GenerationID, &c.Transfer.To, &c.Transfer.Message, &transferred, &accepted, &rejected, &c.Transfer.RejectReason)
	if err != nil {
		return nil, err
	}
	c.ARN = r.ARN(certPrefix + c.ID)
	c.Created, c.Modified, c.NotBefore, c.NotAfter = instant(created), instant(modified), time.UnixMilli(notBefore).UTC(), time.UnixMilli(notAfter).UTC()
	c.Transfer.Date, c.Transfer.Accepted, c.Transfer.Rejected = instant(transferred), instant(accepted), instant(rejected)
	return &c, nil
}

func (r *Registry) certificate(rd reader, id string) (*Certificate, error) {
	c, err := r.scanCertificate(one(rd, `SELECT `+certColumns+` FROM certificate WHERE id = ?`, id))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "certificate %s not found", id)
	}
	return c, err
}

// AddCertificate stores a certificate that has been issued or checked already. ErrAlreadyExists.
func (r *Registry) AddCertificate(ctx context.Context, in NewCertificate) (*Certificate, error) {
	var c *Certificate
	err := r.write(ctx, func(tx *store.Tx, ch *changes) (err error) {
		c, err = r.addCertificate(tx, ch, in)
		return err
	})
	return c, err
}

func (r *Registry) addCertificate(tx *store.Tx, ch *changes, in NewCertificate) (*Certificate, error) {
	cert, err := ParseCertificate(in.PEM)
	if err != nil {
		return nil, err
	}
	if in.Status == "" {
		in.Status = Inactive
	}
	if in.Mode == "" {
		in.Mode = ModeDefault
	}
	if err := oneOf(in.Status, "status", Active, Inactive, Revoked, PendingActivation); err != nil {
		return nil, err
	}
	id := CertificateID(cert.Raw)
	if old, err := r.certificate(tx, id); err == nil {
		return nil, exists(id, old.ARN, "the certificate is already registered")
	} else if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	now := r.now()
	c := &Certificate{
		ID: id, ARN: r.ARN(certPrefix + id), Status: in.Status, Mode: in.Mode, CACertificateID: in.CACertificateID,
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})), OwnedBy: r.account, Created: now, Modified: now,
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, CustomerVersion: 1, GenerationID: uuid.NewString(),
	}
	_, err = tx.Exec(`INSERT INTO certificate (`+certColumns+`) VALUES (?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?, ?, ?, '', '', 0, 0, 0, '')`,
		c.ID, c.Status, c.Mode, c.CACertificateID, c.PEM, c.OwnedBy, millis(now), millis(now), millis(c.NotBefore), millis(c.NotAfter), c.CustomerVersion, c.GenerationID)
	ch.certificate(id)
	return c, err
}

// RegisterCertificate stores a certificate that a registered, active CA signed. caPEM is needed
// only when several CAs share a subject and key. ErrCertificateValidation when no CA fits,
// ErrCertificateState when it is inactive, ErrCertificateConflict, ErrAlreadyExists.
func (r *Registry) RegisterCertificate(ctx context.Context, certPEM, caPEM, status string) (*Certificate, error) {
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	if err := checkRegisterStatus(status); err != nil {
		return nil, err
	}
	var only string
	if caPEM != "" {
		ca, err := ParseCertificate(caPEM)
		if err != nil {
			return nil, err
		}
		only = CertificateID(ca.Raw)
	}
	var c *Certificate
	err = r.write(ctx, func(tx *store.Tx, ch *changes) error {
		ca, err := r.signerOf(tx, cert, only)
		if err != nil {
			return err
		}
		if ca.Status != Active {
			return refuse(ErrCertificateState, "CA certificate %s is not active", ca.ID)
		}
		c, err = r.addCertificate(tx, ch, NewCertificate{PEM: certPEM, Status: status, Mode: ca.Mode, CACertificateID: ca.ID})
		return err
	})
	return c, err
}

// RegisterCertificateWithoutCA stores any certificate, in mode SNI_ONLY. ErrAlreadyExists.
func (r *Registry) RegisterCertificateWithoutCA(ctx context.Context, certPEM, status string) (*Certificate, error) {
	if err := checkRegisterStatus(status); err != nil {
		return nil, err
	}
	return r.AddCertificate(ctx, NewCertificate{PEM: certPEM, Status: status, Mode: ModeSNIOnly})
}

func checkRegisterStatus(status string) error {
	switch status {
	case PendingTransfer, PendingActivation, RegisterInactive:
		return refuse(ErrInvalid, "certificate status %s cannot be set by request", status)
	case "":
		return nil
	}
	return oneOf(status, "status", Active, Inactive, Revoked)
}

// DescribeCertificate returns a certificate, or ErrNotFound.
func (r *Registry) DescribeCertificate(ctx context.Context, id string) (*Certificate, error) {
	if err := certificateID.check(id); err != nil {
		return nil, err
	}
	return r.certificate(r.reader(ctx), id)
}

// UpdateCertificate sets a certificate ACTIVE, INACTIVE or REVOKED; the same again is no error.
// ErrCertificateState for one that is revoked or in transfer, ErrNotFound.
func (r *Registry) UpdateCertificate(ctx context.Context, id, status string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := certificateID.check(id); err != nil {
			return err
		}
		if err := oneOf(status, "newStatus", Active, Inactive, Revoked, PendingTransfer, RegisterInactive, PendingActivation); err != nil {
			return err
		}
		if err := checkRegisterStatus(status); err != nil {
			return err
		}
		c, err := r.certificate(tx, id)
		if err != nil {
			return err
		}
		switch {
		case c.Status == status:
			return nil
		case c.Status == Revoked:
			return refuse(ErrCertificateState, "certificate %s is revoked and cannot be used again", id)
		case c.Status == PendingTransfer:
			return refuse(ErrCertificateState, "certificate %s is being transferred", id)
		}
		return r.setStatus(tx, ch, id, status)
	})
}

func (r *Registry) setStatus(tx *store.Tx, ch *changes, id, status string) error {
	ch.certificate(id)
	_, err := tx.Exec(`UPDATE certificate SET status = ?, modified = ?, customer_version = customer_version + 1, generation = ? WHERE id = ?`,
		status, millis(r.now()), uuid.NewString(), id)
	return err
}

// DeleteCertificate removes a certificate that is not active (ErrCertificateState) and has nothing
// attached (ErrDeleteConflict); force detaches its policies. ErrNotFound.
func (r *Registry) DeleteCertificate(ctx context.Context, id string, force bool) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := certificateID.check(id); err != nil {
			return err
		}
		c, err := r.certificate(tx, id)
		if err != nil {
			return err
		}
		if c.Status == Active || c.Status == PendingTransfer {
			return refuse(ErrCertificateState, "certificate must be deactivated before deletion: certificate %s is %s", id, c.Status)
		}
		things, policies, err := attachments(tx, certPrefix+id)
		if err != nil {
			return err
		}
		if things {
			return refuse(ErrDeleteConflict, "things must be detached before deletion: certificate %s", id)
		}
		if policies && !force {
			return refuse(ErrDeleteConflict, "certificate policies must be detached before deletion: certificate %s", id)
		}
		if _, err := tx.Exec(`DELETE FROM policy_attachment WHERE target = ?`, certPrefix+id); err != nil {
			return err
		}
		ch.certificate(id)
		_, err = tx.Exec(`DELETE FROM certificate WHERE id = ?`, id)
		return err
	})
}

// attachments says whether things and policies are attached to a principal.
func attachments(rd reader, principal string) (things, policies bool, err error) {
	things, err = has(rd, `SELECT count(*) FROM (SELECT 1 FROM thing_principal WHERE principal = ? LIMIT 1) AS t`, principal)
	if err != nil {
		return false, false, err
	}
	policies, err = has(rd, `SELECT count(*) FROM policy_attachment WHERE target = ?`, principal)
	return things, policies, err
}

// order is the direction of a listing by creation time, with its first key.
func (r *Registry) byTime(page Page, ascending bool) (compare, direction string, created int64, id string, err error) {
	compare, direction, first := "<", "DESC", int64(math.MaxInt64)
	if ascending {
		compare, direction, first = ">", "ASC", -1
	}
	after, err := page.after(strconv.FormatInt(first, 10), "")
	if err != nil {
		return "", "", 0, "", err
	}
	created, err = strconv.ParseInt(after[0], 10, 64)
	if err != nil {
		return "", "", 0, "", refuse(ErrInvalid, "the pagination token is not valid")
	}
	return compare, direction, created, after[1], nil
}

// ListCertificates lists certificates by creation time, newest first unless ascending; with a CA
// certificate's identifier only those it signed. The PEM text is left out.
func (r *Registry) ListCertificates(ctx context.Context, ca string, ascending bool, page Page) ([]*Certificate, string, error) {
	if ca != "" {
		if err := certificateID.check(ca); err != nil {
			return nil, "", err
		}
		return r.listCertificates(ctx, "ca = ? AND", []any{ca}, ascending, page)
	}
	return r.listCertificates(ctx, "", nil, ascending, page)
}

// ListOutgoingCertificates lists certificates in transfer like ListCertificates.
func (r *Registry) ListOutgoingCertificates(ctx context.Context, ascending bool, page Page) ([]*Certificate, string, error) {
	return r.listCertificates(ctx, "status = ? AND", []any{PendingTransfer}, ascending, page)
}

func (r *Registry) listCertificates(ctx context.Context, where string, args []any, ascending bool, page Page) ([]*Certificate, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	compare, direction, created, id, err := r.byTime(page, ascending)
	if err != nil {
		return nil, "", err
	}
	query := `SELECT id, status, mode, ca, '', owner, previous_owner, created, modified, not_before, not_after,
		customer_version, generation, transfer_to, transfer_message, transfer_date, accept_date, reject_date, reject_reason
		FROM certificate WHERE ` + where + ` (created, id) ` + compare + ` (?, ?) ORDER BY created ` + direction + `, id ` + direction + ` LIMIT ?`
	return pageOf(r.reader(ctx), limit, query, append(args, created, id), func(row store.Row) (*Certificate, []string, error) {
		c, err := r.scanCertificate(row)
		if err != nil {
			return nil, nil, err
		}
		return c, []string{strconv.FormatInt(millis(c.Created), 10), c.ID}, nil
	})
}
