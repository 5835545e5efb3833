package chip

// ESP32C6 is ESP32-C6: RISC-V with Wi-Fi 6 and IEEE 802.15.4.
var ESP32C6 = &Chip{
	Name:   "ESP32-C6",
	Target: "esp32c6",

	ImageID:         13,
	Magic:           []uint32{0x2CE0806F},
	SecurityInfoLen: 20,

	StatusLen:      4,
	BeginEncrypted: true,
	ROMAttach:      true,
	ROMDeflate:     true,
	ROMMD5:         true,

	MAC: MAC{Registers: []uint32{0x600B0844, 0x600B0848}, Extended: true},
	Revision: Revision{
		Major:   []Field{{Address: 0x600B0850, Shift: 22, Width: 2}},
		Minor:   []Field{{Address: 0x600B0850, Shift: 18, Width: 4}},
		Package: []Field{{Address: 0x600B0850, Shift: 24, Width: 3}},
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
		CrystalMHz:   []int{40},
	},
	Port: Port{
		Register: 0x4087F580,
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

	RAM:              []Region{{0x40800000, 0x40880000}, {0x50000000, 0x50004000}},
	BootloaderOffset: 0x0,
	FlashSizes:       powersOfTwo(),
	Security: Security{
		SecureBoot:  Field{Address: 0x600B0838, Shift: 20, Width: 1},
		CryptCount:  Field{Address: 0x600B0834, Shift: 18, Width: 3},
		KeyPurposes: keyPurposes(0x600B0834, 24, 4),
	},
}
