package cluster

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/berth-iot/berth/internal/router"
)

// send sends a message to a node: for all its subscribers, or for one member of a shared subscription.
func (p *peer) send(share string, m *router.Publication) {
	p.interest.node.bus.Publish("node."+p.instance+".message", AppendMessage(make([]byte, 0, len(m.Topic)+len(m.Payload)+len(share)+32), share, m))
}

const (
	messageVersion = 1
	flagRetain     = 1 << 2
	flagWill       = 1 << 3
)

// AppendMessage appends a message as nodes send it: version, flags, expiry, then share, topic, properties and
// payload with their lengths before them.
func AppendMessage(dst []byte, share string, p *router.Publication) []byte {
	flags := p.QoS
	if p.Retain {
		flags |= flagRetain
	}
	if p.Will {
		flags |= flagWill
	}
	expires := int64(0)
	if !p.Expires.IsZero() {
		expires = p.Expires.UnixMilli()
	}
	dst = append(dst, messageVersion, flags)
	dst = binary.AppendVarint(dst, expires)
	var props []byte
	if p.Properties != nil && !p.Properties.Empty() {
		props = p.Properties.AppendStored(nil)
	}
	dst = appendField(dst, share)
	dst = appendField(dst, p.Topic)
	dst = appendField(dst, string(props))
	return append(dst, p.Payload...)
}

func appendField(dst []byte, field string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

var errMessage = errors.New("not a message between nodes")

// DecodeMessage reads what AppendMessage wrote. The payload is part of b.
func DecodeMessage(b []byte) (share string, p *router.Publication, err error) {
	if len(b) < 2 || b[0] != messageVersion || b[1]&3 == 3 {
		return "", nil, errMessage
	}
	p = &router.Publication{QoS: b[1] & 3, Retain: b[1]&flagRetain != 0, Will: b[1]&flagWill != 0}
	expires, n := binary.Varint(b[2:])
	if n <= 0 {
		return "", nil, errMessage
	}
	if b = b[2+n:]; expires != 0 {
		p.Expires = time.UnixMilli(expires)
	}
	var fields [3]string
	for i := range fields {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return "", nil, errMessage
		}
		fields[i] = string(b[n : n+int(size)])
		b = b[n+int(size):]
	}
	p.Topic, p.Payload = fields[1], b
	if len(fields[2]) > 0 {
		var m router.Message
		if err := m.LoadProperties([]byte(fields[2])); err != nil {
			return "", nil, err
		}
		p.Properties = m.Properties
	}
	return fields[0], p, nil
}

// origin is that of messages that other nodes took.
var origin = &router.Origin{Protocol: "cluster"}

// forwarded hands a message of another node to this node's subscribers.
func (i *Interest) forwarded(pub *router.Publisher, data []byte) {
	key, p, err := DecodeMessage(data)
	if err != nil {
		i.node.log.Warn("a message from another node cannot be read", "error", err)
		return
	}
	if !i.node.Alive() {
		return
	}
	p.Origin = origin
	pub.Forwarded(p, key)
	pub.Flush()
}
