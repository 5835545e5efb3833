package registry

import (
	"context"
	"regexp"
	"strings"

	"github.com/berth-iot/berth/internal/store"
)

// Policies per target. AWS IoT Core quotas, "Device and policy limits".
const (
	maxPoliciesPrincipal = 10
	maxPoliciesGroup     = 2
)

var cognitoIdentity = regexp.MustCompile(`^[\w-]+:[0-9a-fA-F-]+$`)

// principal returns the stored form of a certificate's ARN ("cert/ID") or a Cognito identity,
// which is stored as it is. A certificate must exist.
func (r *Registry) principal(rd reader, arn string) (string, error) {
	if resource, ok := r.resourceOf(arn); ok && strings.HasPrefix(resource, certPrefix) {
		there, err := has(rd, `SELECT count(*) FROM certificate WHERE id = ?`, resource[len(certPrefix):])
		if err != nil {
			return "", err
		}
		if !there {
			return "", refuse(ErrNotFound, "the certificate given in the principal does not exist: %s", arn)
		}
		return resource, nil
	}
	if cognitoIdentity.MatchString(arn) && len(arn) <= 128 {
		return arn, nil
	}
	return "", refuse(ErrInvalid, "invalid principal %q: neither a certificate ARN of this account and region nor a Cognito identity", arn)
}

// target is principal that also takes thing groups.
func (r *Registry) target(rd reader, arn string) (string, error) {
	if resource, ok := r.resourceOf(arn); ok && strings.HasPrefix(resource, groupPrefix) {
		_, err := r.group(rd, resource[len(groupPrefix):])
		return resource, err
	}
	return r.principal(rd, arn)
}

// arnOf is the reverse of principal and target.
func (r *Registry) arnOf(stored string) string {
	if strings.HasPrefix(stored, certPrefix) || strings.HasPrefix(stored, groupPrefix) {
		return r.ARN(stored)
	}
	return stored
}

func (c *changes) target(tx *store.Tx, target string) error {
	if group, ok := strings.CutPrefix(target, groupPrefix); ok {
		return c.group(tx, group)
	}
	c.principal(target)
	return nil
}

// AttachPolicy attaches a policy to a certificate, a thing group or a Cognito identity; again is
// no error. ErrNotFound for either, ErrLimit.
func (r *Registry) AttachPolicy(ctx context.Context, policy, targetARN string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error { return r.attachPolicy(tx, ch, policy, targetARN) })
}

func (r *Registry) attachPolicy(tx *store.Tx, ch *changes, policy, targetARN string) error {
	if err := policyName.check(policy); err != nil {
		return err
	}
	target, err := r.target(tx, targetARN)
	if err != nil {
		return err
	}
	if _, err := r.policy(tx, policy); err != nil {
		return err
	}
	names, _, err := listNames(tx, MaxPage, `SELECT policy FROM policy_attachment WHERE target = ? ORDER BY policy LIMIT ?`, target)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == policy {
			return nil
		}
	}
	limit := maxPoliciesPrincipal
	if strings.HasPrefix(target, groupPrefix) {
		limit = maxPoliciesGroup
	}
	if len(names) >= limit {
		return refuse(ErrLimit, "the maximum number of policies (%d) is already attached to %s", limit, targetARN)
	}
	if group, ok := strings.CutPrefix(target, groupPrefix); ok {
		g, err := r.group(tx, group)
		if err != nil {
			return err
		}
		if err := g.static("have policies"); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(`INSERT INTO policy_attachment (target, policy) VALUES (?, ?)`, target, policy); err != nil {
		return err
	}
	return ch.target(tx, target)
}

// DetachPolicy is the reverse of AttachPolicy; what is not attached is no error. ErrNotFound for
// an unknown policy or target.
func (r *Registry) DetachPolicy(ctx context.Context, policy, targetARN string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := policyName.check(policy); err != nil {
			return err
		}
		if _, err := r.policy(tx, policy); err != nil {
			return err
		}
		target, err := r.target(tx, targetARN)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM policy_attachment WHERE target = ? AND policy = ?`, target, policy); err != nil {
			return err
		}
		return ch.target(tx, target)
	})
}

// ListAttachedPolicies lists the policies on a target by name; recursive adds those that a thing
// group inherits from its ancestors. ErrNotFound.
func (r *Registry) ListAttachedPolicies(ctx context.Context, targetARN string, recursive bool, page Page) ([]string, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	rd := r.reader(ctx)
	target, err := r.target(rd, targetARN)
	if err != nil {
		return nil, "", err
	}
	if group, ok := strings.CutPrefix(target, groupPrefix); ok && recursive {
		return listNames(rd, limit, `SELECT DISTINCT p.policy FROM group_ancestor a
			JOIN policy_attachment p ON p.target = 'thinggroup/' || a.ancestor
			WHERE a.grp = ? AND p.policy > ? ORDER BY p.policy LIMIT ?`, group, after[0])
	}
	return listNames(rd, limit, `SELECT policy FROM policy_attachment WHERE target = ? AND policy > ? ORDER BY policy LIMIT ?`, target, after[0])
}

// ListTargetsForPolicy lists the ARNs (or Cognito identities) that a policy is attached to;
// principalsOnly leaves thing groups out. ErrNotFound.
func (r *Registry) ListTargetsForPolicy(ctx context.Context, policy string, principalsOnly bool, page Page) ([]string, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	if err := policyName.check(policy); err != nil {
		return nil, "", err
	}
	rd := r.reader(ctx)
	if _, err := r.policy(rd, policy); err != nil {
		return nil, "", err
	}
	query := `SELECT target FROM policy_attachment WHERE policy = ? AND target > ? ORDER BY target LIMIT ?`
	if principalsOnly {
		query = `SELECT target FROM policy_attachment WHERE policy = ? AND target > ? AND NOT (target >= 'thinggroup/' AND target < 'thinggroup0') ORDER BY target LIMIT ?`
	}
	targets, next, err := listNames(rd, limit, query, policy, after[0])
	for i, target := range targets {
		targets[i] = r.arnOf(target)
	}
	return targets, next, err
}

// EffectivePolicies returns the policies that bear on a principal (its ARN), a thing, or both:
// those on the principal and those on the thing's groups and their ancestors. ErrNotFound.
func (r *Registry) EffectivePolicies(ctx context.Context, principalARN, thing string) ([]PolicyDocument, error) {
	rd := r.reader(ctx)
	var principal string
	if principalARN != "" {
		var err error
		if principal, err = r.principal(rd, principalARN); err != nil {
			return nil, err
		}
	}
	if thing != "" {
		if err := thingName.check(thing); err != nil {
			return nil, err
		}
		if _, err := r.thing(rd, thing); err != nil {
			return nil, err
		}
	}
	return r.effective(rd, principal, thing)
}

// effective reads the default versions of a principal's policies and, for a thing, of its groups'.
// A policy that is attached twice appears once.
func (r *Registry) effective(rd reader, principal, thing string) ([]PolicyDocument, error) {
	query, args := `SELECT a.target, p.name, p.default_version, v.document FROM policy_attachment a
		JOIN policy p ON p.name = a.policy
		JOIN policy_version v ON v.policy = p.name AND v.version = p.default_version
		WHERE a.target = ?`, []any{principal}
	if thing != "" {
		query += ` UNION ALL SELECT a.target, p.name, p.default_version, v.document FROM group_member m
			JOIN group_ancestor g ON g.grp = m.grp
			JOIN policy_attachment a ON a.target = 'thinggroup/' || g.ancestor
			JOIN policy p ON p.name = a.policy
			JOIN policy_version v ON v.policy = p.name AND v.version = p.default_version
			WHERE m.thing = ?`
		args = append(args, thing)
	}
	documents := []PolicyDocument{}
	seen := make(map[string]bool)
	err := rd.Query(query, args, func(row store.Row) error {
		var d PolicyDocument
		if err := row.Scan(&d.Target, &d.Name, &d.Version, &d.Body); err != nil {
			return err
		}
		d.Target = r.arnOf(d.Target)
		if !seen[d.Name] {
			seen[d.Name] = true
			documents = append(documents, d)
		}
		return nil
	})
	return documents, err
}
