// Package jobs sends remote operations to devices and follows their execution: jobs, their roll-out
// over things and groups, executions, time-outs, retries, abort criteria, schedules and templates. It
// follows the jobs chapters of the AWS IoT developer guide.
//
// What may happen to a job ([Status.After]) and to an execution ([ExecutionStatus.After]), how fast a
// job rolls out ([Rollout.Rate]), when it is given up ([Abort.Exceeded]), tried again
// ([Retry.Allows]) or paused ([Schedule.Open]) are pure functions. [Service] keeps the state in the
// database and carries out what they say: every change and what follows from it is one transaction,
// and messages go out after its commit, in the order of the commits. A restart continues where the
// last commit left off.
//
// Devices ask on reserved topics ([Service.Owner]); the REST planes call the methods.
package jobs

import (
	"errors"
	"fmt"
)

// What can be wrong with a request. Errors of this package match one of these with errors.Is, or
// come from the store or the registry.
var (
	ErrNotFound        = errors.New("not found")
	ErrAlreadyExists   = errors.New("already exists")
	ErrConflict        = errors.New("conflict")
	ErrInvalid         = errors.New("invalid request")
	ErrTransition      = errors.New("invalid state transition")
	ErrVersionMismatch = errors.New("version mismatch")
	ErrTerminal        = errors.New("terminal state reached")
	ErrLimit           = errors.New("limit exceeded")
	ErrThrottled       = errors.New("too many requests wait")
)

// Error is a refusal: its kind is one of the sentinels.
type Error struct {
	Kind    error
	Message string
	// State is the execution's present state, with ErrTransition and ErrVersionMismatch of a device's
	// update.
	State *ExecutionState
	// ARN is the resource in the way, with ErrAlreadyExists.
	ID, ARN string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// ExecutionState is where an execution stands.
type ExecutionState struct {
	Status  ExecutionStatus   `json:"status"`
	Details map[string]string `json:"statusDetails"`
	Version int64             `json:"versionNumber"`
}

func invalid(format string, args ...any) error { return refuse(ErrInvalid, format, args...) }
