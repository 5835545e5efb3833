package router

// Forwardee is a subscriber whose messages may come from another node of a cluster.
type Forwardee interface {
	Subscriber
	// DeliverForwarded is Deliver for a message that another node took, and that nobody waits for.
	DeliverForwarded(p *Publication, t *Target)
}

// Selective is a member of a shared subscription that does not take every message.
type Selective interface{ Fits(qos byte) bool }

// Forwarded hands a message that another node of a cluster took to the subscribers of this node, or to one
// member of a shared subscription if share names one as "name/filter". Services and rules have seen it
// there, and retained messages come another way.
func (pub *Publisher) Forwarded(p *Publication, share string) {
	p.publisher = pub
	p.reset()
	if share != "" {
		pub.router.mu.RLock()
		g := pub.router.groups[share]
		pub.router.mu.RUnlock()
		if g == nil {
			return
		}
		if t, ok := g.chooseHere(p.QoS); ok {
			t.Subscriber.(Forwardee).DeliverForwarded(p, &t)
		}
		return
	}
	rt := pub.routes[p.Topic]
	if rt == nil {
		rt = pub.newRoute(p.Topic)
	}
	if rt.fresh != pub.router.generation.Load() {
		rt.refresh(pub.router)
	}
	for i := range rt.targets {
		if f, ok := rt.targets[i].Subscriber.(Forwardee); ok {
			f.DeliverForwarded(p, &rt.targets[i])
		}
	}
}

// chooseHere returns a copy of a member whose client is connected to this node. Messages of QoS 1 that come
// this way are for those whose sessions end with their connections.
func (g *group) chooseHere(qos byte) (Target, bool) {
	return g.pick(func(m *Target) bool {
		f, ok := m.Subscriber.(Forwardee)
		if s, selective := m.Subscriber.(Selective); selective && !s.Fits(0) {
			return false // it is connected elsewhere
		}
		return ok && f.Online() && (qos == 0 || !f.Durable())
	})
}
