package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/mqtt"
)

// Overflow says which message goes when the queue is full.
type Overflow uint8

const (
	DropOldest Overflow = iota
	DropNewest
)

// Durability says when a message of QoS 1 is written to flash.
type Durability uint8

const (
	// DurableOffline writes messages that are published while there is no connection, and those
	// that are unacknowledged when it ends. A loss of power while connected loses what is
	// unacknowledged; flash lives longer.
	DurableOffline Durability = iota
	DurableAlways             // writes every message before it is sent
	DurableNever
)

// QueueOptions bound the messages of QoS 1 that wait for their acknowledgement, sent or not.
type QueueOptions struct {
	Messages   int // 0 means 1000
	Bytes      int // of topics and payloads; 0 means 128 KiB
	Overflow   Overflow
	Durability Durability
}

var (
	// ErrDropped is the result of a message that made room in a full queue, or found none.
	ErrDropped = errors.New("dropped: the queue is full")
	// ErrOffline is the result of a message of QoS 0 while there is no connection.
	ErrOffline = errors.New("not connected")
	// ErrClosed is the result of whatever is not finished when the link is closed. Messages in flash
	// are sent after the next start.
	ErrClosed = errors.New("the link is closed")
	// ErrTooLarge is the result of a message beyond what the server takes.
	ErrTooLarge = errors.New("message is larger than the server takes")
	// ErrExpired is the result of a message whose expiry has come before it could be sent.
	ErrExpired = errors.New("message expired before it could be sent")
	// ErrBudget is the result of a message of QoS 0 that the message budget does not allow.
	ErrBudget = errors.New("message budget used up")
)

const queuePrefix = "q."

// entry is a message on its way to the server.
type entry struct {
	number     uint64
	topic      string
	payload    []byte
	retain     bool
	urgent     bool
	properties mqtt.Properties
	deadline   int64 // seconds of Unix time at which the message expires; 0 is never
	stored     bool  // queued to flash, or there
	safe       bool  // in flash
	paid       bool  // counted in the budget
	packetID   uint16
	sent       bool // on this connection
	dup        bool // was sent before
	suspect    int  // connections in a row that the server ended while this was the first unacknowledged
	done       []func(error)
}

func (e *entry) size() int {
	n := len(e.topic) + len(e.payload)
	if p := &e.properties; !p.Empty() {
		n += len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData) + 16
		for _, u := range p.User {
			n += len(u.Key) + len(u.Value) + 5
		}
	}
	return n
}

// queue keeps entries in the order of their numbers. The link's lock guards it.
type queue struct {
	o       QueueOptions
	store   *flash.Store // nil: memory only
	entries []*entry
	bytes   int
	next    uint64
}

func queueKey(number uint64) string { return fmt.Sprintf("%s%016x", queuePrefix, number) }

// openQueue reads the messages that an earlier run has left, in order. damaged counts those that
// could not be read; they are removed.
func openQueue(o QueueOptions, store *flash.Store) (q *queue, damaged int) {
	if o.Messages <= 0 {
		o.Messages = 1000
	}
	if o.Bytes <= 0 {
		o.Bytes = 128 << 10
	}
	q = &queue{o: o, store: store, next: 1}
	if store == nil {
		return q, 0
	}
	for _, key := range store.Keys(queuePrefix) {
		b, _ := store.Get(key)
		number, err := strconv.ParseUint(key[len(queuePrefix):], 16, 64)
		e, ok := decodeEntry(b)
		if err != nil || !ok {
			damaged++
			_ = store.Delete(key, nil)
			continue
		}
		e.number, e.stored, e.safe = number, true, true
		q.entries = append(q.entries, e)
		q.bytes += e.size()
		q.next = number + 1
	}
	return q, damaged
}

// put numbers a message and appends it. dropped are the entries that had to go, the new one itself
// if it finds no room.
func (q *queue) put(e *entry) (dropped []*entry) {
	full := func() bool { return len(q.entries) >= q.o.Messages || q.bytes+e.size() > q.o.Bytes }
	for full() {
		i := len(q.entries)
		if q.o.Overflow == DropOldest && e.size() <= q.o.Bytes {
			for i = 0; i < len(q.entries) && q.entries[i].packetID != 0; i++ {
				// What has a packet identifier is on its way to the server: it stays.
			}
		}
		if i == len(q.entries) {
			return append(dropped, e)
		}
		dropped = append(dropped, q.entries[i])
		q.remove(q.entries[i])
	}
	e.number = q.next
	q.next++
	q.entries = append(q.entries, e)
	q.bytes += e.size()
	return dropped
}

// remove takes an entry out, of flash too.
func (q *queue) remove(e *entry) {
	for i, other := range q.entries {
		if other == e {
			q.entries = append(q.entries[:i], q.entries[i+1:]...)
			q.bytes -= e.size()
			break
		}
	}
	if e.stored {
		// If this fails the message is sent once more after a restart: QoS 1 allows that.
		_ = q.store.Delete(queueKey(e.number), nil)
	}
}

// A stored message: version 1, flags (1 retain, 2 urgent), length of the topic in two bytes, topic,
// payload. With properties: version 2, flags, expiry in eight bytes of Unix time, a PUBLISH packet of
// MQTT 5.
func appendEntry(dst []byte, e *entry) []byte {
	var flags byte
	if e.retain {
		flags |= 1
	}
	if e.urgent {
		flags |= 2
	}
	if !e.properties.Empty() {
		dst = append(dst, 2, flags)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.deadline))
		p := mqtt.Publish{Topic: []byte(e.topic), Payload: e.payload, Properties: e.properties}
		return p.Append(dst, mqtt.V5)
	}
	dst = append(dst, 1, flags)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.topic)))
	dst = append(dst, e.topic...)
	return append(dst, e.payload...)
}

func decodeEntry(b []byte) (*entry, bool) {
	if len(b) > 10 && b[0] == 2 && b[1] <= 3 {
		return decodePacket(b)
	}
	if len(b) < 4 || b[0] != 1 || b[1] > 3 {
		return nil, false
	}
	n := 4 + int(binary.LittleEndian.Uint16(b[2:]))
	if n == 4 || len(b) < n {
		return nil, false
	}
	return &entry{topic: string(b[4:n]), payload: b[n:], retain: b[1]&1 != 0, urgent: b[1]&2 != 0}, true
}

func decodePacket(b []byte) (*entry, bool) {
	h, body, size, err := mqtt.Frame(b[10:], len(b))
	var p mqtt.Publish
	if err != nil || body == nil || size != len(b)-10 || h.Type() != mqtt.PUBLISH || p.Decode(h, body, mqtt.V5) != nil {
		return nil, false
	}
	e := &entry{topic: string(p.Topic), payload: p.Payload, retain: b[1]&1 != 0, urgent: b[1]&2 != 0, properties: p.Properties,
		deadline: int64(binary.LittleEndian.Uint64(b[2:]))}
	// What appendEntry would not have written is damaged.
	return e, e.topic != "" && e.deadline >= 0 && !p.Properties.Empty() && bytes.Equal(appendEntry(nil, e), b)
}
