package registry

import (
	"context"
	"errors"
	"slices"

	"github.com/berth-iot/berth/internal/store"
)

// maxDynamicGroups is the number of dynamic groups. AWS IoT Core quotas, "Thing group resource limits".
const maxDynamicGroups = 100

// Status of a dynamic group.
const (
	GroupActive     = "ACTIVE"
	GroupBuilding   = "BUILDING"
	GroupRebuilding = "REBUILDING"
	groupDeleting   = "DELETING" // its members are being let go
)

// DynamicGroup is what a dynamic thing group has beside an ordinary one: its members are the things
// that a query finds. The registry does not understand queries; whoever does keeps the members with
// SetDynamicGroups. A dynamic group has no parent, no children and no policies.
type DynamicGroup struct {
	Query, QueryVersion, IndexName string
	Status                         string // BUILDING, REBUILDING or ACTIVE
}

func (d *DynamicGroup) same(other *DynamicGroup) bool {
	if d == nil || other == nil {
		return d == other
	}
	return d.Query == other.Query && d.QueryVersion == other.QueryVersion && d.IndexName == other.IndexName
}

// static refuses what cannot be done to a dynamic group.
func (g *ThingGroup) static(what string) error {
	if g.Dynamic == nil {
		return nil
	}
	return refuse(ErrInvalid, "thing group %s is dynamic and cannot %s", g.Name, what)
}

func checkDynamicCount(tx *store.Tx) error {
	var n int
	if err := tx.QueryRow(`SELECT count(*) FROM thing_group WHERE query <> ''`, nil, &n); err != nil {
		return err
	}
	if n >= maxDynamicGroups {
		return refuse(ErrLimit, "there are already %d dynamic thing groups", n)
	}
	return nil
}

// CreateDynamicThingGroup makes a dynamic group, in status BUILDING. Making the same group again
// succeeds; ErrAlreadyExists when a group of that name differs, ErrLimit.
func (r *Registry) CreateDynamicThingGroup(ctx context.Context, in NewThingGroup, d DynamicGroup) (*ThingGroup, error) {
	if in.Parent != "" {
		return nil, refuse(ErrInvalid, "a dynamic thing group cannot have a parent")
	}
	d.Status = GroupBuilding
	return r.createGroup(ctx, in, &d)
}

// UpdateDynamicThingGroup changes a dynamic group and returns its new version. Empty fields of d
// change nothing. ErrNotFound, ErrInvalid for a static group, ErrVersionConflict.
func (r *Registry) UpdateDynamicThingGroup(ctx context.Context, name string, up GroupUpdate, d DynamicGroup) (int64, error) {
	var version int64
	err := r.write(ctx, func(tx *store.Tx, ch *changes) error {
		g, err := r.checkGroupUpdate(tx, name, up)
		if err != nil {
			return err
		}
		if g.Dynamic == nil {
			return refuse(ErrInvalid, "thing group %s is not dynamic", name)
		}
		now := *g.Dynamic
		for _, f := range []struct {
			to   *string
			from string
		}{{&now.Query, d.Query}, {&now.QueryVersion, d.QueryVersion}, {&now.IndexName, d.IndexName}} {
			if f.from != "" {
				*f.to = f.from
			}
		}
		if !now.same(g.Dynamic) {
			now.Status = GroupRebuilding
		}
		g.Dynamic = &now
		version = g.Version
		ch.note(Change{Kind: ThingGroupChange, Operation: Updated, Group: g})
		_, err = tx.Exec(`UPDATE thing_group SET description = ?, attributes = ?, version = ?, query = ?, query_version = ?, index_name = ?, status = ? WHERE name = ?`,
			g.Description, encode(g.Attributes), version, now.Query, now.QueryVersion, now.IndexName, now.Status, name)
		return err
	})
	return version, err
}

// DeleteDynamicThingGroup removes a dynamic group. One that does not exist counts as deleted.
// ErrInvalid for a static group, ErrVersionConflict.
func (r *Registry) DeleteDynamicThingGroup(ctx context.Context, name string, expectedVersion *int64) error {
	err := r.write(ctx, func(tx *store.Tx, ch *changes) error {
		g, err := r.checkGroupDeletion(tx, name, expectedVersion)
		if err != nil || g == nil {
			return err
		}
		if g.Dynamic == nil {
			return refuse(ErrInvalid, "thing group %s is not dynamic", name)
		}
		// From now on nobody gives it members, while it is emptied in pieces.
		g.Dynamic.Status = groupDeleting
		ch.note(Change{Kind: ThingGroupChange, Operation: Updated, Group: g})
		_, err = tx.Exec(`UPDATE thing_group SET status = ? WHERE name = ?`, groupDeleting, name)
		return err
	})
	if err != nil {
		return err
	}
	return r.deleteGroup(ctx, name, expectedVersion)
}

// DynamicGroups lists the dynamic groups, the oldest first, but for those that are being deleted.
func (r *Registry) DynamicGroups(ctx context.Context) ([]*ThingGroup, error) {
	var list []*ThingGroup
	err := r.reader(ctx).Query(`SELECT `+groupColumns+` FROM thing_group WHERE query <> '' AND status <> ? ORDER BY created, name`, []any{groupDeleting}, func(row store.Row) error {
		g, err := r.scanGroup(row)
		list = append(list, g)
		return err
	})
	return list, err
}

// ActivateDynamicGroup makes a dynamic group ACTIVE if it still is at a version.
func (r *Registry) ActivateDynamicGroup(ctx context.Context, name string, version int64) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE thing_group SET status = ? WHERE name = ? AND version = ? AND status IN (?, ?)`,
			GroupActive, name, version, GroupBuilding, GroupRebuilding)
		return err
	})
}

// Membership is a thing and all the dynamic groups that it belongs to.
type Membership struct {
	Thing  string
	Groups []string
}

// SetDynamicGroups makes things members of exactly these dynamic groups, in one transaction. Things
// and groups that are gone are passed over. A thing that is in as many groups as it may be joins an
// older dynamic group at the cost of its youngest one, otherwise not (AWS IoT developer guide,
// "Dynamic thing groups"). It returns how often a thing could not be kept in a group.
func (r *Registry) SetDynamicGroups(ctx context.Context, list []Membership) (refused int, err error) {
	err = r.write(ctx, func(tx *store.Tx, ch *changes) error {
		refused = 0
		for _, m := range list {
			t, err := r.thing(tx, m.Thing)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			n, err := r.setDynamicGroups(tx, ch, t, m.Groups)
			if err != nil {
				return err
			}
			refused += n
		}
		return nil
	})
	return refused, err
}

func (r *Registry) setDynamicGroups(tx *store.Tx, ch *changes, t *Thing, want []string) (refused int, err error) {
	have, err := r.dynamicGroupsOf(tx, t.Name)
	if err != nil {
		return 0, err
	}
	for _, g := range have {
		if !slices.Contains(want, g) {
			if err := r.leave(tx, ch, g, t); err != nil {
				return 0, err
			}
		}
	}
	for _, name := range want {
		if slices.Contains(have, name) {
			continue
		}
		g, err := r.group(tx, name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return refused, err
		}
		if g.Dynamic == nil || g.Dynamic.Status == groupDeleting {
			continue
		}
		var n int
		if err := tx.QueryRow(`SELECT count(*) FROM group_member WHERE thing = ?`, []any{t.Name}, &n); err != nil {
			return refused, err
		}
		if n >= maxGroupsOfThing {
			refused++
			younger, err := r.youngestDynamicGroup(tx, t.Name, g.Created.UnixMilli())
			if err != nil {
				return refused, err
			}
			if younger == "" {
				continue
			}
			if err := r.leave(tx, ch, younger, t); err != nil {
				return refused, err
			}
		}
		ch.note(Change{Kind: MembershipChange, Operation: Added, Thing: t, Group: g})
		if _, err := tx.Exec(`INSERT INTO group_member (grp, thing) VALUES (?, ?)`, name, t.Name); err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// youngestDynamicGroup returns the youngest of the dynamic groups of a thing that were created after
// a time, in epoch milliseconds, or "".
func (r *Registry) youngestDynamicGroup(tx *store.Tx, thing string, after int64) (name string, err error) {
	err = tx.QueryRow(`SELECT g.name FROM group_member m JOIN thing_group g ON g.name = m.grp
		WHERE m.thing = ? AND g.query <> '' AND g.created > ? ORDER BY g.created DESC, g.name DESC LIMIT 1`, []any{thing, after}, &name)
	return name, ignore(err, store.ErrNoRows)
}

func (r *Registry) dynamicGroupsOf(rd reader, thing string) (names []string, err error) {
	err = rd.Query(`SELECT g.name FROM group_member m JOIN thing_group g ON g.name = m.grp
		WHERE m.thing = ? AND g.query <> '' ORDER BY g.name`, []any{thing}, func(row store.Row) error {
		var name string
		err := row.Scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}
