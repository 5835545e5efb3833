package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

// BillingGroup gathers things whose costs belong together. A thing is in one at most.
type BillingGroup struct {
	Name, ID, ARN string
	Description   string
	Version       int64
	Created       time.Time
}

func (r *Registry) billingGroup(rd reader, name string) (*BillingGroup, error) {
	g := BillingGroup{Name: name, ARN: r.ARN("billinggroup/" + name)}
	var created int64
	err := rd.QueryRow(`SELECT id, description, version, created FROM billing_group WHERE name = ?`, []any{name}, &g.ID, &g.Description, &g.Version, &created)
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "billing group %s not found", name)
	}
	g.Created = instant(created)
	return &g, err
}

// CreateBillingGroup makes a billing group. Making the same one again succeeds; ErrAlreadyExists
// when one of that name differs.
func (r *Registry) CreateBillingGroup(ctx context.Context, name, description string, tags []Tag) (*BillingGroup, error) {
	var g *BillingGroup
	err := r.write(ctx, func(tx *store.Tx, _ *changes) error {
		if err := errors.Join(billingGroupName.check(name), checkDescription("billingGroupProperties.billingGroupDescription", description)); err != nil {
			return err
		}
		old, err := r.billingGroup(tx, name)
		if err == nil {
			if old.Description != description {
				return exists(old.ID, old.ARN, "billing group %s already exists with different properties", name)
			}
			g = old
			return nil
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		g = &BillingGroup{Name: name, ID: uuid.NewString(), ARN: r.ARN("billinggroup/" + name), Description: description, Version: 1, Created: r.now()}
		if _, err := tx.Exec(`INSERT INTO billing_group (name, id, description, version, created) VALUES (?, ?, ?, ?, ?)`,
			name, g.ID, description, g.Version, millis(g.Created)); err != nil {
			return err
		}
		return setTags(tx, "billinggroup/"+name, tags)
	})
	return g, err
}

// DescribeBillingGroup returns a billing group, or ErrNotFound.
func (r *Registry) DescribeBillingGroup(ctx context.Context, name string) (*BillingGroup, error) {
	if err := billingGroupName.check(name); err != nil {
		return nil, err
	}
	return r.billingGroup(r.reader(ctx), name)
}

// UpdateBillingGroup changes the description and returns the new version.
func (r *Registry) UpdateBillingGroup(ctx context.Context, name string, up GroupUpdate) (int64, error) {
	var version int64
	err := r.write(ctx, func(tx *store.Tx, _ *changes) error {
		if err := billingGroupName.check(name); err != nil {
			return err
		}
		g, err := r.billingGroup(tx, name)
		if err != nil {
			return err
		}
		if err := checkVersion("billing group "+name, g.Version, up.ExpectedVersion); err != nil {
			return err
		}
		if up.Description != nil {
			if err := checkDescription("billingGroupProperties.billingGroupDescription", *up.Description); err != nil {
				return err
			}
			g.Description = *up.Description
		}
		version = g.Version + 1
		_, err = tx.Exec(`UPDATE billing_group SET description = ?, version = ? WHERE name = ?`, g.Description, version, name)
		return err
	})
	return version, err
}

// DeleteBillingGroup removes a billing group that has no things. One that does not exist counts as
// deleted. ErrInvalid, ErrVersionConflict.
func (r *Registry) DeleteBillingGroup(ctx context.Context, name string, expectedVersion *int64) error {
	return r.write(ctx, func(tx *store.Tx, _ *changes) error {
		if err := billingGroupName.check(name); err != nil {
			return err
		}
		g, err := r.billingGroup(tx, name)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := checkVersion("billing group "+name, g.Version, expectedVersion); err != nil {
			return err
		}
		used, err := has(tx, `SELECT count(*) FROM (SELECT 1 FROM thing WHERE billing_group = ? LIMIT 1) AS t`, name)
		if err != nil {
			return err
		}
		if used {
			return refuse(ErrInvalid, "cannot delete billing group %s: there are still things in it", name)
		}
		if err := dropTags(tx, "billinggroup/"+name); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM billing_group WHERE name = ?`, name)
		return err
	})
}

// ListBillingGroups lists billing groups by name.
func (r *Registry) ListBillingGroups(ctx context.Context, prefix string, page Page) ([]GroupRef, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	names, next, err := listNames(r.reader(ctx), limit, `SELECT name FROM billing_group WHERE name >= ? AND name < ? ORDER BY name LIMIT ?`, from(after[0], prefix), above(prefix))
	refs := make([]GroupRef, len(names))
	for i, name := range names {
		refs[i] = GroupRef{name, r.ARN("billinggroup/" + name)}
	}
	return refs, next, err
}

// AddThingToBillingGroup puts a thing into a billing group, out of the one it was in.
func (r *Registry) AddThingToBillingGroup(ctx context.Context, group, thing string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error { return r.addToBillingGroup(tx, ch, group, thing) })
}

func (r *Registry) addToBillingGroup(tx *store.Tx, ch *changes, group, thing string) error {
	if _, err := r.billingGroup(tx, group); err != nil {
		return err
	}
	t, err := r.thing(tx, thing)
	if err != nil || t.BillingGroup == group {
		return err
	}
	if _, err := tx.Exec(`UPDATE thing SET billing_group = ?, version = version + 1 WHERE name = ?`, group, thing); err != nil {
		return err
	}
	t.BillingGroup, t.Version = group, t.Version+1
	ch.note(Change{Kind: ThingChange, Operation: Updated, Thing: t})
	return ch.thing(tx, thing)
}

// RemoveThingFromBillingGroup takes a thing out; one that is not in it is no error.
func (r *Registry) RemoveThingFromBillingGroup(ctx context.Context, group, thing string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if _, err := r.billingGroup(tx, group); err != nil {
			return err
		}
		t, err := r.thing(tx, thing)
		if err != nil || t.BillingGroup != group {
			return err
		}
		if _, err := tx.Exec(`UPDATE thing SET billing_group = '', version = version + 1 WHERE name = ?`, thing); err != nil {
			return err
		}
		t.BillingGroup, t.Version = "", t.Version+1
		ch.note(Change{Kind: ThingChange, Operation: Updated, Thing: t})
		return ch.thing(tx, thing)
	})
}

// ListThingsInBillingGroup lists the things of a billing group by name. ErrNotFound.
func (r *Registry) ListThingsInBillingGroup(ctx context.Context, group string, page Page) ([]string, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	rd := r.reader(ctx)
	if _, err := r.billingGroup(rd, group); err != nil {
		return nil, "", err
	}
	return listNames(rd, limit, `SELECT name FROM thing WHERE billing_group = ? AND name > ? ORDER BY name LIMIT ?`, group, after[0])
}
