package mqtt

import "encoding/binary"

// Connect is a CONNECT packet (section 3.1).
type Connect struct {
	Version     Version
	CleanStart  bool // Clean Session in MQTT 3.1.1
	KeepAlive   uint16
	ClientID    string
	Properties  Properties
	Will        *Will
	HasUserName bool
	UserName    string
	HasPassword bool
	Password    []byte
}

// Will is the message that the server publishes when the connection ends unexpectedly.
type Will struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties Properties
}

// ErrVersion is returned for a protocol level that this package does not know. Level 3 is MQTT
// 3.1. The server answers 0x01 or 0x84 and closes [MQTT-3.1.2-2].
var ErrVersion = &Error{UnsupportedVersion, "unsupported protocol version"}

// Decode reads the body of a CONNECT packet. Password and will payload are copies.
func (c *Connect) Decode(body []byte) error {
	*c = Connect{}
	r := reader{b: body}
	name := r.bytes()
	level := r.byte()
	if r.err != nil {
		return r.done(CONNECT)
	}
	if string(name) != "MQTT" && string(name) != "MQIsdp" {
		return &Error{UnsupportedVersion, "protocol name is not MQTT"} // [MQTT-3.1.2-1]
	}
	if string(name) != "MQTT" || level != byte(V311) && level != byte(V5) {
		return ErrVersion
	}
	c.Version = Version(level)
	flags := r.byte()
	c.KeepAlive = r.uint16()
	if r.err == nil && flags&1 != 0 { // [MQTT-3.1.2-3]
		return malformed("reserved CONNECT flag is set")
	}
	c.CleanStart = flags&2 != 0
	if c.Version == V5 {
		c.Properties.read(&r, CONNECT)
	}
	c.ClientID = r.string()
	if flags&4 != 0 {
		w := &Will{QoS: flags >> 3 & 3, Retain: flags&32 != 0}
		if w.QoS == 3 { // [MQTT-3.1.2-12]
			return malformed("will QoS 3")
		}
		if c.Version == V5 {
			w.Properties.read(&r, will)
		}
		w.Topic = r.string()
		w.Payload = append([]byte{}, r.bytes()...)
		c.Will = w
	} else if flags&(8+16+32) != 0 { // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
		return malformed("will QoS or retain without a will")
	}
	c.HasUserName = flags&128 != 0
	c.HasPassword = flags&64 != 0
	if c.HasPassword && !c.HasUserName && c.Version == V311 { // 3.1.1 [MQTT-3.1.2-22]
		return malformed("password without user name")
	}
	if c.HasUserName {
		c.UserName = r.string()
	}
	if c.HasPassword {
		c.Password = append([]byte{}, r.bytes()...)
	}
	return r.done(CONNECT)
}

// Append appends the packet.
func (c *Connect) Append(dst []byte) []byte {
	dst, start := begin(dst)
	dst = appendString(dst, "MQTT")
	var flags byte
	if c.CleanStart {
		flags |= 2
	}
	if c.Will != nil {
		flags |= 4 | c.Will.QoS<<3
		if c.Will.Retain {
			flags |= 32
		}
	}
	if c.HasPassword {
		flags |= 64
	}
	if c.HasUserName {
		flags |= 128
	}
	dst = append(dst, byte(c.Version), flags)
	dst = binary.BigEndian.AppendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = c.Properties.Append(dst)
	}
	dst = appendString(dst, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			dst = w.Properties.Append(dst)
		}
		dst = appendString(dst, w.Topic)
		dst = appendString(dst, w.Payload)
	}
	if c.HasUserName {
		dst = appendString(dst, c.UserName)
	}
	if c.HasPassword {
		dst = appendString(dst, c.Password)
	}
	return finish(dst, start, byte(CONNECT)<<4)
}

// Connack is a CONNACK packet (section 3.2).
type Connack struct {
	SessionPresent bool
	Code           ReasonCode // MQTT 3.1.1 carries Code.ReturnCode()
	Properties     Properties
}

// Append appends the packet in the given version.
func (c *Connack) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst)
	var flags byte
	if c.SessionPresent {
		flags = 1
	}
	if v == V5 {
		dst = c.Properties.Append(append(dst, flags, byte(c.Code)))
	} else {
		dst = append(dst, flags, c.Code.ReturnCode())
	}
	return finish(dst, start, byte(CONNACK)<<4)
}

// Decode reads the body of a CONNACK packet. In MQTT 3.1.1 Code holds the return code as it is.
func (c *Connack) Decode(body []byte, v Version) error {
	*c = Connack{}
	r := reader{b: body}
	flags := r.byte()
	if flags > 1 {
		return malformed("CONNACK flags %08b", flags)
	}
	c.SessionPresent = flags == 1
	c.Code = ReasonCode(r.byte())
	if v == V5 {
		c.Properties.read(&r, CONNACK)
	}
	return r.done(CONNACK)
}
