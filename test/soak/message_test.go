package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// messages are publishers and a persistent session that receives them, while it is connected or later.
type messages struct {
	tally
	name       string
	qos        byte
	online     bool
	publishers []*publisher
	inbox      *receiver
	checks     int
}

func newMessages() []writer {
	return []writer{
		newExchange("online", "QoS 1 to a connected persistent session", 1, true),
		newExchange("offline", "QoS 1 to an offline persistent session", 1, false),
		newExchange("exact", "QoS 2 to an offline persistent session", 2, false),
	}
}

func newExchange(name, kind string, qos byte, online bool) *messages {
	w := &messages{tally: tally{kind: kind}, name: name, qos: qos, online: online}
	for i := range 2 {
		id := fmt.Sprintf("%s-publisher-%d", name, i)
		p := newPublisher(id, qos, fmt.Sprintf("%s/%s/a", name, id), fmt.Sprintf("%s/%s/b", name, id))
		p.acked = w.acked
		if online {
			p.pause = 200 * time.Microsecond // leaves the disk to others
		}
		w.publishers = append(w.publishers, p)
	}
	w.inbox = &receiver{id: name + "-receiver", filter: name + "/#", qos: qos, tally: &w.tally, tracks: make(map[string]*track), released: make(map[uint16]bool)}
	return w
}

func (w *messages) prepare(s *site) {
	l, err := w.inbox.connect(s)
	if err != nil {
		s.t.Fatal(err)
	}
	l.Close()
}

func (w *messages) write(ctx context.Context, s *site) {
	var wg sync.WaitGroup
	defer wg.Wait()
	if w.online {
		l, err := w.inbox.connect(s)
		if err != nil {
			return
		}
		wg.Go(func() { w.inbox.read(l) })
		defer l.Close()
	}
	var writing sync.WaitGroup
	for _, p := range w.publishers {
		writing.Go(func() { p.run(s, ctx.Done()) })
	}
	writing.Wait()
}

// check connects the session and waits for what was acknowledged. What is offline stays so most of the
// time, so that its queue outlives several kills.
func (w *messages) check(s *site, everything bool) {
	if w.checks++; !w.online && !everything && w.checks%4 != 0 {
		return
	}
	l, err := w.inbox.connect(s)
	if err != nil {
		s.t.Errorf("%s: %v", w.kind, err)
		return
	}
	if !l.present {
		w.loss("session %s", w.inbox.id)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.inbox.read(l)
	}()
	for deadline := time.Now().Add(30 * time.Second); w.missing(nil) > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	l.Close()
	<-done
	w.missing(func(topic string, n int) {
		w.loss("message %d of %s", n, topic)
		w.inbox.forget(topic, n)
	})
}

// missing counts the acknowledged messages that have not come.
func (w *messages) missing(visit func(topic string, n int)) int {
	count := 0
	for _, p := range w.publishers {
		p.acknowledged(func(topic string, n int) {
			if w.inbox.has(topic, n) {
				return
			}
			if count++; visit != nil {
				visit(topic, n)
			}
		})
	}
	return count
}

// receiver is a persistent session with one subscription.
type receiver struct {
	id, filter string
	qos        byte
	tally      *tally

	mu       sync.Mutex
	tracks   map[string]*track
	released map[uint16]bool // QoS 2 messages that wait for PUBREL
}

// track is what came of one topic, which has one publisher.
type track struct {
	last int // highest number
	seen map[int]int
}

func (r *receiver) connect(s *site) (*link, error) {
	l, err := dialLink(s, r.id)
	if err != nil {
		return nil, err
	}
	if !l.present {
		r.mu.Lock()
		clear(r.released)
		r.mu.Unlock()
		p := mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: r.filter, QoS: r.qos}}}
		if err := l.send(p.Append(nil, mqtt.V311)); err != nil {
			l.Close()
			return nil, err
		}
		if h, body, err := l.next(); err != nil || h.Type() != mqtt.SUBACK || body[2] != r.qos {
			l.Close()
			return nil, fmt.Errorf("SUBACK %v % x: %v", h, body, err)
		}
	}
	return l, nil
}

// read takes messages until the connection ends.
func (r *receiver) read(l *link) {
	for {
		h, body, err := l.next()
		if err != nil {
			return
		}
		var out []byte
		switch h.Type() {
		case mqtt.PUBLISH:
			var p mqtt.Publish
			if p.Decode(h, body, mqtt.V311) != nil {
				return
			}
			kind := mqtt.PUBACK
			if p.QoS == 2 {
				kind = mqtt.PUBREC
			}
			r.take(&p)
			out = mqtt.AppendAck(nil, kind, p.PacketID, mqtt.Success, mqtt.V311)
		case mqtt.PUBREL:
			var a mqtt.Ack
			if a.Decode(h.Type(), body, mqtt.V311) != nil {
				return
			}
			r.mu.Lock()
			delete(r.released, a.PacketID)
			r.mu.Unlock()
			out = mqtt.AppendAck(nil, mqtt.PUBCOMP, a.PacketID, mqtt.Success, mqtt.V311)
		}
		if l.send(out) != nil {
			return
		}
	}
}

// take counts a message. The publisher sends again whatever is not acknowledged, in order, so that
// every number comes for the first time right after the one before it.
func (r *receiver) take(p *mqtt.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.QoS == 2 {
		if r.released[p.PacketID] {
			return
		}
		r.released[p.PacketID] = true
	}
	var v payload
	name := string(p.Topic)
	if err := json.Unmarshal(p.Payload, &v); err != nil {
		r.tally.disorder("payload %q: %v", p.Payload, err)
		return
	}
	t := r.tracks[name]
	if t == nil {
		t = &track{seen: make(map[int]int)}
		r.tracks[name] = t
	}
	first := t.seen[v.N] == 0
	if t.seen[v.N]++; t.seen[v.N] == 2 {
		r.tally.again()
	}
	if first && v.N != t.last+1 {
		r.tally.disorder("message %d of %s after %d", v.N, name, t.last)
	}
	t.last = max(t.last, v.N)
}

// forget makes a lost message count once.
func (r *receiver) forget(topic string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tracks[topic]
	if t == nil {
		t = &track{seen: make(map[int]int)}
		r.tracks[topic] = t
	}
	t.seen[n]++
	t.last = max(t.last, n)
}

func (r *receiver) has(topic string, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tracks[topic]
	return t != nil && t.seen[n] > 0
}
