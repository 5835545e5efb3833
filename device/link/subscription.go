package link

import (
	"fmt"
	"slices"

	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/topic"
)

// filtersPerPacket is what AWS IoT takes in one SUBSCRIBE (AWS IoT Core message broker quotas,
// "Subscriptions per subscribe request").
const filtersPerPacket = 8

type subState uint8

const (
	subWanted  subState = iota // to be asked for on this connection
	subAsked                   // SUBACK is outstanding
	subGranted                 // the server's session has it
	subRefused
)

// subscription is a topic filter that the application or a service wants.
type subscription struct {
	filter string
	qos    byte
	state  subState
	done   []func(error)
}

// request is a SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
type request struct {
	kind    mqtt.Type
	filters []string
	done    func(error)
}

// Subscribe asks for a topic filter, now and after every reconnect, until Unsubscribe. done, if not
// nil, gets the server's first answer on the loop: nil or a *Failure.
func (l *Link) Subscribe(filter string, qos byte, done func(error)) error {
	if err := topic.Standard.CheckFilter(filter); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if qos > 1 {
		return fmt.Errorf("subscribe to %q: QoS %d is not supported", filter, qos)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.subs[filter]
	if s == nil {
		s = &subscription{filter: filter}
		l.subs[filter] = s
		l.order = append(l.order, filter)
	}
	s.qos, s.state = qos, subWanted
	if done != nil {
		s.done = append(s.done, done)
	}
	if l.conn != nil {
		l.conn.signal()
	}
	return nil
}

// Unsubscribe gives a topic filter up. done, if not nil, gets the server's answer; without a
// connection it is nil at once, though a session that the server keeps may still bring messages.
func (l *Link) Unsubscribe(filter string, done func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.subs[filter]; s != nil {
		delete(l.subs, filter)
		l.order = slices.DeleteFunc(l.order, func(f string) bool { return f == filter })
	}
	if c := l.conn; c != nil && c.up {
		if id := l.newID(); id != 0 {
			l.asked[id] = &request{kind: mqtt.UNSUBACK, filters: []string{filter}, done: done}
			c.outbox = (&mqtt.Unsubscribe{PacketID: id, Filters: []string{filter}}).Append(c.outbox, c.version)
			c.signal()
			return
		}
	}
	if done != nil {
		l.post("unsubscribe", func() { done(nil) })
	}
}

// restore decides what has to be asked for on a new connection. Subscriptions of a session that the
// server has kept are there still.
func (l *Link) restore(sessionPresent bool) {
	for _, s := range l.subs {
		if !sessionPresent || s.state != subGranted {
			s.state = subWanted
		}
	}
	clear(l.asked)
}

// ask appends SUBSCRIBE packets for the filters that are wanted.
func (l *Link) ask(dst []byte, c *connection) []byte {
	var wanted []mqtt.Subscription
	flush := func() {
		id := l.newID()
		if len(wanted) == 0 || id == 0 {
			return
		}
		r := &request{kind: mqtt.SUBACK}
		for _, s := range wanted {
			r.filters = append(r.filters, s.Filter)
			l.subs[s.Filter].state = subAsked
		}
		l.asked[id] = r
		dst = (&mqtt.Subscribe{PacketID: id, Subscriptions: wanted}).Append(dst, c.version)
		wanted = nil
	}
	for _, filter := range l.order {
		if s := l.subs[filter]; s.state == subWanted {
			wanted = append(wanted, mqtt.Subscription{Filter: filter, QoS: s.qos})
			if len(wanted) == filtersPerPacket {
				flush()
			}
		}
	}
	flush()
	return dst
}

// answered handles SUBACK and UNSUBACK.
func (l *Link) answered(t mqtt.Type, a *mqtt.Suback) error {
	r := l.asked[a.PacketID]
	if r == nil || r.kind != t {
		return nil // of an earlier connection
	}
	delete(l.asked, a.PacketID)
	if t == mqtt.UNSUBACK {
		if r.done != nil {
			l.post("unsubscribe", func() { r.done(nil) })
		}
		return nil
	}
	if len(a.Codes) != len(r.filters) {
		return &mqtt.Error{Code: mqtt.ProtocolError, What: "protocol error: SUBACK with another number of reason codes"}
	}
	for i, filter := range r.filters {
		s := l.subs[filter]
		if s == nil || s.state != subAsked {
			continue // given up, or asked for anew
		}
		var err error
		s.state = subGranted
		if a.Codes[i].Failed() {
			s.state = subRefused
			err = &Failure{Kind: Refused, Code: a.Codes[i], Reason: fmt.Sprintf("the server refuses the subscription to %q: a policy must allow iot:Subscribe", filter) + reasonSuffix(a.Properties.ReasonString)}
			l.tell(Event{Kind: SubscribeFailed, Filter: filter, Err: err})
		}
		for _, done := range s.done {
			l.post("subscribe", func() { done(err) })
		}
		s.done = nil
	}
	return nil
}

// settled reports whether no subscription waits for an answer.
func (l *Link) settled() bool {
	for _, s := range l.subs {
		if s.state == subWanted || s.state == subAsked {
			return false
		}
	}
	return true
}
