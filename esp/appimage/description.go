package appimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	descriptionMagic = 0xABCD5432
	descriptionLen   = 256

	bootloaderMagic = 80
	bootloaderLen   = 80
)

// Description is what an application says of itself (esp_app_desc_t). Text
// fields hold at most 31 bytes, Time and Date 15.
type Description struct {
	SecureVersion uint32 // for anti-rollback
	Version       string
	ProjectName   string
	Time, Date    string // of the build
	IDFVersion    string
	ELFHash       [32]byte // SHA-256 of the ELF file
	// MinBlockRev and MaxBlockRev are the eFuse block revisions that the
	// image is for, as 100 × major + minor.
	MinBlockRev, MaxBlockRev uint16
	MMUPageLog2              uint8 // 0 if not said
}

// Append appends the 256 bytes of the description to dst; text that is too
// long is cut.
func (d Description) Append(dst []byte) []byte {
	b := make([]byte, descriptionLen)
	binary.LittleEndian.PutUint32(b[0:], descriptionMagic)
	binary.LittleEndian.PutUint32(b[4:], d.SecureVersion)
	copy(b[16:47], d.Version)
	copy(b[48:79], d.ProjectName)
	copy(b[80:95], d.Time)
	copy(b[96:111], d.Date)
	copy(b[112:143], d.IDFVersion)
	copy(b[144:176], d.ELFHash[:])
	binary.LittleEndian.PutUint16(b[176:], d.MinBlockRev)
	binary.LittleEndian.PutUint16(b[178:], d.MaxBlockRev)
	b[180] = d.MMUPageLog2
	return append(dst, b...)
}

// DecodeDescription reads a description from the start of b, at least 256
// bytes that begin with its magic.
func DecodeDescription(b []byte) (Description, error) {
	if len(b) < descriptionLen {
		return Description{}, fmt.Errorf("app description: %d bytes, it has %d", len(b), descriptionLen)
	}
	if binary.LittleEndian.Uint32(b) != descriptionMagic {
		return Description{}, fmt.Errorf("app description: begins with 0x%08x, not 0x%x", binary.LittleEndian.Uint32(b), uint32(descriptionMagic))
	}
	return Description{
		SecureVersion: binary.LittleEndian.Uint32(b[4:]),
		Version:       text(b[16:48]),
		ProjectName:   text(b[48:80]),
		Time:          text(b[80:96]),
		Date:          text(b[96:112]),
		IDFVersion:    text(b[112:144]),
		ELFHash:       [32]byte(b[144:176]),
		MinBlockRev:   binary.LittleEndian.Uint16(b[176:]),
		MaxBlockRev:   binary.LittleEndian.Uint16(b[178:]),
		MMUPageLog2:   b[180],
	}, nil
}

// BootloaderDescription is what a second-stage bootloader says of itself
// (esp_bootloader_desc_t).
type BootloaderDescription struct {
	SecureVersion uint8
	Version       uint32
	IDFVersion    string
	DateTime      string // of the build
}

// describe looks for a description where the linker puts it: at the start of
// the first segment.
func (m *Image) describe() {
	first := m.Segments[0].Data
	if d, err := DecodeDescription(first); err == nil {
		m.Description = &d
		return
	}
	// One byte of magic is little, so the IDF version must look like one too.
	if len(first) >= bootloaderLen && first[0] == bootloaderMagic && (first[8] == 'v' || first[8] == 'q') {
		m.Bootloader = &BootloaderDescription{
			SecureVersion: first[3],
			Version:       binary.LittleEndian.Uint32(first[4:]),
			IDFVersion:    text(first[8:40]),
			DateTime:      text(first[40:64]),
		}
	}
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(bytes.ToValidUTF8(b, []byte("?")))
}
