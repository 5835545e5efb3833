// Package rules is the rules engine (AWS IoT developer guide, "Rules for AWS IoT"): rules are
// statements of [github.com/berth-iot/berth/iotsql] with actions, and every message that crosses the
// router reaches those whose FROM matches its topic.
//
// A statement is evaluated where the message is published, unless it calls something outside the
// process. What is then to be done outside waits in a lane per destination, and, when the message was
// published with QoS 1, in the database first: its acknowledgement waits for that. Lanes try again
// with growing pauses, each at its own pace; what cannot be delivered is kept as a dead letter.
// Republishing happens in this process, one after the other, before the acknowledgement.
package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/hook"
	"github.com/berth-iot/berth/internal/outbound"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/rules/action"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/table"
	"github.com/berth-iot/berth/iotsql"
	"github.com/berth-iot/berth/topic"
)

// Kinds of errors.
var (
	ErrInvalid  = errors.New("invalid")
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrLimit    = errors.New("limit exceeded")
)

// Error is a refusal.
type Error struct {
	Kind    error
	Message string
	ARN     string // of what exists already
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Kind }

func invalid(format string, args ...any) error {
	return &Error{Kind: ErrInvalid, Message: fmt.Sprintf(format, args...)}
}

// Limits (AWS IoT Core endpoints and quotas, "AWS IoT Core rules engine limits and quotas").
const (
	MaxRules   = 1000
	MaxActions = 10
	MaxSize    = 256 << 10 // bytes of a rule
	MaxName    = 128
)

// Pace is how deliveries are tried again.
type Pace struct {
	First, Longest time.Duration // pauses; they double in between
	// Tries are how often a message of QoS 0 is tried, Age how long one of QoS 1 is, and ErrorAge how
	// long when its rule has an error action.
	Tries    int
	Age      time.Duration
	ErrorAge time.Duration
}

// DefaultPace keeps a message of QoS 1 for a day.
func DefaultPace() Pace {
	return Pace{First: time.Second, Longest: time.Minute, Tries: 3, Age: 24 * time.Hour, ErrorAge: time.Minute}
}

// Config is what a Service works with.
type Config struct {
	Store    *store.DB
	Router   *router.Router
	Registry *registry.Registry
	Shadows  *shadow.Service // may be nil
	Tables   *table.Tables   // may be nil
	Topics   topic.Rules
	Lambda   hook.Lambda
	// Connections says what the actions postgres and file work with.
	Connections action.ConnectionConfig
	// Object reads an object of S3: descriptors and schemas of decode. It may be nil.
	Object func(ctx context.Context, bucket, key string) ([]byte, error)
	// Seal and Unseal keep the secrets of actions from lying in the store in the clear; both may be nil.
	Seal   func(name string, plain []byte) []byte
	Unseal func(name string, sealed []byte) ([]byte, error)
	Log    *slog.Logger
	Pace   Pace // default DefaultPace
	// MaxRules is how many rules there may be, default MaxRules.
	MaxRules int
	Now      func() time.Time // default time.Now
}

// Service keeps rules and carries them out. Its methods may be called concurrently.
type Service struct {
	cfg      Config
	base     atomic.Pointer[string] // https://HOST:PORT
	services *action.Services
	objects  objects
	now      func() time.Time

	mu       sync.Mutex // changes of rules and destinations
	filters  map[string]uint32
	lastID   uint32
	rules    atomic.Pointer[snapshot]
	goals    atomic.Pointer[[]Destination]
	stats    sync.Map // name of a rule → *counters
	identity identity
	secrets  secrets
	watching chan struct{} // closed by endTails
	endTails func()
	messages sync.Pool
	outside  iotsql.Context // what is the same for every message

	inner   inner
	slow    chan slowJob
	queue   *queue
	run     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// snapshot is the rules at one moment.
type snapshot struct {
	byName   map[string]*rule
	byFilter map[uint32][]*rule // those that are enabled
}

// Open loads the rules and begins to carry them out.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxRules == 0 {
		cfg.MaxRules = MaxRules
	}
	if cfg.Pace == (Pace{}) {
		cfg.Pace = DefaultPace()
	}
	if err := cfg.Store.Migrate(ctx, "rules", schema); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, now: cfg.Now, filters: make(map[string]uint32), slow: make(chan slowJob, maxSlow)}
	s.run, s.cancel = context.WithCancel(context.Background())
	client := &http.Client{Transport: outbound.Transport(parallel),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.services = &action.Services{Topics: cfg.Topics, Lambda: cfg.Lambda, HTTP: client, Confirmed: s.confirmed, Publish: s.publish,
		AWS: &action.AWS{Region: cfg.Registry.Region(), Account: cfg.Registry.Account()}, Tables: cfg.Tables}
	s.identity, s.watching = newIdentity(), make(chan struct{})
	s.endTails = sync.OnceFunc(func() { close(s.watching) })
	s.outside = iotsql.Context{AccountID: cfg.Registry.Account(), Random: rand.Float64, UUID: uuid.NewString, ThingShadow: s.thingShadow,
		RegistryData: s.registryData, Lambda: s.lambda, DynamoDB: s.dynamoDB, Secret: s.secret, Descriptors: s.descriptors, AvroSchema: s.avroSchema}
	s.messages.New = func() any { return &evaluation{message: iotsql.NewMessage(new(iotsql.Context), nil)} }
	s.inner.ready.L = &s.inner.mu
	s.rules.Store(&snapshot{})
	if cfg.Connections.Log == nil {
		cfg.Connections.Log = cfg.Log
	}
	s.services.Connections = action.NewConnections(cfg.Connections)
	if err := s.loadDestinations(ctx); err != nil {
		return nil, err
	}
	var err error
	if s.queue, err = openQueue(ctx, s); err != nil {
		return nil, err
	}
	if err := s.loadStats(ctx); err != nil {
		return nil, err
	}
	if err := s.loadRules(ctx); err != nil {
		return nil, err
	}
	s.workers.Go(s.innerLoop)
	s.workers.Go(s.statsLoop)
	for range slowWorkers {
		s.workers.Go(s.slowLoop)
	}
	cfg.Router.Ingest(ingest{s})
	s.queue.resume()
	return s, nil
}

// SetBase tells the address of this server, https://HOST:PORT, which destinations are confirmed at.
func (s *Service) SetBase(address string) { s.base.Store(&address) }

// Close stops. What is in the database is delivered after the next Open. The store must still be open.
func (s *Service) Close() {
	defer s.services.Connections.Close()
	s.cancel()
	s.endTails()
	s.inner.mu.Lock()
	s.inner.closed = true
	s.inner.ready.Broadcast()
	s.inner.mu.Unlock()
	s.workers.Wait()
	s.saveStats(make(map[string]string))
}

func (s *Service) arn(resource string) string { return s.cfg.Registry.ARN(resource) }

// publish hands a message to the router and waits until it is kept.
func (s *Service) publish(ctx context.Context, p *router.Publication) error {
	done := make(chan error, 1)
	s.cfg.Router.Publish(p, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var schema = []string{`
	CREATE TABLE rule (name TEXT PRIMARY KEY, document BLOB NOT NULL, created_at BIGINT NOT NULL);
	CREATE TABLE rule_destination (id TEXT PRIMARY KEY, document BLOB NOT NULL);
	CREATE TABLE rule_delivery (id BIGINT PRIMARY KEY, lane TEXT NOT NULL, rule TEXT NOT NULL, body BLOB NOT NULL,
		created_at BIGINT NOT NULL, dead_at BIGINT NOT NULL, error TEXT NOT NULL);
	CREATE INDEX rule_delivery_lane ON rule_delivery (dead_at, lane, id)`, `
	CREATE TABLE rule_stats (rule TEXT PRIMARY KEY, body BLOB NOT NULL)`}

// Count counts the rules of a name.
const Count = `SELECT count(*) FROM rule WHERE name = ?`
