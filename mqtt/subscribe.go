package mqtt

import "encoding/binary"

// Subscription is one topic filter of a SUBSCRIBE packet with its options (section 3.8.3.1).
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool // MQTT 5.0
	RetainAsPublished bool // MQTT 5.0
	RetainHandling    byte // MQTT 5.0: 0 send, 1 send if new, 2 do not send
}

// Subscribe is a SUBSCRIBE packet.
type Subscribe struct {
	PacketID      uint16
	Properties    Properties
	Subscriptions []Subscription
}

// Decode reads the body of a SUBSCRIBE packet.
func (s *Subscribe) Decode(body []byte, v Version) error {
	*s = Subscribe{}
	r := reader{b: body}
	s.PacketID = r.uint16()
	if v == V5 {
		s.Properties.read(&r, SUBSCRIBE)
	}
	for len(r.b) > 0 && r.err == nil {
		sub := Subscription{Filter: r.string()}
		o := r.byte()
		sub.QoS = o & 3
		if v == V5 {
			sub.NoLocal = o&4 != 0
			sub.RetainAsPublished = o&8 != 0
			sub.RetainHandling = o >> 4 & 3
			o &= 0xC0
		} else {
			o &= 0xFC
		}
		if r.err == nil && (sub.QoS == 3 || sub.RetainHandling == 3 || o != 0) { // [MQTT-3.8.3-5]
			return malformed("subscription options of %q are reserved", sub.Filter)
		}
		s.Subscriptions = append(s.Subscriptions, sub)
	}
	if err := r.done(SUBSCRIBE); err != nil {
		return err
	}
	if s.PacketID == 0 {
		return malformed("packet identifier 0")
	}
	if len(s.Subscriptions) == 0 { // [MQTT-3.8.3-2]
		return protocolError("SUBSCRIBE without a topic filter")
	}
	return nil
}

// Append appends the packet in the given version.
func (s *Subscribe) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst)
	dst = binary.BigEndian.AppendUint16(dst, s.PacketID)
	if v == V5 {
		dst = s.Properties.Append(dst)
	}
	for _, sub := range s.Subscriptions {
		dst = appendString(dst, sub.Filter)
		o := sub.QoS
		if v == V5 {
			o |= sub.RetainHandling << 4
			if sub.NoLocal {
				o |= 4
			}
			if sub.RetainAsPublished {
				o |= 8
			}
		}
		dst = append(dst, o)
	}
	return finish(dst, start, byte(SUBSCRIBE)<<4|2)
}

// Suback is a SUBACK packet or, with codes in MQTT 5.0 only, an UNSUBACK packet.
type Suback struct {
	PacketID   uint16
	Properties Properties
	Codes      []ReasonCode // one per topic filter, in order; 0x80 for every failure in MQTT 3.1.1
}

// Append appends the packet as t, SUBACK or UNSUBACK.
func (s *Suback) Append(dst []byte, t Type, v Version) []byte {
	dst, start := begin(dst)
	dst = binary.BigEndian.AppendUint16(dst, s.PacketID)
	if v == V5 {
		dst = s.Properties.Append(dst)
	}
	if v == V5 || t == SUBACK {
		for _, c := range s.Codes {
			if v != V5 && c.Failed() {
				c = UnspecifiedError
			}
			dst = append(dst, byte(c))
		}
	}
	return finish(dst, start, byte(t)<<4)
}

// Decode reads the body of a SUBACK or UNSUBACK packet.
func (s *Suback) Decode(t Type, body []byte, v Version) error {
	*s = Suback{}
	r := reader{b: body}
	s.PacketID = r.uint16()
	if v == V5 {
		s.Properties.read(&r, t)
	}
	if r.err == nil && (v == V5 || t == SUBACK) {
		s.Codes = make([]ReasonCode, len(r.b))
		for i, c := range r.b {
			s.Codes[i] = ReasonCode(c)
		}
		r.b = nil
	}
	return r.done(t)
}

// Unsubscribe is an UNSUBSCRIBE packet.
type Unsubscribe struct {
	PacketID   uint16
	Properties Properties
	Filters    []string
}

// Decode reads the body of an UNSUBSCRIBE packet.
func (u *Unsubscribe) Decode(body []byte, v Version) error {
	*u = Unsubscribe{}
	r := reader{b: body}
	u.PacketID = r.uint16()
	if v == V5 {
		u.Properties.read(&r, UNSUBSCRIBE)
	}
	for len(r.b) > 0 && r.err == nil {
		u.Filters = append(u.Filters, r.string())
	}
	if err := r.done(UNSUBSCRIBE); err != nil {
		return err
	}
	if u.PacketID == 0 {
		return malformed("packet identifier 0")
	}
	if len(u.Filters) == 0 { // [MQTT-3.10.3-2]
		return protocolError("UNSUBSCRIBE without a topic filter")
	}
	return nil
}

// Append appends the packet in the given version.
func (u *Unsubscribe) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst)
	dst = binary.BigEndian.AppendUint16(dst, u.PacketID)
	if v == V5 {
		dst = u.Properties.Append(dst)
	}
	for _, f := range u.Filters {
		dst = appendString(dst, f)
	}
	return finish(dst, start, byte(UNSUBSCRIBE)<<4|2)
}
