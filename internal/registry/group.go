package registry

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

// Limits of the group tree. AWS IoT Core quotas, "Thing group resource limits".
const (
	maxGroupDepth    = 7
	maxChildGroups   = 100
	maxGroupsOfThing = 10
)

const groupPrefix = "thinggroup/"

// GroupRef names a group.
type GroupRef struct{ Name, ARN string }

// ThingGroup is a thing group. Its parent and name are fixed at creation.
type ThingGroup struct {
	Name, ID, ARN string
	Parent        string // or ""
	Description   string
	Attributes    map[string]string
	Version       int64
	Created       time.Time
	RootToParent  []GroupRef    // filled by DescribeThingGroup
	Dynamic       *DynamicGroup // nil for a static group
}

// NewThingGroup is what CreateThingGroup needs. Only the name is required.
type NewThingGroup struct {
	Name, Parent, Description string
	Attributes                map[string]string
	Tags                      []Tag
}

// GroupUpdate is a change to a thing group or billing group; nil fields change nothing.
type GroupUpdate struct {
	Description     *string
	Attributes      map[string]string // thing groups only
	Merge           bool
	ExpectedVersion *int64
}

const groupColumns = `name, id, parent, description, attributes, version, created, query, query_version, index_name, status`

func (r *Registry) scanGroup(row store.Row) (*ThingGroup, error) {
	var g ThingGroup
	var attributes string
	var created int64
	var d DynamicGroup
	if err := row.Scan(&g.Name, &g.ID, &g.Parent, &g.Description, &attributes, &g.Version, &created, &d.Query, &d.QueryVersion, &d.IndexName, &d.Status); err != nil {
		return nil, err
	}
	if d.Query != "" {
		g.Dynamic = &d
	}
	g.ARN, g.Created = r.ARN(groupPrefix+g.Name), instant(created)
	return &g, json.Unmarshal([]byte(attributes), &g.Attributes)
}

func (r *Registry) group(rd reader, name string) (*ThingGroup, error) {
	g, err := r.scanGroup(one(rd, `SELECT `+groupColumns+` FROM thing_group WHERE name = ?`, name))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "thing group %s not found", name)
	}
	return g, err
}

// CreateThingGroup makes a static group, under a parent or as a root. Making the same group again
// succeeds; ErrAlreadyExists when one of that name differs; ErrInvalid for an unknown parent or a
// tree that would become too deep or too wide.
func (r *Registry) CreateThingGroup(ctx context.Context, in NewThingGroup) (*ThingGroup, error) {
	return r.createGroup(ctx, in, nil)
}

func (r *Registry) createGroup(ctx context.Context, in NewThingGroup, dynamic *DynamicGroup) (*ThingGroup, error) {
	var g *ThingGroup
	err := r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := errors.Join(thingGroupName.check(in.Name), checkDescription("thingGroupProperties.thingGroupDescription", in.Description), checkAttributes(in.Attributes)); err != nil {
			return err
		}
		attributes := updateAttributes(nil, in.Attributes, false)
		if len(attributes) > maxAttributesGroup {
			return refuse(ErrInvalid, "%d attributes are more than the %d that a thing group may have", len(attributes), maxAttributesGroup)
		}
		old, err := r.group(tx, in.Name)
		if err == nil {
			if old.Parent != in.Parent || old.Description != in.Description || !maps.Equal(old.Attributes, attributes) || !old.Dynamic.same(dynamic) {
				return exists(old.ID, old.ARN, "thing group %s already exists with different properties", in.Name)
			}
			g = old
			return nil
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		if in.Parent != "" {
			if err := r.checkParent(tx, in.Parent); err != nil {
				return err
			}
		}
		if dynamic != nil {
			if err := checkDynamicCount(tx); err != nil {
				return err
			}
		}
		g = &ThingGroup{Name: in.Name, ID: uuid.NewString(), ARN: r.ARN(groupPrefix + in.Name), Parent: in.Parent, Description: in.Description, Attributes: attributes, Version: 1, Created: r.now(), Dynamic: dynamic}
		var d DynamicGroup
		if dynamic != nil {
			d = *dynamic
		}
		_, err = tx.Exec(`INSERT INTO thing_group (`+groupColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			g.Name, g.ID, g.Parent, g.Description, encode(g.Attributes), g.Version, millis(g.Created), d.Query, d.QueryVersion, d.IndexName, d.Status)
		if err != nil {
			return err
		}
		// A group counts among its own ancestors at depth 0, so that one join finds it and all below.
		if _, err := tx.Exec(`INSERT INTO group_ancestor (ancestor, grp, depth) SELECT ancestor, ?, depth + 1 FROM group_ancestor WHERE grp = ?`, g.Name, g.Parent); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO group_ancestor (ancestor, grp, depth) VALUES (?, ?, 0)`, g.Name, g.Name); err != nil {
			return err
		}
		ch.note(Change{Kind: ThingGroupChange, Operation: Created, Group: g})
		if g.Parent != "" {
			ch.note(Change{Kind: HierarchyChange, Operation: Added, Group: g})
		}
		return setTags(tx, groupPrefix+g.Name, in.Tags)
	})
	return g, err
}

func (r *Registry) checkParent(tx *store.Tx, parent string) error {
	if err := thingGroupName.check(parent); err != nil {
		return err
	}
	if g, err := r.group(tx, parent); errors.Is(err, ErrNotFound) {
		return refuse(ErrInvalid, "parent thing group %s does not exist", parent)
	} else if err != nil {
		return err
	} else if err := g.static("be the parent of another"); err != nil {
		return err
	}
	var depth, children int
	if err := tx.QueryRow(`SELECT count(*) FROM group_ancestor WHERE grp = ?`, []any{parent}, &depth); err != nil {
		return err
	}
	if depth >= maxGroupDepth {
		return refuse(ErrInvalid, "thing group %s is at the deepest of %d levels", parent, maxGroupDepth)
	}
	if err := tx.QueryRow(`SELECT count(*) FROM thing_group WHERE parent = ?`, []any{parent}, &children); err != nil {
		return err
	}
	if children >= maxChildGroups {
		return refuse(ErrInvalid, "thing group %s already has %d child groups", parent, maxChildGroups)
	}
	return nil
}

// DescribeThingGroup returns a group with its ancestors, or ErrNotFound.
func (r *Registry) DescribeThingGroup(ctx context.Context, name string) (*ThingGroup, error) {
	if err := thingGroupName.check(name); err != nil {
		return nil, err
	}
	rd := r.reader(ctx)
	g, err := r.group(rd, name)
	if err != nil {
		return nil, err
	}
	err = rd.Query(`SELECT ancestor FROM group_ancestor WHERE grp = ? AND depth > 0 ORDER BY depth DESC`, []any{name}, func(row store.Row) error {
		var ancestor string
		err := row.Scan(&ancestor)
		g.RootToParent = append(g.RootToParent, r.groupRef(ancestor))
		return err
	})
	return g, err
}

func (r *Registry) groupRef(name string) GroupRef { return GroupRef{name, r.ARN(groupPrefix + name)} }

// UpdateThingGroup changes a group's description and attributes and returns its new version.
func (r *Registry) UpdateThingGroup(ctx context.Context, name string, up GroupUpdate) (int64, error) {
	var version int64
	err := r.write(ctx, func(tx *store.Tx, ch *changes) error {
		g, err := r.checkGroupUpdate(tx, name, up)
		if err != nil {
			return err
		}
		if err := g.static("be updated with UpdateThingGroup"); err != nil {
			return err
		}
		version = g.Version
		ch.note(Change{Kind: ThingGroupChange, Operation: Updated, Group: g})
		_, err = tx.Exec(`UPDATE thing_group SET description = ?, attributes = ?, version = ? WHERE name = ?`, g.Description, encode(g.Attributes), version, name)
		return err
	})
	return version, err
}

// checkGroupUpdate returns a group as an update makes it.
func (r *Registry) checkGroupUpdate(tx *store.Tx, name string, up GroupUpdate) (*ThingGroup, error) {
	if err := errors.Join(thingGroupName.check(name), checkAttributes(up.Attributes)); err != nil {
		return nil, err
	}
	g, err := r.group(tx, name)
	if err != nil {
		return nil, err
	}
	if err := checkVersion("thing group "+name, g.Version, up.ExpectedVersion); err != nil {
		return nil, err
	}
	if up.Description != nil {
		if err := checkDescription("thingGroupProperties.thingGroupDescription", *up.Description); err != nil {
			return nil, err
		}
		g.Description = *up.Description
	}
	if up.Attributes != nil {
		g.Attributes = updateAttributes(g.Attributes, up.Attributes, up.Merge)
	}
	if len(g.Attributes) > maxAttributesGroup {
		return nil, refuse(ErrInvalid, "%d attributes are more than the %d that a thing group may have", len(g.Attributes), maxAttributesGroup)
	}
	g.Version++
	return g, nil
}

// DeleteThingGroup removes a group that has no child groups; its things and policies are let go.
// A group that does not exist counts as deleted. ErrInvalid, also for a dynamic group;
// ErrVersionConflict.
func (r *Registry) DeleteThingGroup(ctx context.Context, name string, expectedVersion *int64) error {
	if err := thingGroupName.check(name); err != nil {
		return err
	}
	g, err := r.group(r.reader(ctx), name)
	if err != nil {
		return ignore(err, ErrNotFound)
	}
	if err := g.static("be deleted with DeleteThingGroup"); err != nil {
		return err
	}
	return r.deleteGroup(ctx, name, expectedVersion)
}

func (r *Registry) deleteGroup(ctx context.Context, name string, expectedVersion *int64) error {
	// A large group is emptied in pieces, so that nobody waits long for the writer.
	for emptied := false; !emptied; {
		err := r.write(ctx, func(tx *store.Tx, ch *changes) error {
			emptied = true
			g, err := r.checkGroupDeletion(tx, name, expectedVersion)
			if err != nil || g == nil {
				return err
			}
			things, more, err := r.members(tx, name)
			if err != nil || !more {
				return err
			}
			emptied = false
			ch.left(g, things)
			last := things[len(things)-1].Name
			if err := ch.query(tx, `SELECT p.principal FROM group_member m JOIN thing_principal p ON p.thing = m.thing
				WHERE m.grp = ? AND m.thing <= ? LIMIT ?`, name, last); err != nil {
				return err
			}
			_, err = tx.Exec(`DELETE FROM group_member WHERE grp = ? AND thing <= ?`, name, last)
			return err
		})
		if err != nil {
			return err
		}
	}
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		g, err := r.checkGroupDeletion(tx, name, expectedVersion)
		if err != nil || g == nil {
			return err
		}
		if err := ch.group(tx, name); err != nil {
			return err
		}
		things, _, err := r.members(tx, name)
		if err != nil {
			return err
		}
		ch.left(g, things)
		if g.Parent != "" {
			ch.note(Change{Kind: HierarchyChange, Operation: Removed, Group: g})
		}
		ch.note(Change{Kind: ThingGroupChange, Operation: Deleted, Group: g})
		for _, query := range []string{
			`DELETE FROM group_member WHERE grp = ?`,
			`DELETE FROM group_ancestor WHERE grp = ?`,
			`DELETE FROM thing_group WHERE name = ?`,
		} {
			if _, err := tx.Exec(query, name); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`DELETE FROM policy_attachment WHERE target = ?`, groupPrefix+name); err != nil {
			return err
		}
		return dropTags(tx, groupPrefix+name)
	})
}

// members lists the first things of a group; more is set if there are further ones.
func (r *Registry) members(tx *store.Tx, group string) (things []*Thing, more bool, err error) {
	things, next, err := pageOf(tx, MaxPage, `SELECT t.name, t.id, t.type, t.attributes, t.billing_group, t.version
		FROM group_member m JOIN thing t ON t.name = m.thing WHERE m.grp = ? ORDER BY m.thing LIMIT ?`, []any{group},
		func(row store.Row) (*Thing, []string, error) {
			t, err := r.scanThing(row)
			if err != nil {
				return nil, nil, err
			}
			return t, []string{t.Name}, nil
		})
	return things, next != "", err
}

func (c *changes) left(g *ThingGroup, things []*Thing) {
	for _, t := range things {
		c.note(Change{Kind: MembershipChange, Operation: Removed, Thing: t, Group: g})
	}
}

// checkGroupDeletion refuses what must stay; the group is nil if it does not exist.
func (r *Registry) checkGroupDeletion(tx *store.Tx, name string, expectedVersion *int64) (*ThingGroup, error) {
	if err := thingGroupName.check(name); err != nil {
		return nil, err
	}
	g, err := r.group(tx, name)
	if err != nil {
		return nil, ignore(err, ErrNotFound)
	}
	if err := checkVersion("thing group "+name, g.Version, expectedVersion); err != nil {
		return nil, err
	}
	parent, err := has(tx, `SELECT count(*) FROM thing_group WHERE parent = ?`, name)
	if err == nil && parent {
		err = refuse(ErrInvalid, "Cannot delete thing group : %s when there are still child groups attached to it.", name)
	}
	return g, err
}

// ignore returns err unless it is of that kind.
func ignore(err, kind error) error {
	if errors.Is(err, kind) {
		return nil
	}
	return err
}

// GroupFilter narrows ListThingGroups. Fields combine.
type GroupFilter struct {
	Parent    string // groups below this one
	Prefix    string // of the name
	Recursive bool   // all levels, rather than children of Parent (or roots) only
}

// ListThingGroups lists groups by name. ErrNotFound for an unknown parent.
func (r *Registry) ListThingGroups(ctx context.Context, f GroupFilter, page Page) ([]GroupRef, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	rd := r.reader(ctx)
	if f.Parent != "" {
		if _, err := r.group(rd, f.Parent); err != nil {
			return nil, "", err
		}
	}
	query, args := `SELECT name FROM thing_group WHERE parent = ? AND name >= ? AND name < ? ORDER BY name LIMIT ?`, []any{f.Parent}
	switch {
	case f.Recursive && f.Parent != "":
		query = `SELECT grp FROM group_ancestor WHERE ancestor = ? AND depth > 0 AND grp >= ? AND grp < ? ORDER BY grp LIMIT ?`
	case f.Recursive:
		query, args = `SELECT name FROM thing_group WHERE name >= ? AND name < ? ORDER BY name LIMIT ?`, nil
	}
	return r.listGroups(rd, limit, query, append(args, from(after[0], f.Prefix), above(f.Prefix))...)
}

// listGroups runs a query for one column of group names.
func (r *Registry) listGroups(rd reader, limit int, query string, args ...any) ([]GroupRef, string, error) {
	names, next, err := listNames(rd, limit, query, args...)
	refs := make([]GroupRef, len(names))
	for i, name := range names {
		refs[i] = r.groupRef(name)
	}
	return refs, next, err
}
