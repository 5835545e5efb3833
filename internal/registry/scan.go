package registry

import (
	"context"
	"errors"
	"iter"

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
	next, stop := iter.Pull2(r.memberships(ctx))
	defer stop()
	in, err, more := next()
	return r.db.Scan(ctx, `SELECT `+thingColumns+` FROM thing ORDER BY name`, func(row store.Row) error {
		t, scanErr := r.scanThing(row)
		if scanErr != nil {
			return scanErr
		}
		for more && err == nil && in.thing < t.Name {
			in, err, more = next()
		}
		m := Member{Thing: t}
		for more && err == nil && in.thing == t.Name {
			m.add(in.group, in.dynamic)
			in, err, more = next()
		}
		if err != nil {
			return err
		}
		return each(&m)
	})
}

// membership is one thing in one group.
type membership struct {
	thing, group string
	dynamic      bool
}

// memberships are all, by thing and group. What is yielded with an error is the last.
func (r *Registry) memberships(ctx context.Context) iter.Seq2[membership, error] {
	return func(yield func(membership, error) bool) {
		enough := errors.New("enough")
		err := r.db.Scan(ctx, `SELECT m.thing, m.grp, g.query <> '' FROM group_member m JOIN thing_group g ON g.name = m.grp
			ORDER BY m.thing, m.grp`, func(row store.Row) error {
			var m membership
			if err := row.Scan(&m.thing, &m.group, &m.dynamic); err != nil {
				return err
			}
			if !yield(m, nil) {
				return enough
			}
			return nil
		})
		if err != nil && err != enough {
			yield(membership{}, err)
		}
	}
}
