// Package authorizer is custom authentication: authorizers are functions of the operator that
// decide, from a token, a user name and password or HTTP headers, who a client is and what it may
// do (AWS IoT developer guide, "Custom authentication").
//
// A function is a target of package hook. It answers with policies, which hold for the connection
// until it is asked again. Calls are bounded in time, and in number for each authorizer, so that a
// slow one delays nobody but its own clients.
//
// This package keeps the authorizers and asks them. What protocol the answer is for, and what
// becomes of the connection, is up to its callers.
package authorizer

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/hook"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Statuses of an authorizer.
const (
	Active   = "ACTIVE"
	Inactive = "INACTIVE"
)

// Authorizer is one authorizer. Those that the Service returns are shared: do not change them.
type Authorizer struct {
	Name, ARN         string
	Function          string            // a target of package hook
	TokenKeyName      string            // of the field that holds the token
	PublicKeys        map[string]string // RSA, PEM, by name; one of them verifies the token's signature
	SigningDisabled   bool              // fixed when it is created
	CacheHTTP         bool              // an answer holds for further requests on the same connection
	Status            string
	Created, Modified time.Time

	keys []*rsa.PublicKey
	gate *gate
}

// Config is what a Service works with.
type Config struct {
	Store *store.DB
	Hooks *hook.Caller
	ARN   func(resource string) string // such as registry.Registry.ARN
	Log   *slog.Logger
	Now   func() time.Time // default time.Now
	// InUse names the domain configuration that an authorizer is the default of, empty for none; nil for
	// never. It is called in the transaction that deletes one.
	InUse func(tx *store.Tx, name string) (domain string, err error)
}

// Service keeps authorizers and asks them. Its methods may be called concurrently.
type Service struct {
	cfg   Config
	write sync.Mutex // held from a change to the reading of its result
	state atomic.Pointer[state]
	cache cache
}

// state is all authorizers at one moment: there are few.
type state struct {
	names  []string // in order
	byName map[string]*Authorizer
	usual  string // the default authorizer, or ""
	active bool   // one of them is ACTIVE
}

// Count counts the authorizers of a name.
const Count = `SELECT count(*) FROM authorizer WHERE name = ?`

var schema = []string{`
CREATE TABLE authorizer (
	name TEXT PRIMARY KEY, function TEXT NOT NULL, token_key TEXT NOT NULL, public_keys TEXT NOT NULL, signing_disabled BIGINT NOT NULL,
	cache_http BIGINT NOT NULL, status TEXT NOT NULL, created BIGINT NOT NULL, modified BIGINT NOT NULL
);
CREATE TABLE authorizer_default (one BIGINT PRIMARY KEY, name TEXT NOT NULL)`}

// Open prepares the tables and loads the authorizers.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &hook.Caller{}
	}
	if err := cfg.Store.Migrate(ctx, "authorizer", schema); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, cache: cache{entries: make(map[cacheKey]cached)}}
	s.state.Store(&state{})
	return s, s.load(ctx)
}

// query runs a query of the store or of a transaction.
type query func(query string, args []any, scan func(row store.Row) error) error

func (s *Service) load(ctx context.Context) error {
	st, err := s.read(func(query string, args []any, scan func(row store.Row) error) error {
		return s.cfg.Store.Query(ctx, query, args, scan)
	})
	if err != nil {
		return fmt.Errorf("read authorizers: %w", err)
	}
	s.state.Store(st)
	s.cache.clear()
	return nil
}

func (s *Service) read(query query) (*state, error) {
	old := s.state.Load()
	st := &state{byName: make(map[string]*Authorizer)}
	err := query(`SELECT name, function, token_key, public_keys, signing_disabled, cache_http, status, created, modified
		FROM authorizer ORDER BY name`, nil, func(row store.Row) error {
		var a Authorizer
		var keys string
		var created, modified int64
		if err := row.Scan(&a.Name, &a.Function, &a.TokenKeyName, &keys, &a.SigningDisabled, &a.CacheHTTP, &a.Status, &created, &modified); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(keys), &a.PublicKeys); err != nil {
			return fmt.Errorf("authorizer %s: public keys: %w", a.Name, err)
		}
		a.ARN = s.cfg.ARN("authorizer/" + a.Name)
		a.Created, a.Modified = time.UnixMilli(created).UTC(), time.UnixMilli(modified).UTC()
		var err error
		if a.keys, err = parseKeys(a.PublicKeys); err != nil {
			return fmt.Errorf("authorizer %s: %w", a.Name, err)
		}
		if before := old.byName[a.Name]; before != nil {
			a.gate = before.gate
		} else {
			a.gate = newGate()
		}
		st.names = append(st.names, a.Name)
		st.byName[a.Name] = &a
		st.active = st.active || a.Status == Active
		return nil
	})
	if err == nil {
		err = query(`SELECT name FROM authorizer_default`, nil, func(row store.Row) error { return row.Scan(&st.usual) })
	}
	return st, err
}

// Active reports whether any authorizer is ACTIVE. It is quick.
func (s *Service) Active() bool { return s.state.Load().active }

// Describe returns an authorizer, or registry.ErrNotFound.
func (s *Service) Describe(name string) (*Authorizer, error) { return s.state.Load().describe(name) }

func (st *state) describe(name string) (*Authorizer, error) {
	if a := st.byName[name]; a != nil {
		return a, nil
	}
	return nil, notFound("authorizer %s not found", name)
}

// Default returns the authorizer that decides over clients that name none, or registry.ErrNotFound.
func (s *Service) Default() (*Authorizer, error) {
	st := s.state.Load()
	if a := st.byName[st.usual]; a != nil {
		return a, nil
	}
	return nil, notFound("there is no default authorizer")
}

// List lists authorizers by name, those of one status if it is not empty.
func (s *Service) List(status string, descending bool, page registry.Page) ([]*Authorizer, string, error) {
	if status != "" && status != Active && status != Inactive {
		return nil, "", invalid("1 validation error detected: Value '%s' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [ACTIVE, INACTIVE]", status)
	}
	st := s.state.Load()
	var all []*Authorizer
	for _, name := range st.names {
		if a := st.byName[name]; status == "" || a.Status == status {
			all = append(all, a)
		}
	}
	if descending {
		slices.Reverse(all)
	}
	return registry.PageOf(all, page, descending, func(a *Authorizer) string { return a.Name })
}

func notFound(format string, args ...any) error {
	return &registry.Error{Kind: registry.ErrNotFound, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &registry.Error{Kind: registry.ErrInvalid, Message: fmt.Sprintf(format, args...)}
}
