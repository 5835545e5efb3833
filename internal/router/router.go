// Package router is the narrow waist of the server: it takes a message from whoever publishes and
// hands it to every subscriber whose topic filter matches. It keeps retained messages and shares
// out shared subscriptions. It knows topics and messages only: no sessions, no sockets, no policy.
package router

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/topic"
)

// Subscriber receives messages.
type Subscriber interface {
	// Deliver takes a message for a subscription. It must not block and must not keep p; it may
	// change the target's Receive and Generation, which are the subscriber's own memory of whether
	// it may have messages of this topic.
	Deliver(p *Publication, t *Target)
	// Online reports whether a message would be sent on now; Durable whether it would be kept
	// otherwise. Shared subscriptions choose by them.
	Online() bool
	Durable() bool
}

// Flusher has output to write once a batch is done.
type Flusher interface{ Flush() }

// Subscription is how a subscriber wants the messages of one filter.
type Subscription struct {
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	ID                uint32 // subscription identifier, 0 for none
}

// Target is one subscriber of a topic, with all its matching subscriptions folded into one: the
// highest QoS and every identifier (MQTT 5.0 section 3.3.4).
type Target struct {
	Subscriber        Subscriber
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	IDs               []uint32

	Receive    bool
	Generation uint32
}

// Router connects publishers and subscribers. Its methods may be called concurrently.
type Router struct {
	rules      topic.Rules
	generation atomic.Uint64 // changes with every change of subscriptions

	mu     sync.RWMutex
	index  *topic.Index[Subscriber, Subscription]
	groups map[string]*group // shared subscriptions by "share/filter"
	owners []func(name string) Handler
	ingest Subscriber // gets what is published to $aws/rules/NAME/…; may be nil

	retained retained
	idle     sync.Pool // of *Publisher, for Router.Publish
}

// New returns a router that matches by the given rules and keeps retained messages in db. It returns while
// those are still being read, see Loaded.
func New(ctx context.Context, rules topic.Rules, db *store.DB) (*Router, error) {
	r := &Router{rules: rules, index: topic.NewIndex[Subscriber, Subscription](rules), groups: make(map[string]*group)}
	r.generation.Store(1)
	r.idle.New = func() any { return r.NewPublisher() }
	if err := r.retained.open(ctx, rules, db); err != nil {
		return nil, err
	}
	return r, nil
}

// CheckFilter reports what is wrong with a filter, which may be shared.
func (r *Router) CheckFilter(filter string) error { return r.rules.CheckFilter(filter) }

// Subscribe adds or replaces a subscription. The filter must be valid and may be shared. It
// reports whether the subscription is new.
func (r *Router) Subscribe(s Subscriber, filter string, sub Subscription) (fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if share, rest, ok := topic.SplitShare(filter); ok {
		g := r.groups[share+"/"+rest]
		if g == nil {
			g = &group{}
			r.groups[share+"/"+rest] = g
			r.index.Set(rest, g, Subscription{})
		}
		fresh = g.set(s, sub)
	} else {
		fresh = r.index.Set(filter, s, sub)
	}
	r.generation.Add(1)
	return fresh
}

// Ingest names the one subscriber of the topics of Basic Ingest.
func (r *Router) Ingest(s Subscriber) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ingest = s
	r.generation.Add(1)
}

// Unsubscribe removes a subscription; it reports whether there was one.
func (r *Router) Unsubscribe(s Subscriber, filter string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	removed := false
	if share, rest, ok := topic.SplitShare(filter); ok {
		if g := r.groups[share+"/"+rest]; g != nil {
			removed = g.remove(s)
			if g.empty() {
				delete(r.groups, share+"/"+rest)
				r.index.Remove(rest, g)
			}
		}
	} else {
		removed = r.index.Remove(filter, s)
	}
	if removed {
		r.generation.Add(1)
	}
	return removed
}

// Subscriptions is the number of subscriptions, a shared one counted once.
func (r *Router) Subscriptions() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.index.Len()
}

// Heard reports whether a message to a topic name would reach anybody.
func (r *Router) Heard(name string) bool {
	heard := false
	r.mu.RLock()
	r.index.Match(name, func(Subscriber, Subscription) { heard = true })
	r.mu.RUnlock()
	return heard || topic.Reserved(name) && r.owner(name) != nil
}

// targets finds the subscribers of a topic name.
func (r *Router) targets(name string, into []Target) ([]Target, uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	generation := r.generation.Load()
	var place map[Subscriber]int
	r.index.Match(name, func(s Subscriber, sub Subscription) {
		i := -1
		if place != nil {
			if at, ok := place[s]; ok {
				i = at
			}
		} else {
			for at := range into {
				if into[at].Subscriber == s {
					i = at
					break
				}
			}
		}
		if i < 0 {
			if place == nil && len(into) == 32 { // many: from here on a map finds duplicates
				place = make(map[Subscriber]int, 256)
				for at := range into {
					place[into[at].Subscriber] = at
				}
			}
			if place != nil {
				place[s] = len(into)
			}
			t := Target{Subscriber: s, QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished}
			if sub.ID != 0 {
				t.IDs = []uint32{sub.ID}
			}
			into = append(into, t)
			return
		}
		t := &into[i]
		t.QoS = max(t.QoS, sub.QoS)
		t.NoLocal = t.NoLocal && sub.NoLocal
		t.RetainAsPublished = t.RetainAsPublished || sub.RetainAsPublished
		if sub.ID != 0 {
			t.IDs = append(t.IDs, sub.ID)
		}
	})
	return into, generation
}

// Publish sends one message on behalf of a service and flushes its receivers. It is not retained if there is
// no room, see MayRetain. done, if not nil, is always called, and must not block.
func (r *Router) Publish(p *Publication, done func(error)) {
	if p.Retain && !r.MayRetain(p.Topic, len(p.Payload)) {
		p.Retain = false
	}
	if done != nil {
		p.Acknowledger, p.awaited = AcknowledgeFunc(done), true
	}
	pub := r.idle.Get().(*Publisher)
	waits := pub.Publish(p)
	pub.Flush()
	r.idle.Put(pub)
	if !waits && done != nil {
		done(nil)
	}
}
