package chip

// ESP32C3 is ESP32-C3: one RISC-V core and USB-Serial/JTAG.
var ESP32C3 = &Chip{
	Name:   "ESP32-C3",
	Target: "esp32c3",

	ImageID:         5,
	Magic:           []uint32{0x6921506F, 0x1B31506F, 0x4881606F, 0x4361606F},
	SecurityInfoLen: 20,

	StatusLen:      4,
	BeginEncrypted: true,
	ROMAttach:      true,
	ROMDeflate:     true,
	ROMMD5:         true,

	MAC: MAC{Registers: []uint32{0x60008844, 0x60008848}},
	Revision: Revision{
		Major:   []Field{{Address: 0x60008858, Shift: 24, Width: 2}},
		Minor:   []Field{{Address: 0x60008858, Shift: 23, Width: 1}, {Address: 0x60008850, Shift: 18, Width: 3}},
		Package: []Field{{Address: 0x60008850, Shift: 21, Width: 3}},
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
		CrystalMHz:   []int{40},
	},
	Port: Port{
		Register:       0x3FCDF078,
		RegisterBefore: 0x3FCDF07C,
		BeforeRevision: 101,
		USBJTAG:        3,
	},
	Watchdog: Watchdog{
		Config0:       0x60008090,
		Config1:       0x60008094,
		Protect:       0x600080A8,
		Key:           0x50D83AA1,
		SuperConfig:   0x600080AC,
		SuperProtect:  0x600080B0,
		SuperKey:      0x8F1D312A,
		SuperAutoFeed: 0x80000000,
	},

	RAM:              []Region{{0x3FC80000, 0x3FCE0000}, {0x4037C000, 0x403E0000}, {0x50000000, 0x50002000}},
	BootloaderOffset: 0x0,
	FlashSizes:       powersOfTwo(),
	Security: Security{
		SecureBoot:  Field{Address: 0x60008838, Shift: 20, Width: 1},
		CryptCount:  Field{Address: 0x60008834, Shift: 18, Width: 3},
		KeyPurposes: keyPurposes(0x60008834, 24, 4),
	},
}
