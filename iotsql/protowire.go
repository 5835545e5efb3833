package iotsql

import (
	"encoding/binary"
	"errors"
)

// The wire types of Protocol Buffers (encoding specification, "Message structure").
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wireGroup  = 3
	wireEnd    = 4
	wire32     = 5
)

var errWire = errors.New("protobuf: damaged message")

// wireField is one field as it lies on the wire: num holds integers, data bytes and groups.
type wireField struct {
	number int
	wire   int
	num    uint64
	data   []byte
}

// nextField reads the first field of b and returns what follows it.
func nextField(b []byte) (f wireField, rest []byte, err error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, nil, errWire
	}
	f.number, f.wire = int(tag>>3), int(tag&7)
	b = b[n:]
	switch f.wire {
	case wireVarint:
		if f.num, n = binary.Uvarint(b); n <= 0 {
			return f, nil, errWire
		}
		return f, b[n:], nil
	case wire64:
		if len(b) < 8 {
			return f, nil, errWire
		}
		f.num = binary.LittleEndian.Uint64(b)
		return f, b[8:], nil
	case wire32:
		if len(b) < 4 {
			return f, nil, errWire
		}
		f.num = uint64(binary.LittleEndian.Uint32(b))
		return f, b[4:], nil
	case wireBytes:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return f, nil, errWire
		}
		f.data = b[n : n+int(size)]
		return f, b[n+int(size):], nil
	case wireGroup:
		rest, err := skipGroup(b, f.number)
		if err != nil {
			return f, nil, err
		}
		f.data = b[:len(b)-len(rest)] // with the end tag, which a reader passes over
		return f, rest, nil
	}
	return f, nil, errWire
}

// skipGroup returns what follows the end of the group.
func skipGroup(b []byte, number int) ([]byte, error) {
	open := []int{number}
	for len(open) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errWire
		}
		switch tag & 7 {
		case wireEnd:
			if int(tag>>3) != open[len(open)-1] {
				return nil, errWire
			}
			open = open[:len(open)-1]
			b = b[n:]
			continue
		case wireGroup:
			if len(open) > maxDepth {
				return nil, errWire
			}
			open = append(open, int(tag>>3))
			b = b[n:]
			continue
		}
		_, rest, err := nextField(b)
		if err != nil {
			return nil, err
		}
		b = rest
	}
	return b, nil
}

// fields calls do with every field of a message.
func fields(b []byte, do func(f wireField) error) error {
	for len(b) > 0 {
		if tag, n := binary.Uvarint(b); n > 0 && tag&7 == wireEnd && n == len(b) {
			return nil // the end tag of a group
		}
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		if err := do(f); err != nil {
			return err
		}
		b = rest
	}
	return nil
}
