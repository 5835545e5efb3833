package serial

import (
	"errors"
	"fmt"
)

// What can go wrong, for errors.Is. Every error of this package says what happened and what to do
// about it; one of these reasons is in its chain where a caller may want to act on it.
var (
	ErrNoBoard        = errors.New("no board answers")
	ErrRunMode        = errors.New("the chip runs its firmware")
	ErrWrongChip      = errors.New("wrong chip")
	ErrUnknownChip    = errors.New("unknown chip")
	ErrPortNotFound   = errors.New("no such port")
	ErrPortBusy       = errors.New("the port is in use")
	ErrPermission     = errors.New("no permission for the port")
	ErrUnplugged      = errors.New("the board went away")
	ErrTimeout        = errors.New("no answer in time")
	ErrFlashTooSmall  = errors.New("the flash is too small")
	ErrNoFlash        = errors.New("no flash chip answers")
	ErrMismatch       = errors.New("the flash differs from what was written")
	ErrSecurity       = errors.New("the chip is secured")
	ErrSecureDownload = errors.New("the chip is in secure download mode")
	ErrNeedsStub      = errors.New("the chip's ROM loader cannot do this")
	ErrRegion         = errors.New("bad region")
	ErrStub           = errors.New("bad stub")
)

// Error is a failure with its reason and its remedy.
type Error struct {
	Op     string // what was being done, such as "write 0x310000"
	Reason error  // one of the errors above
	Text   string // what happened, if the reason alone does not say it
	Remedy string // what to do about it
	Cause  error  // what lay below, if anything
}

// Error returns everything on one line, the remedy last.
func (e *Error) Error() string {
	text := e.Text
	if text == "" {
		text = e.Reason.Error()
	}
	s := e.Op + ": " + text
	if e.Cause != nil {
		s += fmt.Sprintf(" (%v)", e.Cause)
	}
	if e.Remedy != "" {
		s += ": " + e.Remedy
	}
	return s
}

// Unwrap returns the reason and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Cause}
}

func unplugged(op string, cause error) error {
	return &Error{Op: op, Reason: ErrUnplugged, Cause: cause,
		Remedy: "check the cable and the power, plug the board in again and repeat; what was written so far is found again and not sent twice"}
}
