// Package hostport opens the serial ports of this machine, and what stands in for one, as ports of
// package serial.
package hostport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	bugst "go.bug.st/serial"

	"github.com/berth-iot/berth/esp/serial"
)

// Auto stands for the only port with a board.
const Auto = "auto"

const dialTimeout = 5 * time.Second

// Open opens a port by its name: a device such as /dev/ttyUSB0, /dev/cu.usbmodem101 or COM3, a
// pseudo-terminal, socket://host:port, rfc2217://host:port, or Auto. It returns the name that Auto stood for. Errors:
// serial.ErrPortNotFound, ErrPortBusy, ErrPermission.
func Open(ctx context.Context, name string) (serial.Port, string, error) {
	if name == Auto || name == "" {
		found, err := only()
		if err != nil {
			return nil, "", err
		}
		name = found
	}
	if scheme, address, ok := strings.Cut(name, "://"); ok && (scheme == "socket" || scheme == "rfc2217") {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, name, &serial.Error{Op: "open " + name, Reason: serial.ErrPortNotFound, Cause: err,
				Remedy: "check the address, and that the port server or virtual chip runs"}
		}
		if scheme == "socket" {
			return conn, name, nil
		}
		port, err := dialRemote(conn)
		if err != nil {
			conn.Close()
			return nil, name, &serial.Error{Op: "open " + name, Reason: serial.ErrPortNotFound, Cause: err, Remedy: "check that the port server speaks RFC 2217"}
		}
		return port, name, nil
	}
	p, err := bugst.Open(name, mode(serial.DefaultBaud))
	if err != nil {
		return nil, name, explain(name, err)
	}
	d := device{port: p, name: name}
	for _, info := range listed() {
		if info.Name == name {
			d.vendor, d.product = info.Vendor, info.Product
		}
	}
	if _, err := p.GetModemStatusBits(); err != nil { // a pseudo-terminal
		return &d, name, nil
	}
	return &withLines{device: &d}, name, nil
}

func mode(baud int) *bugst.Mode {
	return &bugst.Mode{BaudRate: baud, DataBits: 8, Parity: bugst.NoParity, StopBits: bugst.OneStopBit}
}

// explain says why a device does not open and what to do.
func explain(name string, err error) error {
	e := &serial.Error{Op: "open " + name, Cause: err}
	var port *bugst.PortError
	code := bugst.PortErrorCode(-1)
	if errors.As(err, &port) {
		code = port.Code()
	}
	switch {
	case code == bugst.PortBusy || errors.Is(err, syscall.EBUSY):
		e.Reason, e.Remedy = serial.ErrPortBusy, "close the monitor or flasher that has it open"
	case code == bugst.PermissionDenied || errors.Is(err, fs.ErrPermission):
		e.Reason, e.Remedy = serial.ErrPermission, permissionRemedy(name)
	case code == bugst.PortNotFound || errors.Is(err, fs.ErrNotExist):
		e.Reason, e.Remedy = serial.ErrPortNotFound, "plug the board in, or choose one of: "+names()
	case code == bugst.InvalidSerialPort:
		e.Reason, e.Text, e.Remedy = serial.ErrPortNotFound, "it is no serial port", "choose one of: "+names()
	default:
		e.Reason, e.Text, e.Remedy = serial.ErrPortNotFound, "it does not open", "unplug the board, plug it in again and retry"
	}
	return e
}

// permissionRemedy names the group that owns the device.
func permissionRemedy(name string) string {
	if runtime.GOOS != "linux" {
		return "open it as a user who may use serial ports"
	}
	group := groupOf(name)
	if group == "" {
		group = "dialout (uucp on Arch Linux)"
	}
	return "join the group " + group + ", as with: sudo usermod -aG " + strings.Fields(group)[0] + " $USER, then log in again"
}

// device is a serial device without modem lines.
type device struct {
	port            bugst.Port
	name            string
	vendor, product uint16

	mu       sync.Mutex
	deadline time.Time
}

// pollInterval is how soon a deadline that is set during a read or write is seen.
const pollInterval = 50 * time.Millisecond

func (d *device) SetDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deadline = t
	return nil
}

// left returns how long may be waited now, and whether anything is left.
func (d *device) left() (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deadline.IsZero() {
		return pollInterval, true
	}
	left := time.Until(d.deadline)
	return min(left, pollInterval), left > 0
}

func (d *device) Read(p []byte) (int, error) {
	for {
		left, ok := d.left()
		if !ok {
			return 0, os.ErrDeadlineExceeded
		}
		if err := d.port.SetReadTimeout(max(left, time.Millisecond)); err != nil {
			return 0, err
		}
		if n, err := d.port.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// Write hands the bytes to a goroutine, because a device that is gone may never take them. After a
// deadline the goroutine ends when the port is closed.
func (d *device) Write(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	b := append([]byte(nil), p...)
	go func() {
		n, err := d.port.Write(b)
		done <- result{n, err}
	}()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case r := <-done:
			return r.n, r.err
		case <-tick.C:
			if _, ok := d.left(); !ok {
				return 0, os.ErrDeadlineExceeded
			}
		}
	}
}

func (d *device) Close() error { return d.port.Close() }

// USBID returns the USB identifiers, zero without USB.
func (d *device) USBID() (vendor, product uint16) { return d.vendor, d.product }

// withLines is a device with modem lines and a baud rate.
type withLines struct{ *device }

// SetLines asserts or releases both lines. RTS goes last, because some drivers hand on DTR only
// together with it.
func (d *withLines) SetLines(dtr, rts bool) error {
	if err := d.port.SetDTR(dtr); err != nil {
		return fmt.Errorf("set DTR: %w", err)
	}
	if err := d.port.SetRTS(rts); err != nil {
		return fmt.Errorf("set RTS: %w", err)
	}
	return nil
}

// SetBaud changes the rate in bit/s.
func (d *withLines) SetBaud(baud int) error { return d.port.SetMode(mode(baud)) }
