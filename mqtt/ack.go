package mqtt

import "encoding/binary"

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP packet (sections 3.4 to 3.7).
type Ack struct {
	PacketID   uint16
	Code       ReasonCode // MQTT 5.0 only
	Properties Properties
}

// Decode reads the body of an acknowledgement of type t.
func (a *Ack) Decode(t Type, body []byte, v Version) error {
	if len(body) == 2 { // the common case
		a.PacketID = binary.BigEndian.Uint16(body)
		a.Code = Success
		if a.Properties.set != 0 {
			a.Properties = Properties{}
		}
	} else {
		*a = Ack{}
		r := reader{b: body}
		a.PacketID = r.uint16()
		if v == V5 {
			a.Code = ReasonCode(r.byte())
			if r.err == nil && len(r.b) > 0 {
				a.Properties.read(&r, t)
			}
		}
		if err := r.done(t); err != nil {
			return err
		}
	}
	if a.PacketID == 0 {
		return malformed("packet identifier 0")
	}
	return nil
}

// Append appends the packet in the shortest form.
func (a *Ack) Append(dst []byte, t Type, v Version) []byte {
	if v == V5 && !a.Properties.Empty() {
		dst, start := begin(dst)
		dst = binary.BigEndian.AppendUint16(dst, a.PacketID)
		dst = a.Properties.Append(append(dst, byte(a.Code)))
		return finish(dst, start, firstByte(t))
	}
	return AppendAck(dst, t, a.PacketID, a.Code, v)
}

// AppendAck appends an acknowledgement without properties.
func AppendAck(dst []byte, t Type, packetID uint16, code ReasonCode, v Version) []byte {
	if v == V5 && code != Success {
		return append(dst, firstByte(t), 3, byte(packetID>>8), byte(packetID), byte(code))
	}
	return append(dst, firstByte(t), 2, byte(packetID>>8), byte(packetID))
}

func firstByte(t Type) byte {
	if t == PUBREL {
		return byte(t)<<4 | 2
	}
	return byte(t) << 4
}
