package serial

import (
	"fmt"
	"slices"

	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
)

// check refuses, before anything is written, what does not fit this chip.
func (s *Session) check(regions []Region) error {
	order := slices.Clone(regions)
	slices.SortFunc(order, func(a, b Region) int { return int(int64(a.Address) - int64(b.Address)) })
	for i, r := range order {
		op := "write " + r.String()
		switch {
		case len(r.Data) == 0:
			return &Error{Op: op, Reason: ErrRegion, Text: "there is nothing to write", Remedy: "leave it out, or check the file"}
		case r.Address%SectorSize != 0:
			return &Error{Op: op, Reason: ErrRegion, Text: "flash is erased in sectors of 0x1000 bytes, so what lies before it would be lost",
				Remedy: "use a multiple of 0x1000 as the address"}
		case i > 0 && (order[i-1].End()+SectorSize-1)/SectorSize*SectorSize > uint64(r.Address):
			return &Error{Op: op, Reason: ErrRegion, Text: fmt.Sprintf("it shares flash sectors with %v, which ends at 0x%x", order[i-1], order[i-1].End()),
				Remedy: "check the addresses against the partition table"}
		}
		if err := s.within(op, r.Address, uint64(len(r.Data))); err != nil {
			return err
		}
		if err := s.checkImage(op, r); err != nil {
			return err
		}
		if err := s.checkSecurity(op, r); err != nil {
			return err
		}
	}
	return nil
}

// checkImage refuses an application or bootloader for another chip.
func (s *Session) checkImage(op string, r Region) error {
	m, err := appimage.Decode(r.Data)
	if err != nil { // not an image
		return nil
	}
	if s.chip.ImageID == chip.NoID || int(m.Chip) == s.chip.ImageID {
		return nil
	}
	return &Error{Op: op, Reason: ErrWrongChip, Text: fmt.Sprintf("the image is for an %v, this board has an %s", m.Chip, s.chip.Name),
		Remedy: "build the firmware for this chip, or plug in the right board"}
}

// checkSecurity refuses plain data that a secured chip could not use.
func (s *Session) checkSecurity(op string, r Region) error {
	if r.Raw {
		return nil
	}
	if s.security.FlashEncryption {
		return &Error{Op: op, Reason: ErrSecurity, Text: "flash encryption is on: the chip would decrypt these plain bytes into noise",
			Remedy: "encrypt them for this chip first, or write partitions without the flag encrypted as they are (raw)"}
	}
	if !s.security.SecureBoot {
		return nil
	}
	if boot := uint64(s.chip.BootloaderOffset); uint64(r.Address) <= boot && boot < r.End() {
		return &Error{Op: op, Reason: ErrSecurity, Text: "secure boot is on: a bootloader that is not signed with this board's key bricks it",
			Remedy: "leave the bootloader alone, or write it as it is (raw) if it is signed with that key"}
	}
	if m, err := appimage.Decode(r.Data); err == nil && len(m.Signatures) == 0 {
		return &Error{Op: op, Reason: ErrSecurity, Text: "secure boot is on, and the image is not signed: it would not start",
			Remedy: "sign the image with this board's key"}
	}
	return nil
}
