package registry

import (
	"slices"
	"strings"

	"github.com/berth-iot/berth/internal/store"
)

// Kind is what a change is about. Its values are those of UpdateEventConfigurations.
type Kind string

// Kinds of change.
const (
	ThingChange           Kind = "THING"
	ThingTypeChange       Kind = "THING_TYPE"
	ThingGroupChange      Kind = "THING_GROUP"
	MembershipChange      Kind = "THING_GROUP_MEMBERSHIP"
	HierarchyChange       Kind = "THING_GROUP_HIERARCHY"
	TypeAssociationChange Kind = "THING_TYPE_ASSOCIATION"
)

// Operation is what was done.
type Operation string

// Operations. Things, types and groups are created, updated and deleted; memberships, places in the
// hierarchy and associations with a type are added and removed.
const (
	Created Operation = "CREATED"
	Updated Operation = "UPDATED"
	Deleted Operation = "DELETED"
	Added   Operation = "ADDED"
	Removed Operation = "REMOVED"
)

// Change is one change of the registry.
type Change struct {
	Kind      Kind
	Operation Operation
	// Thing of a thing, a membership or an association, as it is now or was before it was deleted.
	Thing *Thing
	// Type of a thing type; of an association its name alone.
	Type *ThingType
	// Group of a thing group, of a membership, and the child in the hierarchy, whose Parent is set.
	Group *ThingGroup
}

// Observer is told of changes after their commit, on the goroutine of the caller who made them: it
// must not block. The changes of one commit come in order, those of different callers in any.
type Observer interface {
	RegistryChanged(changes []Change)
}

// Observe adds an observer.
func (r *Registry) Observe(o Observer) {
	r.observing.Lock()
	defer r.observing.Unlock()
	r.observers = append(slices.Clip(r.observers), o)
}

func (r *Registry) announce(feed []Change) {
	if len(feed) == 0 {
		return
	}
	r.tellObservers(feed)
	r.wakeEvents(feed)
}

func (r *Registry) tellObservers(feed []Change) {
	r.observing.RLock()
	observers := r.observers
	r.observing.RUnlock()
	for _, o := range observers {
		o.RegistryChanged(feed)
	}
}

// maxChanged is the number of certificates beyond which a change is announced to everybody.
const maxChanged = 1000

// changes collects what a transaction alters: for observers, and the certificates whose identity is
// another one afterwards.
type changes struct {
	feed         []Change
	certificates map[string]struct{}
	all          bool
}

func (c *changes) note(change Change) { c.feed = append(c.feed, change) }

func (c *changes) certificate(id string) {
	if c.all {
		return
	}
	if c.certificates == nil {
		c.certificates = make(map[string]struct{})
	}
	c.certificates[id] = struct{}{}
	if len(c.certificates) > maxChanged+1 {
		c.all, c.certificates = true, nil
	}
}

// principal notes a principal in its stored form; only certificates have live identities.
func (c *changes) principal(key string) {
	if id, ok := strings.CutPrefix(key, certPrefix); ok {
		c.certificate(id)
	}
}

// query notes the principals that a query returns; the query must end in LIMIT ?.
func (c *changes) query(tx *store.Tx, query string, args ...any) error {
	if c.all {
		return nil
	}
	return tx.Query(query, append(args, maxChanged+1), func(row store.Row) error {
		var key string
		if err := row.Scan(&key); err != nil {
			return err
		}
		c.principal(key)
		return nil
	})
}

// thing notes everybody attached to a thing.
func (c *changes) thing(tx *store.Tx, name string) error {
	return c.query(tx, `SELECT principal FROM thing_principal WHERE thing = ? LIMIT ?`, name)
}

// group notes everybody attached to a thing in a group or below it.
func (c *changes) group(tx *store.Tx, name string) error {
	return c.query(tx, `SELECT DISTINCT p.principal FROM group_ancestor a
		JOIN group_member m ON m.grp = a.grp
		JOIN thing_principal p ON p.thing = m.thing
		WHERE a.ancestor = ? LIMIT ?`, name)
}

// policy notes everybody a policy speaks about, and those who know it by name.
func (c *changes) policy(tx *store.Tx, name string) error {
	c.certificate("")
	var groups []string
	err := tx.Query(`SELECT target FROM policy_attachment WHERE policy = ? LIMIT ?`, []any{name, maxChanged + 2}, func(row store.Row) error {
		var target string
		if err := row.Scan(&target); err != nil {
			return err
		}
		if group, ok := strings.CutPrefix(target, groupPrefix); ok {
			groups = append(groups, group)
		} else {
			c.principal(target)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, group := range groups {
		if err := c.group(tx, group); err != nil {
			return err
		}
	}
	return nil
}

func (c *changes) list() []string {
	if c.all {
		return nil
	}
	ids := make([]string, 0, len(c.certificates))
	for id := range c.certificates {
		ids = append(ids, id)
	}
	return ids
}
