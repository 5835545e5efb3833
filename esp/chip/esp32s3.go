package chip

// ESP32S3 is ESP32-S3: two Xtensa cores, USB-OTG and USB-Serial/JTAG.
var ESP32S3 = &Chip{
	Name:   "ESP32-S3",
	Target: "esp32s3",

	ImageID:         9,
	Magic:           []uint32{0x00000009},
	SecurityInfoLen: 20,

	StatusLen:      4,
	BeginEncrypted: true,
	ROMAttach:      true,
	ROMDeflate:     true,
	ROMMD5:         true,

	MAC: MAC{Registers: []uint32{0x60007044, 0x60007048}},
	Revision: Revision{
		Major:   []Field{{Address: 0x60007058, Shift: 24, Width: 2}},
		Minor:   []Field{{Address: 0x60007058, Shift: 23, Width: 1}, {Address: 0x60007050, Shift: 18, Width: 3}},
		Package: []Field{{Address: 0x60007050, Shift: 21, Width: 3}},
	},
	SPI: SPI{
		Base: 0x60002000,
		USR:  0x18, USR1: 0x1C, USR2: 0x20, W0: 0x58,
		MOSILengths: 0x24, MISOLengths: 0x28,
	},
	UART: UART{
		Date:         0x60000080,
		ClockDivider: 0x60000014,
		Prescale:     1,
		CrystalMHz:   []int{40},
	},
	Port: Port{
		Register: 0x3FCEF14C,
		USBOTG:   3,
		USBJTAG:  4,
	},
	Watchdog: Watchdog{
		Config0:       0x60008098,
		Config1:       0x6000809C,
		Protect:       0x600080B0,
		Key:           0x50D83AA1,
		SuperConfig:   0x600080B4,
		SuperProtect:  0x600080B8,
		SuperKey:      0x8F1D312A,
		SuperAutoFeed: 0x80000000,
	},

	RAM:              []Region{{0x3FC88000, 0x3FD00000}, {0x40370000, 0x403E0000}, {0x600FE000, 0x60100000}, {0x50000000, 0x50002000}},
	BootloaderOffset: 0x0,
	FlashSizes:       powersOfTwo(),
	Security: Security{
		SecureBoot:  Field{Address: 0x60007038, Shift: 20, Width: 1},
		CryptCount:  Field{Address: 0x60007034, Shift: 18, Width: 3},
		KeyPurposes: keyPurposes(0x60007034, 24, 4),
	},
}
