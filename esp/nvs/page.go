package nvs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// PageState is the first word of a page. Every change of state clears one more
// bit, so it needs no erase.
type PageState uint32

// The states of a page.
const (
	PageEmpty   PageState = 0xFFFFFFFF
	PageActive  PageState = 0xFFFFFFFE // new entries go here
	PageFull    PageState = 0xFFFFFFFC
	PageFreeing PageState = 0xFFFFFFF8 // its entries are being moved away
	PageCorrupt PageState = 0xFFFFFFF0
	PageInvalid PageState = 0
)

// String returns the state in a word.
func (s PageState) String() string {
	switch s {
	case PageEmpty:
		return "empty"
	case PageActive:
		return "active"
	case PageFull:
		return "full"
	case PageFreeing:
		return "freeing"
	case PageCorrupt:
		return "corrupt"
	case PageInvalid:
		return "invalid"
	}
	return fmt.Sprintf("0x%08x", uint32(s))
}

// EntryState is the two bits of an entry in its page's bitmap.
type EntryState uint8

// The states of an entry; 1 means nothing.
const (
	EntryErased  EntryState = 0
	EntryWritten EntryState = 2
	EntryEmpty   EntryState = 3
)

// String returns the state in a word.
func (s EntryState) String() string {
	switch s {
	case EntryErased:
		return "erased"
	case EntryWritten:
		return "written"
	case EntryEmpty:
		return "empty"
	}
	return "invalid"
}

// Version is the version of a page.
type Version int

// The versions. A page holds them as 0xFF and 0xFE.
const (
	Version1 Version = 1 // blobs within one page
	Version2 Version = 2 // blobs over several pages
)

// checksum is the CRC-32 of ESP32 ROMs, as esp_rom_crc32_le(UINT32_MAX, …):
// the usual polynomial, begun one inversion away from the usual start.
func checksum(b ...[]byte) uint32 {
	crc := ^uint32(0)
	for _, b := range b {
		crc = crc32.Update(crc, crc32.IEEETable, b)
	}
	return crc
}

// page is the 4096 bytes of one page, in place in its image.
type page []byte

// format writes the header of a fresh page over erased bytes.
func (p page) format(seq uint32, version Version) {
	p.setState(PageActive)
	binary.LittleEndian.PutUint32(p[4:], seq)
	p[8] = byte(0x100 - int(version))
	binary.LittleEndian.PutUint32(p[28:], checksum(p[4:28]))
}

func (p page) state() PageState {
	return PageState(binary.LittleEndian.Uint32(p))
}

func (p page) setState(s PageState) {
	binary.LittleEndian.PutUint32(p, uint32(s))
}

func (p page) seq() uint32 { return binary.LittleEndian.Uint32(p[4:]) }

func (p page) version() Version { return Version(0x100 - int(p[8])) }

// checkHeader tells whether sequence number and version are as written.
func (p page) checkHeader() error {
	if binary.LittleEndian.Uint32(p[28:]) != checksum(p[4:28]) {
		return errors.New("header checksum does not match")
	}
	if v := p.version(); v != Version1 && v != Version2 {
		return fmt.Errorf("version 0x%02x is not known", p[8])
	}
	return nil
}

func (p page) entryState(i int) EntryState {
	return EntryState(p[32+i/4] >> (2 * (i % 4)) & 3)
}

// setEntryState clears bits only, as flash does: an entry goes from empty to
// written to erased.
func (p page) setEntryState(i int, s EntryState) {
	shift := 2 * (i % 4)
	p[32+i/4] &= byte(s)<<shift | ^byte(3<<shift)
}

// entries returns the bytes of n entries from entry i.
func (p page) entries(i, n int) []byte {
	return p[firstEntry+i*EntrySize:][:n*EntrySize]
}

// header is an entry's own 32 bytes; the data of strings and blobs lies in the
// entries after it.
type header struct {
	namespace uint8
	kind      Type
	span      uint8 // entries taken, this one included
	chunk     uint8
	key       string
	data      [8]byte // a number, or what describes the data that follows
}

func (h header) encode() []byte {
	b := make([]byte, EntrySize)
	b[0], b[1], b[2], b[3] = h.namespace, byte(h.kind), h.span, h.chunk
	copy(b[8:24], h.key)
	copy(b[24:], h.data[:])
	binary.LittleEndian.PutUint32(b[4:], checksum(b[:4], b[8:]))
	return b
}

func decodeHeader(b []byte) (header, error) {
	h := header{namespace: b[0], kind: Type(b[1]), span: b[2], chunk: b[3]}
	copy(h.data[:], b[24:32])
	key := b[8:24]
	end := bytes.IndexByte(key, 0)
	if end >= 0 {
		key = key[:end]
	}
	h.key = string(key)
	if binary.LittleEndian.Uint32(b[4:]) != checksum(b[:4], b[8:32]) {
		return h, errors.New("entry checksum does not match")
	}
	if end < 0 {
		return h, errors.New("key has no end")
	}
	return h, nil
}

// varData fills the data field of a string, a blob chunk or a version 1 blob.
func varData(data []byte) (field [8]byte) {
	binary.LittleEndian.PutUint16(field[0:], uint16(len(data)))
	field[2], field[3] = 0xFF, 0xFF
	binary.LittleEndian.PutUint32(field[4:], checksum(data))
	return field
}

// indexData fills the data field of a blob index.
func indexData(size uint32, chunks, firstChunk uint8) (field [8]byte) {
	binary.LittleEndian.PutUint32(field[0:], size)
	field[4], field[5], field[6], field[7] = chunks, firstChunk, 0xFF, 0xFF
	return field
}

// numberData fills the data field of an integer of width bytes.
func numberData(v uint64, width int) (field [8]byte) {
	binary.LittleEndian.PutUint64(field[:], v)
	for i := width; i < 8; i++ {
		field[i] = 0xFF
	}
	return field
}

// entriesFor is how many entries n bytes of data take.
func entriesFor(n int) int { return (n + EntrySize - 1) / EntrySize }
