package registry

import (
	"context"
	"errors"
	"strconv"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

func (r *Registry) policyVersion(rd reader, name, id string) (*PolicyVersion, error) {
	if err := policyVersionID.check(id); err != nil {
		return nil, err
	}
	number, _ := strconv.ParseInt(id, 10, 64)
	v := PolicyVersion{Policy: name, ARN: r.ARN(policyPrefix + name), Version: id}
	var defaultVersion, created int64
	err := rd.QueryRow(`SELECT v.document, v.created, p.default_version, p.generation
		FROM policy_version v JOIN policy p ON p.name = v.policy WHERE v.policy = ? AND v.version = ?`,
		[]any{name, number}, &v.Document, &created, &defaultVersion, &v.GenerationID)
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "policy %s has no version %s", name, id)
	}
	v.Default, v.Created = number == defaultVersion, instant(created)
	return &v, err
}

// CreatePolicyVersion adds a version, as the default if asked. ErrVersionsLimit for a sixth,
// ErrMalformedPolicy, ErrNotFound.
func (r *Registry) CreatePolicyVersion(ctx context.Context, name string, document []byte, setDefault bool) (*PolicyVersion, error) {
	if err := policyName.check(name); err != nil {
		return nil, err
	}
	if err := checkDocument(document); err != nil {
		return nil, err
	}
	var v *PolicyVersion
	err := r.write(ctx, func(tx *store.Tx, ch *changes) error {
		p, err := r.policy(tx, name)
		if err != nil {
			return err
		}
		var versions, last int64
		if err := tx.QueryRow(`SELECT count(*) FROM policy_version WHERE policy = ?`, []any{name}, &versions); err != nil {
			return err
		}
		if versions >= maxVersions {
			return refuse(ErrVersionsLimit, "the policy already has the maximum number of versions (%d) (name=%s)", maxVersions, name)
		}
		if err := tx.QueryRow(`SELECT last_version FROM policy WHERE name = ?`, []any{name}, &last); err != nil {
			return err
		}
		last++
		now := r.now()
		v = &PolicyVersion{Policy: name, ARN: p.ARN, Version: strconv.FormatInt(last, 10), Default: setDefault, Document: document, Created: now, GenerationID: uuid.NewString()}
		if _, err := tx.Exec(`INSERT INTO policy_version (policy, version, document, created) VALUES (?, ?, ?, ?)`, name, last, document, millis(now)); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE policy SET last_version = ?, modified = ?, generation = ? WHERE name = ?`, last, millis(now), v.GenerationID, name); err != nil {
			return err
		}
		if !setDefault {
			return nil
		}
		if _, err := tx.Exec(`UPDATE policy SET default_version = ? WHERE name = ?`, last, name); err != nil {
			return err
		}
		return ch.policy(tx, name)
	})
	return v, err
}

// GetPolicyVersion returns one version, or ErrNotFound.
func (r *Registry) GetPolicyVersion(ctx context.Context, name, id string) (*PolicyVersion, error) {
	if err := policyName.check(name); err != nil {
		return nil, err
	}
	return r.policyVersion(r.reader(ctx), name, id)
}

// SetDefaultPolicyVersion makes a version the one in force. ErrNotFound.
func (r *Registry) SetDefaultPolicyVersion(ctx context.Context, name, id string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := policyName.check(name); err != nil {
			return err
		}
		v, err := r.policyVersion(tx, name, id)
		if err != nil || v.Default {
			return err
		}
		number, _ := strconv.ParseInt(id, 10, 64)
		if _, err := tx.Exec(`UPDATE policy SET default_version = ?, modified = ?, generation = ? WHERE name = ?`, number, millis(r.now()), uuid.NewString(), name); err != nil {
			return err
		}
		return ch.policy(tx, name)
	})
}

// DeletePolicyVersion removes a version that is not the default (ErrDeleteConflict). ErrNotFound.
func (r *Registry) DeletePolicyVersion(ctx context.Context, name, id string) error {
	return r.write(ctx, func(tx *store.Tx, _ *changes) error {
		if err := policyName.check(name); err != nil {
			return err
		}
		v, err := r.policyVersion(tx, name, id)
		if err != nil {
			return err
		}
		if v.Default {
			return refuse(ErrDeleteConflict, "cannot delete the default version of a policy (name=%s)", name)
		}
		number, _ := strconv.ParseInt(id, 10, 64)
		_, err = tx.Exec(`DELETE FROM policy_version WHERE policy = ? AND version = ?`, name, number)
		return err
	})
}

// ListPolicyVersions lists all versions, newest first. ErrNotFound.
func (r *Registry) ListPolicyVersions(ctx context.Context, name string) ([]*PolicyVersion, error) {
	if err := policyName.check(name); err != nil {
		return nil, err
	}
	rd := r.reader(ctx)
	p, err := r.policy(rd, name)
	if err != nil {
		return nil, err
	}
	versions, _, err := pageOf(rd, maxVersions, `SELECT version, created FROM policy_version WHERE policy = ? ORDER BY version DESC LIMIT ?`, []any{name},
		func(row store.Row) (*PolicyVersion, []string, error) {
			var number, created int64
			err := row.Scan(&number, &created)
			id := strconv.FormatInt(number, 10)
			return &PolicyVersion{Policy: name, ARN: p.ARN, Version: id, Default: id == p.DefaultVersion, Created: instant(created)}, []string{id}, err
		})
	return versions, err
}
