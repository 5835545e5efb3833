package chip

// ESP32S2 is ESP32-S2: one Xtensa core and USB-OTG.
var ESP32S2 = &Chip{
	Name:   "ESP32-S2",
	Target: "esp32s2",

	ImageID:         2,
	Magic:           []uint32{0x000007C6},
	SecurityInfoLen: 12,

	StatusLen:      4,
	BeginEncrypted: true,
	ROMAttach:      true,
	ROMDeflate:     true,
	ROMMD5:         true,

	MAC: MAC{Registers: []uint32{0x3F41A044, 0x3F41A048}},
	Revision: Revision{
		Major:   []Field{{Address: 0x3F41A050, Shift: 18, Width: 2}},
		Minor:   []Field{{Address: 0x3F41A050, Shift: 20, Width: 1}, {Address: 0x3F41A054, Shift: 4, Width: 3}},
		Package: []Field{{Address: 0x3F41A054, Shift: 0, Width: 4}},
	},
	SPI: SPI{
		Base: 0x3F402000,
		USR:  0x18, USR1: 0x1C, USR2: 0x20, W0: 0x58,
		MOSILengths: 0x24, MISOLengths: 0x28,
	},
	UART: UART{
		Date:         0x60000078,
		ClockDivider: 0x3F400014,
		Prescale:     1,
		CrystalMHz:   []int{40},
	},
	Port: Port{
		Register: 0x3FFFFD14,
		USBOTG:   2,
	},
	Watchdog: Watchdog{
		Config0: 0x3F408094,
		Config1: 0x3F408098,
		Protect: 0x3F4080AC,
		Key:     0x50D83AA1,
	},

	RAM:              []Region{{0x3FFB0000, 0x40000000}, {0x40020000, 0x40072000}, {0x3FF9E000, 0x3FFA0000}, {0x50000000, 0x50002000}},
	BootloaderOffset: 0x1000,
	FlashSizes:       powersOfTwo(),
	Security: Security{
		SecureBoot:  Field{Address: 0x3F41A038, Shift: 20, Width: 1},
		CryptCount:  Field{Address: 0x3F41A034, Shift: 18, Width: 3},
		KeyPurposes: keyPurposes(0x3F41A034, 24, 4),
	},
}
