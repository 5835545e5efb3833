package registry

import (
	"context"

	"github.com/berth-iot/berth/internal/store"
)

// nameOf resolves an object given by its name or its ARN; both must agree when given.
func (r *Registry) nameOf(what, name, arn, resourcePrefix string, rule constraint) (string, error) {
	if arn != "" {
		resource, ok := r.resourceOf(arn)
		if !ok || len(resource) <= len(resourcePrefix) || resource[:len(resourcePrefix)] != resourcePrefix {
			return "", refuse(ErrInvalid, "%s is not the ARN of a %s of this account and region", arn, what)
		}
		if given := resource[len(resourcePrefix):]; name == "" {
			name = given
		} else if name != given {
			return "", refuse(ErrInvalid, "%s name %s and ARN %s do not agree", what, name, arn)
		}
	}
	if name == "" {
		return "", refuse(ErrInvalid, "a %s name or ARN is required", what)
	}
	return name, rule.check(name)
}

// ThingNameOf resolves a thing given by name, ARN or both.
func (r *Registry) ThingNameOf(name, arn string) (string, error) {
	return r.nameOf("thing", name, arn, "thing/", thingName)
}

// GroupNameOf resolves a thing group given by name, ARN or both.
func (r *Registry) GroupNameOf(name, arn string) (string, error) {
	return r.nameOf("thing group", name, arn, groupPrefix, thingGroupName)
}

// BillingGroupNameOf resolves a billing group given by name, ARN or both.
func (r *Registry) BillingGroupNameOf(name, arn string) (string, error) {
	return r.nameOf("billing group", name, arn, "billinggroup/", billingGroupName)
}

// AddThingToThingGroup makes a thing a member of a group; again is no error. ErrNotFound for
// either, ErrInvalid when the thing is in too many groups or in another group of the same tree.
func (r *Registry) AddThingToThingGroup(ctx context.Context, group, thing string) error {
	return r.UpdateThingGroupsForThing(ctx, thing, []string{group}, nil)
}

// RemoveThingFromThingGroup ends a membership; one that does not exist is no error. ErrNotFound
// for an unknown group or thing.
func (r *Registry) RemoveThingFromThingGroup(ctx context.Context, group, thing string) error {
	return r.UpdateThingGroupsForThing(ctx, thing, nil, []string{group})
}

// UpdateThingGroupsForThing removes a thing from some groups, then adds it to others, or does
// nothing and says why.
func (r *Registry) UpdateThingGroupsForThing(ctx context.Context, thing string, add, remove []string) error {
	return r.UpdateMembership(ctx, thing, MembershipUpdate{Add: add, Remove: remove})
}

// MembershipUpdate is groups to leave and then to join. With OverrideDynamic a thing that is in as
// many groups as it may be leaves its youngest dynamic group for each.
type MembershipUpdate struct {
	Add, Remove     []string
	OverrideDynamic bool
}

// UpdateMembership changes the static groups of a thing, or does nothing and says why. ErrNotFound
// for an unknown group or thing, ErrInvalid for a dynamic group and for too many groups.
func (r *Registry) UpdateMembership(ctx context.Context, thing string, up MembershipUpdate) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := thingName.check(thing); err != nil {
			return err
		}
		for _, group := range up.Remove {
			g, err := r.group(tx, group)
			if err != nil {
				return err
			}
			if err := g.static("let a thing go"); err != nil {
				return err
			}
		}
		t, err := r.thing(tx, thing)
		if err != nil {
			return err
		}
		for _, group := range up.Remove {
			if err := r.leave(tx, ch, group, t); err != nil {
				return err
			}
		}
		for _, group := range up.Add {
			if err := r.join(tx, ch, group, t, up.OverrideDynamic); err != nil {
				return err
			}
		}
		return ch.thing(tx, thing)
	})
}

// leave ends a membership; one that does not exist is no error.
func (r *Registry) leave(tx *store.Tx, ch *changes, group string, t *Thing) error {
	n, err := tx.Exec(`DELETE FROM group_member WHERE grp = ? AND thing = ?`, group, t.Name)
	if err != nil || n == 0 {
		return err
	}
	g, err := r.group(tx, group)
	if err != nil {
		return err
	}
	ch.note(Change{Kind: MembershipChange, Operation: Removed, Thing: t, Group: g})
	return nil
}

// leaveAll ends all memberships of a thing.
func (r *Registry) leaveAll(tx *store.Tx, ch *changes, t *Thing) error {
	groups, _, err := listNames(tx, MaxPage, `SELECT grp FROM group_member WHERE thing = ? ORDER BY grp LIMIT ?`, t.Name)
	if err != nil {
		return err
	}
	for _, group := range groups {
		if err := r.leave(tx, ch, group, t); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) join(tx *store.Tx, ch *changes, group string, t *Thing, override bool) error {
	thing := t.Name
	if err := thingGroupName.check(group); err != nil {
		return err
	}
	g, err := r.group(tx, group)
	if err != nil {
		return err
	}
	if err := g.static("be joined"); err != nil {
		return err
	}
	root, err := rootOf(tx, group)
	if err != nil {
		return err
	}
	groups, _, err := listNames(tx, MaxPage, `SELECT grp FROM group_member WHERE thing = ? ORDER BY grp LIMIT ?`, thing)
	if err != nil {
		return err
	}
	for _, other := range groups {
		if other == group {
			return nil
		}
		otherRoot, err := rootOf(tx, other)
		if err != nil {
			return err
		}
		if otherRoot == root {
			return refuse(ErrInvalid, "thing %s is already in group %s of the same hierarchy as %s", thing, other, group)
		}
	}
	if len(groups) >= maxGroupsOfThing {
		dynamic := ""
		if override {
			if dynamic, err = r.youngestDynamicGroup(tx, thing, 0); err != nil {
				return err
			}
		}
		if dynamic != "" {
			err = r.leave(tx, ch, dynamic, t)
		} else {
			err = refuse(ErrInvalid, "thing %s is already in %d groups", thing, len(groups))
		}
		if err != nil {
			return err
		}
	}
	ch.note(Change{Kind: MembershipChange, Operation: Added, Thing: t, Group: g})
	_, err = tx.Exec(`INSERT INTO group_member (grp, thing) VALUES (?, ?)`, group, thing)
	return err
}

func rootOf(rd reader, group string) (root string, err error) {
	err = rd.QueryRow(`SELECT ancestor FROM group_ancestor WHERE grp = ? ORDER BY depth DESC LIMIT 1`, []any{group}, &root)
	return root, err
}

// ListThingGroupsForThing lists the groups that a thing is a member of. ErrNotFound.
func (r *Registry) ListThingGroupsForThing(ctx context.Context, thing string, page Page) ([]GroupRef, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	rd := r.reader(ctx)
	if _, err := r.thing(rd, thing); err != nil {
		return nil, "", err
	}
	return r.listGroups(rd, limit, `SELECT grp FROM group_member WHERE thing = ? AND grp > ? ORDER BY grp LIMIT ?`, thing, after[0])
}

// ListThingsInThingGroup lists the members of a group by name; recursive adds those of the groups
// below it, group by group. ErrNotFound.
func (r *Registry) ListThingsInThingGroup(ctx context.Context, group string, recursive bool, page Page) ([]string, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	rd := r.reader(ctx)
	if _, err := r.group(rd, group); err != nil {
		return nil, "", err
	}
	after, err := page.after("", "")
	if err != nil {
		return nil, "", err
	}
	groups := []string{group}
	if recursive {
		groups = nil
		err := rd.Query(`SELECT grp FROM group_ancestor WHERE ancestor = ? AND grp >= ? ORDER BY grp`, []any{group, after[0]}, func(row store.Row) error {
			var name string
			err := row.Scan(&name)
			groups = append(groups, name)
			return err
		})
		if err != nil {
			return nil, "", err
		}
	}
	// One index range after another: a sort over a whole tree would grow with the fleet.
	things := []string{}
	for _, name := range groups {
		if len(things) == limit {
			return things, token(name, ""), nil
		}
		from := ""
		if name == after[0] {
			from = after[1]
		}
		found, next, err := listNames(rd, limit-len(things), `SELECT thing FROM group_member WHERE grp = ? AND thing > ? ORDER BY thing LIMIT ?`, name, from)
		if err != nil {
			return nil, "", err
		}
		things = append(things, found...)
		if next != "" {
			return things, token(name, found[len(found)-1]), nil
		}
	}
	return things, "", nil
}
