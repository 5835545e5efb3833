package chip

// ESP32 is the first of them: two Xtensa cores.
var ESP32 = &Chip{
	Name:   "ESP32",
	Target: "esp32",

	ImageID:         0,
	Magic:           []uint32{0x00F01D83},
	SecurityInfoLen: 0,

	StatusLen:      4,
	BeginEncrypted: false,
	ROMAttach:      true,
	ROMDeflate:     true,
	ROMMD5:         true,

	MAC: MAC{Registers: []uint32{0x3FF5A004, 0x3FF5A008}},
	Revision: Revision{
		Major:       []Field{{Address: 0x3FF6607C, Shift: 31, Width: 1}, {Address: 0x3FF5A014, Shift: 20, Width: 1}, {Address: 0x3FF5A00C, Shift: 15, Width: 1}},
		Minor:       []Field{{Address: 0x3FF5A014, Shift: 24, Width: 2}},
		Package:     []Field{{Address: 0x3FF5A00C, Shift: 2, Width: 1}, {Address: 0x3FF5A00C, Shift: 9, Width: 3}},
		MajorCounts: true,
	},
	SPI: SPI{
		Base: 0x3FF42000,
		USR:  0x1C, USR1: 0x20, USR2: 0x24, W0: 0x80,
		MOSILengths: 0x28, MISOLengths: 0x2C,
		AddressMSB: true,
	},
	UART: UART{
		Date:         0x60000078,
		ClockDivider: 0x3FF40014,
		Prescale:     1,
		CrystalMHz:   []int{40, 26},
	},

	RAM:              []Region{{0x3FFAE000, 0x40000000}, {0x40070000, 0x400C2000}, {0x3FF80000, 0x3FF82000}, {0x50000000, 0x50002000}},
	BootloaderOffset: 0x1000,
	FlashSizes:       powersOfTwo(),
	Security: Security{
		SecureBoot: Field{Address: 0x3FF5A018, Shift: 4, Width: 2},
		CryptCount: Field{Address: 0x3FF5A000, Shift: 20, Width: 7},
	},
}
