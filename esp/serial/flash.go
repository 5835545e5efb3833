package serial

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/berth-iot/berth/esp/chip"
)

// Geometry of the flash chips on ESP modules.
const (
	SectorSize = 0x1000  // the smallest unit that can be erased, in bytes
	flashBlock = 0x10000 // as SPI_SET_PARAMS wants it
	flashPage  = 0x100

	// romLimit is what a ROM reaches with addresses of 24 bits.
	romLimit = 16 << 20
)

// FlashID returns the JEDEC identifier of the flash chip: manufacturer in the low byte, then type,
// then capacity. Errors: ErrNoFlash.
func (s *Session) FlashID(ctx context.Context) (uint32, error) {
	if err := s.prepare(ctx); err != nil {
		return 0, s.explain("read the flash chip's identifier", err)
	}
	if s.flashID == 0 {
		if err := s.readFlashID(ctx); err != nil {
			return 0, s.explain("read the flash chip's identifier", err)
		}
	}
	return s.flashID, nil
}

// FlashSize returns the size of the flash in bytes: that of Options, or what the flash chip says.
func (s *Session) FlashSize(ctx context.Context) (uint32, error) {
	err := s.prepare(ctx)
	return s.size, s.explain("find the size of the flash", err)
}

// prepare attaches the flash and makes its size known, once.
func (s *Session) prepare(ctx context.Context) error {
	if s.attached {
		return nil
	}
	if s.chip.ROMAttach || s.stubAnswers {
		if err := s.spiAttach(ctx, s.command); err != nil {
			return err
		}
		s.spi = true
	} else if _, err := s.command(ctx, request{op: opFlashBegin, data: words(0, 0, chip.ROMBlock, 0)}); err != nil {
		return err // ESP8266's ROM attaches the flash when a download begins
	}
	if s.size = s.opt.FlashSize; s.size == 0 {
		if err := s.readFlashID(ctx); err != nil {
			return err
		}
	}
	if err := s.setParameters(ctx, s.command); err != nil {
		return err
	}
	s.attached = true
	return nil
}

type sender func(context.Context, request) (response, error)

// attach repeats what prepare has found out, for a loader that may have forgotten it.
func (s *Session) attach(ctx context.Context) error {
	send := func(ctx context.Context, r request) (response, error) { return s.link.once(ctx, r, commandTimeout) }
	if s.chip.ROMAttach || s.stubAnswers {
		if err := s.spiAttach(ctx, send); err != nil {
			return err
		}
	}
	if s.size == 0 {
		return nil
	}
	return s.setParameters(ctx, send)
}

func (s *Session) spiAttach(ctx context.Context, send sender) error {
	list := words(0) // the pins that the eFuses name
	if !s.stubAnswers {
		list = words(0, 0)
	}
	_, err := send(ctx, request{op: opSPIAttach, data: list})
	return err
}

func (s *Session) setParameters(ctx context.Context, send sender) error {
	if !s.chip.ROMAttach && !s.stubAnswers {
		return nil
	}
	_, err := send(ctx, request{op: opSPISetParams, data: words(0, s.size, flashBlock, SectorSize, flashPage, 0xFFFF)})
	return err
}

// readFlashID finds out the flash chip and its size. A chip that reset meanwhile shows no
// identifier, so it is asked once more.
func (s *Session) readFlashID(ctx context.Context) error {
	id, err := s.jedecID(ctx)
	if err != nil {
		return err
	}
	size := sizeOf(id)
	if size == 0 {
		if err := s.resume(ctx); err != nil {
			return err
		}
		if id, err = s.jedecID(ctx); err != nil {
			return err
		}
		size = sizeOf(id)
	}
	if size == 0 && s.size == 0 {
		return &Error{Op: "identify the flash", Reason: ErrNoFlash, Text: fmt.Sprintf("the flash chip answers 0x%06x, which tells no size", id),
			Remedy: "check the module; if the flash is sound, give its size"}
	}
	s.flashID = id
	if s.size == 0 {
		s.size = size
	}
	return nil
}

// jedecID has the SPI controller send the JEDEC command 0x9F. The registers that the ROM set up
// for its own reads are put back.
func (s *Session) jedecID(ctx context.Context) (uint32, error) {
	const (
		usrCommand = 1 << 31
		usrMISO    = 1 << 28
		start      = 1 << 18
		readID     = 7<<28 | 0x9F // a command of 8 bits
		bits       = 24
	)
	r := s.chip.SPI
	usr, err := s.readRegister(ctx, r.Base+r.USR)
	if err != nil {
		return 0, err
	}
	usr2, err := s.readRegister(ctx, r.Base+r.USR2)
	if err != nil {
		return 0, err
	}
	length := [2]uint32{r.Base + r.MISOLengths, bits - 1}
	if r.MISOLengths == 0 {
		length = [2]uint32{r.Base + r.USR1, (bits - 1) << 8}
	}
	for _, set := range [][2]uint32{length, {r.Base + r.USR, usrCommand | usrMISO}, {r.Base + r.USR2, readID}, {r.Base + r.W0, 0}, {r.Base, start}} {
		if err := s.writeRegister(ctx, set[0], set[1]); err != nil {
			return 0, err
		}
	}
	// Thirty-two bits at megahertz are over long before the next command has come.
	id, err := s.readRegister(ctx, r.Base+r.W0)
	if err != nil {
		return 0, err
	}
	for _, set := range [][2]uint32{{r.Base + r.USR, usr}, {r.Base + r.USR2, usr2}} {
		if err := s.writeRegister(ctx, set[0], set[1]); err != nil {
			return 0, err
		}
	}
	return id & 0xFFFFFF, nil
}

// sizeOf reads the capacity byte of a JEDEC identifier: a power of two, which some makers write
// with an offset of 0x20 beyond 32 MiB.
func sizeOf(id uint32) uint32 {
	switch code := id >> 16; {
	case id == 0 || id == 0xFFFFFF:
		return 0
	case code >= 0x12 && code <= 0x1C:
		return 1 << code
	case code >= 0x20 && code <= 0x22: // 64 to 256 MiB
		return 1 << (code - 6)
	case code >= 0x32 && code <= 0x3A:
		return 1 << (code - 0x20)
	}
	return 0
}

// MD5 returns the MD5 of size bytes of flash from address, computed by the chip. Errors:
// ErrFlashTooSmall, ErrNeedsStub on ESP8266's ROM.
func (s *Session) MD5(ctx context.Context, address, size uint32) ([md5.Size]byte, error) {
	op := fmt.Sprintf("compute the MD5 of 0x%x bytes at 0x%x", size, address)
	var sum [md5.Size]byte
	if err := s.prepare(ctx); err != nil {
		return sum, s.explain(op, err)
	}
	if err := s.within(op, address, uint64(size)); err != nil {
		return sum, err
	}
	sum, err := s.md5(ctx, address, size)
	return sum, s.explain(op, err)
}

func (s *Session) md5(ctx context.Context, address, size uint32) (sum [md5.Size]byte, err error) {
	if !s.chip.ROMMD5 && !s.stubAnswers {
		return sum, s.needsStub("compute an MD5")
	}
	for range commandAttempts {
		var answer response
		answer, err = s.commandWithin(ctx, request{op: opSPIFlashMD5, data: words(address, size, 0, 0)}, perMiB(md5PerMiB, size))
		if err != nil {
			return sum, err
		}
		switch len(answer.data) {
		case md5.Size: // of a stub
			copy(sum[:], answer.data)
			return sum, nil
		case 2 * md5.Size: // of a ROM
			if _, err := hex.Decode(sum[:], answer.data); err == nil {
				return sum, nil
			}
		}
		err = fmt.Errorf("%w: an MD5 of %d bytes", errNotResponse, len(answer.data))
	}
	return sum, err
}

func (s *Session) needsStub(what string) error {
	return &Error{Op: what, Reason: ErrNeedsStub, Text: "the ROM loader of the " + s.chip.Name + " cannot " + what, Remedy: "start a flasher stub first"}
}

// within refuses what lies beyond the flash.
func (s *Session) within(op string, address uint32, size uint64) error {
	end := uint64(address) + size
	if end > uint64(s.size) {
		return &Error{Op: op, Reason: ErrFlashTooSmall, Text: fmt.Sprintf("it ends at 0x%x, the flash of this board at 0x%x (%s)", end, s.size, sizeText(s.size)),
			Remedy: "use a board with more flash, or a partition table for this size"}
	}
	if end > romLimit && !s.stubAnswers {
		return &Error{Op: op, Reason: ErrNeedsStub, Text: "a ROM loader reaches the first 16 MiB only", Remedy: "start a flasher stub first"}
	}
	return nil
}

func sizeText(n uint32) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// Erase erases size bytes from address, both multiples of SectorSize. Size 0 from address 0 means
// the whole flash. Errors: ErrRegion, ErrFlashTooSmall, ErrSecurity.
func (s *Session) Erase(ctx context.Context, address, size uint32) error {
	op := fmt.Sprintf("erase 0x%x bytes at 0x%x", size, address)
	if err := s.prepare(ctx); err != nil {
		return s.explain(op, err)
	}
	whole := address == 0 && (size == 0 || size == s.size)
	if whole {
		size, op = s.size, "erase the flash"
	}
	if address%SectorSize != 0 || size%SectorSize != 0 || size == 0 {
		return &Error{Op: op, Reason: ErrRegion, Text: "flash is erased in sectors of 0x1000 bytes", Remedy: "use multiples of 0x1000"}
	}
	if err := s.within(op, address, uint64(size)); err != nil {
		return err
	}
	boot := uint64(s.chip.BootloaderOffset)
	if (s.security.SecureBoot || s.security.FlashEncryption) && uint64(address) <= boot && boot < uint64(address)+uint64(size) {
		return &Error{Op: op, Reason: ErrSecurity, Text: s.security.String() + " is on, and the bootloader is in there",
			Remedy: "without a bootloader made for this board it never starts again: erase from behind it"}
	}
	var err error
	switch {
	case s.stubAnswers && whole:
		_, err = s.commandWithin(ctx, request{op: opEraseFlash}, chipEraseLimit)
	case s.stubAnswers:
		_, err = s.commandWithin(ctx, request{op: opEraseRegion, data: words(address, size)}, perMiB(erasePerMiB, size))
	default:
		// The ROM has no command for it but erases when a download begins; none follows.
		_, err = s.begin(ctx, opFlashBegin, address, size, 0)
	}
	return s.explain(op, err)
}

// begin sends FLASH_BEGIN or FLASH_DEFL_BEGIN, which erases on a ROM.
func (s *Session) begin(ctx context.Context, op byte, address, size uint32, blocks int) (response, error) {
	erase := size
	if !s.stubAnswers {
		if op == opFlashBegin {
			erase = s.chip.EraseSize(address, size)
		} else { // a ROM counts whole blocks, and inflates no more than that
			erase = (size + chip.ROMBlock - 1) / chip.ROMBlock * chip.ROMBlock
		}
	}
	list := words(erase, uint32(blocks), uint32(s.blockSize()), address)
	if s.chip.BeginEncrypted && !s.stubAnswers {
		list = append(list, words(0)...)
	}
	return s.commandWithin(ctx, request{op: op, data: list}, perMiB(erasePerMiB, size))
}

func (s *Session) blockSize() int {
	if s.stubAnswers {
		return chip.StubBlock
	}
	return chip.ROMBlock
}

// bulkBytes is from where a higher baud rate pays.
const bulkBytes = 16 << 10

// hurry changes to the rate for large transfers, where there is one and it pays.
func (s *Session) hurry(ctx context.Context, bytes int) error {
	rate, ok := s.link.port.(Rate)
	if !ok || s.opt.Baud == 0 || s.opt.Baud == s.baud || bytes < bulkBytes || s.slow || !s.chip.ROMAttach && !s.stubAnswers {
		return nil
	}
	for attempt := range 2 {
		old := uint32(0)
		if s.stubAnswers {
			old = uint32(s.baud)
		}
		_, err := s.link.once(ctx, request{op: opChangeBaudrate, data: words(uint32(s.opt.Baud), old)}, commandTimeout)
		if err == nil {
			break
		}
		if !transient(err) || attempt > 0 {
			return err
		}
		if err := s.resume(ctx); err != nil {
			return err
		}
		if s.slow || s.baud == s.opt.Baud { // or only its answer was lost
			return nil
		}
	}
	if err := rate.SetBaud(s.opt.Baud); err != nil {
		return unplugged("set the baud rate", err)
	}
	s.baud = s.opt.Baud
	return s.link.drain(ctx, 50*time.Millisecond) // what comes while the rates differ is noise
}
