package jobs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// advance does the next piece of work for a job.
func (s *Service) advance(ctx context.Context, id string) error {
	j, err := readJob(s.reader(ctx), id)
	if err != nil {
		return err
	}
	if j.status == JobInProgress && j.phase == phaseExpanding {
		return s.expand(ctx, j)
	}
	return s.write(func(c *change) error {
		j, err := c.job(id)
		if err != nil {
			return err
		}
		j.attention = time.Time{}
		start, end := j.definition.Schedule.Span()
		switch {
		case j.status == DeletionInProgress:
			return c.remove(j)
		case j.status == JobCanceled && j.phase == phaseCanceling:
			return c.cancelSome(j)
		case j.status == Scheduled && c.at.Before(start):
			c.attend(j, start)
		case j.status == Scheduled:
			j.status, _ = j.status.After(Begin)
			j.phase = phaseExpanding
			c.attend(j, c.at)
		case j.status == JobInProgress && c.ended(j):
			return c.end(j)
		case j.status == JobInProgress && j.phase == phaseRolling:
			if err := c.roll(j); err != nil {
				return err
			}
			c.attend(j, end)
		case j.status == JobInProgress:
			c.attend(j, end)
		}
		return nil
	})
}

// end does what a job's end behavior says.
func (c *change) end(j *record) error {
	switch j.definition.Schedule.EndBehavior {
	case EndCancel:
		return c.cancel(j, false, "", "the end time has come")
	case EndForceCancel:
		return c.cancel(j, true, "", "the end time has come")
	}
	j.phase = phaseNone
	_, err := c.tx.Exec(`DELETE FROM job_waiting WHERE job_id = ?`, j.id)
	return err
}

// expand notes the next things of a job's targets as waiting.
func (s *Service) expand(ctx context.Context, j *record) error {
	from, to := j.cursor, j.cursor
	var things []string
	for range expandPages {
		if to.Target >= len(j.targets) {
			break
		}
		found, next, err := s.members(ctx, j.targets[to.Target], to.Page)
		if err != nil {
			return err
		}
		things = append(things, found...)
		if to.Page = next; next == "" {
			to.Target++
		}
	}
	return s.write(func(c *change) error {
		j, err := c.job(j.id)
		if err != nil {
			return err
		}
		if j.cursor != from || j.status != JobInProgress || j.phase != phaseExpanding {
			return nil // something else has happened to it
		}
		for _, thing := range things {
			if _, err := c.tx.Exec(`INSERT INTO job_waiting (job_id, thing) VALUES (?, ?) ON CONFLICT (job_id, thing) DO NOTHING`, j.id, thing); err != nil {
				return err
			}
		}
		j.cursor = to
		if to.Target >= len(j.targets) {
			j.phase, j.cursor = phaseRolling, cursor{}
		}
		j.attention = time.Time{}
		c.attend(j, c.at)
		return nil
	})
}

// members lists one page of the things that a target stands for.
func (s *Service) members(ctx context.Context, target, page string) ([]string, string, error) {
	if group, ok := strings.CutPrefix(target, "thinggroup/"); ok {
		things, next, err := s.cfg.Registry.ListThingsInThingGroup(ctx, group, true, registry.Page{Token: page})
		if errors.Is(err, registry.ErrNotFound) {
			return nil, "", nil // deleted in the meantime
		}
		return things, next, err
	}
	thing := strings.TrimPrefix(target, "thing/")
	_, err := s.cfg.Registry.DescribeThing(ctx, thing)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, "", nil
	}
	return []string{thing}, "", err
}

// roll gives the job to as many waiting things as its rate allows now.
func (c *change) roll(j *record) error {
	if open, until := j.definition.Schedule.Open(c.at); !open {
		c.attend(j, until)
		return nil
	}
	rate := j.definition.Rollout.Rate(j.notified, j.counts.Succeeded)
	n, window, more := j.window.Allow(rate, c.at)
	j.window = window
	if n == 0 {
		c.attend(j, more)
		return nil
	}
	n = min(n, batch)
	var things []string
	err := c.tx.Query(`SELECT thing FROM job_waiting WHERE job_id = ? ORDER BY thing LIMIT ?`, []any{j.id, n + 1}, func(row store.Row) error {
		var thing string
		err := row.Scan(&thing)
		things = append(things, thing)
		return err
	})
	if err != nil {
		return err
	}
	last := int64(len(things)) <= n // nobody waits after these
	things = things[:min(int64(len(things)), n)]
	for _, thing := range things {
		fresh, err := c.queue(j, thing, 1, Attempts{})
		if err != nil {
			return err
		}
		if fresh {
			j.window.Count++
			j.notified++
		}
	}
	if len(things) > 0 {
		if _, err := c.tx.Exec(`DELETE FROM job_waiting WHERE job_id = ? AND thing <= ?`, j.id, things[len(things)-1]); err != nil {
			return err
		}
	}
	if last {
		j.phase = phaseNone
		return nil
	}
	c.attend(j, c.at)
	return nil
}
