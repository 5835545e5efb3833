// Package server builds berth out of its packages, once, and runs it.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/admin"
	"github.com/berth-iot/berth/internal/authority"
	"github.com/berth-iot/berth/internal/awsapi"
	indexapi "github.com/berth-iot/berth/internal/awsapi/fleetindex"
	"github.com/berth-iot/berth/internal/awsapi/iot"
	"github.com/berth-iot/berth/internal/awsapi/iotauthn"
	"github.com/berth-iot/berth/internal/awsapi/iotcommands"
	"github.com/berth-iot/berth/internal/awsapi/iotdata"
	"github.com/berth-iot/berth/internal/awsapi/iotdefender"
	"github.com/berth-iot/berth/internal/awsapi/iotjobs"
	"github.com/berth-iot/berth/internal/awsapi/iotlogging"
	"github.com/berth-iot/berth/internal/awsapi/iotota"
	"github.com/berth-iot/berth/internal/awsapi/iotpackages"
	"github.com/berth-iot/berth/internal/awsapi/iotrules"
	"github.com/berth-iot/berth/internal/backup"
	"github.com/berth-iot/berth/internal/broker"
	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/codesign"
	"github.com/berth-iot/berth/internal/commands"
	"github.com/berth-iot/berth/internal/console"
	"github.com/berth-iot/berth/internal/defender"
	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/eventconfig"
	"github.com/berth-iot/berth/internal/files"
	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/hook"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/lifecycle"
	"github.com/berth-iot/berth/internal/metrics"
	"github.com/berth-iot/berth/internal/ota"
	"github.com/berth-iot/berth/internal/packages"
	"github.com/berth-iot/berth/internal/presence"
	"github.com/berth-iot/berth/internal/provisioning"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/rules"
	"github.com/berth-iot/berth/internal/seal"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/stream"
	"github.com/berth-iot/berth/internal/table"
	"github.com/berth-iot/berth/internal/trend"
)

// Server is a running berth.
type Server struct {
	// Ready says where it can be reached.
	Ready Ready

	cfg      Config
	log      *slog.Logger
	lock     *os.File
	db       *store.DB
	routes   *router.Router
	node     *cluster.Node // nil without a cluster
	shadows  *shadow.Service
	jobs     *jobs.Service
	streams  *stream.Service
	updates  *ota.Service
	commands *commands.Service
	packages *packages.Catalogue
	defender *defender.Service
	devices  *provisioning.Service
	index    *fleetindex.Service
	tables   *table.Tables
	rules    *rules.Service
	backups  *backup.Schedule // nil for none
	sessions *session.Sessions
	broker   *broker.Broker
	https    *http.Server
	http     *http.Server
	closers  []net.Listener
	failed   chan error
	cancel   context.CancelFunc
}

// Ready is where a server can be reached, as written to DATA/endpoint.json. Ports are those bound.
type Ready struct {
	Endpoint  string `json:"endpoint"`
	MQTTPort  int    `json:"mqttPort"`
	HTTPSPort int    `json:"httpsPort"`
	HTTPPort  int    `json:"httpPort,omitempty"`
	PlainPort int    `json:"plainPort,omitempty"`
	Region    string `json:"region"`
	Account   string `json:"account"`
}

// Run starts a server, calls ready, and serves until ctx ends; then it shuts down in order.
func Run(ctx context.Context, cfg Config, log *slog.Logger, ready func(Ready)) error {
	s, err := Start(ctx, cfg, log)
	if err != nil {
		return err
	}
	if ready != nil {
		ready(s.Ready)
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-s.failed:
	case failure = <-s.db.Lost():
	}
	return errors.Join(failure, s.Close())
}

// Start builds and starts a server: store, registry, router, services, sessions, faces. It is the
// architecture in one function.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (_ *Server, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	collectSeldom()
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{cfg: cfg, log: log, failed: make(chan error, 8), cancel: cancel}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()

	if cfg.Database == "" { // PostgreSQL has a lock of its own
		if s.lock, err = lock(cfg.Data); err != nil {
			return nil, err
		}
	}
	if s.db, s.node, err = cfg.store(ctx, log); err != nil {
		return nil, err
	}
	if s.tables, err = table.Open(ctx, cfg.Data, table.Config{Database: cfg.TableDatabase, Retention: cfg.TableRetention, MaxBytes: cfg.TableMaxBytes, Log: log}); err != nil {
		return nil, err
	}
	certs, err := ca.Open(cfg.Data, ca.Options{Names: cfg.names, Passphrase: []byte(cfg.CAPassphrase), Log: log})
	if err != nil {
		return nil, err
	}
	keys, err := accesskey.Open(ctx, s.db, cfg.Data, nil)
	if err != nil {
		return nil, err
	}
	if _, _, err = keys.EnsureAdmin(ctx, cfg.Data, cfg.AdminKeyID, cfg.AdminSecret); err != nil {
		return nil, err
	}
	reg, err := registry.Open(ctx, s.db, registry.Config{Account: cfg.Account, Region: cfg.Region})
	if err != nil {
		return nil, err
	}
	auth, err := authority.New(reg, cfg.PlainPolicy)
	if err != nil {
		return nil, err
	}

	auth.SetKeys(func(id string) bool {
		_, ok := keys.Lookup(id)
		return ok || id == console.PasswordUser // whose connections the console ends
	})

	limits := cfg.limits()
	denials := denial.NewLog(1000)
	history := presence.NewLog(1 << 16)
	routes, err := router.New(ctx, limits.Topics, s.db)
	if err != nil {
		return nil, err
	}
	s.routes = routes
	routes.LimitRetained(limits.MaxRetained, limits.MaxRetainedBytes)
	if s.shadows, err = shadow.Open(ctx, shadow.Config{Store: s.db, Router: routes, Log: log}); err != nil {
		return nil, err
	}
	routes.Own(s.shadows.Owner)
	hooks := hook.New(cfg.hookCommands())
	hooks.Lambda = new(lambdas)
	s.devices, err = provisioning.Open(ctx, provisioning.Config{Store: s.db, Registry: reg, Authority: certs, Router: routes, Log: log,
		Hooks: hooks, TaskFiles: filepath.Join(cfg.Data, "files"),
		Expired: func(ids []string) { s.sessions.Reauthorize(run, ids) }})
	if err != nil {
		return nil, err
	}
	routes.Own(s.devices.Owner)
	auth.SetNewcomers(s.devices)
	events := lifecycle.New(routes, log)
	if s.index, err = fleetindex.Open(ctx, fleetindex.Config{Store: s.db, Registry: reg, Shadows: s.shadows, Log: log}); err != nil {
		return nil, err
	}
	if s.defender, err = defender.Open(ctx, defender.Config{Leads: s.leads(), Store: s.db, Router: routes, Registry: reg, Log: log}); err != nil {
		return nil, err
	}
	routes.Own(s.defender.Owner)
	nodes, err := joinRouter(s.node, routes)
	if err != nil {
		return nil, err
	}
	s.sessions, err = session.Open(ctx, session.Config{Node: s.node, Interest: nodes, Limits: limits, Router: routes, Store: s.db, Authority: auth, Denials: denials,
		Lifecycle: session.Listeners{events, s.index.Lifecycle(), s.defender, history}, Log: log})
	s.defender.ObserveViolations(s.index.SetViolations)
	if err != nil {
		return nil, err
	}
	reg.SetLive(live{s.sessions})
	keys.OnEnd(func(id string) { s.sessions.Reauthorize(run, []string{id}) })
	kinds, err := eventconfig.Open(ctx, s.db, nil)
	if err != nil {
		return nil, err
	}
	reg.SetEvents(kinds.Enabled)
	if err := iotlogging.Open(ctx, s.db); err != nil {
		return nil, err
	}
	stored, err := files.Open(ctx, s.db, filepath.Join(cfg.Data, "files"), nil)
	if err != nil {
		return nil, err
	}
	where := &addresses{files: stored}
	if s.packages, err = packages.Open(ctx, packages.Config{Store: s.db, Registry: reg, Shadows: s.shadows, Log: log}); err != nil {
		return nil, err
	}
	if s.jobs, err = jobs.Open(ctx, jobs.Config{Store: s.db, Router: routes, Registry: reg, Log: log, Enabled: kinds.Enabled,
		Sign: where.sign, Fetch: where.fetch, Packages: s.packages}); err != nil {
		return nil, err
	}
	reg.Observe(s.jobs)
	routes.Own(s.jobs.Owner)
	if s.commands, err = commands.Open(ctx, commands.Config{Store: s.db, Router: routes, Registry: reg, Log: log}); err != nil {
		return nil, err
	}
	routes.Own(s.commands.Owner)
	if s.streams, err = stream.Open(ctx, stream.Config{Store: s.db, Router: routes, Files: stored, Log: log, ARN: reg.ARN, Fetch: where.object(cfg.Region)}); err != nil {
		return nil, err
	}
	routes.Own(s.streams.Owner)
	secrets, err := seal.Open(cfg.Data, false)
	if err != nil {
		return nil, err
	}
	if err := s.shareFiles(run, stored, secrets); err != nil {
		return nil, err
	}
	if s.rules, err = rules.Open(ctx, rules.Config{Store: s.db, Router: routes, Registry: reg, Shadows: s.shadows, Tables: s.tables, Topics: limits.Topics, MaxRules: cfg.MaxRules,
		Lambda: hooks.Lambda, Object: where.bytes(cfg.Region), Connections: cfg.connections(), Seal: secrets.Seal, Unseal: secrets.Unseal, Log: log}); err != nil {
		return nil, err
	}
	profiles, err := codesign.Open(ctx, s.db, cfg.Data, nil)
	if err != nil {
		return nil, err
	}
	if s.updates, err = ota.Open(ctx, ota.Config{Leads: s.leads(), Store: s.db, Jobs: s.jobs, Streams: s.streams, Profiles: profiles, Log: log, ARN: reg.ARN,
		Address: objectAddress(cfg.Region)}); err != nil {
		return nil, err
	}
	others := &identities{db: s.db, secrets: secrets, registry: reg, certs: certs, hooks: hooks, sessions: s.sessions, denials: denials, log: log}
	if err := others.open(ctx, &cfg); err != nil {
		return nil, err
	}
	s.broker = &broker.Broker{Sessions: s.sessions, Certificates: auth, Newcomers: s.devices, CustomAuth: others.logins, Domains: others.domains,
		ServerCertificate: certs.GetCertificate, Denials: denials, Log: log, Handshakes: broker.Handshakes{Computing: cfg.Handshakes}}

	if s.broker.Tickets, err = broker.OpenTickets(cfg.Data, log); err != nil {
		return nil, err
	}
	caller := &callers{registry: reg, authority: auth, keys: keys, issuer: others.issuer, domains: others.domains, logins: others.logins, broker: s.broker}
	caller.verify(cfg.Region)
	gauges := metrics.New(s.sessions, s.broker, routes, s.shadows, s.devices, s.index, s.db)
	gauges.Tables(s.tables)
	gauges.Rules(s.rules)
	if s.backups, err = cfg.backups(run, log); err != nil {
		return nil, err
	}
	if s.backups != nil {
		gauges.Backups(s.backups)
	}
	jobsAPI := iotjobs.Config{Jobs: s.jobs, Events: kinds, Region: cfg.Region, Sessions: s.sessions, Access: auth}
	for kind, count := range taggable {
		reg.Taggable(kind, count)
	}
	pages := &pages{}
	api, err := awsapi.New(awsapi.Config{Authenticate: caller.authenticate, Log: log, Observe: gauges.Request, Changed: pages.changed},
		iot.Operations(iot.Config{Registry: reg, Authority: certs, Provisioning: s.devices, Endpoint: cfg.Endpoint}),
		iotdata.Operations(iotdata.Config{Router: routes, Sessions: s.sessions, Shadows: s.shadows, Limits: limits, Access: auth}),
		iotauthn.Operations(others.api()).Tag(reg, others.tagged()), iotjobs.ControlOperations(jobsAPI), iotjobs.DataOperations(jobsAPI),
		iotota.Operations(iotota.Config{Streams: s.streams, Updates: s.updates}).Tag(reg, map[string]string{
			"CreateStream": "stream/{streamId}", "CreateOTAUpdate": "otaupdate/{otaUpdateId}"}),
		iotrules.Operations(s.rules).Tag(reg, map[string]string{"CreateTopicRule": "rule/{ruleName}"}),
		indexapi.Operations(indexapi.Config{Index: s.index, Registry: reg}),
		iotcommands.ControlOperations(s.commands).Tag(reg, map[string]string{"CreateCommand": "command/{commandId}"}), iotcommands.DataOperations(s.commands),
		iotpackages.Operations(s.packages).Tag(reg, map[string]string{
			"CreatePackage": "package/{packageName}", "CreatePackageVersion": "package/{packageName}/version/{versionName}"}),
		iotdefender.Operations(s.defender).Tag(reg, map[string]string{
			"CreateSecurityProfile": "securityprofile/{securityProfileName}", "CreateCustomMetric": "custommetric/{metricName}",
			"CreateDimension": "dimension/{name}", "CreateScheduledAudit": "scheduledaudit/{scheduledAuditName}"}),
		iotlogging.Operations(s.db))
	if err != nil {
		return nil, err
	}
	root, err := certs.RootPEM()
	if err != nil {
		return nil, err
	}
	moves := trend.New(s.sample)
	pages.api = api
	own := admin.New(admin.Config{Cluster: s.node, Keys: keys, Denials: denials, Authority: auth, Registry: reg, Files: stored, Provisioning: s.devices, Profiles: profiles, Domains: others.domains, Users: others.users, Tables: s.tables, Rules: s.rules,
		Presence: history, Trend: moves, Talkers: s.sessions.Talkers, CA: root, Server: func() any { return s.Ready }, AuditLog: pages.auditLog, Changed: pages.changed,
		Authenticate: caller.authenticate, AuthenticateHash: caller.signed})

	// What the console forwards to: not MQTT, which it opens by itself for pages of its own origin.
	planes := http.NewServeMux()
	planes.Handle("/", api)
	planes.Handle("/berth/", own)
	if err := s.sharePassword(ctx, secrets); err != nil {
		return nil, err
	}
	if err := pages.open(ctx, &cfg, console.Config{Store: s.db, Keys: keys, API: planes, WebSocket: caller.webSocket, Log: log}, own); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", planes)
	mux.Handle("GET /{$}", pages.console)
	mux.Handle("/console/", pages.console)
	mux.HandleFunc("GET /mqtt", caller.webSocket)
	mux.Handle("GET "+iotauthn.CredentialsPath, iotauthn.Credentials(others.credentials(caller, auth)))
	mux.Handle("GET /confirmdestination/{token}", iotrules.Confirmation(s.rules))
	mux.Handle("GET "+files.Path, stored.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.node != nil {
		gauges.Cluster(s.node, nodes)
		s.follow(reg, keys, kinds, others)
		s.node.OnChange(files.Feed, stored.Reload)
		s.node.OnChange(console.Feed, pages.console.Reload)
		if err := s.startNode(run, nodes, secrets); err != nil {
			return nil, err
		}
	}
	if err := routes.Loaded(); err != nil {
		return nil, err
	}
	if err := s.listen(run, mux, gauges.Handler()); err != nil {
		return nil, err
	}
	base := "https://" + net.JoinHostPort(s.Ready.Endpoint, strconv.Itoa(s.Ready.HTTPSPort))
	where.base.Store(&base)
	s.rules.SetBase(base)
	go moves.Loop(run)
	go reg.EventLoop(run, events.Registry)
	s.index.Start()
	go s.shadows.SweepLoop(run)
	go s.devices.SweepLoop(run)
	go pages.console.SweepLoop(run)
	go collectLoop(run, s.sessions, s.index.Loaded)
	go certs.RenewLoop(run)
	go s.broker.Tickets.RotateLoop(run, log)
	go certs.KeyLoop(run)
	return s, s.announce()
}

// names are the names and addresses of this host and of the endpoint, for the server certificate.
func (c *Config) names() []string { return append(ca.LocalNames(), c.Endpoint) }

// listen opens every listener before it serves any, so that a port in use is found at once.
func (s *Server) listen(ctx context.Context, mux, metrics http.Handler) error {
	listen := s.cfg.Listen
	if listen == nil {
		listen = net.Listen
	}
	open := func(name, addr string) (net.Listener, int, error) {
		l, err := listen("tcp", addr)
		if err != nil {
			return nil, 0, fmt.Errorf("listen for %s: %w", name, err)
		}
		s.closers = append(s.closers, l)
		return l, l.Addr().(*net.TCPAddr).Port, nil
	}
	mqtt, mqttPort, err := open("mqtt", s.cfg.MQTT)
	if err != nil {
		return err
	}
	https, httpsPort, err := open("https", s.cfg.HTTPS)
	if err != nil {
		return err
	}
	s.Ready = Ready{Endpoint: s.cfg.Endpoint, MQTTPort: mqttPort, HTTPSPort: httpsPort, Region: s.cfg.Region, Account: s.cfg.Account}
	errorLog := slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	newServer := func(h http.Handler) *http.Server {
		return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second,
			IdleTimeout: 120 * time.Second, MaxHeaderBytes: 64 << 10, ErrorLog: errorLog}
	}
	s.https = newServer(mux)
	s.closers = append(s.closers, s.broker.HTTP())
	s.serve("mqtt", func() error { return s.broker.ServeTLS(ctx, mqtt, false) })
	s.serve("https", func() error { return s.broker.ServeTLS(ctx, https, true) })
	s.serve("https", func() error { return s.https.Serve(s.broker.HTTP()) })

	if s.cfg.HTTP != "" {
		l, port, err := open("http", s.cfg.HTTP)
		if err != nil {
			return err
		}
		s.Ready.HTTPPort = port
		local := http.NewServeMux()
		local.Handle("/", mux)
		local.Handle("GET /metrics", metrics)
		local.Handle("GET /debug/pprof/", here(pprof.Index))
		local.Handle("GET /debug/pprof/profile", here(pprof.Profile))
		local.Handle("GET /debug/pprof/trace", here(pprof.Trace))
		s.http = newServer(local)
		s.serve("http", func() error { return s.http.Serve(l) })
	}
	if s.cfg.MQTTPlain != "" {
		l, port, err := open("mqtt-plain", s.cfg.MQTTPlain)
		if err != nil {
			return err
		}
		s.Ready.PlainPort = port
		s.serve("mqtt-plain", func() error { return s.broker.ServePlain(ctx, l) })
	}
	return nil
}

// here lets requests of this machine through, by its address and to one of its names: a page of a browser
// could send others.
func here(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		name, _ := netip.ParseAddr(host)
		if !source(r).IsLoopback() || host != "localhost" && !name.IsLoopback() {
			http.Error(w, "this is for the machine itself, by the name localhost", http.StatusForbidden)
			return
		}
		next(w, r)
	})
}

func (s *Server) serve(name string, serve func() error) {
	go func() {
		if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.failed <- fmt.Errorf("serve %s: %w", name, err)
		}
	}()
}

// announce writes DATA/endpoint.json for the commands that talk to this server.
func (s *Server) announce() error {
	b, err := json.MarshalIndent(s.Ready, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(s.cfg.Data, "endpoint.json")
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write endpoint.json: %w", err)
	}
	return os.Rename(path+".new", path)
}

// readyz answers 200 when a write reaches the disk.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	err := s.db.Available()
	if err == nil && s.node != nil && !s.node.Alive() {
		err = errors.New("the lease of this node has ended")
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		err = s.db.Probe(ctx)
	}
	if err != nil {
		http.Error(w, "store: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// shutdownTimeout bounds an orderly shutdown.
const shutdownTimeout = 20 * time.Second

// Close shuts down in the reverse order of Start: no new connections, then sessions, then services,
// then the store.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for _, l := range s.closers {
		l.Close()
	}
	var errs []error
	if s.sessions != nil {
		errs = append(errs, s.sessions.Close(ctx))
	}
	if s.rules != nil {
		s.rules.EndTails() // requests that would not end by themselves
	}
	for _, h := range []*http.Server{s.https, s.http} {
		if h != nil {
			errs = append(errs, h.Shutdown(ctx))
		}
	}
	s.cancel()
	if s.backups != nil {
		s.backups.Wait()
	}
	if s.rules != nil {
		s.rules.Close()
	}
	if s.index != nil {
		s.index.Close()
	}
	if s.devices != nil {
		s.devices.Close()
	}
	if s.defender != nil {
		s.defender.Close()
	}
	if s.packages != nil {
		s.packages.Close()
	}
	if s.shadows != nil {
		s.shadows.Close()
	}
	if s.updates != nil {
		s.updates.Close()
	}
	if s.streams != nil {
		s.streams.Close()
	}
	if s.jobs != nil {
		s.jobs.Close()
	}
	if s.commands != nil {
		s.commands.Close()
	}
	if s.tables != nil {
		errs = append(errs, s.tables.Close())
	}
	if s.node != nil {
		errs = append(errs, s.node.Leave(ctx))
	}
	if s.routes != nil {
		s.routes.Loaded() // of a start that failed
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// live tells sessions what the registry changed.
type live struct{ sessions *session.Sessions }

func (l live) PrincipalsChanged(ids []string) { l.sessions.Reauthorize(context.Background(), ids) }
