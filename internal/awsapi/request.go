package awsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/registry"
)

// Request is a request to an operation, its caller known and allowed.
type Request struct {
	Operation *Operation
	Caller    Caller
	Body      []byte
	ID        string // of the request, as in x-amzn-RequestId
	HTTP      *http.Request

	vars  map[string]string
	query url.Values
}

// Path returns the value of a label of the path, unescaped.
func (r *Request) Path(name string) string { return r.vars[name] }

// Query returns a query parameter, or "".
func (r *Request) Query(name string) string { return r.query.Get(name) }

// Header returns a header, or "".
func (r *Request) Header(name string) string { return r.HTTP.Header.Get(name) }

// RequiredHeader returns a header that must be there.
func (r *Request) RequiredHeader(name, field string) (string, error) {
	if v := r.HTTP.Header.Get(name); v != "" {
		return v, nil
	}
	return "", Missing(field)
}

// storable refuses text that is not UTF-8 or holds U+0000: no resource has such a name, and not
// every database can be asked for one.
func storable(text string) error {
	if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
		return invalid("the request's path and query must be UTF-8 without U+0000")
	}
	return nil
}

// Bool returns a query parameter that is true or false, or otherwise if it is absent.
func (r *Request) Bool(name string, otherwise bool) (bool, error) {
	switch v := r.query.Get(name); v {
	case "":
		return otherwise, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must be true or false", v, name)
	}
}

// Int returns a query parameter that is a whole number, or nil if it is absent.
func (r *Request) Int(name string) (*int64, error) {
	v := r.query.Get(name)
	if v == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return nil, invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must be a whole number", v, name)
	}
	return &n, nil
}

// Page returns the page that the query asks for: a size from 1 to 250 and a token, whose names
// differ between operations (maxResults and nextToken, pageSize and marker).
func (r *Request) Page(size, token string) (registry.Page, error) {
	n, err := r.Int(size)
	if err != nil {
		return registry.Page{}, err
	}
	page := registry.Page{Token: r.query.Get(token)}
	if n != nil {
		rule := ""
		switch {
		case *n < 1:
			rule = "greater than or equal to 1"
		case *n > registry.MaxPage:
			rule = "less than or equal to " + strconv.Itoa(registry.MaxPage)
		}
		if rule != "" {
			return page, invalid("1 validation error detected: Value '%d' at '%s' failed to satisfy constraint: Member must have value %s", *n, size, rule)
		}
		page.Limit = int(*n)
	}
	return page, nil
}

// Decode reads the body as one JSON value into v; an empty body leaves v as it is.
func (r *Request) Decode(v any) error {
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return nil
	}
	if bytes.Contains(r.Body, []byte(`\u0000`)) {
		return invalid("the request body holds the character U+0000")
	}
	dec := json.NewDecoder(bytes.NewReader(r.Body))
	if err := dec.Decode(v); err != nil {
		syntax, kind := (*json.SyntaxError)(nil), (*json.UnmarshalTypeError)(nil)
		switch {
		case errors.As(err, &syntax):
			return invalid("the request body is not valid JSON: %v at byte %d", syntax, syntax.Offset)
		case errors.As(err, &kind):
			field := kind.Field
			if field == "" {
				field = "the request body"
			}
			return invalid("the request body has a wrong type: %s cannot be a JSON %s", field, kind.Value)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return invalid("the request body is not valid JSON: it ends too early")
		}
		return invalid("the request body is not valid: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return invalid("the request body is not valid JSON: more follows the first value")
	}
	return nil
}

// Time is a moment as rest-json writes it: seconds since 1970 as a number, with milliseconds. The
// zero time is null; use omitzero.
type Time time.Time

// IsZero is for omitzero.
func (t Time) IsZero() bool { return time.Time(t).IsZero() }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	ms := time.Time(t).UnixMilli()
	return strconv.AppendFloat(nil, float64(ms)/1000, 'f', -1, 64), nil
}
