package registry

import (
	"context"

	"github.com/berth-iot/berth/internal/store"
)

// Member is a thing with the names of the groups that it is a member of.
type Member struct {
	*Thing
	Static, Dynamic []string
}

// DescribeMember returns a thing with its groups, or ErrNotFound.
func (r *Registry) DescribeMember(ctx context.Context, name string) (*Member, error) {
	rd := r.reader(ctx)
	t, err := r.thing(rd, name)
	if err != nil {
		return nil, err
	}
	m := &Member{Thing: t}
	return m, rd.Query(`SELECT m.grp, g.query <> '' FROM group_member m JOIN thing_group g ON g.name = m.grp
		WHERE m.thing = ? ORDER BY m.grp`, []any{name}, func(row store.Row) error {
		var group string
		var dynamic bool
		err := row.Scan(&group, &dynamic)
		m.add(group, dynamic)
		return err
	})
}

func (m *Member) add(group string, dynamic bool) {
	if dynamic {
		m.Dynamic = append(m.Dynamic, group)
	} else {
		m.Static = append(m.Static, group)
	}
}

// EachMember reads all things with their groups, by name. each must not keep the member.
func (r *Registry) EachMember(ctx context.Context, each func(m *Member) error) error {
	rd := r.reader(ctx)
	for after := ""; ; {
		things, _, err := pageOf(rd, scanPage, `SELECT `+thingColumns+` FROM thing WHERE name > ? ORDER BY name LIMIT ?`, []any{after},
			func(row store.Row) (*Thing, []string, error) {
				t, err := r.scanThing(row)
				if err != nil {
					return nil, nil, err
				}
				return t, []string{t.Name}, nil
			})
		if err != nil || len(things) == 0 {
			return err
		}
		last := things[len(things)-1].Name
		groups := make(map[string]*Member)
		err = rd.Query(`SELECT m.thing, m.grp, g.query <> '' FROM group_member m JOIN thing_group g ON g.name = m.grp
			WHERE m.thing > ? AND m.thing <= ? ORDER BY m.thing, m.grp`, []any{after, last}, func(row store.Row) error {
			var thing, group string
			var dynamic bool
			err := row.Scan(&thing, &group, &dynamic)
			if groups[thing] == nil {
				groups[thing] = new(Member)
			}
			groups[thing].add(group, dynamic)
			return err
		})
		if err != nil {
			return err
		}
		for _, t := range things {
			m := groups[t.Name]
			if m == nil {
				m = new(Member)
			}
			m.Thing = t
			if err := each(m); err != nil {
				return err
			}
		}
		after = last
	}
}

// scanPage is how many things are read at once.
const scanPage = 1000
