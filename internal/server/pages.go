package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/berth-iot/berth/internal/admin"
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/console"
	"github.com/berth-iot/berth/internal/trend"
)

// pages is the console with what it must know of the planes.
type pages struct {
	api     *awsapi.API
	own     *admin.Handler
	console *console.Console
}

func (p *pages) open(ctx context.Context, cfg *Config, c console.Config, own *admin.Handler) (err error) {
	p.own = own
	c.Data, c.AllowInsecure, c.Operation = cfg.Data, cfg.AllowInsecure, p.operation
	c.Shared = cfg.Cluster != ""
	p.console, err = console.Open(ctx, c)
	return err
}

// operation says what a request that came through the console would do.
func (p *pages) operation(r *http.Request) console.Operation {
	if strings.HasPrefix(r.URL.Path, "/berth/") {
		pattern, reads := p.own.Lookup(r)
		return console.Operation{Name: pattern, Reads: reads}
	}
	caller, _ := console.CallerOf(r.Context())
	if op := p.api.Lookup(r, caller); op != nil {
		return console.Operation{Name: op.Name, Reads: op.ReadOnly}
	}
	return console.Operation{Name: r.Method + " of an unknown path", Reads: r.Method == http.MethodGet}
}

func (p *pages) auditLog(ctx context.Context, n int, before int64, path string) (any, error) {
	return p.console.AuditEntries(ctx, n, before, path)
}

// changed notes a change in the audit log, once the console is there.
func (p *pages) changed(r *http.Request, caller awsapi.Caller, operation string, body []byte, status int) {
	p.console.Changed(r, caller, operation, body, status)
}

// sample reads the counters that the console draws.
func (s *Server) sample() trend.Sample {
	c := s.sessions.Counts()
	return trend.Sample{Connected: c.ConnectedNow, Connects: c.ConnectsTried, Refused: c.ConnectsRefused, Received: c.MessagesReceived, Sent: c.MessagesSent,
		Dropped: c.MessagesDropped, Denied: c.Denied, Handshakes: s.broker.Counters().HandshakesFailed.Load()}
}
