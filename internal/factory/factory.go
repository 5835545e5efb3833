// Package factory prepares boards: from the MAC address of a chip to a certificate in its flash. For
// each board it makes a key and a signing request, has a thing and a certificate made in the cloud,
// builds the partition that the firmware reads its identity from, writes it and verifies it.
//
// A journal remembers every step before and after it is taken. A board that was cut off anywhere is
// finished by the next run: no second certificate is issued for it, none is left without a board
// unnoticed. The key of a board lies in a file of mode 0600 until its flash has been verified, then
// it is gone from this side.
//
// What a board is ([Board]) and what the cloud does ([Cloud]) are interfaces: the station works on
// serial ports and on virtual chips, for AWS, for berth and for lines without a network.
package factory

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that this package wraps; errors.Is tells them apart.
var (
	// ErrRecipe means a recipe that cannot be followed.
	ErrRecipe = errors.New("bad recipe")
	// ErrBoard means a board that cannot take what the recipe asks for.
	ErrBoard = errors.New("the board cannot be prepared")
	// ErrDone means a board that was prepared before and does not hold its identity any more.
	ErrDone = errors.New("the board was prepared before")
	// ErrCloud means that the cloud refused or could not be reached.
	ErrCloud = errors.New("the cloud did not do its part")
)

// Error is a failure with what to do about it.
type Error struct {
	Kind   error  // ErrRecipe, ErrBoard, ErrDone or ErrCloud
	Reason string // one line
	Fix    string // one line; "" if there is nothing to say
	Cause  error
}

func (e *Error) Error() string {
	text := e.Reason
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap makes errors.Is find the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }

func fail(kind error, fix, format string, args ...any) *Error {
	return &Error{Kind: kind, Fix: fix, Reason: fmt.Sprintf(format, args...)}
}

// Fix returns what to do about an error, or "".
func Fix(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Fix
	}
	return ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}
