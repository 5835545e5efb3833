package chip

import (
	"errors"
	"fmt"
)

// MAC is the registers that hold the factory MAC address.
//
// On ESP32 and later it is two words: the low four bytes of the address, big end
// first as one reads it, and the high two in the low half of the second word. ESP8266
// scatters it over four words.
type MAC struct {
	// Registers are the addresses to read, in the order that Address takes.
	Registers []uint32
	// Scattered is the layout of ESP8266.
	Scattered bool
	// Extended says that the high half of the second word holds FF:FE, what the MAC
	// address gets in its middle to be an EUI-64.
	Extended bool
}

// ErrMAC means that the registers hold no MAC address.
var ErrMAC = errors.New("no MAC address in the eFuses")

// Address returns the address that the words of Registers hold.
func (m MAC) Address(words []uint32) ([6]byte, error) {
	var mac [6]byte
	if len(words) != len(m.Registers) {
		return mac, fmt.Errorf("read MAC address: %d words, want %d", len(words), len(m.Registers))
	}
	if !m.Scattered {
		low, high := words[0], words[1]
		mac = [6]byte{byte(high >> 8), byte(high), byte(low >> 24), byte(low >> 16), byte(low >> 8), byte(low)}
		if mac == [6]byte{} {
			return mac, fmt.Errorf("read MAC address: %w", ErrMAC)
		}
		return mac, nil
	}
	w0, w1, w3 := words[0], words[1], words[3]
	oui := [3]byte{byte(w3 >> 16), byte(w3 >> 8), byte(w3)}
	if w3 == 0 {
		switch byte(w1 >> 16) {
		case 0:
			oui = [3]byte{0x18, 0xFE, 0x34}
		case 1:
			oui = [3]byte{0xAC, 0xD0, 0x74}
		default:
			return mac, fmt.Errorf("read MAC address: vendor %d: %w", byte(w1>>16), ErrMAC)
		}
	}
	return [6]byte{oui[0], oui[1], oui[2], byte(w1 >> 8), byte(w1), byte(w0 >> 24)}, nil
}

// Words returns what Registers hold on a chip with that address.
func (m MAC) Words(mac [6]byte) []uint32 {
	if !m.Scattered {
		high := uint32(mac[0])<<8 | uint32(mac[1])
		if m.Extended {
			high |= 0xFFFE << 16
		}
		return []uint32{uint32(mac[2])<<24 | uint32(mac[3])<<16 | uint32(mac[4])<<8 | uint32(mac[5]), high}
	}
	return []uint32{
		uint32(mac[5]) << 24,
		uint32(mac[3])<<8 | uint32(mac[4]),
		0,
		uint32(mac[0])<<16 | uint32(mac[1])<<8 | uint32(mac[2]),
	}
}
