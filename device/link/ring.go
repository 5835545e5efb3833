package link

import "github.com/berth-iot/berth/mqtt"

// Message is a message from the server.
type Message struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Dup        bool // it may have come before
	Properties mqtt.Properties
}

func (m *Message) size() int { return len(m.Topic) + len(m.Payload) }

// ring holds received messages until the application reads them, bounded by number and bytes. When
// it is full, the oldest message of QoS 0 makes room; if there is none, the new one is refused.
type ring struct {
	slots    []received
	from, n  int
	bytes    int
	maxBytes int
}

// received is a message and what its acknowledgement needs.
type received struct {
	Message
	packetID   uint16 // 0 with QoS 0
	connection uint64 // an acknowledgement belongs to the connection that brought the message
}

func newRing(messages, bytes int) *ring {
	return &ring{slots: make([]received, messages), maxBytes: bytes}
}

func (r *ring) at(i int) *received { return &r.slots[(r.from+i)%len(r.slots)] }

// put appends a message. dropped counts messages of QoS 0 that made room or were refused; ok is
// false when the message itself was refused.
func (r *ring) put(m received) (dropped int, ok bool) {
	for r.n == len(r.slots) || r.n > 0 && r.bytes+m.size() > r.maxBytes {
		i := 0
		for i < r.n && r.at(i).QoS > 0 {
			i++
		}
		if i == r.n {
			if m.QoS == 0 {
				dropped++
			}
			return dropped, false
		}
		r.bytes -= r.at(i).size()
		for ; i < r.n-1; i++ {
			*r.at(i) = *r.at(i + 1)
		}
		*r.at(r.n - 1) = received{}
		r.n--
		dropped++
	}
	*r.at(r.n) = m
	r.n++
	r.bytes += m.size()
	return dropped, true
}

func (r *ring) take() (received, bool) {
	if r.n == 0 {
		return received{}, false
	}
	m := *r.at(0)
	*r.at(0) = received{}
	r.from = (r.from + 1) % len(r.slots)
	r.n--
	r.bytes -= m.size()
	return m, true
}
