package router

import (
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// Message is one application message that is kept: retained, queued or in flight. It is immutable
// and shared by everyone who keeps it.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Properties are those that travel with the message. Topic alias, subscription identifiers and
	// message expiry are not among them: the first two belong to one connection, the third is
	// Expires.
	Properties *mqtt.Properties // nil for none
	Expires    time.Time        // zero: never
	Modified   time.Time        // of a retained message: when the server accepted it
	Origin     *Origin
}

// Expired reports whether the message has outlived its message expiry interval at a time.
func (m *Message) Expired(now time.Time) bool {
	return !m.Expires.IsZero() && !now.Before(m.Expires)
}

// Origin says who published. It is shared by all messages of a connection.
type Origin struct {
	ClientID  string // empty when not published over MQTT
	Principal string // certificate id, access key id or "anonymous"
	Protocol  string // "mqtt", "http" or "service"
	SourceIP  string
	Thing     string // that the client's certificate is attached to exclusively; may be empty
}

// Publication is one message on its way through the router. Its Payload and Properties may belong
// to a read buffer: who needs them after Deliver returns calls Keep. It is used by one goroutine.
type Publication struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties *mqtt.Properties // may be nil; see Message.Properties
	Expires    time.Time
	Origin     *Origin
	// Will says that this is a will message: its client is gone.
	Will bool
	// NoLocal is the subscriber that publishes; its subscriptions with No Local are skipped.
	NoLocal Subscriber
	// To, if set, is the one subscriber that gets the message, if it has subscribed or Publisher.Direct
	// is used. Connection narrows that to the connection with this Origin: the message is dropped when
	// that is gone.
	To         Subscriber
	Connection *Origin
	// Depth is how many rules have republished the message on its way.
	Depth uint8
	// Acknowledger is told when what the acknowledgement stands for has happened, if anything has to
	// be waited for. It may be nil with QoS 0.
	Acknowledger Acknowledger

	awaited   bool // somebody waits for the outcome, whatever the QoS
	publisher *Publisher
	alone     bool // see Alone
	kept      *Message
	receipt   *Receipt
	encoded   [4]encoding // by version and QoS above 0
}

type encoding struct {
	bytes []byte
	idAt  int
}

// Keep returns the message in a form that outlives the publication. All callers share one copy.
func (p *Publication) Keep() *Message {
	if p.kept == nil {
		m := &Message{Topic: p.Topic, Payload: append([]byte{}, p.Payload...), QoS: p.QoS, Retain: p.Retain,
			Expires: p.Expires, Origin: p.Origin}
		if p.Properties != nil && !p.Properties.Empty() {
			props := *p.Properties
			m.Properties = &props
		}
		p.kept = m
	}
	return p.kept
}

// Alone reports whether the message goes to one subscriber only.
func (p *Publication) Alone() bool { return p.alone }

// KeepBriefly is Keep for a message that will soon be sent or dropped: it shares the memory of those
// before and after it, which is free when all of them are gone.
func (p *Publication) KeepBriefly() *Message {
	if p.kept == nil {
		p.kept = p.publisher.place(len(p.Payload))
		*p.kept = Message{Topic: p.Topic, Payload: append(p.kept.Payload, p.Payload...), QoS: p.QoS, Retain: p.Retain,
			Expires: p.Expires, Origin: p.Origin}
		if p.Properties != nil && !p.Properties.Empty() {
			props := *p.Properties
			p.kept.Properties = &props
		}
	}
	return p.kept
}

// Hold makes the publisher's acknowledgement wait for one more event: a call of the receipt's
// Release.
func (p *Publication) Hold() *Receipt {
	if p.receipt == nil {
		p.receipt = &Receipt{to: p.Acknowledger}
		if p.Acknowledger != nil {
			p.receipt.number = p.Acknowledger.Owe()
		}
		p.receipt.pending.Store(1) // the publication itself, until Publish returns
	}
	p.receipt.pending.Add(1)
	return p.receipt
}

// Packet returns the PUBLISH packet for receivers of one version and QoS, without retain flag, DUP
// flag or packet identifier, and the place of the identifier. It is encoded once and shared;
// callers copy it.
func (p *Publication) Packet(v mqtt.Version, qos byte) (packet []byte, idAt int) {
	i := 0
	if v == mqtt.V5 {
		i = 2
	}
	if qos > 0 {
		i++
	}
	e := &p.encoded[i]
	if len(e.bytes) == 0 {
		props := p.Properties
		if v == mqtt.V5 && !p.Expires.IsZero() {
			props = WithExpiry(props, p.Expires, time.Now())
		}
		e.bytes, e.idAt = mqtt.AppendPublish(e.bytes[:0], v, qos<<1, 0, p.Topic, p.Payload, props)
	} else if qos > 0 {
		e.bytes[0] = byte(mqtt.PUBLISH)<<4 | qos<<1
	}
	return e.bytes, e.idAt
}

// StoredProperties are the message's properties as bytes for a database; never nil.
func (m *Message) StoredProperties() []byte {
	if m.Properties == nil {
		return []byte{}
	}
	return m.Properties.AppendStored([]byte{})
}

// LoadProperties reads what StoredProperties wrote.
func (m *Message) LoadProperties(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	m.Properties = &mqtt.Properties{}
	return m.Properties.DecodeStored(b)
}

// WithExpiry returns a copy of props with the message expiry interval that remains, in whole
// seconds; under a second remains as 0.
func WithExpiry(props *mqtt.Properties, expires, now time.Time) *mqtt.Properties {
	var p mqtt.Properties
	if props != nil {
		p = *props
	}
	p.MessageExpiry = uint32(max(0, expires.Sub(now)/time.Second))
	p.Mark(mqtt.PropMessageExpiry)
	return &p
}

// Dirty notes that a subscriber has unflushed output; the publisher flushes it after its batch.
func (p *Publication) Dirty(f Flusher) { p.publisher.Dirty(f) }

func (p *Publication) reset() {
	p.kept, p.receipt = nil, nil
	for i := range p.encoded {
		p.encoded[i].bytes = p.encoded[i].bytes[:0]
	}
}

// Acknowledger is a publisher that waits for acknowledgements.
type Acknowledger interface {
	// Owe is called by Publish, at most once, when an acknowledgement has to wait. It returns the
	// number by which the publisher will know it again.
	Owe() (number uint64)
	// Acknowledge is called once for each number, from any goroutine; it must not block. err tells
	// why the message could not be kept.
	Acknowledge(number uint64, err error)
}

// AcknowledgeFunc is an Acknowledger for one message.
type AcknowledgeFunc func(err error)

// Owe implements Acknowledger.
func (f AcknowledgeFunc) Owe() uint64 { return 0 }

// Acknowledge implements Acknowledger.
func (f AcknowledgeFunc) Acknowledge(_ uint64, err error) { f(err) }

// Receipt counts what a publisher's acknowledgement waits for. It may be released from any
// goroutine.
type Receipt struct {
	pending atomic.Int32
	err     atomic.Pointer[error]
	to      Acknowledger
	number  uint64
}

// Again makes the acknowledgement wait for one more event. The receipt must not have been released for
// all others yet.
func (r *Receipt) Again() { r.pending.Add(1) }

// Release says that one of the awaited events has happened; err that it cannot.
func (r *Receipt) Release(err error) {
	if err != nil {
		r.err.CompareAndSwap(nil, &err)
	}
	if r.pending.Add(-1) == 0 && r.to != nil {
		if e := r.err.Load(); e != nil {
			err = *e
		}
		r.to.Acknowledge(r.number, err)
	}
}
