// Package chip holds what is true of each ESP chip and matters on the wire: how
// its ROM loader is told from others, where its eFuses and SPI registers lie, and
// in what its dialect of the serial protocol differs.
//
// Every chip is one value in a file of its own; chips do not inherit. Sources:
// esptool's documentation, "Serial Protocol"; the technical reference manuals; and
// the Apache-2.0 sources of esptool-js, esp-stub-lib and ESP-IDF.
package chip

import "strings"

// NoID is the ImageID of a chip that has none.
const NoID = -1

// MagicRegister is the address that tells the older chips apart: a word of ROM
// that differs between them. It reads the same on chips of one Magic value.
const MagicRegister = 0x40001000

// RAMBlock is how many bytes a MEM_DATA command carries at most to a ROM.
const RAMBlock = 0x1800

// ROMBlock and StubBlock are how many bytes a FLASH_DATA or FLASH_DEFL_DATA
// command carries to a ROM and to a stub.
const (
	ROMBlock  = 0x400
	StubBlock = 0x4000
)

// StubStatusLen is how many status bytes end the answer of a stub, on any chip.
const StubStatusLen = 2

// Chip is one kind of chip. The values of this package are read only.
type Chip struct {
	Name   string // "ESP32-C3"
	Target string // "esp32c3", as ESP-IDF and esptool's --chip spell it

	// ImageID is the number of the chip in image headers (esp_chip_id_t) and, where
	// SecurityInfoLen is 20, in the answer to GET_SECURITY_INFO; NoID on ESP8266.
	ImageID int
	// Magic is what MagicRegister reads, one value for each mask revision that
	// differs. Chips that name themselves in GET_SECURITY_INFO are better told by
	// that: later revisions of them have other values.
	Magic []uint32
	// SecurityInfoLen is the length of the answer to GET_SECURITY_INFO: 20 with the
	// chip's number, 12 without (ESP32-S2), 0 if the command is unknown.
	SecurityInfoLen int

	// StatusLen is how many status bytes end the answer of the ROM: 4, of which two
	// mean something, or 2 on ESP8266.
	StatusLen int
	// BeginEncrypted says that the ROM's FLASH_BEGIN and FLASH_DEFL_BEGIN have a
	// fifth word, whether to encrypt.
	BeginEncrypted bool
	// ROMAttach says that the ROM needs SPI_ATTACH and takes SPI_SET_PARAMS before
	// it touches flash. ROMDeflate and ROMMD5 say that it has the FLASH_DEFL
	// commands and SPI_FLASH_MD5.
	ROMAttach, ROMDeflate, ROMMD5 bool
	// EraseBug says that the ROM's FLASH_BEGIN erases more than it is asked to: the
	// sectors before the next 64 KiB boundary count twice. See EraseSize.
	EraseBug bool

	MAC      MAC
	Revision Revision
	SPI      SPI
	UART     UART
	Port     Port
	Watchdog Watchdog

	// RAM is where code and data may be loaded.
	RAM []Region
	// BootloaderOffset is where in flash the second-stage bootloader lies.
	BootloaderOffset uint32
	// FlashSizes are the flash sizes an image header can name, ascending.
	FlashSizes []FlashSize
	// Security is where eFuses say that secure boot or flash encryption is on.
	Security Security
}

// Region is a range of addresses; End is the first after it.
type Region struct {
	Start, End uint32
}

// Contains tells whether size bytes from address lie in the region.
func (r Region) Contains(address uint32, size uint64) bool {
	return address >= r.Start && uint64(address)+size <= uint64(r.End)
}

// FlashSize is a flash size and its code, the high four bits of byte 3 of an image.
type FlashSize struct {
	Bytes int
	Code  byte
}

// Field is some bits of a 32-bit register.
type Field struct {
	Address uint32
	Shift   uint8
	Width   uint8
}

// Of returns the field's value in the register's word.
func (f Field) Of(word uint32) uint32 { return word >> f.Shift & (1<<f.Width - 1) }

// In returns word with the field set to value.
func (f Field) In(word, value uint32) uint32 {
	mask := uint32(1<<f.Width-1) << f.Shift
	return word&^mask | value<<f.Shift&mask
}

// Revision is where the chip's revision and package are. A value of several fields
// is read high field first.
type Revision struct {
	Major, Minor, Package []Field
	// MajorCounts says that the major revision is how many bits of Major are set.
	MajorCounts bool
}

// SPI is the controller of the flash chip: its base address and the offsets of its
// registers. CMD is at offset 0 and ADDR at 4.
type SPI struct {
	Base                     uint32
	USR, USR1, USR2, W0      uint32
	MOSILengths, MISOLengths uint32 // 0 on ESP8266, which has both in USR1
	// AddressMSB says that a flash address stands in the high bits of ADDR.
	AddressMSB bool
}

// UART is the loader's UART.
type UART struct {
	// Date is a register that may be written to without effect, to make the ROM wait
	// (the fourth word of WRITE_REG).
	Date uint32
	// ClockDivider is crystal frequency × Prescale ÷ baud rate in its low 20 bits.
	ClockDivider uint32
	Prescale     int // 2 on ESP8266, else 1
	// CrystalMHz are the crystals that the chip takes, the usual one first. A chip
	// with several has to be asked through ClockDivider.
	CrystalMHz []int
}

// Port tells through which port the ROM talks: a byte of ROM memory. 0 stands for
// "there is no such port".
type Port struct {
	// Register holds the port's number in its low byte.
	Register uint32
	// RegisterBefore is its address on revisions before BeforeRevision (100 × major
	// + minor); 0 if it never moved.
	RegisterBefore uint32
	BeforeRevision int
	USBOTG         byte // number of USB-OTG
	USBJTAG        byte // number of USB-Serial/JTAG, which resets by rules of its own
}

// Watchdog is the RTC watchdog and the super watchdog, which a loader over
// USB-Serial/JTAG has to stop, and which can reset the chip. The zero value means
// that the chip needs none of it.
type Watchdog struct {
	Config0, Config1, Protect, Key      uint32
	SuperConfig, SuperProtect, SuperKey uint32
	SuperAutoFeed                       uint32 // bit of SuperConfig
}

// Security is where eFuses say what is locked. A zero Address means unknown.
type Security struct {
	SecureBoot Field // non-zero: Secure Boot V2 (V1 and V2 on ESP32) is on
	// CryptCount has an odd number of bits set if flash encryption is on.
	CryptCount Field
	// KeyPurposes are the six key purposes, where the chip has them.
	KeyPurposes []Field
}

// All returns the chips, oldest first.
func All() []*Chip {
	return []*Chip{
		ESP8266, ESP32, ESP32S2, ESP32S3, ESP32C3, ESP32C2, ESP32C6, ESP32H2, ESP32P4, ESP32C5,
	}
}

// ByTarget returns the chip of that target name; case and hyphens do not matter.
func ByTarget(name string) (*Chip, bool) {
	name = strings.ReplaceAll(strings.ToLower(name), "-", "")
	for _, c := range All() {
		if c.Target == name {
			return c, true
		}
	}
	return nil, false
}

// ByID returns the chip of that number in image headers and GET_SECURITY_INFO.
func ByID(id int) (*Chip, bool) {
	for _, c := range All() {
		if c.ImageID == id && id != NoID {
			return c, true
		}
	}
	return nil, false
}

// ByMagic returns the chip whose MagicRegister reads value.
func ByMagic(value uint32) (*Chip, bool) {
	for _, c := range All() {
		for _, magic := range c.Magic {
			if magic == value {
				return c, true
			}
		}
	}
	return nil, false
}

// EraseSize returns what to name as the size to erase in the FLASH_BEGIN to the
// chip's ROM, so that size bytes from offset are erased: size itself, or on a chip
// with EraseBug less.
func (c *Chip) EraseSize(offset, size uint32) uint32 {
	if !c.EraseBug {
		return size
	}
	const sector, perBlock = 0x1000, 16
	sectors := uint32((uint64(size) + sector - 1) / sector)
	head := min(perBlock-offset/sector%perBlock, sectors)
	if sectors < 2*head {
		return (sectors + 1) / 2 * sector
	}
	return (sectors - head) * sector
}

// powersOfTwo are the flash sizes of every chip after ESP8266.
func powersOfTwo() []FlashSize {
	var sizes []FlashSize
	for code := byte(0); code < 8; code++ {
		sizes = append(sizes, FlashSize{Bytes: 1 << (20 + code), Code: code << 4})
	}
	return sizes
}

// keyPurposes are six fields of width bits that follow each other from address and
// shift; none straddles two words.
func keyPurposes(address uint32, shift, width uint8) []Field {
	var fields []Field
	for range 6 {
		if shift+width > 32 {
			address, shift = address+4, 0
		}
		fields = append(fields, Field{Address: address, Shift: shift, Width: width})
		shift += width
	}
	return fields
}
