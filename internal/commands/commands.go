// Package commands sends single instructions to single devices and follows their execution: commands,
// their executions on things and MQTT clients, time-outs and events. It follows the chapter "AWS IoT
// Device Management commands" of the AWS IoT developer guide.
//
// What may happen to an execution ([State.After]), what a device's answer says ([ParseResponse]) and
// how a payload template is filled in ([Command.Payload]) are pure functions. [Service] keeps commands
// and executions in the database: a change is answered and published after its commit, and time-outs
// go on after a restart.
//
// A request is one message. It is not repeated: a device that is away gets it only if its session is
// persistent, and then with what remains of the time-out as its message expiry interval.
package commands

import (
	"errors"
	"fmt"
)

// What can be wrong with a request. Errors of this package match one of these with errors.Is, or come
// from the store.
var (
	ErrNotFound   = errors.New("not found")
	ErrConflict   = errors.New("conflict")
	ErrInvalid    = errors.New("invalid request")
	ErrQuota      = errors.New("quota exceeded")
	ErrTransition = errors.New("invalid state transition")
	errJSON       = errors.New("invalid payload")
)

// Error is a refusal: its kind is one of the sentinels.
type Error struct {
	Kind     error
	Message  string
	Resource string // with ErrConflict: what is in the way
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error { return refuse(ErrInvalid, format, args...) }
