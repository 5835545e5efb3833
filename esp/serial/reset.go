package serial

import (
	"context"
	"time"
)

// ResetMethod is how a chip is brought into download mode before a session.
type ResetMethod int

// The reset methods.
const (
	ResetAuto    ResetMethod = iota // by the port's USB identifiers; none without modem lines
	ResetClassic                    // RTS to reset, DTR to the strapping pin through two transistors
	ResetUSBJTAG                    // the chip's own USB Serial/JTAG controller
	ResetUSBCDC                     // the ROM's CDC on the USB OTG controller
	ResetNone                       // the chip is in download mode already
)

// ResetEnd is how a session leaves the chip.
type ResetEnd int

// The ways to end.
const (
	EndAuto ResetEnd = iota // EndHard where there are modem lines, else EndSoft
	EndHard                 // pulse the reset line
	EndSoft                 // have the loader start the firmware
	EndStay                 // stay in the loader
)

// step is one level of the two lines and how long it is held.
type step struct {
	dtr, rts bool
	hold     time.Duration
}

// downloadSteps returns the sequence for one attempt. Later attempts of the classic reset hold the
// strapping pin longer, for boards with a large capacitor on reset. Boards with two transistors
// see neither pin pulled while both lines have the same level. ("Boot Mode Selection" in
// Espressif's esptool documentation; USB Serial/JTAG chapter of the ESP32-C3 manual.)
func downloadSteps(m ResetMethod, attempt int) []step {
	const ms = time.Millisecond
	switch m {
	case ResetClassic, ResetUSBCDC:
		hold := 50 * ms
		if attempt%2 == 1 {
			hold = 550 * ms
		}
		return []step{{false, false, 0}, {true, true, 0}, {false, true, 100 * ms}, {true, false, hold}, {false, false, 0}}
	case ResetUSBJTAG:
		return []step{{false, false, 100 * ms}, {true, false, 100 * ms}, {true, true, 0}, {false, true, 100 * ms}, {false, false, 0}}
	}
	return nil
}

// runSteps starts the firmware.
func runSteps() []step {
	return []step{{false, false, 0}, {false, true, 100 * time.Millisecond}, {false, false, 0}}
}

func play(ctx context.Context, lines Lines, steps []step) error {
	for _, s := range steps {
		if err := lines.SetLines(s.dtr, s.rts); err != nil {
			return unplugged("set the reset lines", err)
		}
		if s.hold > 0 {
			if err := sleep(ctx, s.hold); err != nil {
				return err
			}
		}
	}
	return nil
}

// resetMethod resolves ResetAuto.
func resetMethod(m ResetMethod, port Port) ResetMethod {
	if _, ok := port.(Lines); !ok {
		return ResetNone
	}
	if m != ResetAuto {
		return m
	}
	usb, ok := port.(USB)
	if !ok {
		return ResetClassic
	}
	switch vendor, product := usb.USBID(); {
	case vendor == VendorEspressif && product == ProductUSBJTAGSerial:
		return ResetUSBJTAG
	case vendor == VendorEspressif && product == ProductUSBOTG:
		return ResetUSBCDC
	}
	return ResetClassic
}
