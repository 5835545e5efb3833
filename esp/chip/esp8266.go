package chip

// ESP8266 is the chip before ESP32. Its ROM can neither inflate nor hash.
var ESP8266 = &Chip{
	Name:   "ESP8266",
	Target: "esp8266",

	ImageID: NoID,
	Magic:   []uint32{0xFFF0C101},

	StatusLen: 2,
	EraseBug:  true,

	MAC: MAC{
		Registers: []uint32{0x3FF00050, 0x3FF00054, 0x3FF00058, 0x3FF0005C},
		Scattered: true,
	},
	SPI: SPI{
		Base: 0x60000200,
		USR:  0x1C, USR1: 0x20, USR2: 0x24, W0: 0x40,
		AddressMSB: true,
	},
	UART: UART{
		Date:         0x60000078,
		ClockDivider: 0x60000014,
		Prescale:     2,
		CrystalMHz:   []int{26, 40},
	},

	RAM: []Region{{0x3FFE8000, 0x40000000}, {0x40100000, 0x40110000}},
	FlashSizes: []FlashSize{
		{256 << 10, 0x10}, {512 << 10, 0x00}, {1 << 20, 0x20}, {2 << 20, 0x30}, {4 << 20, 0x40},
		{8 << 20, 0x80}, {16 << 20, 0x90},
	},
}
