package fleetindex

import (
	"context"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
)

// pending is what has changed and is not indexed yet.
type pending struct {
	things      map[string]struct{}
	groups      map[string]struct{}
	shadows     map[shadow.ID]*shadow.Document
	connections []connectionEvent
	violations  map[string]int
	definitions bool // dynamic groups have changed
	rebuild     bool // the configuration has changed
	some        bool
}

func newPending() *pending {
	return &pending{things: make(map[string]struct{}), groups: make(map[string]struct{}), shadows: make(map[shadow.ID]*shadow.Document), violations: make(map[string]int)}
}

// feed collects changes for the indexing goroutine. Whoever tells of one only notes it here.
type feed struct {
	mu      sync.Mutex
	ready   sync.Cond
	done    sync.Cond // signalled when a round has been indexed
	next    *pending
	round   uint64 // that next will be
	indexed uint64
	stopped bool
	urgent  chan struct{} // somebody waits for the next round
}

func (f *feed) init() {
	f.ready.L, f.done.L = &f.mu, &f.mu
	f.next, f.round, f.urgent = newPending(), 1, make(chan struct{}, 1)
}

// pauseBetween is how long changes gather while nobody waits for them: a shadow that changes a
// thousand times a second is indexed a hundred times.
const pauseBetween = 10 * time.Millisecond

// rest lets changes gather.
func (f *feed) rest() {
	t := time.NewTimer(pauseBetween)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.urgent:
	}
}

func (f *feed) hurry() {
	select {
	case f.urgent <- struct{}{}:
	default:
	}
}

func (f *feed) add(note func(p *pending)) {
	f.mu.Lock()
	note(f.next)
	if !f.next.some {
		f.next.some = true
		f.ready.Signal()
	}
	f.mu.Unlock()
}

// take waits for changes; ok is false when the feed has stopped and there are no more.
func (f *feed) take() (p *pending, round uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.next.some && !f.stopped {
		f.ready.Wait()
	}
	if !f.next.some {
		return nil, 0, false
	}
	p, round = f.next, f.round
	f.next = newPending()
	f.round++
	return p, round, true
}

func (f *feed) finish(round uint64) {
	f.mu.Lock()
	f.indexed = round
	f.done.Broadcast()
	f.mu.Unlock()
}

func (f *feed) stop() {
	f.mu.Lock()
	f.stopped = true
	f.hurry()
	f.ready.Broadcast()
	f.done.Broadcast()
	f.mu.Unlock()
}

// Sync waits until every change that the service was told of before the call can be found, or until
// ctx ends.
func (s *Service) Sync(ctx context.Context) {
	f := &s.feed
	stop := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		f.done.Broadcast()
		f.mu.Unlock()
	})
	defer stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	round := f.round
	if !f.next.some {
		round--
	}
	for f.indexed < round && !f.stopped && ctx.Err() == nil {
		f.hurry()
		f.done.Wait()
	}
}

// patience bounds how long a search waits for changes that came before it.
const patience = time.Second

func (s *Service) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.Sync(ctx)
}

// RegistryChanged implements registry.Observer.
func (s *Service) RegistryChanged(changes []registry.Change) {
	s.feed.add(func(p *pending) {
		for i := range changes {
			switch c := &changes[i]; c.Kind {
			case registry.ThingChange, registry.MembershipChange:
				p.things[c.Thing.Name] = struct{}{}
			case registry.ThingGroupChange:
				p.groups[c.Group.Name] = struct{}{}
				if c.Group.Dynamic != nil {
					p.definitions = true
				}
			}
		}
	})
}

// ShadowsChanged implements shadow.Observer.
func (s *Service) ShadowsChanged(changes []shadow.Change) {
	s.feed.add(func(p *pending) {
		for _, c := range changes {
			p.shadows[c.ID] = c.Document
		}
	})
}

// SetViolations says how many violations of Device Defender behaviours a thing is in; a negative
// number that nothing is known.
func (s *Service) SetViolations(thing string, n int) {
	s.feed.add(func(p *pending) { p.violations[thing] = n })
}
