package configuration

import "encoding/binary"

// MinValue is the largest value of a characteristic with the smallest ATT MTU, 23 (Bluetooth Core
// Specification, volume 3, part G, section 5.2.1).
const MinValue = 20

// Kinds of frames. A frame is one value of a characteristic; numbers are big endian.
//
//	begin   1 | number u32 | length u16 | CRC-32 u32     a message is coming
//	data    2 | number u8  | offset u16 | bytes          a part of it
//	ack     3 | number u8  | offset u16                  the next byte that is wanted
//	refuse  4 | number u8  | reason u8                   the message is not taken
//
// The number of data, ack and refuse is the last byte of begin's. The highest bit of the first byte is
// set in what the device sends: with BlueZ, a device sees its own notifications as writes.
const (
	frameBegin byte = 1 + iota
	frameData
	frameAck
	frameRefuse

	fromDevice  = 0x80
	dataHeader  = 4
	beginLength = 11
)

// Reasons of a refusal.
const (
	refusedLength   byte = 1 // none, or more than MaxMessage
	refusedChecksum byte = 2 // the message is damaged: it is sent again
)

type frame struct {
	kind    byte
	number  uint32 // of begin; one byte otherwise
	length  int
	crc     uint32
	offset  int
	reason  byte
	payload []byte // shares memory with what was decoded
}

// append appends a frame; direction is fromDevice or 0.
func (f frame) append(dst []byte, direction byte) []byte {
	dst = append(dst, f.kind|direction)
	switch f.kind {
	case frameBegin:
		dst = binary.BigEndian.AppendUint32(dst, f.number)
		dst = binary.BigEndian.AppendUint16(dst, uint16(f.length))
		return binary.BigEndian.AppendUint32(dst, f.crc)
	case frameRefuse:
		return append(dst, byte(f.number), f.reason)
	}
	dst = append(dst, byte(f.number))
	dst = binary.BigEndian.AppendUint16(dst, uint16(f.offset))
	return append(dst, f.payload...)
}

// decodeFrame reads a value. ok is false for one that is no frame, or goes in the other direction.
func decodeFrame(b []byte, direction byte) (f frame, ok bool) {
	if len(b) == 0 || b[0]&fromDevice != direction {
		return frame{}, false
	}
	f.kind = b[0] &^ fromDevice
	switch {
	case f.kind == frameBegin && len(b) == beginLength:
		f.number = binary.BigEndian.Uint32(b[1:])
		f.length = int(binary.BigEndian.Uint16(b[5:]))
		f.crc = binary.BigEndian.Uint32(b[7:])
		return f, true
	case f.kind == frameRefuse && len(b) == 3:
		f.number, f.reason = uint32(b[1]), b[2]
		return f, true
	case f.kind == frameAck && len(b) == dataHeader, f.kind == frameData && len(b) > dataHeader:
		f.number, f.offset, f.payload = uint32(b[1]), int(binary.BigEndian.Uint16(b[2:])), b[dataHeader:]
		return f, true
	}
	return frame{}, false
}
