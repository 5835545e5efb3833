// Package appimage reads and writes ESP32 application images: what esptool's
// elf2image makes, a bootloader loads and an over-the-air update carries.
//
// An image is a 24-byte header, segments that each say where in memory they
// belong, a checksum, usually the SHA-256 of all that, and for Secure Boot V2 a
// sector of signature blocks. The first segment of an application begins with
// its description (esp_app_desc_t). See esptool's documentation, "Firmware
// Image Format", and ESP-IDF's esp_app_format.h and esp_app_desc.h.
package appimage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors that Decode and Verify wrap; errors.Is tells them apart.
var (
	// ErrNotImage means the bytes do not begin as an image.
	ErrNotImage = errors.New("not an ESP32 app image")
	// ErrTruncated means the image ends too early.
	ErrTruncated = errors.New("truncated app image")
	// ErrCorrupt means a checksum, hash or signature does not match.
	ErrCorrupt = errors.New("corrupt app image")
)

const (
	magic         = 0xE9
	headerLen     = 24
	segmentHeader = 8
	checksumSeed  = 0xEF

	// MaxSegments is how many segments a bootloader takes.
	MaxSegments = 16
)

// FlashMode is how a bootloader reads flash.
type FlashMode uint8

// The flash modes.
const (
	QIO FlashMode = iota
	QOUT
	DIO
	DOUT
	FastRead
	SlowRead
)

// String returns the name of the mode as esptool has it.
func (m FlashMode) String() string {
	names := []string{"qio", "qout", "dio", "dout", "fast_read", "slow_read"}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("0x%x", uint8(m))
}

// Header is the header of an image.
type Header struct {
	Mode FlashMode
	// Frequency is the code of the flash frequency; see Chip.Frequency.
	Frequency uint8
	// FlashSize is the size of the flash in bytes, a power of two from 1 MiB
	// to 128 MiB.
	FlashSize int
	Entry     uint32 // address of the first instruction
	// WPPin is the pin for write protection, 0xEE for none.
	WPPin    uint8
	PinDrive [3]byte
	Chip     Chip
	// MinRevLegacy is the oldest chip revision as the first chips counted it.
	MinRevLegacy uint8
	// MinRev and MaxRev are the chip revisions that the image is for, as 100 ×
	// major + minor; 65535 as MaxRev means any.
	MinRev, MaxRev uint16
	// HashAppended says that a SHA-256 follows the checksum.
	HashAppended bool
}

// Segment is a part of an image and where it belongs.
type Segment struct {
	Address uint32 // in memory
	Offset  int    // of the data in the image; Build ignores it
	Data    []byte
}

// Image is an image taken apart.
type Image struct {
	Header
	Segments []Segment
	// Checksum is the byte in the image, and Computed what it should be.
	Checksum, Computed uint8
	// Hash is the SHA-256 in the image, and ComputedHash what it should be.
	// Hash is nil if the image has none.
	Hash         []byte
	ComputedHash [sha256.Size]byte
	// Length is the length of the image with its hash, without padding and
	// signatures, in bytes.
	Length int
	// Description is the application's, nil if it has none, as a bootloader.
	Description *Description
	// Bootloader is the bootloader's description, nil for an application.
	Bootloader *BootloaderDescription
	// Signatures are the Secure Boot V2 signature blocks, none if unsigned.
	Signatures []Signature
}

// Decode takes apart the image at the start of b; what follows it is left
// alone. It fails with ErrNotImage or ErrTruncated. It does not judge checksum
// and hash: see Verify. The segments share memory with b.
func Decode(b []byte) (*Image, error) {
	if len(b) == 0 || b[0] != magic {
		return nil, notImage(b)
	}
	if len(b) < headerLen {
		return nil, fmt.Errorf("%w: %d bytes, a header has %d", ErrTruncated, len(b), headerLen)
	}
	m := &Image{Header: decodeHeader(b)}
	count := int(b[1])
	if count == 0 || count > MaxSegments {
		return nil, fmt.Errorf("%w: %d segments, a bootloader takes 1 to %d", ErrNotImage, count, MaxSegments)
	}
	m.Computed = checksumSeed
	at := headerLen
	for i := range count {
		if len(b)-at < segmentHeader {
			return nil, fmt.Errorf("%w: ends before segment %d of %d", ErrTruncated, i+1, count)
		}
		length := binary.LittleEndian.Uint32(b[at+4:])
		segment := Segment{Address: binary.LittleEndian.Uint32(b[at:]), Offset: at + segmentHeader}
		at += segmentHeader
		if uint64(length) > uint64(len(b)-at) {
			if i == 0 && forESP8266(b) {
				return nil, fmt.Errorf("%w: it is for an ESP8266", ErrNotImage)
			}
			return nil, fmt.Errorf("%w: segment %d of %d has %d bytes, only %d are left", ErrTruncated, i+1, count, length, len(b)-at)
		}
		segment.Data = b[at : at+int(length) : at+int(length)]
		at += int(length)
		for _, c := range segment.Data {
			m.Computed ^= c
		}
		m.Segments = append(m.Segments, segment)
	}
	at = at&^15 + 16 // the checksum is the last byte of a block of 16
	if at > len(b) {
		return nil, fmt.Errorf("%w: ends before the checksum", ErrTruncated)
	}
	m.Checksum = b[at-1]
	m.ComputedHash = sha256.Sum256(b[:at])
	if m.HashAppended {
		if len(b)-at < sha256.Size {
			return nil, fmt.Errorf("%w: ends before the SHA-256", ErrTruncated)
		}
		m.Hash = bytes.Clone(b[at : at+sha256.Size])
		at += sha256.Size
	}
	m.Length = at
	m.describe()
	m.Signatures = readSignatures(b, at)
	return m, nil
}

func notImage(b []byte) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: empty", ErrNotImage)
	case b[0] == 0xFF:
		return fmt.Errorf("%w: begins with 0xff, erased flash", ErrNotImage)
	case bytes.HasPrefix(b, []byte("\x7fELF")):
		return fmt.Errorf("%w: it is an ELF file; take the .bin next to it", ErrNotImage)
	}
	return fmt.Errorf("%w: begins with 0x%02x, not 0xe9: another kind of file, or encrypted", ErrNotImage, b[0])
}

// forESP8266 tells whether b makes sense as an image for that chip, whose
// header is shorter by 16 bytes.
func forESP8266(b []byte) bool {
	at := 8
	for range b[1] {
		if len(b)-at < segmentHeader {
			return false
		}
		length := binary.LittleEndian.Uint32(b[at+4:])
		at += segmentHeader
		if uint64(length) > uint64(len(b)-at) {
			return false
		}
		at += int(length)
	}
	return true
}

func decodeHeader(b []byte) Header {
	return Header{
		Mode:         FlashMode(b[2]),
		Frequency:    b[3] & 0x0F,
		FlashSize:    1 << (20 + b[3]>>4),
		Entry:        binary.LittleEndian.Uint32(b[4:]),
		WPPin:        b[8],
		PinDrive:     [3]byte(b[9:12]),
		Chip:         Chip(binary.LittleEndian.Uint16(b[12:])),
		MinRevLegacy: b[14],
		MinRev:       binary.LittleEndian.Uint16(b[15:]),
		MaxRev:       binary.LittleEndian.Uint16(b[17:]),
		HashAppended: b[23] == 1,
	}
}

// Verify checks what a bootloader checks before it runs an image: checksum,
// hash, lengths of segments, and any signature blocks. Errors wrap ErrCorrupt.
func (m *Image) Verify() error {
	var errs []error
	for i, s := range m.Segments {
		if len(s.Data)%4 != 0 {
			errs = append(errs, fmt.Errorf("segment %d has %d bytes, not a multiple of 4", i+1, len(s.Data)))
		}
	}
	if m.Checksum != m.Computed {
		errs = append(errs, fmt.Errorf("checksum is 0x%02x, computed 0x%02x", m.Checksum, m.Computed))
	}
	if m.Hash != nil && !bytes.Equal(m.Hash, m.ComputedHash[:]) {
		errs = append(errs, fmt.Errorf("SHA-256 is %x, computed %x", m.Hash, m.ComputedHash))
	}
	for i, s := range m.Signatures {
		if s.Err != nil {
			errs = append(errs, fmt.Errorf("signature block %d: %w", i+1, s.Err))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, errors.Join(errs...))
}

// Build makes an image: header, segments filled with zeros to a multiple of 4
// bytes, checksum, and the hash if the header asks for it. Zero fields of the
// header mean what they say, except FlashSize, where 0 is 2 MiB.
func Build(h Header, segments []Segment) ([]byte, error) {
	if len(segments) == 0 || len(segments) > MaxSegments {
		return nil, fmt.Errorf("build app image: %d segments, a bootloader takes 1 to %d", len(segments), MaxSegments)
	}
	size := 1
	if h.FlashSize != 0 {
		for size = 0; size < 16 && h.FlashSize != 1<<(20+size); size++ {
		}
		if size == 16 {
			return nil, fmt.Errorf("build app image: flash size %d is not a power of two from 1 MiB", h.FlashSize)
		}
	}
	b := make([]byte, headerLen)
	b[0], b[1], b[2], b[3] = magic, byte(len(segments)), byte(h.Mode), byte(size)<<4|h.Frequency&0x0F
	binary.LittleEndian.PutUint32(b[4:], h.Entry)
	b[8] = h.WPPin
	copy(b[9:12], h.PinDrive[:])
	binary.LittleEndian.PutUint16(b[12:], uint16(h.Chip))
	b[14] = h.MinRevLegacy
	binary.LittleEndian.PutUint16(b[15:], h.MinRev)
	binary.LittleEndian.PutUint16(b[17:], h.MaxRev)
	if h.HashAppended {
		b[23] = 1
	}
	sum := byte(checksumSeed)
	for _, s := range segments {
		padding := -len(s.Data) & 3
		b = binary.LittleEndian.AppendUint32(b, s.Address)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Data)+padding))
		b = append(b, s.Data...)
		b = append(b, make([]byte, padding)...)
		for _, c := range s.Data {
			sum ^= c
		}
	}
	b = append(b, make([]byte, 15-len(b)%16)...)
	b = append(b, sum)
	if h.HashAppended {
		hash := sha256.Sum256(b)
		b = append(b, hash[:]...)
	}
	return b, nil
}
