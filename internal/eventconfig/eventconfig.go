// Package eventconfig keeps which kinds of events the server publishes under $aws/events/, as
// UpdateEventConfigurations and DescribeEventConfigurations of the AWS IoT API reference know them.
// Every kind is off until it is enabled. Presence and subscription events are not among them: they
// are always on.
package eventconfig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// ErrUnknown says that there is no such kind of event.
var ErrUnknown = errors.New("unknown kind of event")

// Kinds lists the kinds of events.
func Kinds() []string {
	return []string{"THING", "THING_GROUP", "THING_TYPE", "THING_GROUP_MEMBERSHIP", "THING_GROUP_HIERARCHY",
		"THING_TYPE_ASSOCIATION", "JOB", "JOB_EXECUTION", "POLICY", "CERTIFICATE", "CA_CERTIFICATE"}
}

var schema = []string{`
	CREATE TABLE event_configuration (kind TEXT PRIMARY KEY, enabled BIGINT NOT NULL, created_at BIGINT NOT NULL, modified_at BIGINT NOT NULL)`}

// Configuration is which kinds are enabled. Its methods may be called concurrently.
type Configuration struct {
	db    *store.DB
	now   func() time.Time
	state atomic.Pointer[State]
}

// State is the configuration at one moment. The times are zero before the first change.
type State struct {
	Enabled           map[string]bool // every kind
	Created, Modified time.Time
}

// Open prepares the table and loads the configuration; now may be nil for time.Now.
func Open(ctx context.Context, db *store.DB, now func() time.Time) (*Configuration, error) {
	if now == nil {
		now = time.Now
	}
	if err := db.Migrate(ctx, "eventconfig", schema); err != nil {
		return nil, err
	}
	c := &Configuration{db: db, now: now}
	return c, c.load(ctx)
}

func (c *Configuration) load(ctx context.Context) error {
	s := &State{Enabled: make(map[string]bool)}
	for _, kind := range Kinds() {
		s.Enabled[kind] = false
	}
	err := c.db.Query(ctx, `SELECT kind, enabled, created_at, modified_at FROM event_configuration`, nil, func(row store.Row) error {
		var kind string
		var enabled bool
		var created, modified int64
		if err := row.Scan(&kind, &enabled, &created, &modified); err != nil {
			return err
		}
		s.Enabled[kind] = enabled
		if at := time.UnixMilli(created); s.Created.IsZero() || at.Before(s.Created) {
			s.Created = at
		}
		if at := time.UnixMilli(modified); at.After(s.Modified) {
			s.Modified = at
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read event configurations: %w", err)
	}
	c.state.Store(s)
	return nil
}

// Feed is the kind of change that nodes of a cluster tell each other.
const Feed = "eventconfig"

// Reload reads again what another node has changed.
func (c *Configuration) Reload([]string) error { return c.load(context.Background()) }

// Enabled reports whether events of a kind are published. It is quick.
func (c *Configuration) Enabled(kind string) bool { return c.state.Load().Enabled[kind] }

// State returns the whole configuration; the caller owns it.
func (c *Configuration) State() State {
	s := *c.state.Load()
	s.Enabled = maps.Clone(s.Enabled)
	return s
}

// Update enables or disables kinds and leaves the others. ErrUnknown.
func (c *Configuration) Update(ctx context.Context, kinds map[string]bool) error {
	known := c.state.Load().Enabled
	for kind := range kinds {
		if _, ok := known[kind]; !ok {
			return fmt.Errorf("%w: %q", ErrUnknown, kind)
		}
	}
	now := c.now().UnixMilli()
	err := c.db.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, "")
		for kind, enabled := range kinds {
			if _, err := tx.Exec(`INSERT INTO event_configuration (kind, enabled, created_at, modified_at) VALUES (?, ?, ?, ?)
				ON CONFLICT (kind) DO UPDATE SET enabled = excluded.enabled, modified_at = excluded.modified_at`, kind, enabled, now, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("update event configurations: %w", err)
	}
	return c.load(ctx)
}
