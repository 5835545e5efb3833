package registry

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

const policyPrefix = "policy/"

// maxVersions is the number of versions that a policy keeps at most.
const maxVersions = 5

// Policy is a named policy with its default version.
type Policy struct {
	Name, ARN         string
	DefaultVersion    string
	Document          []byte // of the default version; left out of listings
	Created, Modified time.Time
	GenerationID      string
}

// PolicyVersion is one version of a policy. Versions are numbered from 1 and never reused.
type PolicyVersion struct {
	Policy, ARN, Version string
	Default              bool
	Document             []byte // left out of listings
	Created              time.Time
	GenerationID         string
}

func (r *Registry) policy(rd reader, name string) (*Policy, error) {
	p := Policy{Name: name, ARN: r.ARN(policyPrefix + name)}
	var version, created, modified int64
	err := rd.QueryRow(`SELECT p.default_version, v.document, p.created, p.modified, p.generation
		FROM policy p JOIN policy_version v ON v.policy = p.name AND v.version = p.default_version WHERE p.name = ?`,
		[]any{name}, &version, &p.Document, &created, &modified, &p.GenerationID)
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "policy %s not found", name)
	}
	p.DefaultVersion, p.Created, p.Modified = strconv.FormatInt(version, 10), instant(created), instant(modified)
	return &p, err
}

// CreatePolicy makes a policy with version 1. ErrAlreadyExists, ErrMalformedPolicy.
func (r *Registry) CreatePolicy(ctx context.Context, name string, document []byte, tags []Tag) (*Policy, error) {
	if err := policyName.check(name); err != nil {
		return nil, err
	}
	if err := checkDocument(document); err != nil {
		return nil, err
	}
	var p *Policy
	err := r.write(ctx, func(tx *store.Tx, ch *changes) (err error) {
		p, err = r.createPolicy(tx, ch, name, document, tags)
		return err
	})
	return p, err
}

// createPolicy is CreatePolicy for a name and a document that have been checked.
func (r *Registry) createPolicy(tx *store.Tx, ch *changes, name string, document []byte, tags []Tag) (*Policy, error) {
	if _, err := r.policy(tx, name); err == nil {
		return nil, exists(name, r.ARN(policyPrefix+name), "policy cannot be created - name already exists (name=%s)", name)
	} else if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	now := r.now()
	p := &Policy{Name: name, ARN: r.ARN(policyPrefix + name), DefaultVersion: "1", Document: document, Created: now, Modified: now, GenerationID: uuid.NewString()}
	if _, err := tx.Exec(`INSERT INTO policy (name, default_version, last_version, created, modified, generation) VALUES (?, 1, 1, ?, ?, ?)`,
		name, millis(now), millis(now), p.GenerationID); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(`INSERT INTO policy_version (policy, version, document, created) VALUES (?, 1, ?, ?)`, name, document, millis(now)); err != nil {
		return nil, err
	}
	ch.certificate("") // somebody may have waited for this name
	return p, setTags(tx, policyPrefix+name, tags)
}

// GetPolicy returns a policy with its default version, or ErrNotFound.
func (r *Registry) GetPolicy(ctx context.Context, name string) (*Policy, error) {
	if err := policyName.check(name); err != nil {
		return nil, err
	}
	return r.policy(r.reader(ctx), name)
}

// DeletePolicy removes a policy that is attached to nothing and has its default version only;
// otherwise ErrDeleteConflict. ErrNotFound.
func (r *Registry) DeletePolicy(ctx context.Context, name string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := policyName.check(name); err != nil {
			return err
		}
		if _, err := r.policy(tx, name); err != nil {
			return err
		}
		attached, err := has(tx, `SELECT count(*) FROM (SELECT 1 FROM policy_attachment WHERE policy = ? LIMIT 1) AS a`, name)
		if err != nil {
			return err
		}
		if attached {
			return refuse(ErrDeleteConflict, "the policy cannot be deleted as the policy is attached to one or more principals (name=%s)", name)
		}
		var versions int
		if err := tx.QueryRow(`SELECT count(*) FROM policy_version WHERE policy = ?`, []any{name}, &versions); err != nil {
			return err
		}
		if versions > 1 {
			return refuse(ErrDeleteConflict, "cannot delete the policy because it has one or more policy versions attached to it (name=%s)", name)
		}
		if _, err := tx.Exec(`DELETE FROM policy_version WHERE policy = ?`, name); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM policy WHERE name = ?`, name); err != nil {
			return err
		}
		ch.certificate("")
		return dropTags(tx, policyPrefix+name)
	})
}

// ListPolicies lists policies by creation time, newest first unless ascending.
func (r *Registry) ListPolicies(ctx context.Context, ascending bool, page Page) ([]*Policy, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	compare, direction, created, name, err := r.byTime(page, ascending)
	if err != nil {
		return nil, "", err
	}
	query := `SELECT name, created FROM policy WHERE (created, name) ` + compare + ` (?, ?) ORDER BY created ` + direction + `, name ` + direction + ` LIMIT ?`
	return pageOf(r.reader(ctx), limit, query, []any{created, name}, func(row store.Row) (*Policy, []string, error) {
		var p Policy
		var created int64
		err := row.Scan(&p.Name, &created)
		p.ARN, p.Created = r.ARN(policyPrefix+p.Name), instant(created)
		return &p, []string{strconv.FormatInt(created, 10), p.Name}, err
	})
}

// PolicyByName returns a policy's default version, or ErrNotFound.
func (r *Registry) PolicyByName(ctx context.Context, name string) (PolicyDocument, error) {
	// A change of any policy forgets what is kept for the certificate "".
	shard := r.cache.shard("")
	id, seen := shard.get("", name)
	if id == nil {
		p, err := r.GetPolicy(ctx, name)
		if err != nil {
			return PolicyDocument{}, err
		}
		id = &Identity{Policies: []PolicyDocument{{Name: name, Version: p.DefaultVersion, Body: p.Document}}}
		shard.put("", name, id, seen)
	}
	return id.Policies[0], nil
}
