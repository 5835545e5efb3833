package jobs

import (
	"context"
	"errors"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// follow lets continuous jobs follow what has changed in groups.
func (w *worker) follow(ctx context.Context) error {
	w.mu.Lock()
	members, all := w.members, w.all
	w.members, w.all = make(map[string]struct{}), false
	w.mu.Unlock()
	if all {
		if err := w.service.resume(ctx); err != nil {
			return err
		}
	}
	for thing := range members {
		if err := w.service.follow(ctx, thing); err != nil {
			w.mu.Lock()
			w.all = true
			w.mu.Unlock()
			return err
		}
	}
	return nil
}

// follow gives a thing the continuous jobs of its groups and takes away those of groups that it has
// left; a deleted thing loses all.
func (s *Service) follow(ctx context.Context, thing string) error {
	var jobs int
	if err := s.reader(ctx).QueryRow(`SELECT count(*) FROM (SELECT 1 FROM job LIMIT 1) AS j`, nil, &jobs); err != nil || jobs == 0 {
		return err
	}
	targets, err := s.targetsOf(ctx, thing)
	deleted := errors.Is(err, registry.ErrNotFound)
	if err != nil && !deleted {
		return err
	}
	return s.write(func(c *change) error {
		wanted := make(map[string]bool)
		for _, target := range targets {
			err := c.tx.Query(`SELECT job_id FROM job_target WHERE target = ?`, []any{target}, func(row store.Row) error {
				var id string
				err := row.Scan(&id)
				wanted[id] = true
				return err
			})
			if err != nil {
				return err
			}
		}
		p, err := c.pending(thing)
		if err != nil {
			return err
		}
		for _, e := range p {
			j, err := c.job(e.job)
			if err != nil {
				return err
			}
			if deleted || j.selection == Continuous && !wanted[e.job] {
				if _, err := c.step(j, e, Leave, nil); err != nil {
					return err
				}
			}
		}
		if deleted {
			_, err := c.tx.Exec(`DELETE FROM job_waiting WHERE thing = ?`, thing)
			return err
		}
		for id := range wanted {
			if err := c.join(id, thing); err != nil {
				return err
			}
		}
		return nil
	})
}

// join gives a continuous job to a thing that is new to it, at once.
func (c *change) join(id, thing string) error {
	j, err := c.job(id)
	if err != nil {
		return err
	}
	if j.selection != Continuous || j.status != JobInProgress || c.ended(j) {
		return nil
	}
	number := int64(1)
	switch e, err := readExecution(c.tx, thing, id, 0); {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	case e.status != Removed:
		return nil
	default:
		number = e.number + 1
		*j.counts.of(Removed)--
	}
	if open, _ := j.definition.Schedule.Open(c.at); !open {
		if number > 1 {
			*j.counts.of(Removed)++
			return nil
		}
		if _, err := c.tx.Exec(`INSERT INTO job_waiting (job_id, thing) VALUES (?, ?) ON CONFLICT (job_id, thing) DO NOTHING`, id, thing); err != nil {
			return err
		}
		if j.phase == phaseNone {
			j.phase = phaseRolling
		}
		c.attend(j, c.at)
		return nil
	}
	if _, err := c.queue(j, thing, number, Attempts{}); err != nil {
		return err
	}
	_, err = c.tx.Exec(`DELETE FROM job_waiting WHERE job_id = ? AND thing = ?`, id, thing)
	return err
}

// targetsOf lists the targets that a thing belongs to: itself, its groups and those above them.
func (s *Service) targetsOf(ctx context.Context, thing string) ([]string, error) {
	if _, err := s.cfg.Registry.DescribeThing(ctx, thing); err != nil {
		return nil, err
	}
	targets := []string{"thing/" + thing}
	groups, _, err := s.cfg.Registry.ListThingGroupsForThing(ctx, thing, registry.Page{})
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		targets = append(targets, "thinggroup/"+g.Name)
		d, err := s.cfg.Registry.DescribeThingGroup(ctx, g.Name)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, above := range d.RootToParent {
			targets = append(targets, "thinggroup/"+above.Name)
		}
	}
	return targets, nil
}
