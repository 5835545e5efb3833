// Package mqtt encodes and decodes the control packets of MQTT 3.1.1 and MQTT 5.0.
//
// It has no goroutine, no clock and no I/O. Decoding works in place: byte slices in a decoded
// packet point into the input and are valid only as long as it is; strings are copies. Encoding
// appends to a slice. [Frame] cuts packets out of a stream; [Type] says which decoder to use.
//
// Sections and statement numbers refer to MQTT Version 5.0, OASIS Standard, and to MQTT Version
// 3.1.1 where it differs.
package mqtt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Version is the protocol level of the CONNECT packet.
type Version byte

// Protocol levels.
const (
	V311 Version = 4
	V5   Version = 5
)

// Type is the control packet type, the upper four bits of the first byte (section 2.1.2).
type Type byte

// Control packet types.
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var typeNames = [16]string{"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL",
	"PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

func (t Type) String() string { return typeNames[t&15] }

// Header is the first byte of a packet: type and flags.
type Header byte

// Type returns the packet type.
func (h Header) Type() Type { return Type(h >> 4) }

// Flags returns the lower four bits.
func (h Header) Flags() byte { return byte(h) & 15 }

// Bits of the first byte of a PUBLISH (section 3.3.1).
const (
	FlagRetain byte = 1
	FlagDup    byte = 8
)

// Error is a packet that breaks the protocol. Code is the reason code that MQTT 5.0 gives it.
type Error struct {
	Code ReasonCode
	What string
}

func (e *Error) Error() string { return e.What }

func malformed(format string, args ...any) error {
	return &Error{MalformedPacket, "malformed packet: " + fmt.Sprintf(format, args...)}
}

func protocolError(format string, args ...any) error {
	return &Error{ProtocolError, "protocol error: " + fmt.Sprintf(format, args...)}
}

// ErrPacketTooLarge is returned by Frame for a packet beyond the limit.
var ErrPacketTooLarge = &Error{PacketTooLarge, "packet too large"}

// MaxRemaining is the largest remaining length that the protocol can express (section 2.1.4).
const MaxRemaining = 268_435_455

// Frame looks for one whole packet at the start of b. size is the length of the packet with its
// fixed header, or 0 when b is too short to tell; body is nil with size 0 or when not all of the
// packet is there yet. A packet of more than limit bytes is refused from its header alone.
func Frame(b []byte, limit int) (h Header, body []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	remaining, n := 0, 1
	for shift := 0; ; shift += 7 {
		if shift > 21 { // [MQTT-1.5.5-1]
			return 0, nil, 0, malformed("remaining length has more than four bytes")
		}
		if n == len(b) {
			return 0, nil, 0, nil
		}
		c := b[n]
		n++
		remaining |= int(c&127) << shift
		if c < 128 {
			break
		}
	}
	size = n + remaining
	if size > limit {
		return 0, nil, 0, ErrPacketTooLarge
	}
	h = Header(b[0])
	if err := checkFlags(h); err != nil {
		return 0, nil, 0, err
	}
	if len(b) < size {
		return h, nil, size, nil
	}
	return h, b[n:size:size], size, nil
}

// checkFlags refuses reserved types and flags [MQTT-2.1.3-1].
func checkFlags(h Header) error {
	var want byte
	switch h.Type() {
	case 0:
		return malformed("packet type 0")
	case PUBLISH:
		return nil
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		want = 2
	}
	if h.Flags() != want {
		return malformed("%s with flags %04b", h.Type(), h.Flags())
	}
	return nil
}

// AppendHeader appends a fixed header for a body of n bytes.
func AppendHeader(dst []byte, first byte, n int) []byte {
	return appendVarint(append(dst, first), n)
}

func appendVarint(dst []byte, n int) []byte {
	for n >= 128 {
		dst = append(dst, byte(n)|128)
		n >>= 7
	}
	return append(dst, byte(n))
}

func varintLen(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// finish writes the fixed header before a body that was appended after room for the longest one.
// dst[start:start+5] is that room.
func finish(dst []byte, start int, first byte) []byte {
	n := len(dst) - start - 5
	var head [5]byte
	h := AppendHeader(head[:0], first, n)
	copy(dst[start:], h)
	copy(dst[start+len(h):], dst[start+5:])
	return dst[:start+len(h)+n]
}

func begin(dst []byte) ([]byte, int) {
	return append(dst, 0, 0, 0, 0, 0), len(dst)
}

var errShort = errors.New("short")

// reader takes fields off the front of a packet body. The first failure sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errShort
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) < 1 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint16() uint16 {
	if len(r.b) < 2 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) uint32() uint32 {
	if len(r.b) < 4 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) varint() int {
	v := 0
	for shift := 0; shift <= 21; shift += 7 {
		c := r.byte()
		v |= int(c&127) << shift
		if c < 128 {
			return v
		}
	}
	r.fail()
	return 0
}

// bytes reads binary data: a two-byte length and that many bytes.
func (r *reader) bytes() []byte {
	n := int(r.uint16())
	if len(r.b) < n {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// text reads a UTF-8 string in place; see validText.
func (r *reader) text() []byte {
	v := r.bytes()
	if !validText(v) && r.err == nil {
		r.err = malformed("string is not valid UTF-8 or holds a null character")
	}
	return v
}

func (r *reader) string() string { return string(r.text()) }

// done returns the first failure as a malformed packet, and refuses bytes left over.
func (r *reader) done(t Type) error {
	if r.err == errShort {
		return malformed("%s ends in the middle of a field", t)
	}
	if r.err != nil {
		return r.err
	}
	if len(r.b) != 0 {
		return malformed("%s has %d bytes too many", t, len(r.b))
	}
	return nil
}

// validText checks a UTF-8 string: well formed, no surrogates, no null character [MQTT-1.5.4-1]
// [MQTT-1.5.4-2].
func validText(b []byte) bool { return bytes.IndexByte(b, 0) < 0 && utf8.Valid(b) }
