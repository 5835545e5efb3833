package mqtt

import "encoding/binary"

// Publish is a PUBLISH packet (section 3.3).
type Publish struct {
	QoS        byte
	Dup        bool
	Retain     bool
	PacketID   uint16 // 0 with QoS 0
	Topic      []byte // empty when a topic alias stands for it
	Payload    []byte
	Properties Properties
}

// Decode reads the body of a PUBLISH packet in place: Topic and Payload point into body. It checks
// the form of the packet; whether the topic may be published to is the caller's question.
func (p *Publish) Decode(h Header, body []byte, v Version) error {
	flags := h.Flags()
	p.QoS = flags >> 1 & 3
	p.Dup = flags&FlagDup != 0
	p.Retain = flags&FlagRetain != 0
	if p.QoS == 3 { // [MQTT-3.3.1-4]
		return malformed("QoS 3")
	}
	if p.Dup && p.QoS == 0 { // [MQTT-3.3.1-2]
		return malformed("DUP with QoS 0")
	}
	if len(body) < 2 {
		return malformed("PUBLISH ends in the middle of a field")
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < n {
		return malformed("PUBLISH ends in the middle of a field")
	}
	p.Topic = body[2:n:n]
	if !validText(p.Topic) {
		return malformed("topic is not valid UTF-8 or holds a null character")
	}
	body = body[n:]
	p.PacketID = 0
	if p.QoS > 0 {
		if len(body) < 2 {
			return malformed("PUBLISH ends in the middle of a field")
		}
		p.PacketID = binary.BigEndian.Uint16(body)
		if p.PacketID == 0 { // [MQTT-2.2.1-3]
			return malformed("packet identifier 0")
		}
		body = body[2:]
	}
	if v == V5 {
		if len(body) > 0 && body[0] == 0 {
			body = body[1:]
			if p.Properties.set != 0 {
				p.Properties = Properties{}
			}
		} else {
			r := reader{b: body}
			p.Properties.read(&r, PUBLISH)
			if r.err != nil {
				return r.done(PUBLISH)
			}
			body = r.b
		}
	}
	p.Payload = body
	return nil
}

// Append appends the packet in the given version.
func (p *Publish) Append(dst []byte, v Version) []byte {
	dst, _ = AppendPublish(dst, v, p.flags(), p.PacketID, p.Topic, p.Payload, &p.Properties)
	return dst
}

func (p *Publish) flags() byte {
	flags := p.QoS << 1
	if p.Dup {
		flags |= FlagDup
	}
	if p.Retain {
		flags |= FlagRetain
	}
	return flags
}

// AppendPublish appends a PUBLISH packet; flags are the lower four bits of its first byte. idAt is
// the place of the packet identifier relative to the start of the packet, 0 with QoS 0, so that
// one encoding can be copied for many receivers and given each its own identifier.
func AppendPublish[T ~string | ~[]byte](dst []byte, v Version, flags byte, packetID uint16, topic T, payload []byte, props *Properties) (out []byte, idAt int) {
	n := 2 + len(topic) + len(payload)
	if flags&6 != 0 {
		n += 2
	}
	var plen int
	if v == V5 {
		if props == nil || props.set == 0 {
			n++
		} else {
			plen = props.size()
			n += varintLen(plen) + plen
		}
	}
	start := len(dst)
	dst = AppendHeader(dst, byte(PUBLISH)<<4|flags, n)
	dst = appendString(dst, topic)
	if flags&6 != 0 {
		idAt = len(dst) - start
		dst = binary.BigEndian.AppendUint16(dst, packetID)
	}
	if v == V5 {
		dst = appendVarint(dst, plen)
		if plen > 0 {
			dst = props.appendTo(dst)
		}
	}
	return append(dst, payload...), idAt
}

// size is the encoded length of the properties that a PUBLISH may carry.
func (p *Properties) size() int {
	n := 0
	if p.Has(PropPayloadFormat) {
		n += 2
	}
	if p.Has(PropMessageExpiry) {
		n += 5
	}
	if p.Has(PropContentType) {
		n += 3 + len(p.ContentType)
	}
	if p.Has(PropResponseTopic) {
		n += 3 + len(p.ResponseTopic)
	}
	if p.Has(PropCorrelationData) {
		n += 3 + len(p.CorrelationData)
	}
	if p.Has(PropTopicAlias) {
		n += 3
	}
	if p.Has(PropSubscriptionID) {
		for _, id := range p.SubscriptionIDs {
			n += 1 + varintLen(int(id))
		}
	}
	if p.Has(PropUserProperty) {
		for _, u := range p.User {
			n += 5 + len(u.Key) + len(u.Value)
		}
	}
	return n
}
