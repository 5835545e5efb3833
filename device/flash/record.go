package flash

import (
	"encoding/binary"
	"hash/crc32"
)

// A record is what one slot of a key holds, integers little endian:
//
//	0  4  magic "bfr1"
//	4  4  generation, greater than that of the other slot
//	8  4  length of the value
//	12 .. value
//	.. 4  CRC-32 (IEEE) of everything before
const (
	magic  = "bfr1"
	header = 12
)

// appendRecord appends a record to dst.
func appendRecord(dst []byte, generation uint32, value []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, generation)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(value)))
	dst = append(dst, value...)
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// decodeRecord reads a record; ok is false for one that is torn or damaged. The value points into b.
func decodeRecord(b []byte) (generation uint32, value []byte, ok bool) {
	if len(b) < header+4 || string(b[:4]) != magic {
		return 0, nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(b[8:]))
	if uint64(len(b)) != header+n+4 {
		return 0, nil, false
	}
	body := b[:header+n]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(b[header+n:]) {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint32(b[4:]), body[header:], true
}

// newer reports whether generation a comes after b; generations wrap around.
func newer(a, b uint32) bool { return int32(a-b) > 0 }
