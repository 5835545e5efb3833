package session

import "github.com/berth-iot/berth/internal/router"

// maxPacketID is the number of packet identifiers: 1 to 65,535.
const maxPacketID = 65535

// delivery is one QoS 1 or 2 message on its way to the client.
type delivery struct {
	message *router.Message // nil in a session that does not outlive its connection
	receipt *router.Receipt // the publisher waits for the client's acknowledgement; may be nil
	ids     []uint32        // subscription identifiers
	seq     int64           // place in the session's queue
	since   int64           // coarse clock when it was accepted, milliseconds
	qos     byte
	retain  bool
	state   deliveryState
	stored  bool   // a row of the queue table holds it, or of the inbox
	size    uint32 // of the packet that holds it instead of message; see packets
	inbox   int64  // the number of that row of the inbox
}

type deliveryState uint8

const (
	acknowledged deliveryState = iota // nothing more is expected; the place in the window is free
	published                         // waiting for PUBACK or PUBREC
	released                          // PUBREC came; waiting for PUBCOMP
)

// window holds the deliveries in flight, in the order of their consecutive packet identifiers.
// Acknowledged places are given up once everything before them is acknowledged too, so that an
// identifier is found by counting.
type window struct {
	ring  []delivery // length a power of two
	head  int
	n     int    // places in use, acknowledged ones among them
	first uint16 // identifier of the head minus 1
	open  int    // places not acknowledged
	given int    // identifiers given so far, until all have been
}

// firstTime reports whether the identifier that add has just returned was given for the first time.
func (w *window) firstTime() bool { return w.given <= maxPacketID }

// full reports whether limit deliveries are unacknowledged, or identifiers run out because one of
// them stays unacknowledged.
func (w *window) full(limit int) bool { return w.open >= limit || w.n >= maxPacketID-1 }

// add puts a delivery in the window and returns its packet identifier and its place, which is valid
// until the next call.
func (w *window) add(d delivery) (id uint16, place *delivery) {
	if w.n == len(w.ring) {
		bigger := make([]delivery, max(8, 2*len(w.ring)))
		for i := range w.n {
			bigger[i] = w.ring[(w.head+i)&(len(w.ring)-1)]
		}
		w.ring, w.head = bigger, 0
	}
	place = &w.ring[(w.head+w.n)&(len(w.ring)-1)]
	*place = d
	place.state = published
	id = uint16((int(w.first)+w.n)%maxPacketID) + 1
	w.n++
	w.open++
	w.given = min(w.given+1, maxPacketID+1)
	return id, place
}

// find returns the unacknowledged delivery with an identifier, or nil.
func (w *window) find(id uint16) *delivery {
	at := (int(id) - 1 - int(w.first) + maxPacketID) % maxPacketID
	if id == 0 || at >= w.n {
		return nil
	}
	d := &w.ring[(w.head+at)&(len(w.ring)-1)]
	if d.state == acknowledged {
		return nil
	}
	return d
}

// acknowledge gives up a place that find returned.
func (w *window) acknowledge(d *delivery) {
	*d = delivery{}
	w.open--
	for w.n > 0 && w.ring[w.head].state == acknowledged {
		w.head = (w.head + 1) & (len(w.ring) - 1)
		w.first = uint16((int(w.first) + 1) % maxPacketID)
		w.n--
	}
	if w.n == 0 && len(w.ring) > keptPlaces {
		w.ring, w.head = nil, 0
	}
}

// keptPlaces is the size of a ring that an empty window keeps while its client is active.
const keptPlaces = 128

// release gives up the memory of an empty window.
func (w *window) release() {
	if w.n == 0 {
		w.ring, w.head = nil, 0
	}
}

// each calls yield for every unacknowledged delivery in order.
func (w *window) each(yield func(id uint16, d *delivery)) {
	for i := range w.n {
		if d := &w.ring[(w.head+i)&(len(w.ring)-1)]; d.state != acknowledged {
			yield(uint16((int(w.first)+i)%maxPacketID)+1, d)
		}
	}
}
