package virtualesp

import (
	"encoding/binary"

	"github.com/berth-iot/berth/esp/chip"
)

// maxWords bounds how much register space and RAM a host can fill.
const maxWords = 1 << 17

// registers is the address space as READ_REG and WRITE_REG see it. An address that means
// nothing here reads as zero until it is written.
type registers struct {
	chip  *chip.Chip
	words map[uint32]uint32
	spi   *spiFlash
	// baud is the rate of the chip's UART, which its clock divider follows.
	baud int
	// crystal is in MHz.
	crystal int
	// fired says that the watchdog was armed and locked: it resets the chip.
	fired bool
}

// newRegisters returns the registers after a reset. Only the eFuses in it outlast one.
func newRegisters(id identity, flash *Flash) *registers {
	r := &registers{chip: id.chip, words: map[uint32]uint32{}, crystal: id.crystal, baud: defaultBaud}
	r.spi = &spiFlash{flash: flash}
	id.burn(r.words)
	return r
}

func (r *registers) read(address uint32) uint32 {
	address &^= 3
	switch address {
	case r.chip.UART.ClockDivider:
		return uint32(r.crystal*1e6*r.chip.UART.Prescale/max(r.baud, 1)) & 0xFFFFF
	case r.chip.SPI.Base: // CMD: a command is over at once
		return 0
	}
	return r.words[address]
}

func (r *registers) write(address, value, mask uint32) {
	address &^= 3
	value = value&mask | r.words[address]&^mask
	if address == chip.MagicRegister || r.isEFuse(address) {
		return
	}
	if address == r.chip.SPI.Base && value&spiCommandUser != 0 {
		r.spi.run(r)
		return
	}
	if dog := r.chip.Watchdog; dog.Key != 0 && address == dog.Protect && value != dog.Key &&
		r.words[dog.Protect] == dog.Key && r.words[dog.Config0]>>31 == 1 {
		r.fired = true
	}
	r.set(address, value)
}

func (r *registers) set(address, value uint32) {
	if _, held := r.words[address]; !held && (value == 0 || len(r.words) >= maxWords) {
		return
	}
	r.words[address] = value
}

// isEFuse tells whether the address is among the chip's eFuses: a WRITE_REG does not burn.
func (r *registers) isEFuse(address uint32) bool {
	first := r.chip.MAC.Registers[0] &^ 0xFF
	return address >= first && address < first+0x200 && r.chip.ImageID != chip.NoID
}

// load stores bytes at an address of RAM.
func (r *registers) load(address uint32, data []byte) {
	for i, b := range data {
		at := address + uint32(i)
		shift := at % 4 * 8
		r.set(at&^3, r.words[at&^3]&^(0xFF<<shift)|uint32(b)<<shift)
	}
}

// Bits of the SPI controller's registers.
const (
	spiCommandUser = 1 << 18
	spiUserAddress = 1 << 30
	spiUserMISO    = 1 << 28
	spiUserMOSI    = 1 << 27
)

// spiFlash is the flash chip as the SPI controller's user commands reach it.
type spiFlash struct {
	flash        *Flash
	status       uint32 // status registers 1 to 3, lowest first
	writeEnabled bool
	attached     bool
}

// Commands of SPI flash chips.
const (
	flashWRSR   = 0x01
	flashPP     = 0x02
	flashREAD   = 0x03
	flashWRDI   = 0x04
	flashRDSR   = 0x05
	flashWREN   = 0x06
	flashRDSR3  = 0x15
	flashSE     = 0x20
	flashWRSR2  = 0x31
	flashRDSR2  = 0x35
	flashBE32   = 0x52
	flashCE60   = 0x60
	flashRES    = 0xAB
	flashRDID   = 0x9F
	flashCE     = 0xC7
	flashBE64   = 0xD8
	statusWEL   = 1 << 1
	maxSPIBytes = 64
)

// run carries out the user command that the registers describe.
func (s *spiFlash) run(r *registers) {
	spi := r.chip.SPI
	reg := func(offset uint32) uint32 { return r.words[spi.Base+offset] }
	user := reg(spi.USR)
	var address uint32
	if user&spiUserAddress != 0 {
		address = reg(4)
		if bits := reg(spi.USR1)>>26 + 1; spi.AddressMSB {
			address >>= 32 - min(bits, 32)
		}
		address &= 0xFFFFFF
	}
	var in, out int // bytes
	if spi.MOSILengths != 0 {
		in, out = int(reg(spi.MOSILengths)&0x3FF)/8+1, int(reg(spi.MISOLengths)&0x3FF)/8+1
	} else {
		in, out = int(reg(spi.USR1)>>17&0x1FF)/8+1, int(reg(spi.USR1)>>8&0x1FF)/8+1
	}
	var buf [maxSPIBytes]byte
	for i := 0; i < maxSPIBytes; i += 4 {
		binary.LittleEndian.PutUint32(buf[i:], reg(spi.W0+uint32(i)))
	}
	data := buf[:min(in, maxSPIBytes)]
	if user&spiUserMOSI == 0 {
		data = nil
	}
	answer := s.command(byte(reg(spi.USR2)), address, data, min(out, maxSPIBytes))
	if user&spiUserMISO == 0 {
		return
	}
	buf = [maxSPIBytes]byte{}
	copy(buf[:min(out, maxSPIBytes)], answer)
	for i := 0; i < (min(out, maxSPIBytes)+3)&^3; i += 4 {
		// A word that was never written needs its place even if it is zero.
		r.words[spi.Base+spi.W0+uint32(i)] = binary.LittleEndian.Uint32(buf[i:])
	}
}

// command does what the flash chip does on one command and returns what it answers.
// Nothing takes time: the busy bit is never seen.
func (s *spiFlash) command(op byte, address uint32, data []byte, out int) []byte {
	if !s.attached {
		return []byte{0xFF, 0xFF, 0xFF, 0xFF}
	}
	le := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	enabled := s.writeEnabled
	erase := func(size uint32) {
		if enabled {
			// Out of range cannot be told over SPI.
			_ = s.flash.Erase(address%uint32(s.flash.Size())&^(size-1), size)
		}
	}
	switch op {
	case flashRDID:
		return le(s.flash.JEDEC())
	case flashRES:
		return []byte{byte(s.flash.JEDEC()>>16) - 1}
	case flashRDSR:
		status := s.status & 0xFF &^ statusWEL
		if enabled {
			status |= statusWEL
		}
		return le(status)
	case flashRDSR2:
		return le(s.status >> 8 & 0xFF)
	case flashRDSR3:
		return le(s.status >> 16 & 0xFF)
	case flashREAD:
		p := make([]byte, out)
		_, _ = s.flash.ReadAt(p, int64(address%uint32(s.flash.Size())))
		return p
	case flashWREN:
		s.writeEnabled = true
		return nil
	case flashWRSR:
		if enabled {
			for i := 0; i < min(len(data), 2); i++ {
				s.status = s.status&^(0xFF<<(8*i)) | uint32(data[i])<<(8*i)
			}
		}
	case flashWRSR2:
		if enabled && len(data) > 0 {
			s.status = s.status&^0xFF00 | uint32(data[0])<<8
		}
	case flashPP:
		if enabled {
			address %= uint32(s.flash.Size())
			_ = s.flash.Program(address, data[:min(len(data), int(pageSize-address%pageSize))])
		}
	case flashSE:
		erase(SectorSize)
	case flashBE32:
		erase(BlockSize / 2)
	case flashBE64:
		erase(BlockSize)
	case flashCE, flashCE60:
		if enabled {
			_ = s.flash.Erase(0, uint32(s.flash.Size()))
		}
	case flashWRDI:
	default:
		return nil
	}
	s.writeEnabled = false
	return nil
}
