package registry

import (
	"context"
	"errors"

	"github.com/berth-iot/berth/internal/store"
)

// CertificateStatus returns the state of a certificate alone, as the TLS handshake needs it.
// ErrNotFound for an unknown one.
func (r *Registry) CertificateStatus(ctx context.Context, id string) (string, error) {
	var status string
	err := r.db.QueryRow(ctx, `SELECT status FROM certificate WHERE id = ?`, []any{id}, &status)
	if errors.Is(err, store.ErrNoRows) {
		return "", refuse(ErrNotFound, "certificate %s not found", id)
	}
	return status, err
}
