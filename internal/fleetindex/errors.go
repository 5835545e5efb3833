package fleetindex

import (
	"errors"
	"fmt"
)

// What can be wrong with a request; queries that cannot be understood are a *QueryError. Errors of
// this package match one of these with errors.Is, or come from the registry or the store.
var (
	ErrNotFound        = errors.New("not found")
	ErrAlreadyExists   = errors.New("already exists")
	ErrInvalid         = errors.New("invalid request")
	ErrNotReady        = errors.New("index is not ready")
	ErrAggregation     = errors.New("invalid aggregation")
	ErrVersionConflict = errors.New("version conflict")
	ErrLimit           = errors.New("limit exceeded")
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

func failAt(offset int, format string, args ...any) error {
	return &QueryError{offset, fmt.Sprintf(format, args...)}
}
