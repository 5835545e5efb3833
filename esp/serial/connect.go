package serial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	syncsPerAttempt = 5
	reopenTries     = 20
	reopenPause     = 250 * time.Millisecond
)

// connect resets the chip into download mode and calls it until it answers.
func (s *Session) connect(ctx context.Context) error {
	s.baud = s.opt.InitialBaud
	var last error
	for attempt := range s.opt.Attempts {
		if last = s.attempt(ctx, attempt); last == nil || ctx.Err() != nil {
			return last
		}
		if errors.Is(last, ErrUnplugged) {
			if s.opt.Reopen == nil {
				return last
			}
			if err := s.reopen(ctx); err != nil {
				return err
			}
		}
	}
	if errors.Is(last, ErrUnplugged) {
		return last
	}
	return s.silence()
}

func (s *Session) attempt(ctx context.Context, attempt int) error {
	if rate, ok := s.link.port.(Rate); ok {
		if err := rate.SetBaud(s.baud); err != nil {
			return unplugged("set the baud rate", err)
		}
	}
	if lines, ok := s.link.port.(Lines); ok && s.reset != ResetNone {
		if err := play(ctx, lines, downloadSteps(s.reset, attempt)); err != nil {
			return err
		}
	}
	return s.sync(ctx, syncsPerAttempt)
}

// sync calls the loader. Its answer tells a ROM from a stub, whose value is zero, and how long
// status is.
func (s *Session) sync(ctx context.Context, tries int) error {
	var err error
	for range tries {
		var answer response
		answer, err = s.link.once(ctx, syncRequest(), syncTimeout)
		if err == nil {
			s.link.dec.noise = nil
			s.link.status = 2
			if len(answer.data) >= 4 {
				s.link.status = 4
			}
			s.stubAnswers = answer.value == 0 && s.link.status == 2
			return nil
		}
		if !errors.Is(err, ErrTimeout) {
			return err
		}
	}
	return err
}

// reopen waits for a port that a reset made go away.
func (s *Session) reopen(ctx context.Context) error {
	_ = s.link.port.Close() // it is gone already
	var err error
	for range reopenTries {
		if err := sleep(ctx, reopenPause); err != nil {
			return err
		}
		var port Port
		if port, err = s.opt.Reopen(ctx); err == nil {
			s.link.port = port
			s.link.dec.reset()
			return nil
		}
	}
	return err
}

// resume clears the line and finds the loader again, in whatever state it is, so that the next
// command gets its own answer. What the loader has forgotten is set up again.
func (s *Session) resume(ctx context.Context) error {
	if s.resuming { // what resume itself needs failed
		return ErrTimeout
	}
	s.resuming = true
	defer func() { s.resuming = false }()
	if err := s.link.drain(ctx, 20*time.Millisecond); err != nil {
		return err
	}
	hadStub := s.stubAnswers
	err := s.sync(ctx, syncsPerAttempt)
	if errors.Is(err, ErrTimeout) {
		err = s.otherRate(ctx)
	}
	if errors.Is(err, ErrTimeout) {
		s.slow = s.slow || s.baud != s.opt.InitialBaud
		if err = s.connect(ctx); err == nil {
			err = s.sameBoard(ctx)
		}
	}
	if err != nil {
		return err
	}
	if hadStub && !s.stubAnswers && s.stub != nil {
		if err := s.runStub(ctx, s.stub); err != nil {
			return err
		}
	}
	// A chip that has reset and is still in download mode answers as before, so its flash has to
	// be attached again in any case.
	if s.spi {
		return s.attach(ctx)
	}
	return nil
}

// otherRate calls the loader at the rate that it has if only the answer to the change was lost, or
// if it has reset since. ErrTimeout means that it is at neither.
func (s *Session) otherRate(ctx context.Context) error {
	rate, ok := s.link.port.(Rate)
	if !ok || s.opt.Baud == 0 || s.opt.Baud == s.opt.InitialBaud {
		return ErrTimeout
	}
	was := s.baud
	s.baud = s.opt.Baud
	if was == s.opt.Baud {
		s.baud = s.opt.InitialBaud
	}
	if err := rate.SetBaud(s.baud); err != nil {
		return unplugged("set the baud rate", err)
	}
	return s.sync(ctx, syncsPerAttempt)
}

// sameBoard makes sure that nobody has plugged in another board meanwhile.
func (s *Session) sameBoard(ctx context.Context) error {
	if s.mac == nil {
		return nil
	}
	was := s.mac
	if err := s.identify(ctx); err != nil {
		return err
	}
	if !bytes.Equal(was, s.mac) {
		return &Error{Op: "find the board again", Reason: ErrUnplugged, Text: fmt.Sprintf("this is another board: its MAC is %s, not %s", s.mac, was),
			Remedy: "begin again with the board that is plugged in now"}
	}
	return nil
}

// silence says why nobody answers, from what came instead of an answer.
func (s *Session) silence() error {
	heard := append(bytes.Clone(s.link.dec.noise), s.link.dec.partial()...)
	mode := bootMode(heard)
	switch {
	case strings.Contains(mode, "DOWNLOAD"):
		return &Error{Op: "sync", Reason: ErrNoBoard, Text: "the chip is in download mode (" + mode + ") but does not hear",
			Remedy: "check the wire from this side's TX to the board's RX, and that no other program talks to the board"}
	case mode != "":
		return &Error{Op: "sync", Reason: ErrRunMode, Text: "the chip started its firmware (" + mode + ")",
			Remedy: "hold BOOT (GPIO0, or GPIO9 on C2, C3, C6 and H2) while pressing RESET, then try again"}
	case printable(heard):
		return &Error{Op: "sync", Reason: ErrRunMode, Text: fmt.Sprintf("the chip is not in download mode: it says %q", excerpt(heard)),
			Remedy: "hold BOOT (GPIO0, or GPIO9 on C2, C3, C6 and H2) while pressing RESET, then try again"}
	case len(heard) > 0:
		return &Error{Op: "sync", Reason: ErrNoBoard, Text: fmt.Sprintf("%d bytes came, but no answer", len(heard)),
			Remedy: "hold BOOT while pressing RESET; if that does not help, check the cable and that this is the board's port"}
	}
	return &Error{Op: "sync", Reason: ErrNoBoard,
		Remedy: "check that the board has power, that the cable carries data and that this is its port; boards without automatic reset need BOOT held while RESET is pressed"}
}

// bootMode finds the mode in a boot log, which has a line such as
// "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)".
func bootMode(log []byte) string {
	at := bytes.LastIndex(log, []byte("boot:0x"))
	if at < 0 {
		return ""
	}
	rest := log[at:]
	if open := bytes.IndexByte(rest, '('); open >= 0 && open < 16 {
		if end := bytes.IndexByte(rest, ')'); end > open && end < 80 {
			return string(rest[open+1 : end])
		}
	}
	return string(rest[:min(len(rest), 12)])
}

// printable tells whether most of the bytes are text.
func printable(b []byte) bool {
	n := 0
	for _, c := range b {
		if c >= 0x20 && c < 0x7F || c == '\n' || c == '\r' || c == '\t' || c == 0x1B {
			n++
		}
	}
	return len(b) >= 8 && n*10 >= len(b)*9
}

func excerpt(b []byte) string {
	b = bytes.TrimSpace(b)
	if at := bytes.LastIndexByte(b, '\n'); at >= 0 && len(b)-at > 8 {
		b = b[at+1:]
	}
	return string(b[max(0, len(b)-60):])
}
