package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
)

// apiError says what was asked and what the API answered; the request's technical details stay out.
func apiError(what string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return &refusal{what: what, api: api}
	}
	var op *smithy.OperationError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// refusal is an exception of the API with what was asked.
type refusal struct {
	what string
	api  smithy.APIError
}

func (e *refusal) Error() string {
	if e.api.ErrorMessage() == "" {
		return e.what + ": " + e.api.ErrorCode()
	}
	return fmt.Sprintf("%s: %s (%s)", e.what, e.api.ErrorMessage(), e.api.ErrorCode())
}

func (e *refusal) Unwrap() error { return e.api }

// isException reports whether the API answered with the exception of this name.
func isException(err error, name string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == name
}

// ownError is an exception of berth's own API, which has the form of AWS's.
func ownError(resp *http.Response, body []byte) error {
	var e struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &e)
	code, _, _ := strings.Cut(resp.Header.Get("X-Amzn-ErrorType"), ":")
	if code == "" {
		code = resp.Status
	}
	if e.Message == "" {
		e.Message = http.StatusText(resp.StatusCode)
	}
	return &exception{&smithy.GenericAPIError{Code: code, Message: e.Message}}
}

// exception words an exception as a refusal does.
type exception struct{ *smithy.GenericAPIError }

func (e *exception) Error() string { return fmt.Sprintf("%s (%s)", e.Message, e.Code) }
