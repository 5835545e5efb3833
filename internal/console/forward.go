package console

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/berth-iot/berth/internal/awsapi"
)

// csrfHeader carries the session's token of every request that is not a GET.
const csrfHeader = "X-Berth-Csrf"

// guarded lets requests with a session in, and those that are no GET only with its token.
func (c *Console) guarded(next func(http.ResponseWriter, *http.Request, *session)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, token := c.sessions.of(r)
		if s == nil {
			fail(w, http.StatusUnauthorized, "SessionExpiredException", "you are not signed in, or your session has ended")
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if !equal(r.Header.Get(csrfHeader), csrf(token)) || c.origins.Check(r) != nil {
				fail(w, http.StatusForbidden, "CsrfException", "the request has not the token of this session: load the page again")
				return
			}
		}
		next(w, r, s)
	})
}

// caller is the session as the API knows callers.
func (s *session) caller(service string) awsapi.Caller {
	role := awsapi.RoleReadOnly
	if s.currentRole() == Admin {
		role = awsapi.RoleAdmin
	}
	return awsapi.Caller{AccessKeyID: s.who, Role: role, Service: service}
}

func (s *session) currentRole() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.role
}

// maxAudited is the largest request body that the audit log looks at, in bytes; larger ones are
// passed on without being held.
const maxAudited = 1 << 20

// forward passes a request on to the API without prefix, as from the session's caller.
func (c *Console) forward(w http.ResponseWriter, r *http.Request, s *session, prefix, service string) {
	inner := r.Clone(context.WithValue(r.Context(), callerKey{}, s.caller(service)))
	inner.URL = trimmed(r.URL, prefix)
	inner.RequestURI = ""
	for _, name := range []string{"Authorization", "Cookie", csrfHeader} {
		inner.Header.Del(name)
	}
	w.Header().Set("Cache-Control", "no-store")
	op := c.cfg.Operation(inner)
	if op.Reads {
		c.cfg.API.ServeHTTP(w, inner)
		return
	}
	if s.currentRole() != Admin {
		fail(w, http.StatusForbidden, "AccessDeniedException", "you are signed in as a viewer, who can change nothing: "+op.Name+" needs an admin")
		return
	}
	var body []byte
	if r.ContentLength >= 0 && r.ContentLength <= maxAudited {
		var err error
		if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxAudited)); err != nil {
			fail(w, http.StatusBadRequest, "InvalidRequestException", "the body could not be read")
			return
		}
		inner.Body = io.NopCloser(bytes.NewReader(body))
	}
	e := entry{Who: s.who, Role: Admin, Source: address(r).String(), Operation: op.Name, Method: r.Method, Path: inner.URL.RequestURI(),
		Request: redacted(body), Before: redacted(c.peek(inner))}
	status := &statusWriter{ResponseWriter: w}
	c.cfg.API.ServeHTTP(status, inner)
	if e.Status = status.status; e.Status == 0 {
		e.Status = http.StatusOK
	}
	if e.Status < 300 {
		e.After = redacted(c.peek(inner))
	}
	c.note(r.Context(), e)
}

// trimmed takes a prefix off both forms of a path.
func trimmed(u *url.URL, prefix string) *url.URL {
	out := *u
	out.Path, out.RawPath = strings.TrimPrefix(u.Path, prefix), strings.TrimPrefix(u.RawPath, prefix)
	return &out
}

// peek returns what a GET of the same path answers: the resource that is about to change or has
// changed. Nil where there is none.
func (c *Console) peek(r *http.Request) []byte {
	get := r.Clone(r.Context())
	get.Method, get.Body, get.ContentLength = http.MethodGet, http.NoBody, 0
	get.Header.Del("Content-Type")
	if !c.cfg.Operation(get).Reads {
		return nil
	}
	rec := &recorder{header: make(http.Header)}
	c.cfg.API.ServeHTTP(rec, get)
	if rec.status != 0 && rec.status != http.StatusOK {
		return nil
	}
	return rec.body.Bytes()
}

// recorder keeps an answer, up to maxAudited bytes of it.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	if room := maxAudited - r.body.Len(); room > 0 {
		r.body.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// webSocket opens MQTT for the page. A browser sends the cookie along whoever's page asks, and tells
// that page's origin.
func (c *Console) webSocket(w http.ResponseWriter, r *http.Request, s *session) {
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host != r.Host {
		fail(w, http.StatusForbidden, "CrossOriginException", "the request came from another site's page")
		return
	}
	inner := r.Clone(context.WithValue(r.Context(), callerKey{}, s.caller("iotdevicegateway")))
	c.cfg.WebSocket(&heldWriter{w, s}, inner)
}

// heldWriter ties the connection that a WebSocket takes over to a session.
type heldWriter struct {
	http.ResponseWriter
	session *session
}

// Hijack implements http.Hijacker.
func (w *heldWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	held := &heldConn{Conn: conn, session: w.session}
	if !w.session.hold(held) {
		conn.Close()
		return nil, nil, net.ErrClosed
	}
	return held, rw, nil
}

// heldConn is a connection that its session closes.
type heldConn struct {
	net.Conn
	session *session
}

func (c *heldConn) Close() error {
	c.session.release(c)
	return c.Conn.Close()
}
