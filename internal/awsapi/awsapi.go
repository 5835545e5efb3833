// Package awsapi is the REST face of berth: the control plane `iot` and the data planes `iot-data`
// and `iot-jobs-data`, on one host and port, as the AWS CLI and SDKs speak them (the rest-json
// protocol of AWS's service models).
//
// This package routes a request to its operation, asks who calls and whether the role may, and
// turns answers and errors into bytes. The operations themselves are in the sub-packages, one per
// plane and one file per noun; each hands its handlers to [New] as a [Set].
package awsapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/plainjson"
	"github.com/berth-iot/berth/policy"
)

// Services, by the endpoint prefix of their service models.
const (
	IoT         = "iot"
	IoTData     = "iot-data"
	IoTJobsData = "iot-jobs-data"
)

// Operation is one row of the table in operations.go.
type Operation struct {
	Service  string
	Method   string
	Path     string // {name} takes one segment, {name+} the rest
	Name     string
	ReadOnly bool // open to callers of the read-only role
}

// Handler carries one operation out. Its answer is written as JSON (nil as an empty body, a
// [*Response] as it says); its error becomes an AWS exception, see [ErrorOf].
type Handler func(ctx context.Context, req *Request) (any, error)

// Set is the handlers of one service by operation name.
type Set struct {
	Service  string
	Handlers map[string]Handler

	// Exception turns an error into an exception of the set's operations, where those differ from
	// what [ErrorOf] makes; nil for none. See Exceptions.
	Exception func(error) error
}

// Exceptions turns the errors of the set's handlers into those of AWS.
func (s Set) Exceptions(exception func(error) error) Set {
	s.Exception = exception
	for name, h := range s.Handlers {
		s.Handlers[name] = func(ctx context.Context, req *Request) (any, error) {
			answer, err := h(ctx, req)
			if err != nil {
				return nil, exception(err)
			}
			return answer, nil
		}
	}
	return s
}

// Roles of a caller that signs its requests.
const (
	RoleAdmin    = "admin"
	RoleReadOnly = "read-only"
)

// Caller is who sent a request: the holder of an access key, a device with its certificate, or a
// principal that brings its policies along.
type Caller struct {
	AccessKeyID   string // or the user of a console session
	Role          string // with AccessKeyID: RoleAdmin or RoleReadOnly
	Service       string // from the credential scope: iot, iotdata, iotdevicegateway, iot-jobs-data, execute-api
	CertificateID string // of a client certificate, without a signature

	// Principal is who has temporary credentials, by their access key identifier, or whom a custom
	// authorizer let in; Access is what it may do. The fields above but Service are then empty.
	Principal string
	Access    *policy.Set
}

// Device reports whether the caller is a device that did not sign its request.
func (c *Caller) Device() bool { return c.AccessKeyID == "" && c.Service == "" }

// Name is what logs and messages call the caller.
func (c *Caller) Name() string {
	switch {
	case c.AccessKeyID != "":
		return c.AccessKeyID
	case c.CertificateID != "":
		return c.CertificateID
	}
	return c.Principal
}

// Config is what a Handler must be told.
type Config struct {
	// Authenticate says who sent the request; its error becomes the answer, so an *Error chooses
	// type and status. It is called once, with the whole body.
	Authenticate func(r *http.Request, body []byte) (Caller, error)
	// MaxBody is the largest body in bytes; default 1 MiB.
	MaxBody int64
	Log     *slog.Logger
	// Observe, if set, is called after every answer; op is nil for a path that is no operation.
	Observe func(op *Operation, status int, took time.Duration)
	// Changed, if set, is called after every answer of the control plane to a caller with an access key
	// that may have changed something. It must not wait.
	Changed func(r *http.Request, caller Caller, operation string, body []byte, status int)
}

// API serves the three planes. It is an http.Handler.
type API struct {
	cfg    Config
	routes *route
}

// New builds the API from the table of operations and the handlers of the planes. An error names a
// handler that is not in the table.
func New(cfg Config, sets ...Set) (*API, error) {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 1 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	handlers := make(map[[2]string]Handler)
	for _, set := range sets {
		for name, h := range set.Handlers {
			handlers[[2]string{set.Service, name}] = h
		}
	}
	api := &API{cfg: cfg, routes: new(route)}
	for _, op := range Operations() {
		key := [2]string{op.Service, op.Name}
		api.routes.add(&endpoint{Operation: op, handler: handlers[key]})
		delete(handlers, key)
	}
	for key := range handlers {
		return nil, fmt.Errorf("no operation %s in service %s", key[1], key[0])
	}
	return api, nil
}

// Lookup returns the operation that a request of a caller means; nil for none.
func (a *API) Lookup(r *http.Request, caller Caller) *Operation {
	end, _, err := a.routes.find(r.Method, r.URL.EscapedPath(), caller)
	if err != nil {
		return nil
	}
	return &end.Operation
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	id := uuid.NewString()
	w.Header().Set("x-amzn-RequestId", id)
	op, caller, body, answer, err := a.serve(w, r, id)
	status := http.StatusOK
	if err != nil {
		status = a.writeError(w, err)
	} else {
		status = a.write(w, answer)
	}
	if a.cfg.Changed != nil && op != nil && op.Service == IoT && !op.ReadOnly && caller.AccessKeyID != "" {
		a.cfg.Changed(r, caller, op.Name, body, status)
	}
	took := time.Since(start)
	level, attrs := slog.LevelDebug, []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", status),
		slog.Duration("took", took), slog.String("request_id", id), slog.String("remote", r.RemoteAddr),
		slog.String("principal", caller.Name()),
	}
	if op != nil {
		attrs = append(attrs, slog.String("operation", op.Name))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	if status >= 500 && status != http.StatusNotImplemented {
		level = slog.LevelError
	}
	a.cfg.Log.LogAttrs(r.Context(), level, "request", attrs...)
	if a.cfg.Observe != nil {
		a.cfg.Observe(op, status, took)
	}
}

func (a *API) serve(w http.ResponseWriter, r *http.Request, id string) (*Operation, Caller, []byte, any, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.cfg.MaxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return nil, Caller{}, nil, nil, &Error{Type: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge,
				Message: fmt.Sprintf("the request body is larger than %d bytes", tooLarge.Limit)}
		}
		return nil, Caller{}, nil, nil, invalid("the request body could not be read: %v", err)
	}
	caller, err := a.cfg.Authenticate(r, body)
	if err != nil {
		return nil, caller, body, nil, err
	}
	end, vars, err := a.routes.find(r.Method, r.URL.EscapedPath(), caller)
	if err != nil {
		return nil, caller, body, nil, err
	}
	op := &end.Operation
	if err := authorize(op, caller); err != nil {
		return op, caller, body, nil, err
	}
	if end.handler == nil {
		return op, caller, body, nil, &Error{Type: "NotImplementedException", Status: http.StatusNotImplemented,
			Message: fmt.Sprintf("berth does not implement %s (service %s) yet", op.Name, op.Service)}
	}
	req := &Request{Operation: op, Caller: caller, Body: body, ID: id, HTTP: r, vars: vars, query: r.URL.Query()}
	for _, values := range req.query {
		for _, v := range values {
			if err := storable(v); err != nil {
				return op, caller, body, nil, err
			}
		}
	}
	answer, err := end.handler(r.Context(), req)
	return op, caller, body, answer, err
}

// authorize holds the read-only role to reading, and whoever has policies to the data planes.
func authorize(op *Operation, caller Caller) error {
	switch {
	case caller.AccessKeyID != "" && (caller.Role == RoleAdmin || op.ReadOnly):
		return nil
	case caller.AccessKeyID == "" && (caller.CertificateID != "" || caller.Access != nil) && op.Service != IoT:
		return nil
	}
	who := "access key " + caller.AccessKeyID
	switch {
	case caller.Access != nil:
		who = "principal " + caller.Principal
	case caller.AccessKeyID == "":
		who = "certificate " + caller.CertificateID
	}
	return &Error{Type: "AccessDeniedException", Status: http.StatusForbidden,
		Message: fmt.Sprintf("%s is not authorized to perform: iot:%s", who, op.Name)}
}

// Response is an answer that is not simply JSON with status 200.
type Response struct {
	Status int // default 200
	Header http.Header
	Body   []byte
}

func (a *API) write(w http.ResponseWriter, answer any) int {
	status, body := http.StatusOK, []byte(nil)
	switch v := answer.(type) {
	case nil:
	case *Response:
		for name, values := range v.Header {
			w.Header()[name] = values
		}
		if v.Status != 0 {
			status = v.Status
		}
		body = v.Body
	default:
		var err error
		if body, err = plainjson.Marshal(v); err != nil {
			return a.writeError(w, fmt.Errorf("encode answer: %w", err))
		}
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
	return status
}

func (a *API) writeError(w http.ResponseWriter, err error) int {
	e := ErrorOf(err)
	body, _ := plainjson.Marshal(struct {
		Message     string `json:"message"`
		ResourceID  string `json:"resourceId,omitempty"`
		ResourceARN string `json:"resourceArn,omitempty"`
	}{e.Message, e.ResourceID, e.ResourceARN})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("x-amzn-ErrorType", e.Type)
	w.WriteHeader(e.Status)
	w.Write(body)
	return e.Status
}
