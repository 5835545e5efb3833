package jobs

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Pace of the worker.
const (
	longest     = time.Hour       // between two looks
	pause       = 5 * time.Second // after a failure
	expandPages = 8               // pages of a group that one transaction takes
	maxMembers  = 10000           // things whose changed membership is remembered one by one
)

// worker is the goroutine that makes jobs go on: it begins them, expands their targets, rolls them
// out, times executions out, ends, cancels and deletes. All that it knows is in the database, except
// which things have changed their groups.
type worker struct {
	service *Service

	mu      sync.Mutex
	members map[string]struct{}
	all     bool // too many to remember
	next    time.Time
	wake    chan struct{}

	ctx     context.Context
	cancel  context.CancelFunc
	stopped chan struct{}
}

func newWorker(s *Service) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	return &worker{service: s, members: make(map[string]struct{}), wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel, stopped: make(chan struct{})}
}

func (w *worker) close() {
	w.cancel()
	<-w.stopped
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// at makes the worker look at a time.
func (w *worker) at(t time.Time) {
	w.mu.Lock()
	earlier := w.next.IsZero() || t.Before(w.next)
	w.mu.Unlock()
	if earlier {
		w.poke()
	}
}

// MembershipChanged says that things have joined or left groups or have been deleted; nil stands for
// any number of them. It does not block.
func (s *Service) MembershipChanged(things []string) {
	w := s.worker
	w.mu.Lock()
	if things == nil || len(w.members)+len(things) > maxMembers {
		w.all = true
	} else {
		for _, t := range things {
			w.members[t] = struct{}{}
		}
	}
	w.mu.Unlock()
	w.poke()
}

func (w *worker) run(ctx context.Context) {
	defer close(w.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		w.mu.Lock()
		w.next = time.Time{} // until the round has ended every request pokes
		w.mu.Unlock()
		next, err := w.round(ctx)
		if ctx.Err() != nil {
			return
		}
		now := w.service.now()
		if err != nil {
			w.service.cfg.Log.Error("jobs could not go on", "error", err)
			next = now.Add(pause)
		}
		if next.IsZero() || next.After(now.Add(longest)) {
			next = now.Add(longest)
		}
		w.mu.Lock()
		w.next = next
		w.mu.Unlock()
		timer.Reset(max(0, next.Sub(now)))
	}
}

// round does everything that is due and returns when there is more.
func (w *worker) round(ctx context.Context) (time.Time, error) {
	s := w.service
	if err := w.follow(ctx); err != nil {
		return time.Time{}, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return time.Time{}, err
		}
		busy, err := s.timeOut()
		if err != nil {
			return time.Time{}, err
		}
		ids, err := s.attentive(ctx, 32)
		if err != nil {
			return time.Time{}, err
		}
		for _, id := range ids {
			err := s.advance(ctx, id)
			if err == nil || errors.Is(err, ErrNotFound) {
				continue
			}
			if ctx.Err() != nil {
				return time.Time{}, err
			}
			// One job that cannot go on must not hold up the others.
			s.cfg.Log.Error("job could not go on", "job_id", id, "error", err)
			if err := s.postpone(id); err != nil {
				return time.Time{}, err
			}
		}
		s.outbox.drained()
		if !busy && len(ids) == 0 {
			break
		}
	}
	var due, attention int64
	rd := s.reader(ctx)
	if err := rd.QueryRow(`SELECT coalesce(min(due), 0) FROM job_execution WHERE due > 0`, nil, &due); err != nil {
		return time.Time{}, err
	}
	if err := rd.QueryRow(`SELECT coalesce(min(attention_at), 0) FROM job WHERE attention_at > 0`, nil, &attention); err != nil {
		return time.Time{}, err
	}
	next := int64(math.MaxInt64)
	if due > 0 {
		next = due
	}
	if attention > 0 {
		next = min(next, attention)
	}
	if next == math.MaxInt64 {
		return time.Time{}, nil
	}
	return instant(next), nil
}

// attentive lists jobs that the worker has to look at now.
func (s *Service) attentive(ctx context.Context, n int) ([]string, error) {
	var ids []string
	err := s.reader(ctx).Query(`SELECT job_id FROM job WHERE attention_at > 0 AND attention_at <= ? ORDER BY attention_at LIMIT ?`,
		[]any{millis(s.now()), n}, func(row store.Row) error {
			var id string
			err := row.Scan(&id)
			ids = append(ids, id)
			return err
		})
	return ids, err
}

// postpone looks at a job again later.
func (s *Service) postpone(id string) error {
	return s.cfg.Store.Write(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE job SET attention_at = ? WHERE job_id = ?`, millis(s.now().Add(pause)), id)
		return err
	})
}

// timeOut ends one batch of executions whose time is over; more says that there may be others.
func (s *Service) timeOut() (more bool, err error) {
	var due int
	if err := s.cfg.Store.QueryRow(context.Background(), `SELECT count(*) FROM (SELECT 1 FROM job_execution WHERE due > 0 AND due <= ? LIMIT 1) AS e`,
		[]any{millis(s.now())}, &due); err != nil || due == 0 {
		return false, err
	}
	err = s.write(func(c *change) error {
		list, err := executions(c.tx, `WHERE due > 0 AND due <= ? ORDER BY due LIMIT ?`, millis(c.at), batch)
		if err != nil {
			return err
		}
		more = len(list) == batch
		for _, e := range list {
			j, err := c.job(e.job)
			if err != nil {
				return err
			}
			if _, err := c.step(j, e, TimeOut, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return more, err
}

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
