package registry

import (
	"context"
	"errors"
	"strings"

	"github.com/berth-iot/berth/internal/store"
)

// CertificateStatus returns the state of a certificate alone, as the TLS handshake needs it.
// ErrNotFound for an unknown one.
func (r *Registry) CertificateStatus(ctx context.Context, id string) (string, error) {
	shard := r.cache.shard(id)
	known, seen := shard.get(id, anyClient)
	if known != nil {
		return known.Status, nil
	}
	var status string
	err := r.db.QueryRow(ctx, `SELECT status FROM certificate WHERE id = ?`, []any{id}, &status)
	if errors.Is(err, store.ErrNoRows) {
		return "", refuse(ErrNotFound, "certificate %s not found", id)
	}
	if err == nil && status == Active { // others are looked up again by whoever is refused
		shard.put(id, anyClient, &Identity{Status: status}, seen)
	}
	return status, err
}

// CertificateOf returns the certificate identifier of a principal's ARN; ok is false for principals
// of other kinds.
func (r *Registry) CertificateOf(principalARN string) (id string, ok bool) {
	return strings.CutPrefix(principalARN, r.ARN(certPrefix))
}
