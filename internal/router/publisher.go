package router

import (
	"strings"

	"github.com/berth-iot/berth/topic"
)

// maxRoutes bounds the topics whose subscribers a publisher remembers.
const maxRoutes = 512

// Publisher is one source of messages, such as a connection. It remembers the subscribers of the
// topics it publishes to until any subscription changes. It is used by one goroutine at a time.
type Publisher struct {
	router *Router
	routes map[string]*Route
	dirty  []Flusher
	places []Message // for KeepBriefly
	bytes  []byte    // for their payloads
	// Pressed is set by a subscriber whose output piles up; the publisher should pause.
	Pressed bool
}

// Route is what a publisher remembers of one topic.
type Route struct {
	Topic string
	// Publish and Generation are the publisher's own memory of whether it may publish to the topic.
	Publish    bool
	Generation uint32

	targets []Target
	owner   Handler // of a reserved topic; nil for all others
	fresh   uint64
}

// NewPublisher returns a publisher.
func (r *Router) NewPublisher() *Publisher {
	return &Publisher{router: r}
}

// Route returns what is remembered of a topic; the name is copied when it is new.
func (pub *Publisher) Route(name []byte) *Route {
	if rt := pub.routes[string(name)]; rt != nil {
		return rt
	}
	return pub.newRoute(string(name))
}

func (pub *Publisher) newRoute(name string) *Route {
	if len(pub.routes) >= maxRoutes {
		clear(pub.routes)
	}
	if pub.routes == nil {
		pub.routes = make(map[string]*Route)
	}
	rt := &Route{Topic: name}
	pub.routes[name] = rt
	return rt
}

// Forget drops what is remembered, to save memory while the publisher is idle.
func (pub *Publisher) Forget() {
	pub.routes, pub.dirty = nil, nil
	pub.places, pub.bytes = nil, nil
}

const (
	placesAtOnce = 16
	bytesAtOnce  = 4 << 10
)

// place returns an empty message with an empty payload that n bytes fit into.
func (pub *Publisher) place(n int) *Message {
	if len(pub.places) == 0 {
		pub.places = make([]Message, placesAtOnce)
	}
	m := &pub.places[0]
	pub.places = pub.places[1:]
	switch {
	case n > bytesAtOnce/4:
		m.Payload = make([]byte, 0, n)
	case n > len(pub.bytes):
		pub.bytes = make([]byte, bytesAtOnce)
		fallthrough
	default:
		m.Payload = pub.bytes[:0:n]
		pub.bytes = pub.bytes[n:]
	}
	return m
}

// Publish hands a message to its subscribers and keeps it if it is to be retained. It reports
// whether the acknowledgement must wait: then p.Acknowledger hears of it, perhaps from another
// goroutine, perhaps before Publish returns. Otherwise it does not.
func (pub *Publisher) Publish(p *Publication) (waits bool) {
	rt := pub.routes[p.Topic]
	if rt == nil {
		rt = pub.newRoute(p.Topic)
	}
	return pub.PublishTo(rt, p)
}

// PublishTo is Publish for a route that is at hand; p.Topic must be its topic.
func (pub *Publisher) PublishTo(rt *Route, p *Publication) (waits bool) {
	p.publisher = pub
	p.reset()
	if p.Retain {
		pub.router.retained.publish(p)
	}
	if rt.fresh != pub.router.generation.Load() {
		rt.refresh(pub.router)
	}
	p.alone = len(rt.targets) == 1
	for i := range rt.targets {
		t := &rt.targets[i]
		if t.NoLocal && t.Subscriber == p.NoLocal { // [MQTT-3.8.3-3]
			continue
		}
		if p.To != nil && t.Subscriber != p.To {
			continue
		}
		t.Subscriber.Deliver(p, t)
	}
	if rt.owner != nil {
		rt.owner(p)
	}
	if p.receipt != nil {
		p.receipt.Release(nil)
		return true
	}
	return false
}

// Direct hands a message to the subscriber in p.To whether it has subscribed or not: the answer of a
// service to a request, which NoLocal and Origin of the request's Publication tell where to send (AWS
// IoT developer guide, "Jobs device MQTT API"). The subscriber's policies decide as for any message.
func (pub *Publisher) Direct(p *Publication) {
	p.publisher = pub
	p.reset()
	p.alone = true
	p.To.Deliver(p, &Target{Subscriber: p.To, QoS: p.QoS})
	if p.receipt != nil {
		p.receipt.Release(nil)
	}
}

// refresh finds the subscribers and the owner again. Basic Ingest reaches rules only (AWS IoT developer guide,
// "Reducing messaging costs with Basic Ingest").
func (rt *Route) refresh(r *Router) {
	clear(rt.targets)
	rt.targets = rt.targets[:0]
	if strings.HasPrefix(rt.Topic, "$aws/rules/") {
		r.mu.RLock()
		if rt.fresh = r.generation.Load(); r.ingest != nil {
			rt.targets = append(rt.targets, Target{Subscriber: r.ingest, QoS: 1})
		}
		r.mu.RUnlock()
		return
	}
	rt.targets, rt.fresh = r.targets(rt.Topic, rt.targets)
	rt.owner = nil
	if topic.Reserved(rt.Topic) {
		rt.owner = r.owner(rt.Topic)
	}
}

// Dirty notes output to be flushed.
func (pub *Publisher) Dirty(f Flusher) { pub.dirty = append(pub.dirty, f) }

// Press asks the publisher to pause after its batch: a subscriber's output piles up.
func (p *Publication) Press() { p.publisher.Pressed = true }

// Flush flushes every receiver that got something since the last call.
func (pub *Publisher) Flush() {
	for i, f := range pub.dirty {
		pub.dirty[i] = nil
		f.Flush()
	}
	pub.dirty = pub.dirty[:0]
}
