// Package otadata reads and writes the OTA data partition of an ESP32, which
// says which application slot the bootloader starts, and decides as the
// bootloader does, with and without rollback.
//
// The partition is two flash sectors with one 32-byte entry each
// (esp_ota_select_entry_t). The entry with the higher sequence number counts;
// its number, less one, modulo the number of slots is the slot. Writing only
// ever touches the other entry, so that a power cut leaves one that works. See
// ESP-IDF's esp_flash_partitions.h, bootloader_utility.c and esp_ota_ops.c, and
// the programming guide, "Over The Air Updates".
package otadata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// Size is the size of the partition, in bytes.
	Size = 0x2000
	// SectorSize is where the second entry begins, in bytes.
	SectorSize = 0x1000
	// EntrySize is the size of an entry, in bytes.
	EntrySize = 32
	// MaxSlots is the most application slots a table can have.
	MaxSlots = 16
)

// ErrSize means that the bytes are no whole OTA data partition.
var ErrSize = errors.New("otadata: bad size")

// State is how far an application has proved itself.
type State uint32

// The states.
const (
	New           State = 0          // never started
	PendingVerify State = 1          // started once, not confirmed yet
	Valid         State = 2          // confirmed by itself
	Invalid       State = 3          // gave itself up; never started again
	Aborted       State = 4          // not confirmed before the next start; never started again
	Undefined     State = 0xFFFFFFFF // rollback is off
)

// String returns the name of the state, or its number.
func (s State) String() string {
	switch s {
	case New:
		return "new"
	case PendingVerify:
		return "pending-verify"
	case Valid:
		return "valid"
	case Invalid:
		return "invalid"
	case Aborted:
		return "aborted"
	case Undefined:
		return "undefined"
	}
	return fmt.Sprintf("0x%x", uint32(s))
}

// Entry is one of the two entries.
type Entry struct {
	Seq   uint32 // 0xFFFFFFFF in an erased entry
	Label [20]byte
	State State
	CRC   uint32 // of Seq alone
}

// Erased is the entry of an erased sector.
func Erased() Entry {
	e := Entry{Seq: 0xFFFFFFFF, State: Undefined, CRC: 0xFFFFFFFF}
	copy(e.Label[:], bytes.Repeat([]byte{0xFF}, len(e.Label)))
	return e
}

// WithSeq returns e with that sequence number and the checksum that goes with
// it.
func (e Entry) WithSeq(seq uint32) Entry {
	e.Seq, e.CRC = seq, checksum(seq)
	return e
}

// checksum is esp_rom_crc32_le(UINT32_MAX, …) of a sequence number.
func checksum(seq uint32) uint32 {
	return crc32.Update(^uint32(0), crc32.IEEETable, binary.LittleEndian.AppendUint32(nil, seq))
}

// Intact tells whether the entry has been written and its checksum matches.
func (e Entry) Intact() bool { return e.Seq != 0xFFFFFFFF && e.CRC == checksum(e.Seq) }

// Bootable tells whether the bootloader would follow the entry: it is intact,
// and its application is neither invalid nor aborted.
func (e Entry) Bootable() bool {
	return e.Intact() && e.State != Invalid && e.State != Aborted
}

// Append appends the 32 bytes of the entry to dst.
func (e Entry) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, e.Seq)
	dst = append(dst, e.Label[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(e.State))
	return binary.LittleEndian.AppendUint32(dst, e.CRC)
}

func decodeEntry(b []byte) Entry {
	return Entry{
		Seq:   binary.LittleEndian.Uint32(b),
		Label: [20]byte(b[4:24]),
		State: State(binary.LittleEndian.Uint32(b[24:])),
		CRC:   binary.LittleEndian.Uint32(b[28:]),
	}
}

// Data is the two entries.
type Data [2]Entry

// Initial returns the data of an erased partition.
func Initial() Data { return Data{Erased(), Erased()} }

// Decode reads a partition. Only its length can be wrong: entries that make no
// sense are what the bootloader expects of an erased or half-written sector.
func Decode(b []byte) (Data, error) {
	if len(b) < Size {
		return Data{}, fmt.Errorf("%w: 0x%x bytes, it has 0x%x", ErrSize, len(b), Size)
	}
	return Data{decodeEntry(b), decodeEntry(b[SectorSize:])}, nil
}

// Append appends the 0x2000 bytes of the partition to dst.
func (d Data) Append(dst []byte) []byte {
	for _, e := range d {
		dst = e.Append(dst)
		dst = append(dst, bytes.Repeat([]byte{0xFF}, SectorSize-EntrySize)...)
	}
	return dst
}

// Active returns the index of the entry that counts: of those that are
// bootable the one with the higher number. ok is false if there is none.
func (d Data) Active() (index int, ok bool) {
	switch a, b := d[0].Bootable(), d[1].Bootable(); {
	case a && b && d[1].Seq > d[0].Seq:
		return 1, true
	case a:
		return 0, true
	case b:
		return 1, true
	}
	return 0, false
}
