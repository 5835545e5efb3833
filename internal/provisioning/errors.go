package provisioning

import (
	"errors"
	"fmt"
)

// What can be wrong with a template or a request. Errors of this package match one of these with
// errors.Is, or come from the registry, the certificate authority or the store.
var (
	ErrTemplate   = errors.New("invalid provisioning template")
	ErrParameters = errors.New("invalid parameters")
	ErrToken      = errors.New("invalid certificate ownership token")
	ErrDenied     = errors.New("provisioning denied")
	ErrTaskExists = errors.New("a thing registration task is already running")
)

// Error is a refusal: its kind is one of the sentinels and its message says why.
type Error struct {
	Kind    error
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}
