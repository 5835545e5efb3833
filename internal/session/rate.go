package session

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// Rates are how often things may be done, in numbers a second; 0 is as often as the machine can. A
// second's worth may be done at once.
//
// A client that publishes or subscribes faster is read more slowly: nothing of it is lost. Messages to a
// client beyond its rate wait in its queue with QoS 1 and are dropped with QoS 0. A connect too early is
// refused.
type Rates struct {
	ConnectClient float64 // CONNECTs of one client identifier
	Connect       float64 // CONNECTs of all
	Publish       float64 // messages of one connection, in and out together
	Bytes         float64 // bytes of their payloads
	PublishIn     float64 // messages from all clients
	PublishOut    float64 // messages to all clients
	Subscribe     float64 // SUBSCRIBEs of all
	Retain        float64 // messages to be retained, of all
	RetainTopic   float64 // of them, to one topic
	Drain         float64 // stored messages to one client
}

// AWSRates are those of AWS IoT Core (AWS General Reference, "AWS IoT Core endpoints and quotas", message
// broker and protocol limits): one account, the larger regions. There, publishes beyond the rate are
// discarded.
func AWSRates() Rates {
	return Rates{ConnectClient: 1, Connect: 500, Publish: 100, Bytes: 512 << 10, PublishIn: 20_000, PublishOut: 20_000, Subscribe: 500,
		Retain: 500, RetainTopic: 1, Drain: 10}
}

// ParseRates reads "none", "aws", or names with numbers such as "publish=200,connect=50"; "aws,bytes=0"
// changes one of AWS's.
func ParseRates(text string) (r Rates, err error) {
	names := map[string]*float64{"connect-client": &r.ConnectClient, "connect": &r.Connect, "publish": &r.Publish, "bytes": &r.Bytes,
		"publish-in": &r.PublishIn, "publish-out": &r.PublishOut, "subscribe": &r.Subscribe,
		"retain": &r.Retain, "retain-topic": &r.RetainTopic, "drain": &r.Drain}
	for i, field := range strings.Split(text, ",") {
		switch {
		case i == 0 && (field == "none" || field == ""):
			continue
		case i == 0 && field == "aws":
			r = AWSRates()
			continue
		}
		name, number, _ := strings.Cut(field, "=")
		to := names[name]
		if to == nil {
			return Rates{}, fmt.Errorf("%q is none of connect-client, connect, publish, bytes, publish-in, publish-out, subscribe, retain, retain-topic, drain", name)
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || !(v >= 0 && v <= 1e12) {
			return Rates{}, fmt.Errorf("%s=%q is not a number a second", name, number)
		}
		*to = v
	}
	return r, nil
}

// bucket lets a rate through. The zero value lets everything through.
type bucket struct {
	rate   float64
	tokens float64 // below 0: taken in advance
	filled time.Time
}

func newBucket(rate float64) bucket { return bucket{rate: rate, tokens: max(1, rate)} }

func (b *bucket) fill(now time.Time) {
	if !b.filled.IsZero() {
		b.tokens = min(max(1, b.rate), b.tokens+b.rate*now.Sub(b.filled).Seconds())
	}
	b.filled = now
}

// has reports whether there is room for one more; a large one may go below 0.
func (b *bucket) has(now time.Time) bool {
	if b.rate == 0 {
		return true
	}
	b.fill(now)
	return b.tokens > 0
}

func (b *bucket) take(n float64) {
	if b.rate != 0 {
		b.tokens -= n
	}
}

// reserve takes n and returns how long to wait for it. Whoever comes later waits longer.
func (b *bucket) reserve(n float64, now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	b.fill(now)
	b.tokens -= n
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}

// pace is the rates of one connection.
type pace struct {
	mu                     sync.Mutex
	messages, bytes, drain bucket
}

// paces are the rates of all clients together.
type paces struct {
	on bool // there are any

	mu                             sync.Mutex
	connect, in, out, subs, retain bucket
	connected                      map[string]bucket // by client identifier
	retained                       map[string]bucket // by topic
	waiting                        []*Session        // that have more for their clients than their rates let

	each Rates // those of one client
}

func newPaces(r Rates) *paces {
	return &paces{on: r != Rates{}, connect: newBucket(r.Connect), in: newBucket(r.PublishIn), out: newBucket(r.PublishOut),
		subs: newBucket(r.Subscribe), retain: newBucket(r.Retain), connected: make(map[string]bucket), retained: make(map[string]bucket), each: r}
}

// of returns the rates of a new connection; nil for none.
func (p *paces) of() *pace {
	if !p.on {
		return nil
	}
	return &pace{messages: newBucket(p.each.Publish), bytes: newBucket(p.each.Bytes), drain: newBucket(p.each.Drain)}
}

// mayConnect reports whether a client identifier may connect now.
func (p *paces) mayConnect(clientID string, now time.Time) bool {
	if !p.on {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.connect.has(now) {
		return false
	}
	if p.each.ConnectClient > 0 {
		b, ok := p.connected[clientID]
		if !ok {
			b = newBucket(p.each.ConnectClient)
		}
		may := b.has(now)
		if may = may && b.tokens >= 1; may {
			b.take(1)
		}
		p.connected[clientID] = b
		if !may {
			return false
		}
	}
	p.connect.take(1)
	return true
}

// sweep forgets client identifiers that have not connected, and topics without a retained message, for a while.
func (p *paces) sweep(now time.Time) {
	if !p.on {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, buckets := range []map[string]bucket{p.connected, p.retained} {
		for name, b := range buckets {
			if b.fill(now); b.tokens >= max(1, b.rate) {
				delete(buckets, name)
			}
		}
	}
}

// throttleIn waits until the connection's rates, and everybody's, let one more message in.
func (c *Conn) throttleIn(topic string, payload int, retain bool) error {
	now := time.Now()
	c.pace.mu.Lock()
	wait := max(c.pace.messages.reserve(1, now), c.pace.bytes.reserve(float64(payload), now))
	c.pace.mu.Unlock()
	p := c.all.paces
	p.mu.Lock()
	wait = max(wait, p.in.reserve(1, now))
	if retain {
		wait = max(wait, p.retain.reserve(1, now), p.retainTo(topic, now))
	}
	p.mu.Unlock()
	return c.sleep(wait)
}

// retainTo takes the place of one more retained message to a topic and returns how long to wait for it.
func (p *paces) retainTo(topic string, now time.Time) time.Duration {
	if p.each.RetainTopic == 0 {
		return 0
	}
	b, ok := p.retained[topic]
	if !ok {
		b = newBucket(p.each.RetainTopic)
	}
	wait := b.reserve(1, now)
	p.retained[topic] = b
	return wait
}

// throttleSubscribe is throttleIn for SUBSCRIBE.
func (c *Conn) throttleSubscribe() error {
	p := c.all.paces
	p.mu.Lock()
	wait := p.subs.reserve(1, time.Now())
	p.mu.Unlock()
	return c.sleep(wait)
}

// sleep pauses the reader, in steps so that an end is seen.
func (c *Conn) sleep(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	c.all.count.throttled.Add(1)
	c.flushBatch()
	for wait > 0 {
		step := min(wait, tick)
		time.Sleep(step)
		wait -= step
		if c.ended.Load() != nil {
			return errEnded
		}
		c.active.Store(c.all.clock.Load()) // it is not the client that is silent
	}
	return nil
}

// mayOut takes the place of one more message to the client, stored or just published, or reports that it must
// wait. s.mu is held.
func (s *Session) mayOut(c *Conn, payload int, stored bool) bool {
	if c.pace == nil {
		return true
	}
	now := time.Now()
	c.pace.mu.Lock()
	defer c.pace.mu.Unlock()
	p := s.all.paces
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.pace.messages.has(now) && c.pace.bytes.has(now) && p.out.has(now) && (!stored || c.pace.drain.has(now)) {
		if stored {
			c.pace.drain.take(1)
		}
		c.pace.messages.take(1)
		c.pace.bytes.take(float64(payload))
		p.out.take(1)
		return true
	}
	if !s.paced {
		s.paced = true
		s.all.count.throttled.Add(1)
		p.waiting = append(p.waiting, s)
	}
	return false
}

// sendPaced sends what waited for a rate.
func (a *Sessions) sendPaced() {
	p := a.paces
	p.mu.Lock()
	waiting := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	for _, s := range waiting {
		s.mu.Lock()
		s.paced = false
		c := s.conn
		moved := s.pump()
		s.mu.Unlock()
		if moved {
			c.Flush()
		}
	}
}

// tooSoon refuses a connect beyond the rates.
func (c *Conn) tooSoon() *refusal {
	c.all.count.throttled.Add(1)
	reason := "connects faster than its rate allows"
	c.all.refused(c.request, reason)
	return &refusal{mqtt.QuotaExceeded, reason}
}
