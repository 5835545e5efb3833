package chip

// ESP32C2 is ESP32-C2: one RISC-V core, also sold as ESP8684.
var ESP32C2 = &Chip{
	Name:   "ESP32-C2",
	Target: "esp32c2",

	ImageID:         12,
	Magic:           []uint32{0x6F51306F, 0x7C41A06F, 0x0C21E06F},
	SecurityInfoLen: 20,

	StatusLen:      4,
	BeginEncrypted: true,
	ROMAttach:      true,
	ROMDeflate:     true,
	ROMMD5:         true,

	MAC: MAC{Registers: []uint32{0x60008840, 0x60008844}},
	Revision: Revision{
		Major:   []Field{{Address: 0x60008844, Shift: 20, Width: 2}},
		Minor:   []Field{{Address: 0x60008844, Shift: 16, Width: 4}},
		Package: []Field{{Address: 0x60008844, Shift: 22, Width: 3}},
	},
	SPI: SPI{
		Base: 0x60002000,
		USR:  0x18, USR1: 0x1C, USR2: 0x20, W0: 0x58,
		MOSILengths: 0x24, MISOLengths: 0x28,
	},
	UART: UART{
		Date:         0x6000007C,
		ClockDivider: 0x60000014,
		Prescale:     1,
		CrystalMHz:   []int{26, 40},
	},

	RAM:              []Region{{0x3FCA0000, 0x3FCE0000}, {0x4037C000, 0x403C0000}},
	BootloaderOffset: 0x0,
	FlashSizes:       powersOfTwo(),
	Security: Security{
		SecureBoot: Field{Address: 0x60008830, Shift: 21, Width: 1},
		CryptCount: Field{Address: 0x60008830, Shift: 7, Width: 3},
	},
}
