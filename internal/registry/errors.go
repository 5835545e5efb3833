package registry

import (
	"errors"
	"fmt"
)

// What can be wrong with a request. Errors of this package match one of these with errors.Is, or
// come from the store.
var (
	ErrNotFound              = errors.New("not found")
	ErrAlreadyExists         = errors.New("already exists")
	ErrInvalid               = errors.New("invalid request")
	ErrVersionConflict       = errors.New("version conflict")
	ErrVersionsLimit         = errors.New("too many versions")
	ErrDeleteConflict        = errors.New("still in use")
	ErrLimit                 = errors.New("limit exceeded")
	ErrMalformedPolicy       = errors.New("malformed policy")
	ErrCertificateState      = errors.New("certificate state does not allow this")
	ErrCertificateValidation = errors.New("invalid certificate")
	ErrCertificateConflict   = errors.New("ambiguous CA certificate")
	ErrRegistrationCode      = errors.New("registration code does not match")
	ErrTransferConflict      = errors.New("certificate is still attached")
	ErrTransferCompleted     = errors.New("transfer is already complete")
)

// Error is a refusal: its kind is one of the sentinels and its message says what, of which object.
type Error struct {
	Kind    error
	Message string
	ID, ARN string // with ErrAlreadyExists: the resource that is in the way
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func exists(id, arn, format string, args ...any) error {
	return &Error{Kind: ErrAlreadyExists, Message: fmt.Sprintf(format, args...), ID: id, ARN: arn}
}
