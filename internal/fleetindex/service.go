// Package fleetindex finds things and thing groups by what is known of them: the fleet indexing of
// AWS IoT Device Management (AWS IoT developer guide, "Fleet indexing", "Query syntax", "Dynamic
// thing groups" and "Fleet metrics").
//
// The query language (parse.go, query.go) is pure. An index (table.go) holds for every thing a few
// short strings with its values from the registry, its shadows and its connection, and is read
// through for every search. A [Service] keeps the two indexes: it is told what changed, reads what it
// has become on a goroutine of its own, and lets dynamic groups follow. What a search answers is
// read from the registry and the shadows, so that the index need not hold documents.
package fleetindex

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
)

// Config is what a Service works with.
type Config struct {
	Store    *store.DB
	Registry *registry.Registry
	Shadows  *shadow.Service
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
}

var schema = []string{`
	CREATE TABLE indexing_configuration (id BIGINT PRIMARY KEY, configuration TEXT NOT NULL);
	CREATE TABLE thing_connection (thing TEXT PRIMARY KEY, connected BIGINT NOT NULL, changed_at BIGINT NOT NULL,
		version BIGINT NOT NULL, reason TEXT NOT NULL) /*sqlite WITHOUT ROWID*/;
	CREATE TABLE fleet_metric (name TEXT PRIMARY KEY, definition TEXT NOT NULL, version BIGINT NOT NULL,
		created BIGINT NOT NULL, modified BIGINT NOT NULL) /*sqlite WITHOUT ROWID*/`}

// Loaded reports whether what is in the database at the start has been read.
func (s *Service) Loaded() bool { return s.loaded.Load() }

// Service is the fleet index. Its methods may be called concurrently.
type Service struct {
	cfg    Config
	things *table
	groups *table

	configuration atomic.Pointer[Configuration]
	view          atomic.Pointer[view]
	changing      sync.Mutex // held while the configuration or a metric changes
	loaded        atomic.Bool
	rebuilding    atomic.Bool
	refused       atomic.Uint64

	feed    feed
	cancel  context.CancelFunc // nil until Start
	running sync.WaitGroup

	// of the indexing goroutine
	writer    writer
	reader    shadow.Reader
	dynamic   []dynamicGroup
	strangers map[string]connection // clients that are no thing, by their name

	metrics metrics
}

// Open prepares the tables. The service observes the registry and the shadows from now on, but does
// nothing before Start.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Store.Migrate(ctx, "fleetindex", schema); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, things: newTable(false), groups: newTable(true), strangers: make(map[string]connection)}
	s.feed.init()
	if err := s.loadConfiguration(ctx); err != nil {
		return nil, err
	}
	if err := s.loadMetrics(ctx); err != nil {
		return nil, err
	}
	cfg.Registry.Taggable("fleetmetric", `SELECT count(*) FROM fleet_metric WHERE name = ?`)
	cfg.Registry.Observe(s)
	cfg.Shadows.Observe(s)
	return s, nil
}

func (s *Service) loadConfiguration(ctx context.Context) error {
	c := &Configuration{Things: ThingConfiguration{Mode: Off, Connectivity: Off, Defender: Off, NamedShadows: Off}, Groups: GroupConfiguration{Mode: Off}}
	var stored string
	err := s.cfg.Store.QueryRow(ctx, `SELECT configuration FROM indexing_configuration WHERE id = 1`, nil, &stored)
	if err == nil {
		err = json.Unmarshal([]byte(stored), c)
	}
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return fmt.Errorf("read indexing configuration: %w", err)
	}
	s.configuration.Store(c)
	s.view.Store(c.Things.view())
	return nil
}

// Start begins to read the fleet, which goes on after it returns; until it has been read, searches
// are refused with ErrNotReady. Dynamic groups and fleet metrics follow from then on.
func (s *Service) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.running.Go(func() { s.run(ctx) })
	s.running.Go(func() { s.metricLoop(ctx) })
}

// Close writes down the connections that it was told of and stops. The store must still be open.
func (s *Service) Close() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.feed.stop()
	s.running.Wait()
}

// Refused is how often a thing could not be kept in a dynamic group because it was in too many.
func (s *Service) Refused() uint64 { return s.refused.Load() }

// Configuration returns what is indexed, with the managed fields that come with it.
func (s *Service) Configuration() Configuration {
	c := *s.configuration.Load()
	c.Things.Managed, c.Groups.Managed = c.Things.managed(), c.Groups.managed()
	return c
}

// Configure changes what is indexed of things, of thing groups or both; nil leaves it. Custom fields
// are replaced. ErrInvalid, also for things OFF while there are dynamic groups, and for a custom
// field that a fleet metric uses.
func (s *Service) Configure(ctx context.Context, things *ThingConfiguration, groups *GroupConfiguration) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	now := *s.configuration.Load()
	if things != nil {
		if err := things.check(); err != nil {
			return err
		}
		now.Things = *things
	}
	if groups != nil {
		if err := groups.check(); err != nil {
			return err
		}
		now.Groups = *groups
	}
	if now.Things.Mode == Off {
		dynamic, err := s.cfg.Registry.DynamicGroups(ctx)
		if err != nil {
			return err
		}
		if len(dynamic) > 0 {
			return refuse(ErrInvalid, "thing indexing cannot be turned off while there are dynamic thing groups, such as %s", dynamic[0].Name)
		}
	}
	if err := s.checkMetricFields(&now); err != nil {
		return err
	}
	b, err := json.Marshal(now)
	if err != nil {
		return err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, "")
		_, err := tx.Exec(`INSERT INTO indexing_configuration (id, configuration) VALUES (1, ?)
			ON CONFLICT (id) DO UPDATE SET configuration = excluded.configuration`, string(b))
		return err
	})
	if err != nil {
		return err
	}
	s.rebuilding.Store(true)
	s.configuration.Store(&now)
	s.view.Store(now.Things.view())
	s.feed.add(func(p *pending) { p.rebuild = true })
	return nil
}

// Index is an index as DescribeIndex tells of it.
type Index struct {
	Name, Status, Schema string
}

// DescribeIndex tells of an index, or ErrNotFound if it does not exist or is off.
func (s *Service) DescribeIndex(name string) (Index, error) {
	c := s.configuration.Load()
	i := Index{Name: name, Status: "ACTIVE"}
	switch {
	case name == Things && c.Things.Mode != Off:
		i.Schema = c.Things.schema()
	case name == ThingGroups && c.Groups.Mode != Off:
		i.Schema = "THING_GROUPS"
	default:
		return i, refuse(ErrNotFound, "index %s not found", name)
	}
	switch {
	case !s.loaded.Load():
		i.Status = "BUILDING"
	case s.rebuilding.Load():
		i.Status = "REBUILDING"
	}
	return i, nil
}

// ListIndices returns the names of the indexes that are on.
func (s *Service) ListIndices() []string {
	names := []string{}
	for _, name := range []string{ThingGroups, Things} {
		if _, err := s.DescribeIndex(name); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// index returns the table of an index that can be searched, and what of it can be seen.
func (s *Service) index(name string) (*table, *view, error) {
	i, err := s.DescribeIndex(name)
	if err != nil {
		return nil, nil, err
	}
	if i.Status == "BUILDING" {
		return nil, nil, refuse(ErrNotReady, "index %s is being built", name)
	}
	if name == ThingGroups {
		return s.groups, new(view), nil
	}
	return s.things, s.view.Load(), nil
}
