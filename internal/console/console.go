// Package console serves the web console: its pages, signing in to them, and the door through which
// the pages use the REST planes and MQTT.
//
// The pages are built from web/console into dist (see gen) and embedded. They call the same
// operations as every other client, under /console/api/SERVICE/PATH with a session's cookie instead
// of a signature; SERVICE is the service that a signature would name: iot, iotdata, iot-jobs-data, or
// berth for berth's own operations. Only there a cookie counts, so that a page of somebody else's
// cannot use the browser's session on the planes themselves. Every request but a GET needs the
// session's token in a header, and what changes something is written to the audit log.
package console

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/throttle"
)

// Roles of a session.
const (
	Admin  = "admin"
	Viewer = "viewer"
)

// Operation is what a request would do.
type Operation struct {
	Name  string // such as CreateThing
	Reads bool   // changes nothing
}

// Config is what the console works on.
type Config struct {
	Store *store.DB
	Keys  *accesskey.Keys
	Data  string // folder of the password's file
	// API answers the REST planes and /berth/. It must accept the caller that CallerOf returns.
	API http.Handler
	// Operation says what a request to the API would do.
	Operation func(r *http.Request) Operation
	// WebSocket upgrades a request to MQTT for the caller that CallerOf returns, until the time given.
	WebSocket http.HandlerFunc
	// Shared says that other servers have the store too: a session opened on one is good on all.
	Shared bool
	// AllowInsecure lets people sign in over plain HTTP from other machines.
	AllowInsecure bool
	Log           *slog.Logger
	Now           func() time.Time // default time.Now
}

// Console is an http.Handler for / and /console/.
type Console struct {
	cfg      Config
	mux      *http.ServeMux
	sessions *sessions
	throttle throttle.Throttle
	audit    *auditLog
	origins  *http.CrossOriginProtection
}

// Open prepares the tables, loads the sessions, and makes the password if there is none.
func Open(ctx context.Context, cfg Config) (*Console, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := ensurePassword(cfg.Data); err != nil {
		return nil, err
	}
	if err := cfg.Store.Migrate(ctx, "console", schema); err != nil {
		return nil, err
	}
	pages, err := newPages()
	if err != nil {
		return nil, err
	}
	documentation, err := newDocumentation()
	if err != nil {
		return nil, err
	}
	c := &Console{cfg: cfg, mux: http.NewServeMux(), audit: &auditLog{db: cfg.Store, now: cfg.Now}, origins: http.NewCrossOriginProtection(),
		throttle: throttle.Throttle{Limits: throttle.Limits{Free: 3, First: 500 * time.Millisecond, Longest: time.Minute, PerMinute: 60}}}
	if c.sessions, err = openSessions(ctx, cfg.Store, cfg.Now, c.stands); err != nil {
		return nil, err
	}
	c.sessions.shared = cfg.Shared
	c.mux.Handle("GET /{$}", pages.index())
	c.mux.Handle("GET /console/assets/{name}", pages)
	c.mux.Handle("GET /console/docs/{path...}", documentation)
	c.mux.Handle("GET /console/{$}", http.RedirectHandler("/", http.StatusFound))
	c.mux.HandleFunc("POST /console/api/sign-in", c.signIn)
	c.mux.HandleFunc("GET /console/api/session", c.describe)
	c.mux.Handle("POST /console/api/sign-out", c.guarded(c.signOut))
	c.mux.Handle("GET /console/api/mqtt", c.guarded(c.webSocket))
	for prefix, service := range map[string]string{"iot": "iot", "iotdata": "iotdata", "iot-jobs-data": "iot-jobs-data", "berth": "iot"} {
		c.mux.Handle("/console/api/"+prefix+"/", c.guarded(func(w http.ResponseWriter, r *http.Request, s *session) {
			path := "/console/api/" + prefix
			if prefix == "berth" {
				path = "/console/api" // leaves /berth/
			}
			c.forward(w, r, s, path, service)
		}))
	}
	return c, nil
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), serial=(self)")
	h.Set("Content-Security-Policy", contentSecurityPolicy(r))
	if !c.reachable(r) {
		fail(w, http.StatusMisdirectedRequest, "InsecureConnectionException",
			"the console is open over HTTPS, and over plain HTTP on this machine only: use the https:// address")
		return
	}
	c.mux.ServeHTTP(w, r)
}

// contentSecurityPolicy allows what the bundle holds and calls back to this server. The WebSocket's
// origin is written out for browsers in which 'self' leaves it out.
func contentSecurityPolicy(r *http.Request) string {
	connect := "'self'"
	if plainHost(r.Host) {
		scheme := "wss://"
		if r.TLS == nil {
			scheme = "ws://"
		}
		connect += " " + scheme + r.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src " + connect +
		"; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// plainHost reports whether a Host header holds nothing that means something in a policy.
func plainHost(host string) bool {
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]") == ""
}

// reachable keeps passwords off networks, and other people's host names that resolve to this machine
// away from the loopback listener.
func (c *Console) reachable(r *http.Request) bool {
	if r.TLS != nil || c.cfg.AllowInsecure {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func fail(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("x-amzn-ErrorType", kind)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"message": message})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}

type callerKey struct{}

// CallerOf returns who a request is from that came through the console.
func CallerOf(ctx context.Context) (awsapi.Caller, bool) {
	caller, ok := ctx.Value(callerKey{}).(awsapi.Caller)
	return caller, ok
}
