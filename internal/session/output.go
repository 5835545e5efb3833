package session

import (
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/mqtt"
)

// Output buffers come in three sizes and are pooled, so that idle connections hold none and busy
// ones do not grow theirs again and again.
var (
	outputSizes = [...]int{4 << 10, 64 << 10, 2 << 20}
	outputs     [len(outputSizes)]sync.Pool
)

// grow makes room for n more bytes of output. Like the other methods here it is called with the
// session's mutex held.
func (c *Conn) grow(n int) {
	need := len(c.out) + n
	if need <= cap(c.out) {
		return
	}
	for i, size := range outputSizes {
		if size < need {
			continue
		}
		o := takeOutput(i)
		o.bytes = append(o.bytes, c.out...)
		c.takeOut().recycle()
		c.out, c.box = o.bytes, o.box
		return
	}
}

// takeOutput returns an empty buffer of one of the sizes.
func takeOutput(size int) output {
	box, ok := outputs[size].Get().(*[]byte)
	if !ok {
		b := make([]byte, 0, outputSizes[size])
		box = &b
	}
	return output{*box, box}
}

// output is what a connection had to write, and where its buffer came from.
type output struct {
	bytes []byte
	box   *[]byte // nil for a buffer that is not pooled
}

// takeOut returns the output and leaves none.
func (c *Conn) takeOut() output {
	o := output{c.out, c.box}
	c.out, c.box = nil, nil
	return o
}

// recycle gives the buffer back.
func (o output) recycle() {
	if o.box == nil || cap(o.bytes) != cap(*o.box) { // it has grown out of its box
		return
	}
	for i, size := range outputSizes {
		if cap(o.bytes) == size {
			outputs[i].Put(o.box)
			return
		}
	}
}

func copyOf(p *mqtt.Properties) mqtt.Properties {
	if p == nil {
		return mqtt.Properties{}
	}
	return *p
}

func (c *Conn) append(b []byte) {
	if c.parted {
		return
	}
	c.grow(len(b))
	c.out = append(c.out, b...)
}

// fits reports whether a packet of n bytes may be sent; a larger one than the client takes is
// dropped as if it had been delivered [MQTT-3.1.2-25].
func (c *Conn) fits(n int) bool {
	if c.maxPacket > 0 && n > c.maxPacket {
		c.all.count.dropped.Add(1)
		return false
	}
	return true
}

// appendPublication appends the PUBLISH of a message on its way; false means that it cannot be
// sent to this client. A connection that has broken takes everything and sends nothing: what is in
// flight then is kept when it is detached.
func (c *Conn) appendPublication(p *router.Publication, t *router.Target, qos byte, retain bool, id uint16) bool {
	if c.parted {
		return true
	}
	if (len(t.IDs) > 0 || c.given != nil) && c.version == mqtt.V5 {
		return c.appendMessage(p.Keep(), qos, retain, false, id, t.IDs)
	}
	packet, idAt := p.Packet(c.version, qos)
	if !c.fits(len(packet)) {
		return false
	}
	c.grow(len(packet))
	n := len(c.out)
	c.out = append(c.out, packet...)
	if retain {
		c.out[n] |= mqtt.FlagRetain
	}
	if qos > 0 {
		c.out[n+idAt], c.out[n+idAt+1] = byte(id>>8), byte(id)
	}
	return true
}

// appendMessage appends the PUBLISH of a message that was kept.
func (c *Conn) appendMessage(m *router.Message, qos byte, retain, dup bool, id uint16, ids []uint32) bool {
	if c.parted {
		return true
	}
	props := m.Properties
	if c.version == mqtt.V5 {
		if !m.Expires.IsZero() {
			props = router.WithExpiry(props, m.Expires, time.Now())
		}
		if len(ids) > 0 {
			with := copyOf(props)
			with.SubscriptionIDs = ids
			with.Mark(mqtt.PropSubscriptionID)
			props = &with
		}
	}
	topic, fresh := m.Topic, false
	if c.given != nil {
		var alias uint16
		if alias, fresh = c.given.of(m.Topic); alias != 0 {
			with := copyOf(props)
			with.TopicAlias = alias
			with.Mark(mqtt.PropTopicAlias)
			props = &with
			if !fresh {
				topic = ""
			}
		}
	}
	flags := qos << 1
	if retain {
		flags |= mqtt.FlagRetain
	}
	if dup {
		flags |= mqtt.FlagDup
	}
	c.grow(len(m.Topic) + len(m.Payload) + 64)
	n := len(c.out)
	c.out, _ = mqtt.AppendPublish(c.out, c.version, flags, id, topic, m.Payload, props)
	if !c.fits(len(c.out) - n) {
		c.out = c.out[:n]
		if fresh {
			c.given.forget(m.Topic)
		}
		return false
	}
	return true
}

// Flush implements router.Flusher: it writes what is buffered. It must not be called with the
// session's mutex held.
func (c *Conn) Flush() {
	c.session.mu.Lock()
	c.flush()
}

// flush writes what is buffered and unlocks the session. Whoever finds another at it leaves it to
// that one. What the network does not take at once is left to a goroutine that lives until the
// backlog is gone.
func (c *Conn) flush() {
	s := c.session
	c.dirty = false
	if c.sent > 0 {
		c.all.count.sent.Add(c.sent)
		c.traffic.sent.Add(c.sent)
		c.sent = 0
	}
	if c.flushing {
		s.mu.Unlock()
		return
	}
	c.flushing = true
	for len(c.out) > 0 {
		o := c.takeOut()
		s.mu.Unlock()
		pending, err := c.transport.Write(o.bytes)
		o.recycle()
		if err == nil && pending {
			go c.drain()
			return
		}
		s.mu.Lock()
		if err != nil {
			c.takeOut()
			c.parted = true
			c.end(ending{ConnectionLost, mqtt.Success, err.Error()})
			break
		}
	}
	c.flushing = false
	s.mu.Unlock()
}

// drain writes the backlog of a slow client.
func (c *Conn) drain() {
	s := c.session
	for {
		err := c.transport.Drain()
		s.mu.Lock()
		if err == nil && len(c.out) == 0 && s.queue.len() > 0 && s.conn == c {
			s.pump()
		}
		o := c.takeOut()
		if err == nil && len(o.bytes) > 0 {
			s.mu.Unlock()
			_, err = c.transport.Write(o.bytes)
			o.recycle()
			if err == nil {
				continue
			}
			s.mu.Lock()
		}
		if err != nil {
			c.takeOut()
			c.parted = true
			c.end(ending{ConnectionLost, mqtt.Success, err.Error()})
		}
		c.flushing = false
		s.mu.Unlock()
		return
	}
}
