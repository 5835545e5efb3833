package registry

import (
	"context"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

// A certificate in transfer is PENDING_TRANSFER from TransferCertificate on, until it is accepted,
// rejected or cancelled; then it is INACTIVE, or ACTIVE when accepted so.
//
//	INACTIVE, REVOKED… ── transfer ──► PENDING_TRANSFER ── accept ──► INACTIVE | ACTIVE
//	                                          └── reject, cancel ──► INACTIVE
//
// One registry holds one account, so the account that is named as the target also acts here.

// TransferCertificate offers a certificate to another account and returns its ARN there.
// ErrCertificateState while ACTIVE or already in transfer, ErrTransferConflict while anything is
// attached, ErrNotFound.
func (r *Registry) TransferCertificate(ctx context.Context, id, account, message string) (string, error) {
	err := r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := certificateID.check(id); err != nil {
			return err
		}
		if err := awsAccountID.check(account); err != nil {
			return err
		}
		if err := checkMessage("transferMessage", message); err != nil {
			return err
		}
		c, err := r.certificate(tx, id)
		if err != nil {
			return err
		}
		if c.Status == Active || c.Status == PendingTransfer {
			return refuse(ErrCertificateState, "certificate %s is %s and cannot be transferred", id, c.Status)
		}
		things, policies, err := attachments(tx, certPrefix+id)
		if err != nil {
			return err
		}
		if things || policies {
			return refuse(ErrTransferConflict, "certificate %s still has things or policies attached", id)
		}
		ch.certificate(id)
		_, err = tx.Exec(`UPDATE certificate SET status = ?, modified = ?, customer_version = customer_version + 1, generation = ?,
			transfer_to = ?, transfer_message = ?, transfer_date = ?, accept_date = 0, reject_date = 0, reject_reason = '' WHERE id = ?`,
			PendingTransfer, millis(r.now()), uuid.NewString(), account, message, millis(r.now()), id)
		return err
	})
	return "arn:aws:iot:" + r.region + ":" + account + ":" + certPrefix + id, err
}

// pending runs fn on a certificate in transfer; ErrTransferCompleted for any other.
func (r *Registry) pending(ctx context.Context, id string, fn func(tx *store.Tx, ch *changes, c *Certificate) error) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := certificateID.check(id); err != nil {
			return err
		}
		c, err := r.certificate(tx, id)
		if err != nil {
			return err
		}
		if c.Status != PendingTransfer {
			return refuse(ErrTransferCompleted, "certificate %s is not in transfer", id)
		}
		return fn(tx, ch, c)
	})
}

// AcceptCertificateTransfer takes a certificate over. ErrTransferCompleted, ErrNotFound.
func (r *Registry) AcceptCertificateTransfer(ctx context.Context, id string, active bool) error {
	return r.pending(ctx, id, func(tx *store.Tx, ch *changes, c *Certificate) error {
		status := Inactive
		if active {
			status = Active
		}
		if _, err := tx.Exec(`UPDATE certificate SET previous_owner = owner, owner = transfer_to, accept_date = ? WHERE id = ?`, millis(r.now()), id); err != nil {
			return err
		}
		return r.setStatus(tx, ch, id, status)
	})
}

// RejectCertificateTransfer sends a certificate back. ErrTransferCompleted, ErrNotFound.
func (r *Registry) RejectCertificateTransfer(ctx context.Context, id, reason string) error {
	if err := checkMessage("rejectReason", reason); err != nil {
		return err
	}
	return r.pending(ctx, id, func(tx *store.Tx, ch *changes, c *Certificate) error {
		if _, err := tx.Exec(`UPDATE certificate SET reject_reason = ?, reject_date = ? WHERE id = ?`, reason, millis(r.now()), id); err != nil {
			return err
		}
		return r.setStatus(tx, ch, id, Inactive)
	})
}

// CancelCertificateTransfer takes an offer back. ErrTransferCompleted, ErrNotFound.
func (r *Registry) CancelCertificateTransfer(ctx context.Context, id string) error {
	return r.pending(ctx, id, func(tx *store.Tx, ch *changes, c *Certificate) error {
		if _, err := tx.Exec(`UPDATE certificate SET transfer_to = '', transfer_message = '', transfer_date = 0 WHERE id = ?`, id); err != nil {
			return err
		}
		return r.setStatus(tx, ch, id, Inactive)
	})
}
