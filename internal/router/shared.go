package router

import (
	"math/rand/v2"
	"sync"
)

// group is a shared subscription: of its members one gets each message, an online one if there is
// any, else one that keeps it (AWS IoT developer guide, "Shared subscriptions").
type group struct {
	mu      sync.Mutex
	members []Target
}

func (g *group) set(s Subscriber, sub Subscription) bool {
	t := Target{Subscriber: s, QoS: sub.QoS, RetainAsPublished: sub.RetainAsPublished}
	if sub.ID != 0 {
		t.IDs = []uint32{sub.ID}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.members {
		if g.members[i].Subscriber == s {
			g.members[i] = t
			return false
		}
	}
	g.members = append(g.members, t)
	return true
}

func (g *group) remove(s Subscriber) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.members {
		if g.members[i].Subscriber == s {
			last := len(g.members) - 1
			g.members[i] = g.members[last]
			g.members[last] = Target{}
			g.members = g.members[:last]
			return true
		}
	}
	return false
}

func (g *group) empty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members) == 0
}

// choose returns a copy of one member for a message of a QoS.
func (g *group) choose(qos byte) (t Target, ok bool) {
	fits := func(m *Target) bool {
		s, ok := m.Subscriber.(Selective)
		return !ok || s.Fits(min(qos, m.QoS))
	}
	t, ok = g.pick(func(m *Target) bool { return m.Subscriber.Online() && fits(m) })
	if !ok {
		t, ok = g.pick(func(m *Target) bool { return m.Subscriber.Durable() && fits(m) })
	}
	return t, ok
}

// pick returns a copy of a member that fits. Starting at a random place and taking the first costs one
// pass.
func (g *group) pick(fits func(m *Target) bool) (t Target, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.members)
	if n == 0 {
		return Target{}, false
	}
	start := rand.IntN(n)
	for i := range n {
		if m := &g.members[(start+i)%n]; fits(m) {
			return *m, true
		}
	}
	return Target{}, false
}

// Deliver implements Subscriber for the group as a whole.
func (g *group) Deliver(p *Publication, _ *Target) {
	if t, ok := g.choose(p.QoS); ok {
		t.Subscriber.Deliver(p, &t)
	}
}

// Online and Durable are not asked of groups.
func (g *group) Online() bool  { return true }
func (g *group) Durable() bool { return false }
