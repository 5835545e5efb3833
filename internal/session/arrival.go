package session

import "github.com/berth-iot/berth/mqtt"

// arrival is a QoS 2 message from the client, from PUBLISH to PUBREL. What comes again under its packet
// identifier is the same message [MQTT-4.3.3-10].
type arrival struct {
	from    *Conn        // that waits until the message is kept; nil when it is
	waiting []completion // of connections on which it came again meanwhile
}

// arrive notes a QoS 2 message. again says that it has come before, waits that PUBREC is owed until the
// first one is kept: said earlier, it would be a promise that may not hold.
func (c *Conn) arrive(id uint16) (a *arrival, again, waits bool, unreleased int) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if a = s.incoming[id]; a != nil {
		return a, true, c.await(a, id), len(s.incoming)
	}
	if s.incoming == nil {
		s.incoming = make(map[uint16]*arrival)
	}
	a = &arrival{from: c}
	s.incoming[id] = a
	return a, false, false, len(s.incoming)
}

// again is arrive for a message that would be refused if it had not come before.
func (c *Conn) again(id uint16) (again, waits bool) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.incoming[id]
	return a != nil, a != nil && c.await(a, id)
}

// await reports whether PUBREC must wait, and notes who waits for it. s.mu is held.
func (c *Conn) await(a *arrival, id uint16) bool {
	if a.from == nil {
		return false
	}
	a.waiting = append(a.waiting, completion{conn: c, number: c.owed.add(id, 2)})
	return true
}

// arrived says that the message that came over a connection is kept, or could not be: then it has not
// come, and the client may send it again.
func (s *Session) arrived(c *Conn, id uint16, code mqtt.ReasonCode) {
	s.mu.Lock()
	a := s.incoming[id]
	if a == nil || a.from != c {
		s.mu.Unlock()
		return
	}
	waiting := a.waiting
	a.from, a.waiting = nil, nil
	if code != mqtt.Success {
		delete(s.incoming, id)
	}
	s.mu.Unlock()
	for _, w := range waiting {
		w.code = code
		s.all.completions.settle(w)
	}
}
