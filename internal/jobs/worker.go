package jobs

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Pace of the worker.
const (
	longest     = time.Hour            // between two looks
	pause       = 5 * time.Second      // after a failure
	expandPages = 8                    // pages of a group that one transaction takes
	kept        = 730 * 24 * time.Hour // after a job's end (AWS IoT Core quotas, "Jobs")
	maxMembers  = 10000                // things whose changed membership is remembered one by one
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

	cancel  context.CancelFunc
	stopped chan struct{}
}

func newWorker(s *Service) *worker {
	return &worker{service: s, members: make(map[string]struct{}), wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// start begins; the service must know its worker by then.
func (w *worker) start() {
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	go w.run(ctx)
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

// RegistryChanged implements registry.Observer: things that have joined or left groups or have been
// deleted gain and lose jobs.
func (s *Service) RegistryChanged(changes []registry.Change) {
	w, any := s.worker, false
	w.mu.Lock()
	for i := range changes {
		c := &changes[i]
		if c.Kind != registry.MembershipChange && (c.Kind != registry.ThingChange || c.Operation != registry.Deleted) {
			continue
		}
		any = true
		if len(w.members) < maxMembers {
			w.members[c.Thing.Name] = struct{}{}
		} else {
			w.all = true
		}
	}
	w.mu.Unlock()
	if any {
		w.poke()
	}
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
	if err := s.forget(); err != nil {
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

// forget begins the deletion of jobs that ended long ago.
func (s *Service) forget() error {
	var old string
	err := s.cfg.Store.QueryRow(context.Background(), `SELECT job_id FROM job WHERE completed_at > 0 AND completed_at <= ? AND phase = '' LIMIT 1`,
		[]any{millis(s.now().Add(-kept))}, &old)
	if errors.Is(err, store.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.write(func(c *change) error {
		_, err := c.tx.Exec(`UPDATE job SET status = ?, phase = ?, attention_at = ? WHERE completed_at > 0 AND completed_at <= ? AND phase = ''`,
			DeletionInProgress, phaseDeleting, millis(c.at), millis(c.at.Add(-kept)))
		return err
	})
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
