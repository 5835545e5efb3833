package mqtt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// PropertyID identifies a property (section 2.2.2.2).
type PropertyID byte

// Property identifiers.
const (
	PropPayloadFormat           PropertyID = 0x01
	PropMessageExpiry           PropertyID = 0x02
	PropContentType             PropertyID = 0x03
	PropResponseTopic           PropertyID = 0x08
	PropCorrelationData         PropertyID = 0x09
	PropSubscriptionID          PropertyID = 0x0B
	PropSessionExpiry           PropertyID = 0x11
	PropAssignedClientID        PropertyID = 0x12
	PropServerKeepAlive         PropertyID = 0x13
	PropAuthMethod              PropertyID = 0x15
	PropAuthData                PropertyID = 0x16
	PropRequestProblemInfo      PropertyID = 0x17
	PropWillDelay               PropertyID = 0x18
	PropRequestResponseInfo     PropertyID = 0x19
	PropResponseInfo            PropertyID = 0x1A
	PropServerReference         PropertyID = 0x1C
	PropReasonString            PropertyID = 0x1F
	PropReceiveMaximum          PropertyID = 0x21
	PropTopicAliasMaximum       PropertyID = 0x22
	PropTopicAlias              PropertyID = 0x23
	PropMaximumQoS              PropertyID = 0x24
	PropRetainAvailable         PropertyID = 0x25
	PropUserProperty            PropertyID = 0x26
	PropMaximumPacketSize       PropertyID = 0x27
	PropWildcardAvailable       PropertyID = 0x28
	PropSubscriptionIDAvailable PropertyID = 0x29
	PropSharedAvailable         PropertyID = 0x2A
)

// will stands for the will properties of CONNECT in the table of allowed places.
const will Type = 0

func in(types ...Type) (mask uint16) {
	for _, t := range types {
		mask |= 1 << t
	}
	return mask
}

// allowedIn says which packets may carry a property (table 2-4).
var allowedIn = [64]uint16{
	PropPayloadFormat:           in(PUBLISH, will),
	PropMessageExpiry:           in(PUBLISH, will),
	PropContentType:             in(PUBLISH, will),
	PropResponseTopic:           in(PUBLISH, will),
	PropCorrelationData:         in(PUBLISH, will),
	PropSubscriptionID:          in(PUBLISH, SUBSCRIBE),
	PropSessionExpiry:           in(CONNECT, CONNACK, DISCONNECT),
	PropAssignedClientID:        in(CONNACK),
	PropServerKeepAlive:         in(CONNACK),
	PropAuthMethod:              in(CONNECT, CONNACK, AUTH),
	PropAuthData:                in(CONNECT, CONNACK, AUTH),
	PropRequestProblemInfo:      in(CONNECT),
	PropWillDelay:               in(will),
	PropRequestResponseInfo:     in(CONNECT),
	PropResponseInfo:            in(CONNACK),
	PropServerReference:         in(CONNACK, DISCONNECT),
	PropReasonString:            in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH),
	PropReceiveMaximum:          in(CONNECT, CONNACK),
	PropTopicAliasMaximum:       in(CONNECT, CONNACK),
	PropTopicAlias:              in(PUBLISH),
	PropMaximumQoS:              in(CONNACK),
	PropRetainAvailable:         in(CONNACK),
	PropUserProperty:            in(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH, will),
	PropMaximumPacketSize:       in(CONNECT, CONNACK),
	PropWildcardAvailable:       in(CONNACK),
	PropSubscriptionIDAvailable: in(CONNACK),
	PropSharedAvailable:         in(CONNACK),
}

// UserProperty is a name and value pair; the order of a packet's user properties is kept.
type UserProperty struct{ Key, Value string }

// Properties are the properties of one packet. A field is meaningful only if Has says so; Set
// methods of the zero value mark them. Strings and slices are copies, never parts of the input.
type Properties struct {
	set uint64 // one bit per identifier

	PayloadFormat       byte
	RequestProblemInfo  byte
	RequestResponseInfo byte
	MaximumQoS          byte
	RetainAvailable     byte
	WildcardAvailable   byte
	SubscriptionIDAvail byte
	SharedAvailable     byte
	ServerKeepAlive     uint16 // seconds
	ReceiveMaximum      uint16
	TopicAliasMaximum   uint16
	TopicAlias          uint16
	MessageExpiry       uint32 // seconds
	SessionExpiry       uint32 // seconds; 0xFFFFFFFF means never
	WillDelay           uint32 // seconds
	MaximumPacketSize   uint32 // bytes
	ContentType         string
	ResponseTopic       string
	AssignedClientID    string
	AuthMethod          string
	ResponseInfo        string
	ServerReference     string
	ReasonString        string
	CorrelationData     []byte
	AuthData            []byte
	SubscriptionIDs     []uint32
	User                []UserProperty
}

// Has reports whether a property is present.
func (p *Properties) Has(id PropertyID) bool { return p.set&(1<<id) != 0 }

// Mark makes a property present; its value is the field's.
func (p *Properties) Mark(ids ...PropertyID) {
	for _, id := range ids {
		p.set |= 1 << id
	}
}

// Clear makes a property absent.
func (p *Properties) Clear(id PropertyID) { p.set &^= 1 << id }

// Empty reports whether there is no property at all.
func (p *Properties) Empty() bool { return p.set == 0 }

// Check reports why the properties of a PUBLISH that came from elsewhere than a packet cannot be encoded: a
// string that is not valid UTF-8, holds a null character [MQTT-1.5.4-2] or, as binary data may not
// either, is longer than 65,535 bytes (MQTT 5.0 sections 1.5.4 and 1.5.6).
func (p *Properties) Check() error {
	check := func(name, s string) error {
		switch {
		case len(s) > math.MaxUint16:
			return fmt.Errorf("%s has %d bytes, more than %d", name, len(s), math.MaxUint16)
		case strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s):
			return fmt.Errorf("%s is not valid UTF-8 or holds a null character", name)
		}
		return nil
	}
	if len(p.CorrelationData) > math.MaxUint16 {
		return fmt.Errorf("the correlation data has %d bytes, more than %d", len(p.CorrelationData), math.MaxUint16)
	}
	errs := []error{check("the content type", p.ContentType), check("the response topic", p.ResponseTopic)}
	for _, u := range p.User {
		errs = append(errs, check("the name of a user property", u.Key), check("the value of a user property", u.Value))
	}
	return cmp.Or(errs...)
}

// field gives the place of a property that is not repeatable, by its type.
func (p *Properties) field(id PropertyID) (b *byte, u16 *uint16, u32 *uint32, s *string, bin *[]byte) {
	switch id {
	case PropPayloadFormat:
		b = &p.PayloadFormat
	case PropRequestProblemInfo:
		b = &p.RequestProblemInfo
	case PropRequestResponseInfo:
		b = &p.RequestResponseInfo
	case PropMaximumQoS:
		b = &p.MaximumQoS
	case PropRetainAvailable:
		b = &p.RetainAvailable
	case PropWildcardAvailable:
		b = &p.WildcardAvailable
	case PropSubscriptionIDAvailable:
		b = &p.SubscriptionIDAvail
	case PropSharedAvailable:
		b = &p.SharedAvailable
	case PropServerKeepAlive:
		u16 = &p.ServerKeepAlive
	case PropReceiveMaximum:
		u16 = &p.ReceiveMaximum
	case PropTopicAliasMaximum:
		u16 = &p.TopicAliasMaximum
	case PropTopicAlias:
		u16 = &p.TopicAlias
	case PropMessageExpiry:
		u32 = &p.MessageExpiry
	case PropSessionExpiry:
		u32 = &p.SessionExpiry
	case PropWillDelay:
		u32 = &p.WillDelay
	case PropMaximumPacketSize:
		u32 = &p.MaximumPacketSize
	case PropContentType:
		s = &p.ContentType
	case PropResponseTopic:
		s = &p.ResponseTopic
	case PropAssignedClientID:
		s = &p.AssignedClientID
	case PropAuthMethod:
		s = &p.AuthMethod
	case PropResponseInfo:
		s = &p.ResponseInfo
	case PropServerReference:
		s = &p.ServerReference
	case PropReasonString:
		s = &p.ReasonString
	case PropCorrelationData:
		bin = &p.CorrelationData
	case PropAuthData:
		bin = &p.AuthData
	}
	return
}

// appendTo appends the properties without their length.
func (p *Properties) appendTo(dst []byte) []byte {
	if p.set == 0 {
		return dst
	}
	for id := PropertyID(1); id <= PropSharedAvailable; id++ {
		if !p.Has(id) {
			continue
		}
		switch id {
		case PropUserProperty:
			for _, u := range p.User {
				dst = append(dst, byte(id))
				dst = appendString(appendString(dst, u.Key), u.Value)
			}
			continue
		case PropSubscriptionID:
			for _, v := range p.SubscriptionIDs {
				dst = appendVarint(append(dst, byte(id)), int(v))
			}
			continue
		}
		dst = append(dst, byte(id))
		b, u16, u32, s, bin := p.field(id)
		switch {
		case b != nil:
			dst = append(dst, *b)
		case u16 != nil:
			dst = binary.BigEndian.AppendUint16(dst, *u16)
		case u32 != nil:
			dst = binary.BigEndian.AppendUint32(dst, *u32)
		case s != nil:
			dst = appendString(dst, *s)
		case bin != nil:
			dst = appendString(dst, *bin)
		}
	}
	return dst
}

// Append appends the properties with their length in front.
func (p *Properties) Append(dst []byte) []byte {
	if p.set == 0 {
		return append(dst, 0)
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = p.appendTo(dst)
	n := len(dst) - start - 4
	k := varintLen(n)
	appendVarint(dst[start:start], n)
	copy(dst[start+k:], dst[start+4:])
	return dst[:start+k+n]
}

// read reads properties with their length in front, as Append writes them.
// where is the packet that carries them.
func (p *Properties) read(r *reader, where Type) {
	*p = Properties{}
	n := r.varint()
	if r.err != nil {
		return
	}
	if n > len(r.b) {
		r.fail()
		return
	}
	if n == 0 {
		return
	}
	rest := r.b[n:]
	r.b = r.b[:n:n]
	for len(r.b) > 0 && r.err == nil {
		p.readOne(r, where)
	}
	if r.err == nil {
		r.b = rest
	}
}

func (p *Properties) readOne(r *reader, where Type) {
	id := PropertyID(r.byte())
	if id >= 64 || allowedIn[id]&(1<<where) == 0 {
		r.err = malformed("property 0x%02X does not belong in %s", byte(id), place(where))
		return
	}
	repeatable := id == PropUserProperty || id == PropSubscriptionID && where == PUBLISH
	if p.Has(id) && !repeatable {
		r.err = protocolError("property 0x%02X twice in %s", byte(id), place(where))
		return
	}
	p.Mark(id)
	switch id {
	case PropUserProperty:
		p.User = append(p.User, UserProperty{r.string(), r.string()})
		return
	case PropSubscriptionID:
		v := r.varint()
		if v == 0 && r.err == nil { // [MQTT-3.8.2.1.2]
			r.err = protocolError("subscription identifier 0")
		}
		p.SubscriptionIDs = append(p.SubscriptionIDs, uint32(v))
		return
	}
	b, u16, u32, s, bin := p.field(id)
	switch {
	case b != nil:
		if *b = r.byte(); *b > 1 && r.err == nil {
			r.err = protocolError("property 0x%02X is %d, not 0 or 1", byte(id), *b)
		}
	case u16 != nil:
		*u16 = r.uint16()
		if *u16 == 0 && id == PropReceiveMaximum && r.err == nil {
			r.err = protocolError("receive maximum 0")
		}
	case u32 != nil:
		*u32 = r.uint32()
		if *u32 == 0 && id == PropMaximumPacketSize && r.err == nil {
			r.err = protocolError("maximum packet size 0")
		}
	case s != nil:
		*s = r.string()
	case bin != nil:
		*bin = append([]byte{}, r.bytes()...)
	}
}

func place(t Type) string {
	if t == will {
		return "will properties"
	}
	return t.String()
}

// AppendStored and DecodeStored keep the properties of a message outside a packet, in a database
// for example: the bytes are those of a PUBLISH.
func (p *Properties) AppendStored(dst []byte) []byte { return p.appendTo(dst) }

// DecodeStored reads what AppendStored wrote.
func (p *Properties) DecodeStored(b []byte) error {
	*p = Properties{}
	r := reader{b: b}
	for len(r.b) > 0 && r.err == nil {
		p.readOne(&r, PUBLISH)
	}
	return r.done(PUBLISH)
}
