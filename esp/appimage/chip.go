package appimage

import "fmt"

// Chip is the chip that an image is for (esp_chip_id_t).
type Chip uint16

// The chips.
const (
	ESP32    Chip = 0
	ESP32S2  Chip = 2
	ESP32C3  Chip = 5
	ESP32S3  Chip = 9
	ESP32C2  Chip = 12
	ESP32C6  Chip = 13
	ESP32H2  Chip = 16
	ESP32P4  Chip = 18
	ESP32C61 Chip = 20
	ESP32C5  Chip = 23
	ESP32H21 Chip = 25
	ESP32H4  Chip = 28
	ESP32S31 Chip = 32
)

// String returns the name of the chip, or its number.
func (c Chip) String() string {
	switch c {
	case ESP32:
		return "ESP32"
	case ESP32S2:
		return "ESP32-S2"
	case ESP32C3:
		return "ESP32-C3"
	case ESP32S3:
		return "ESP32-S3"
	case ESP32C2:
		return "ESP32-C2"
	case ESP32C6:
		return "ESP32-C6"
	case ESP32H2:
		return "ESP32-H2"
	case ESP32P4:
		return "ESP32-P4"
	case ESP32C61:
		return "ESP32-C61"
	case ESP32C5:
		return "ESP32-C5"
	case ESP32H21:
		return "ESP32-H21"
	case ESP32H4:
		return "ESP32-H4"
	case ESP32S31:
		return "ESP32-S31"
	}
	return fmt.Sprintf("chip %d", uint16(c))
}

// Frequency returns the flash frequency that a header's code stands for, or
// the code. It is the chip's flash clock divided by 1, 2, 3 or 4.
func (c Chip) Frequency(code uint8) string {
	names := map[uint8]string{15: "80m", 0: "40m", 1: "26m", 2: "20m"}
	switch c {
	case ESP32C2:
		names = map[uint8]string{15: "60m", 0: "30m", 1: "20m", 2: "15m"}
	case ESP32H2, ESP32H21, ESP32H4:
		names = map[uint8]string{15: "48m", 0: "24m", 1: "16m", 2: "12m"}
	case ESP32C6:
		// Its ROM misreads the code of 80 MHz, so that of 40 MHz stands for
		// both.
		names = map[uint8]string{0: "80m", 2: "20m"}
	}
	if name, ok := names[code]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", code)
}
