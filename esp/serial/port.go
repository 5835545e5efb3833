package serial

import (
	"io"
	"time"
)

// Port is a way to a chip's serial loader: bytes with deadlines. A net.Conn is one. Read and
// Write return an error for which errors.Is(err, os.ErrDeadlineExceeded) holds when the deadline
// passes, also one that is set while they wait; any other error means that the board is gone. A
// Session calls Read and Write from one goroutine at a time, SetDeadline from any.
type Port interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
}

// Lines is what a Port has besides if it carries the modem lines, which boards wire to reset (RTS)
// and to the strapping pin for download mode (DTR). True is asserted: the pin is pulled low.
type Lines interface {
	SetLines(dtr, rts bool) error
}

// Rate is what a Port has besides if it has a baud rate.
type Rate interface {
	SetBaud(baud int) error
}

// USB is what a Port has besides if it knows its USB identifiers; both are zero if there is no
// USB device. They choose the reset sequence.
type USB interface {
	USBID() (vendor, product uint16)
}

// USB identifiers of Espressif's own interfaces.
const (
	VendorEspressif      = 0x303A
	ProductUSBJTAGSerial = 0x1001 // the fixed-function USB Serial/JTAG controller
	ProductUSBOTG        = 0x0002 // the ROM's CDC interface on the USB OTG controller of S2
)
