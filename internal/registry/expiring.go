package registry

import (
	"context"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// ExpiringCertificates lists up to n active certificates that are not valid beyond a time, the first
// to end first, without their PEM.
func (r *Registry) ExpiringCertificates(ctx context.Context, before time.Time, n int) ([]*Certificate, error) {
	var list []*Certificate
	err := r.db.Query(ctx, `SELECT id, status, mode, ca, '', owner, previous_owner, created, modified, not_before, not_after,
		customer_version, generation, transfer_to, transfer_message, transfer_date, accept_date, reject_date, reject_reason
		FROM certificate WHERE status = ? AND not_after < ? ORDER BY not_after, id LIMIT ?`, []any{Active, millis(before), n}, func(row store.Row) error {
		c, err := r.scanCertificate(row)
		if err == nil {
			list = append(list, c)
		}
		return err
	})
	return list, err
}
