package link

import (
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/topic"
)

// Publication is a message for the server.
type Publication struct {
	Topic   string
	Payload []byte // the link keeps it until it is done
	QoS     byte   // 0 or 1
	Retain  bool
	// Properties of MQTT 5: expiry, content type, response topic, correlation data, user properties.
	// With 3.1.1 they are left out. The expiry counts while the message waits, too: one that is over
	// is not sent (ErrExpired). The link keeps them until the message is done.
	Properties mqtt.Properties
	// Urgent messages do not wait for the budget, but count: answers that somebody waits for.
	Urgent bool
}

// checkProperties refuses what a client may not put on a message.
func checkProperties(p *mqtt.Properties) error {
	if p.Empty() {
		return nil
	}
	// What is left without the ones below must be nothing.
	rest := *p
	for _, id := range []mqtt.PropertyID{mqtt.PropPayloadFormat, mqtt.PropMessageExpiry, mqtt.PropContentType, mqtt.PropResponseTopic, mqtt.PropCorrelationData, mqtt.PropUserProperty} {
		rest.Clear(id)
	}
	if !rest.Empty() {
		return errors.New("a property that a message does not have")
	}
	if p.Has(mqtt.PropResponseTopic) {
		return topic.Standard.CheckName(p.ResponseTopic)
	}
	return nil
}

// outboxBytes bounds what waits to be written at QoS 0.
const outboxBytes = 256 << 10

// Publish sends a message and returns at once. With QoS 0 it is sent now or not at all. With QoS 1
// it is numbered and sent in the order of the calls, now or when there is a connection again, and
// stays queued until the server has acknowledged it.
//
// done, if not nil, gets the result once, on the loop: nil when the message is written (QoS 0) or
// acknowledged (QoS 1), otherwise ErrOffline, ErrDropped, ErrBudget, ErrTooLarge, ErrExpired, ErrClosed or
// a *Failure with the server's reason code. A message that is in flash when the device restarts has
// no done any more. The error of Publish is of a message that can never be sent.
func (l *Link) Publish(p Publication, done func(error)) error {
	if err := topic.Standard.CheckName(p.Topic); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if p.QoS > 1 {
		return fmt.Errorf("publish to %q: QoS %d is not supported", p.Topic, p.QoS)
	}
	if err := checkProperties(&p.Properties); err != nil {
		return fmt.Errorf("publish to %q: %w", p.Topic, err)
	}
	e := &entry{topic: p.Topic, payload: p.Payload, retain: p.Retain, urgent: p.Urgent, properties: p.Properties}
	if now := l.cfg.Clock.Now(); p.Properties.Has(mqtt.PropMessageExpiry) && l.cfg.Clock.Set() {
		e.deadline = now.Add(time.Duration(p.Properties.MessageExpiry) * time.Second).Unix()
	}
	if done != nil {
		e.done = append(e.done, done)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		l.finish(e, ErrClosed)
	case p.QoS == 0:
		l.publishNow(e)
	default:
		l.enqueue(e)
	}
	return nil
}

// publishNow sends a message of QoS 0.
func (l *Link) publishNow(e *entry) {
	c := l.conn
	switch {
	case c == nil || !c.up:
		l.finish(e, ErrOffline)
		return
	case c.tooLarge(e):
		l.finish(e, ErrTooLarge)
		return
	case len(c.outbox) > outboxBytes:
		l.finish(e, ErrDropped)
		return
	case l.spend(e) > 0:
		l.finish(e, ErrBudget)
		return
	}
	p := mqtt.Publish{Topic: []byte(e.topic), Payload: e.payload, Retain: e.retain && c.retain, Properties: e.properties}
	c.outbox = p.Append(c.outbox, c.version)
	c.written = append(c.written, e)
	c.signal()
}

// enqueue puts a message of QoS 1 into the queue, and into flash if it has to be there.
func (l *Link) enqueue(e *entry) {
	for _, gone := range l.queue.put(e) {
		delete(l.inflight, gone.packetID)
		l.tell(Event{Kind: MessageDropped, Topic: gone.topic, Err: ErrDropped})
		l.finish(gone, ErrDropped)
		if gone == e {
			return
		}
	}
	switch connected := l.conn != nil && l.conn.up; {
	case l.cfg.Queue.Durability == DurableAlways, l.cfg.Queue.Durability == DurableOffline && !connected:
		l.save(e)
	}
	if l.conn != nil {
		l.conn.signal()
	}
}

// save puts an entry into flash. One that cannot be written is sent nevertheless.
func (l *Link) save(e *entry) {
	if e.stored || l.queue.store == nil {
		return
	}
	e.stored = true
	err := l.queue.store.Set(queueKey(e.number), appendEntry(nil, e), func(err error) { l.saved(e, err) })
	if err != nil {
		e.stored, e.safe = false, true
		l.tell(Event{Kind: FlashFailed, Topic: e.topic, Err: err})
	}
}

// saved runs on the store's goroutine.
func (l *Link) saved(e *entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.safe = true
	if err != nil {
		e.stored = false
		l.tell(Event{Kind: FlashFailed, Topic: e.topic, Err: err})
	}
	if l.conn != nil {
		l.conn.signal()
	}
}

// keepUnsent puts what is not acknowledged into flash: there is no connection now.
func (l *Link) keepUnsent() {
	if l.cfg.Queue.Durability == DurableNever {
		return
	}
	for _, e := range l.queue.entries {
		l.save(e)
	}
}

// finish reports a result on the loop.
func (l *Link) finish(e *entry, err error) {
	for _, done := range e.done {
		l.post("publish", func() { done(err) })
	}
	e.done = nil
}

// spend counts a message; a result above 0 is how long it has to wait.
func (l *Link) spend(e *entry) time.Duration {
	if e.paid {
		return 0
	}
	now := l.cfg.Clock.Now()
	if e.urgent {
		l.budget.Spend(now)
	} else if wait, daily := l.budget.Take(now); wait > 0 {
		if daily && l.conn != nil && !l.conn.toldBudget {
			l.conn.toldBudget = true
			l.tell(Event{Kind: BudgetUsed, Wait: wait, Err: ErrBudget})
		}
		return wait
	}
	e.paid = true
	// The count is stored once per hundredth of the budget: a loss of power forgets no more.
	if step := max(1, l.cfg.Limits.PerDay/100); l.cfg.Limits.PerDay > 0 && (l.budget.Used() >= l.budgetAt+step || l.budget.Used() < l.budgetAt) {
		l.saveBudget()
	}
	return 0
}

func (l *Link) saveBudget() {
	if l.cfg.Store != nil && l.cfg.Limits.PerDay > 0 {
		l.budgetAt = l.budget.Used()
		_ = l.cfg.Store.Set("budget", l.budget.AppendState(nil), nil)
	}
}

// fill appends the publishes that may go now, in order, to dst. wait is how long the budget or the
// server's quota holds the next one back, 0 if nothing does.
func (l *Link) fill(dst []byte, c *connection) (out []byte, wait time.Duration) {
	window := c.window
	for i := 0; i < len(l.queue.entries); i++ {
		if len(dst) >= outboxBytes {
			c.signal() // the rest comes right after this
			return dst, 0
		}
		e := l.queue.entries[i]
		if e.suspect > 0 {
			// The connection ended after this message before: the next time it is alone on its way,
			// so that it is known who is to blame.
			window = 1
		}
		if e.sent {
			continue
		}
		if c.unacked >= window {
			return dst, 0
		}
		if c.tooLarge(e) {
			l.queue.remove(e)
			i--
			l.tell(Event{Kind: MessageDropped, Topic: e.topic, Err: ErrTooLarge})
			l.finish(e, ErrTooLarge)
			continue
		}
		if now := l.cfg.Clock.Now(); e.deadline > 0 && now.Unix() >= e.deadline && !e.dup {
			l.queue.remove(e)
			delete(l.inflight, e.packetID)
			i--
			l.tell(Event{Kind: MessageDropped, Topic: e.topic, Err: ErrExpired})
			l.finish(e, ErrExpired)
			continue
		}
		if l.cfg.Queue.Durability == DurableAlways && l.queue.store != nil && !e.safe {
			return dst, 0 // woken when it is in flash
		}
		if now := l.cfg.Clock.Now(); now.Before(l.throttled) {
			return dst, l.throttled.Sub(now)
		}
		if wait := l.spend(e); wait > 0 {
			return dst, wait
		}
		if e.packetID == 0 {
			if e.packetID = l.newID(); e.packetID == 0 {
				return dst, 0
			}
			l.inflight[e.packetID] = e
		}
		p := mqtt.Publish{QoS: 1, Dup: e.dup, Topic: []byte(e.topic), Payload: e.payload, Retain: e.retain && c.retain, PacketID: e.packetID, Properties: e.properties}
		if e.deadline > 0 {
			p.Properties.MessageExpiry = uint32(max(1, e.deadline-l.cfg.Clock.Now().Unix()))
		}
		dst = p.Append(dst, c.version)
		e.sent, e.dup = true, true
		c.unacked++
	}
	return dst, 0
}

// acknowledged handles a PUBACK.
func (l *Link) acknowledged(c *connection, a *mqtt.Ack) {
	e := l.inflight[a.PacketID]
	if e == nil || !e.sent {
		return // of an earlier connection
	}
	delete(l.inflight, a.PacketID)
	c.unacked--
	if c.version == mqtt.V5 && a.Code == mqtt.QuotaExceeded {
		// The server asks for time: the message stays where it is.
		l.quota++
		e.sent, e.dup, e.packetID = false, false, 0
		l.throttled = l.cfg.Clock.Now().Add(l.cfg.Backoff.Wait(l.quota, HintBusy, l.cfg.Random))
		return
	}
	l.quota = 0
	l.queue.remove(e)
	var err error
	if c.version == mqtt.V5 && a.Code.Failed() {
		err = &Failure{Kind: Refused, Code: a.Code, Reason: "the server refuses the message to " + e.topic + reasonSuffix(a.Properties.ReasonString)}
	}
	l.finish(e, err)
}

func reasonSuffix(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// newID returns a packet identifier that is not in use, or 0.
func (l *Link) newID() uint16 {
	for range 65535 {
		l.lastID++
		if l.lastID != 0 && l.inflight[l.lastID] == nil && l.asked[l.lastID] == nil {
			return l.lastID
		}
	}
	return 0
}
