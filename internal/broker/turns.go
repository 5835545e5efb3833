package broker

import (
	"net/netip"
	"sync"
)

// turns lets a bounded number of things be done at a time, and lets sources take turns: one with a
// thousand connections that wait does not delay another's first by more than one.
type turns struct {
	limit     int // at a time
	perSource int // of them, of one source
	room      int // that may wait

	mu      sync.Mutex
	running int
	waiting int
	sources map[netip.Prefix]*source
	order   []*source // those that have something waiting; the first is next
}

// source is an address, or the network of an IPv6 address, that has something running or waiting.
type source struct {
	of      netip.Prefix
	running int
	waiting []waiter
}

// waiter waits for its turn. Of run and drop one is called, once, without locks.
type waiter struct {
	run  func()
	drop func()
}

func newTurns(limit, perSource, room int) *turns {
	return &turns{limit: limit, perSource: perSource, room: room, sources: make(map[netip.Prefix]*source)}
}

// sourceOf is what counts as one source: an IPv4 address, or the /64 of an IPv6 address, which one
// subscriber has to itself.
func sourceOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// add calls run when it is its turn, perhaps at once, and drop if there is no room to wait: the source
// that has most waiting loses its newest. Each run is followed by one call of done.
func (t *turns) add(from netip.Addr, run, drop func()) {
	of := sourceOf(from)
	t.mu.Lock()
	s := t.sources[of]
	if s == nil {
		s = &source{of: of}
		t.sources[of] = s
	}
	if t.running < t.limit && s.running < t.perSource && len(s.waiting) == 0 {
		t.running++
		s.running++
		t.mu.Unlock()
		run()
		return
	}
	if len(s.waiting) == 0 {
		t.order = append(t.order, s)
	}
	s.waiting = append(s.waiting, waiter{run, drop})
	t.waiting++
	var dropped func()
	if t.waiting > t.room {
		dropped = t.dropNewest()
	}
	t.mu.Unlock()
	if dropped != nil {
		dropped()
	}
}

// dropNewest takes the newest waiter away from the source that has most.
func (t *turns) dropNewest() func() {
	at := 0
	for i, s := range t.order {
		if len(s.waiting) > len(t.order[at].waiting) {
			at = i
		}
	}
	s := t.order[at]
	last := len(s.waiting) - 1
	w := s.waiting[last]
	s.waiting[last] = waiter{}
	s.waiting = s.waiting[:last]
	t.waiting--
	if last == 0 {
		t.order = append(t.order[:at], t.order[at+1:]...)
		t.forget(s)
	}
	return w.drop
}

// done ends a turn and begins the next.
func (t *turns) done(from netip.Addr) {
	t.mu.Lock()
	s := t.sources[sourceOf(from)]
	t.running--
	s.running--
	next := t.next()
	t.forget(s)
	t.mu.Unlock()
	if next != nil {
		next()
	}
}

// next takes the waiter whose turn it is, of the first source that may have one more.
func (t *turns) next() func() {
	for i, s := range t.order {
		if s.running >= t.perSource {
			continue
		}
		w := s.waiting[0]
		s.waiting[0] = waiter{}
		s.waiting = s.waiting[1:]
		t.order = append(t.order[:i], t.order[i+1:]...)
		if len(s.waiting) > 0 {
			t.order = append(t.order, s)
		} else {
			s.waiting = nil
		}
		t.waiting--
		t.running++
		s.running++
		return w.run
	}
	return nil
}

func (t *turns) forget(s *source) {
	if s.running == 0 && len(s.waiting) == 0 {
		delete(t.sources, s.of)
	}
}

// counts are the numbers running and waiting now.
func (t *turns) counts() (running, waiting int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running, t.waiting
}

// turn is one handshake's place among those that compute. A nil turn need not wait for anybody.
type turn struct {
	turns *turns
	from  netip.Addr
	mine  bool
}

// enter waits for its turn.
func (u *turn) enter() {
	if u == nil || u.mine {
		return
	}
	ready := make(chan struct{})
	u.turns.add(u.from, func() { close(ready) }, nil)
	<-ready
	u.mine = true
}

// leave lets another have its turn.
func (u *turn) leave() {
	if u != nil && u.mine {
		u.mine = false
		u.turns.done(u.from)
	}
}
