// Package serial flashes ESP chips over their serial loader: the one in ROM, which can do all that
// an identity partition needs on every chip since ESP32, or a flasher stub in RAM, which pays off
// for whole applications.
//
// A Session sends as little as it can. It writes deflated data, skips what the flash already
// holds, and verifies by MD5 on the chip: one command of 26 bytes for a region of any size.
//
// The protocol is described under "Serial Protocol" in Espressif's esptool documentation. This
// package knows no serial device: package hostport opens those of this machine, and anything with
// bytes and deadlines, such as a net.Conn, is a Port.
package serial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/berth-iot/berth/esp/chip"
)

// DefaultBaud is the rate at which chips are met.
const DefaultBaud = 115200

// Options are how to meet a chip. The zero value suits.
type Options struct {
	// Name of the port in errors, such as /dev/ttyUSB0.
	Name string
	// Chip is the only chip wanted, such as "esp32c3"; any if empty.
	Chip string
	// Reset brings the chip into download mode.
	Reset ResetMethod
	// InitialBaud is the rate for meeting the chip; 0 is DefaultBaud.
	InitialBaud int
	// Baud is the rate for large transfers; 0 keeps the first one. It is left alone for
	// transfers below 16 KiB, which would not win back the change.
	Baud int
	// Attempts is how often to reset and call the chip; 0 is 7.
	Attempts int
	// FlashSize in bytes, if it is known for certain, as a build knows it; 0 asks the flash
	// chip, ten commands more.
	FlashSize uint32
	// Reopen opens the port again, for chips whose USB interface goes away on a reset.
	Reopen func(context.Context) (Port, error)
}

// Session is a conversation with one chip in download mode. It is for one goroutine.
type Session struct {
	opt      Options
	link     *link
	reset    ResetMethod
	baud     int
	chip     *chip.Chip
	mac      net.HardwareAddr
	security Security

	stub        *Stub // to be started again when the chip forgets it
	stubAnswers bool  // a stub, not the ROM, is the loader
	resuming    bool
	slow        bool // the higher rate has failed

	spi      bool   // the flash is attached
	attached bool   // and its size known
	flashID  uint32 // JEDEC identifier, 0 unknown
	size     uint32 // of the flash in bytes, 0 unknown
}

// Open meets the chip on port: it resets it into download mode where the port has lines for that,
// and finds out which chip it is, its MAC and its security settings. Open closes the port if it
// fails; Close closes it later. Errors: ErrNoBoard, ErrRunMode, ErrWrongChip, ErrUnknownChip,
// ErrSecureDownload, ErrUnplugged, and that of ctx.
func Open(ctx context.Context, port Port, opt Options) (*Session, error) {
	s := &Session{opt: opt, link: newLink(port)}
	if s.opt.InitialBaud == 0 {
		s.opt.InitialBaud = DefaultBaud
	}
	if s.opt.Attempts == 0 {
		s.opt.Attempts = 7
	}
	if s.opt.Name == "" {
		s.opt.Name = "serial port"
	}
	if opt.Chip != "" {
		if _, ok := chip.ByTarget(opt.Chip); !ok {
			_ = port.Close() // nothing was sent
			return nil, &Error{Op: "connect", Reason: ErrUnknownChip, Text: fmt.Sprintf("chip %q is not known", opt.Chip), Remedy: "name one of " + knownChips()}
		}
	}
	s.reset = resetMethod(opt.Reset, port)
	err := s.connect(ctx)
	if err == nil {
		err = s.identify(ctx)
	}
	if err != nil {
		_ = s.link.port.Close() // the error at hand says more
		return nil, s.explain("connect "+s.opt.Name, err)
	}
	return s, nil
}

// Close closes the port and leaves the chip as it is; see Reset.
func (s *Session) Close() error { return s.link.port.Close() }

// Chip returns the facts of the chip.
func (s *Session) Chip() *chip.Chip { return s.chip }

// MAC returns the factory MAC of the station interface, 6 bytes.
func (s *Session) MAC() net.HardwareAddr { return s.mac }

// Security returns what the chip's eFuses protect.
func (s *Session) Security() Security { return s.security }

// Stats returns what the session has sent so far.
func (s *Session) Stats() Stats { return s.link.stats }

// StubRunning tells whether a stub, rather than the ROM, answers.
func (s *Session) StubRunning() bool { return s.stubAnswers }

func knownChips() string {
	var names []string
	for _, c := range chip.All() {
		names = append(names, c.Target)
	}
	return strings.Join(names, ", ")
}

// command sends a command that may be sent again: lost and spoilt answers are asked for anew,
// after the line is clear again.
func (s *Session) command(ctx context.Context, r request) (response, error) {
	return s.commandWithin(ctx, r, commandTimeout)
}

func (s *Session) commandWithin(ctx context.Context, r request, timeout time.Duration) (answer response, err error) {
	for attempt := range commandAttempts {
		if attempt > 0 {
			if err := s.resume(ctx); err != nil {
				return response{}, err
			}
		}
		answer, err = s.link.once(ctx, r, timeout)
		if err == nil || !transient(err) {
			return answer, err
		}
	}
	return response{}, err
}

// transient tells whether err may go away when the command is sent again.
func transient(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		// A chip that has reset meanwhile fails to act, because its flash is not attached.
		return spoilt(status) || status.Code == codeFailed
	}
	return errors.Is(err, ErrTimeout) || errors.Is(err, errNotResponse)
}

// spoilt tells whether the chip refused a message because it came changed or cut short; then it has
// not acted on it.
func spoilt(status *StatusError) bool {
	switch status.Code {
	case codeInvalid, codeChecksum, codeStubLength, codeStubChecksum:
		return true
	}
	return false
}

// explain gives an error its place and, if it has none yet, a remedy.
func (s *Session) explain(op string, err error) error {
	var known *Error
	var status *StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", op, err)
	case errors.As(err, &status) && (status.Code == codeFlashWrite || status.Code == codeStubSPI || status.Code == codeStubUnlock):
		return &Error{Op: op, Reason: ErrMismatch, Text: "the flash chip does not take the data", Cause: err,
			Remedy: "its sectors may be worn out or write-protected: try once more, then replace the board"}
	case errors.As(err, &status):
		return &Error{Op: op, Reason: status, Remedy: "reset the board and try again, at a lower baud rate if it happens again"}
	case errors.Is(err, ErrTimeout):
		return &Error{Op: op, Reason: ErrTimeout, Cause: err,
			Remedy: "check the cable and the supply, choose a lower baud rate, reset the board and try again"}
	case errors.Is(err, errNotResponse):
		return &Error{Op: op, Reason: errNotResponse, Cause: err,
			Remedy: "the line loses bytes: choose a lower baud rate or a shorter cable"}
	}
	return fmt.Errorf("%s: %w", op, err)
}
