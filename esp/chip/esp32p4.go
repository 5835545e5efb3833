package chip

// ESP32P4 is ESP32-P4: two RISC-V cores and no radio.
var ESP32P4 = &Chip{
	Name:   "ESP32-P4",
	Target: "esp32p4",

	ImageID:         18,
	Magic:           []uint32{0x00000000, 0x0ADDBAD0},
	SecurityInfoLen: 20,

	StatusLen:      4,
	BeginEncrypted: true,
	ROMAttach:      true,
	ROMDeflate:     true,
	ROMMD5:         true,

	MAC: MAC{Registers: []uint32{0x5012D044, 0x5012D048}},
	Revision: Revision{
		Major:   []Field{{Address: 0x5012D04C, Shift: 23, Width: 1}, {Address: 0x5012D04C, Shift: 4, Width: 2}},
		Minor:   []Field{{Address: 0x5012D04C, Shift: 0, Width: 4}},
		Package: []Field{{Address: 0x5012D04C, Shift: 20, Width: 3}},
	},
	SPI: SPI{
		Base: 0x5008D000,
		USR:  0x18, USR1: 0x1C, USR2: 0x20, W0: 0x58,
		MOSILengths: 0x24, MISOLengths: 0x28,
	},
	UART: UART{
		Date:         0x500CA08C,
		ClockDivider: 0x500CA014,
		Prescale:     1,
		CrystalMHz:   []int{40},
	},
	Port: Port{
		Register:       0x4FFBFEC8,
		RegisterBefore: 0x4FF3FEC8,
		BeforeRevision: 300,
		USBOTG:         5,
		USBJTAG:        6,
	},
	Watchdog: Watchdog{
		Config0:       0x50116000,
		Config1:       0x50116004,
		Protect:       0x50116018,
		Key:           0x50D83AA1,
		SuperConfig:   0x5011601C,
		SuperProtect:  0x50116020,
		SuperKey:      0x50D83AA1,
		SuperAutoFeed: 0x00040000,
	},

	RAM:              []Region{{0x4FF00000, 0x4FFC0000}, {0x50108000, 0x50110000}},
	BootloaderOffset: 0x2000,
	FlashSizes:       powersOfTwo(),
	Security: Security{
		SecureBoot:  Field{Address: 0x5012D038, Shift: 20, Width: 1},
		CryptCount:  Field{Address: 0x5012D034, Shift: 18, Width: 3},
		KeyPurposes: keyPurposes(0x5012D034, 24, 4),
	},
}
