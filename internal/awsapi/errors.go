package awsapi

import (
	"errors"
	"fmt"
	"net/http"
	"unicode"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/provisioning"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Error is an AWS exception.
type Error struct {
	Type                    string // such as ResourceNotFoundException
	Status                  int
	Message                 string
	ResourceID, ResourceARN string // of ResourceAlreadyExistsException
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

func invalid(format string, args ...any) *Error {
	return &Error{Type: "InvalidRequestException", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// Invalid returns an InvalidRequestException.
func Invalid(format string, args ...any) error { return invalid(format, args...) }

// Missing returns the exception for a required member that is not there, in AWS's words.
func Missing(field string) error {
	return invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", field)
}

// exception is what a kind of domain error is called by AWS. Status codes are those of the service
// model of `iot`; some are not what one would guess.
type exception struct {
	kind   error
	name   string
	status int
}

func exceptions() []exception {
	return []exception{
		{registry.ErrNotFound, "ResourceNotFoundException", 404},
		{registry.ErrAlreadyExists, "ResourceAlreadyExistsException", 409},
		{registry.ErrInvalid, "InvalidRequestException", 400},
		{registry.ErrVersionConflict, "VersionConflictException", 409},
		{registry.ErrVersionsLimit, "VersionsLimitExceededException", 409},
		{registry.ErrDeleteConflict, "DeleteConflictException", 409},
		{registry.ErrLimit, "LimitExceededException", 410},
		{registry.ErrMalformedPolicy, "MalformedPolicyException", 400},
		{registry.ErrCertificateState, "CertificateStateException", 406},
		{registry.ErrCertificateValidation, "CertificateValidationException", 400},
		{registry.ErrCertificateConflict, "CertificateConflictException", 409},
		{registry.ErrRegistrationCode, "RegistrationCodeValidationException", 400},
		{registry.ErrTransferConflict, "TransferConflictException", 409},
		{registry.ErrTransferCompleted, "TransferAlreadyCompletedException", 410},
		{ca.ErrCSR, "InvalidRequestException", 400},
		{provisioning.ErrTemplate, "InvalidRequestException", 400},
		{provisioning.ErrParameters, "InvalidRequestException", 400},
		{provisioning.ErrTaskExists, "TaskAlreadyExistsException", 400},
		{store.ErrText, "InvalidRequestException", 400},
		{store.ErrUnavailable, "ServiceUnavailableException", 503},
	}
}

// ErrorOf returns the exception for any error: an *Error is itself, errors of the domain packages
// have theirs, and all others are InternalFailureException without details.
func ErrorOf(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	for _, x := range exceptions() {
		if !errors.Is(err, x.kind) {
			continue
		}
		e := &Error{Type: x.name, Status: x.status, Message: sentence(err.Error())}
		if x.kind == store.ErrText || x.kind == store.ErrUnavailable {
			e.Message = sentence(x.kind.Error()) + "."
		}
		if refusal := (*registry.Error)(nil); errors.As(err, &refusal) {
			e.Message, e.ResourceID, e.ResourceARN = sentence(refusal.Message), refusal.ID, refusal.ARN
		}
		return e
	}
	return &Error{Type: "InternalFailureException", Status: http.StatusInternalServerError, Message: "An unexpected error has occurred."}
}

// sentence begins a message with a capital, as AWS does.
func sentence(s string) string {
	c, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(c)) + s[n:]
}
