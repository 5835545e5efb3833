package fleetindex

import (
	"context"
	"strings"

	"github.com/berth-iot/berth/internal/registry"
)

// dynamicGroup is a dynamic group and its query.
type dynamicGroup struct {
	name    string
	version int64
	query   *Query
	active  bool
}

// membershipsAtOnce is how many things change their dynamic groups in one transaction.
const membershipsAtOnce = 200

// follow lets things join and leave dynamic groups; all of them if the groups have changed.
func (s *Service) follow(ctx context.Context, touched map[*row]struct{}, all bool) error {
	if all {
		list, err := s.cfg.Registry.DynamicGroups(ctx)
		if err != nil {
			return err
		}
		s.dynamic = s.dynamic[:0]
		for _, g := range list {
			q, err := Parse(g.Dynamic.Query)
			if err != nil {
				s.cfg.Log.Error("query of dynamic thing group", "group", g.Name, "error", err)
				continue
			}
			s.dynamic = append(s.dynamic, dynamicGroup{g.Name, g.Version, q, g.Dynamic.Status == registry.GroupActive})
		}
	}
	if !all && len(s.dynamic) == 0 {
		return nil
	}
	for _, part := range s.wanted(touched, all) {
		refused, err := s.cfg.Registry.SetDynamicGroups(ctx, part)
		if err != nil {
			return err
		}
		if refused > 0 {
			s.refused.Add(uint64(refused))
			s.cfg.Log.Error("things in too many groups for their dynamic groups", "count", refused)
		}
	}
	if all {
		for _, g := range s.dynamic {
			if g.active {
				continue
			}
			if err := s.cfg.Registry.ActivateDynamicGroup(ctx, g.name, g.version); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted returns the things whose dynamic groups have to change, in portions.
func (s *Service) wanted(touched map[*row]struct{}, all bool) (portions [][]registry.Membership) {
	t := s.things
	t.mu.Lock()
	defer t.mu.Unlock()
	v := *s.view.Load()
	v.static = true
	plans := make([]*plan, len(s.dynamic))
	for i, g := range s.dynamic {
		plans[i] = t.plan(g.query, &v)
	}
	var list []registry.Membership
	check := func(r *row) {
		if r.gone {
			return
		}
		var want []string
		for i, p := range plans {
			if p.match(r) {
				want = append(want, s.dynamic[i].name)
			}
		}
		if sameGroups(r.parts[partDynamic], want) {
			r.asked = ""
			return
		}
		// A registry that would not take a thing is asked again when it knows something new of it.
		if asked := strings.Join(want, " ") + " "; asked != r.asked || all {
			r.asked = asked
			if list = append(list, registry.Membership{Thing: r.name, Groups: want}); len(list) == membershipsAtOnce {
				portions = append(portions, list)
				list = nil
			}
		}
	}
	if all {
		for _, r := range t.rows {
			check(r)
		}
	} else {
		for r := range touched {
			check(r)
		}
	}
	if len(list) > 0 {
		portions = append(portions, list)
	}
	return portions
}

// sameGroups compares the dynamic groups in a row with others.
func sameGroups(have fields, want []string) bool {
	n := 0
	for have != "" {
		var v value
		v, have = have.next()
		found := false
		for _, w := range want {
			found = found || w == v.text
		}
		if !found {
			return false
		}
		n++
	}
	return n == len(want)
}
