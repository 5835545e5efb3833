// Package session is one MQTT client: its connection, its subscriptions, the messages in flight to
// and from it, its queue, keep-alive, will and expiry. It follows MQTT 3.1.1 and 5.0 and, where AWS
// IoT departs from them, the AWS IoT developer guide; [Limits] tells which.
//
// A [Session] lives from the first CONNECT of a client identifier until it expires; a [Conn] is one
// network connection of it. The router hands messages to the session, which appends them to its
// connection's output or keeps them.
//
// A PUBACK is sent after what it stands for is safe: for every session that outlives its
// connection, the message was acknowledged by the client or is on disk.
package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// Session is the state of one client identifier. It implements router.Subscriber.
type Session struct {
	id  string
	all *Sessions

	// changing serializes connects, disconnects and expiry of this client identifier. It is taken
	// before mu.
	changing sync.Mutex
	gone     bool // removed from all; guarded by changing
	// owner is who connected last, zero for a session from disk; guarded by changing.
	owner Principal

	mu            sync.Mutex
	conn          *Conn // nil while offline
	persistent    bool  // outlives its connection
	expiry        uint32
	subscriptions subscriptions

	inflight window
	queue    fifo  // waits for the window, in memory
	seq      int64 // of the newest message accepted
	loaded   int64 // everything up to here is in memory or acknowledged
	backlog  int   // rows of the queue table beyond loaded
	loading  bool  // a goroutine reads the backlog
	again    bool  // there may be more in it than that goroutine sees
	holding  bool  // listed in all.holders
	paced    bool  // listed in all.paces.waiting

	unsettled atomic.Int32 // rows on their way to the queue table

	incoming map[uint16]*arrival // QoS 2 messages received and not yet released, by packet identifier
	restored bool                // from disk, without the packet identifiers of before

	will     *mqtt.Will // to be published when its delay has passed
	willFrom *router.Origin
	deadline time.Time // when the will is due or the offline session expires

	place *place // in a cluster; nil without one
}

// ID is the client identifier.
func (s *Session) ID() string { return s.id }

// Online implements router.Subscriber.
func (s *Session) Online() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place != nil && !s.place.here {
		return s.place.online
	}
	return s.conn != nil
}

// Durable implements router.Subscriber.
func (s *Session) Durable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.persistent
}

// Deliver implements router.Subscriber.
func (s *Session) Deliver(p *router.Publication, t *router.Target) {
	qos := min(p.QoS, t.QoS)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conn
	if p.Connection != nil && (c == nil || c.origin != p.Connection) {
		return // who asked is gone
	}
	if at := s.place; at != nil && (!at.here || at.behind) && (qos > 0 || !at.here) {
		if qos > 0 && s.persistent {
			s.forward(p, t, qos)
		}
		return
	}
	if c == nil {
		if qos > 0 && s.persistent {
			s.keep(p, t, qos)
		}
		return
	}
	if g := c.generation.Load(); t.Generation != g {
		t.Receive = s.mayReceive(c, p.Topic)
		t.Generation = g
	}
	if !t.Receive {
		s.all.count.notReceived.Add(1)
		return
	}
	retain := p.Retain && t.RetainAsPublished
	if qos == 0 {
		if n := len(c.out) + c.transport.Pending(); n > s.all.limits.OutputBytes/8 {
			p.Press()
			if n > s.all.limits.OutputBytes {
				s.all.count.dropped.Add(1)
				return
			}
		}
		if !s.mayOut(c, len(p.Payload), false) {
			s.all.count.dropped.Add(1)
			return
		}
		if !c.appendPublication(p, t, 0, retain, 0) {
			return
		}
	} else {
		switch {
		case s.backlog > 0 || s.persistent && s.full():
			s.keep(p, t, qos)
			return
		case s.queue.len() > 0 || s.inflight.full(c.receiveMaximum) || len(c.out) > s.all.limits.OutputBytes, !s.mayOut(c, len(p.Payload), false):
			s.enqueue(p, t, qos, retain)
			return
		}
		d := delivery{qos: qos, retain: retain}
		if s.persistent {
			s.accept(&d, p, t)
		}
		id, _ := s.inflight.add(d)
		s.clear(c, qos, id)
		if !c.appendPublication(p, t, qos, retain, id) {
			s.discard(s.inflight.find(id))
			return
		}
	}
	c.sent++
	if !c.dirty {
		c.dirty = true
		p.Dirty(c)
	}
}

// mayReceive asks the policies for one topic and records a refusal.
func (s *Session) mayReceive(c *Conn, name string) bool {
	access := c.access.Load()
	if access.Allows(policy.Receive, policy.KindTopic, name) {
		return true
	}
	c.denied(access, policy.Receive, policy.KindTopic, name)
	return false
}

// accept gives a delivery of a persistent session its place in the queue and makes the publisher
// wait for it.
func (s *Session) accept(d *delivery, p *router.Publication, t *router.Target) {
	d.message = p.Keep()
	d.ids = t.IDs
	s.seq++
	d.seq = s.seq
	s.loaded = s.seq
	d.since = s.all.clock.Load()
	d.receipt = p.Hold()
	if !s.holding {
		s.holding = true
		s.all.holds(s)
	}
}

// full reports whether as much waits in memory as may.
func (s *Session) full() bool {
	return s.queue.len() >= s.all.limits.QueueMemory || s.queue.bytes >= s.all.limits.QueueBytes
}

// enqueue keeps a message in memory until the window has room.
func (s *Session) enqueue(p *router.Publication, t *router.Target, qos byte, retain bool) {
	if s.queue.len() >= s.all.limits.QueueStored {
		s.all.count.dropped.Add(1)
		return
	}
	d := delivery{qos: qos, retain: retain}
	if s.persistent {
		s.accept(&d, p, t)
		s.queue.push(d)
		return
	}
	if s.full() {
		// The publisher's own window holds it back until the client has caught up.
		d.receipt, d.since = p.Hold(), s.all.clock.Load()
		if !s.holding {
			s.holding = true
			s.all.holds(s)
		}
	}
	if c := s.conn; p.Alone() && p.Expires.IsZero() && len(t.IDs) == 0 && c.given == nil && c.pace == nil {
		if packet, _ := p.Packet(c.version, qos); s.pack(&d, packet, retain, t.Generation) {
			return
		}
	}
	d.message, d.ids = p.KeepBriefly(), t.IDs
	s.queue.push(d)
}

// discard gives up a delivery in the window that was or need not be sent.
func (s *Session) discard(d *delivery) {
	if d.receipt != nil {
		d.receipt.Release(nil)
	}
	if d.stored {
		s.forgetStored(d)
	}
	s.inflight.acknowledge(d)
}

// pump moves messages from the queue into the window and the connection's output. It returns
// whether there is output.
func (s *Session) pump() bool {
	c := s.conn
	if c == nil {
		return false
	}
	moved := false
	now := time.Time{}
	for s.queue.len() > 0 && !s.inflight.full(c.receiveMaximum) && len(c.out) <= s.all.limits.OutputBytes {
		next := &s.queue.all()[0]
		if next.size > 0 {
			s.unpack(c)
			moved = true
			continue
		}
		if !s.mayOut(c, len(next.message.Payload), next.stored) {
			break
		}
		d := s.queue.pop()
		if !s.persistent && d.receipt != nil {
			d.receipt.Release(nil)
			d.receipt = nil
		}
		if now.IsZero() && !d.message.Expires.IsZero() {
			now = time.Now()
		}
		if d.message.Expired(now) || !s.mayReceive(c, d.message.Topic) {
			s.drop(&d)
			continue
		}
		m := d.message
		if !s.persistent {
			d.message = nil
		}
		id, place := s.inflight.add(d)
		s.clear(c, d.qos, id)
		if !c.appendMessage(m, d.qos, d.retain, false, id, d.ids) {
			s.discard(place)
			continue
		}
		c.sent++
		moved = true
	}
	if s.queue.len() == 0 && s.backlog > 0 {
		if s.loading {
			s.again = true
		} else {
			s.loading = true
			go s.load()
		}
	}
	if s.place != nil && s.place.behind && s.queue.len() == 0 && s.backlog == 0 {
		s.all.inbox.look(s.id)
	}
	return moved
}

// clear makes the client forget a message that it may hold under a packet identifier of before the
// server's start: it would take a new one for that and drop it [MQTT-4.3.3-2]. Whether it holds one or
// not, it answers PUBREL with PUBCOMP, which is no error in recovery (MQTT 5, section 4.3.3, reason code
// 0x92).
func (s *Session) clear(c *Conn, qos byte, id uint16) {
	if qos == 2 && s.restored && s.inflight.firstTime() {
		c.append(mqtt.AppendAck(nil, mqtt.PUBREL, id, mqtt.Success, c.version))
	}
}

// drop gives up a delivery that is not in the window.
func (s *Session) drop(d *delivery) {
	if d.receipt != nil {
		d.receipt.Release(nil)
	}
	if d.stored {
		s.forgetStored(d)
	}
}

// resend sends again what was in flight when the last connection ended [MQTT-4.4.0-1].
func (s *Session) resend(c *Conn) {
	var unwanted []*delivery
	s.inflight.each(func(id uint16, d *delivery) {
		switch {
		case d.state == released:
			c.out = mqtt.AppendAck(c.out, mqtt.PUBREL, id, mqtt.Success, c.version)
		case d.message == nil || d.message.Expired(time.Now()) || !s.mayReceive(c, d.message.Topic):
			unwanted = append(unwanted, d)
		case !c.appendMessage(d.message, d.qos, d.retain, s.all.limits.RedeliverDup, id, d.ids):
			unwanted = append(unwanted, d)
		}
	})
	for _, d := range unwanted {
		s.discard(d)
	}
}
