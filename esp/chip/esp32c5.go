package chip

// ESP32C5 is ESP32-C5: RISC-V with Wi-Fi 6 on 2.4 and 5 GHz.
var ESP32C5 = &Chip{
	Name:   "ESP32-C5",
	Target: "esp32c5",

	ImageID:         23,
	Magic:           []uint32{0x1101406F, 0x63E1406F, 0x5FD1406F},
	SecurityInfoLen: 20,

	StatusLen:      4,
	BeginEncrypted: true,
	ROMAttach:      true,
	ROMDeflate:     true,
	ROMMD5:         true,

	MAC: MAC{Registers: []uint32{0x600B4844, 0x600B4848}, Extended: true},
	Revision: Revision{
		Major:   []Field{{Address: 0x600B484C, Shift: 4, Width: 2}},
		Minor:   []Field{{Address: 0x600B484C, Shift: 0, Width: 4}},
		Package: []Field{{Address: 0x600B484C, Shift: 26, Width: 3}},
	},
	SPI: SPI{
		Base: 0x60003000,
		USR:  0x18, USR1: 0x1C, USR2: 0x20, W0: 0x58,
		MOSILengths: 0x24, MISOLengths: 0x28,
	},
	UART: UART{
		Date:         0x6000007C,
		ClockDivider: 0x60000014,
		Prescale:     1,
		CrystalMHz:   []int{48, 40},
	},
	Port: Port{
		Register: 0x4085F514,
		USBJTAG:  3,
	},
	Watchdog: Watchdog{
		Config0:       0x600B1C00,
		Config1:       0x600B1C04,
		Protect:       0x600B1C18,
		Key:           0x50D83AA1,
		SuperConfig:   0x600B1C1C,
		SuperProtect:  0x600B1C20,
		SuperKey:      0x50D83AA1,
		SuperAutoFeed: 0x00040000,
	},

	RAM:              []Region{{0x40800000, 0x40860000}, {0x50000000, 0x50004000}},
	BootloaderOffset: 0x2000,
	FlashSizes:       powersOfTwo(),
	Security: Security{
		SecureBoot:  Field{Address: 0x600B4838, Shift: 25, Width: 1},
		CryptCount:  Field{Address: 0x600B4834, Shift: 16, Width: 3},
		KeyPurposes: keyPurposes(0x600B4834, 22, 5),
	},
}
