// Package table is berth's own table for readings: what devices measure, kept by time, queried and
// down-sampled on reading, and removed when it is old. It has a database file of its own,
// readings.db, so that telemetry never queues behind the acknowledgements of the store package; or it
// keeps its tables in PostgreSQL.
//
// A table has a name and rows; a row has a time in milliseconds, a thing (or another key), and
// measures, which are names with a number, a string, a bool or JSON. Tables, things and measures
// come into being when they are first written: there is no schema to declare.
//
// Rows lie in the order of thing, time and sequence, so that a range of one thing is read
// sequentially; an index by time serves short ranges of many things. In readings.db, names of things and measures are stored once and numbered; a value takes one byte
// for its measure and as few as it needs: 21.37 takes two, a bool none. What is known of a thing
// (rows, range, and for each measure count, range and latest value) is kept in memory, written in
// the same transaction as its rows, and read at [Open]; memory therefore grows with things, by some
// 100 bytes for each of their measures, and not with rows.
//
// Writes share commits: one goroutine writes what queued during the previous commit, up to 16,384
// rows, sorted by thing and time, with synchronous=FULL. The queue is bounded in bytes and writers
// wait for room. Deletions, by retention or by hand, go through the same goroutine in steps of at
// most 2,000 rows.
//
// Figures are in docs/performance.md.
package table

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Errors of this package match one of these with errors.Is, or come from the store or the context.
var (
	ErrNotFound = errors.New("table not found")
	ErrInvalid  = errors.New("invalid")
	ErrLimit    = errors.New("limit exceeded")
	ErrClosed   = errors.New("tables are closed")
	// ErrUnavailable: PostgreSQL does not answer. What was to be written may have been.
	ErrUnavailable = errors.New("database unavailable")
)

// Limits of names, rows and requests.
const (
	MaxTables   = 1000      // tables of a server
	MaxThings   = 1 << 20   // things of a table
	MaxMeasures = 4096      // measures of a table
	MaxName     = 256       // bytes of the name of a thing or measure, and of a row's ID
	MaxRow      = 256 << 10 // bytes of a row's values
	MaxRows     = 10000     // rows of one insert, and of one page
	MaxInsert   = 16 << 20  // bytes of memory of one insert
	MaxTime     = 253402300800000 - 1
)

// FileName is the name of the database in the data directory.
const FileName = "readings.db"

// Config says where readings lie and how long they stay; a table may have its own numbers.
type Config struct {
	Database  string           // a URL of PostgreSQL; empty for a file in the data directory
	Retention time.Duration    // age at which readings go; 0 for never
	MaxBytes  int64            // bytes of a table beyond which its oldest readings go; 0 for no limit
	Now       func() time.Time // default time.Now
	Log       *slog.Logger
}

// Tables are the tables of a server. All methods may be called concurrently.
type Tables struct {
	cfg Config
	db  database

	mu       sync.RWMutex // guards the catalogue: tables, their maps, and every thing's state
	tables   map[string]*table
	dropping []*table

	queue   queue
	counts  counters
	nextID  int64 // of tables and things; the writer's own
	stale   bool  // the catalogue may be behind the database; the writer's own
	wake    chan struct{}
	cancel  context.CancelFunc
	stopped sync.WaitGroup
}

// table is the catalogue's entry. Its maps change under Tables.mu, by the writer only.
type table struct {
	id        int64
	name      string
	created   int64
	retention int64 // milliseconds; 0 for the server's, -1 for never
	maxBytes  int64 // 0 for the server's, -1 for no limit
	things    map[string]*thing
	names     *names // of measures; replaced when there are more
}

type thing struct {
	id    int64
	name  string
	table *table
	state *state // never changed, replaced
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Open opens the tables of a data directory, making the file with mode 0600 if it does not exist; or
// those of a database of PostgreSQL, in its schema berth, which one server at a time may have open.
func Open(ctx context.Context, dir string, cfg Config) (_ *Tables, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open tables: %w", err)
	}
	t := &Tables{cfg: cfg, wake: make(chan struct{}, 1)}
	if cfg.Database == "" {
		t.db, err = openSQLite(ctx, filepath.Join(dir, FileName), cfg.Log)
	} else {
		t.db, err = openPostgres(ctx, cfg.Database, cfg.Log)
	}
	if err != nil {
		return nil, fmt.Errorf("open tables: %w", err)
	}
	defer func() {
		if err != nil {
			t.db.close()
		}
	}()
	if err := t.load(ctx); err != nil {
		return nil, fmt.Errorf("open tables: %w", err)
	}
	t.queue.open()
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.cancel = cancel
	t.stopped.Go(t.writeLoop)
	t.stopped.Go(func() { t.sweepLoop(run) })
	return t, nil
}

// load reads the catalogue. What was known before keeps its identity, so that work on it goes on.
func (t *Tables) load(ctx context.Context) error {
	byID, things := make(map[int64]*table), make(map[int64]*thing)
	for _, e := range slices.Concat(slices.Collect(maps.Values(t.tables)), t.dropping) {
		byID[e.id] = e
		for _, th := range e.things {
			things[th.id] = th
		}
	}
	tables, last := make(map[int64]*table), int64(0)
	var dropping []*table
	byName := make(map[string]*table)
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.db.load(ctx, func(r tableRow) {
		e := byID[r.id]
		if e == nil {
			e = newTable(r.id, r.name)
		}
		e.created, e.retention, e.maxBytes = r.created, r.retention, r.maxBytes
		e.things, e.names = make(map[string]*thing), newNames(nil)
		tables[r.id], last = e, max(last, r.id)
		if r.dropped {
			dropping = append(dropping, e)
		} else {
			byName[r.name] = e
		}
	}, func(id int64, name string) {
		if e := tables[id]; e != nil {
			e.names.numbers[name] = uint32(len(e.names.list))
			e.names.list = append(e.names.list, name)
		}
	}, func(r thingRow) error {
		last = max(last, r.id)
		s, err := decodeState(r.state)
		if err != nil {
			return fmt.Errorf("thing %q: %w", r.name, err)
		}
		e := tables[r.table]
		if e == nil {
			return nil
		}
		if n := len(s.measures); n > 0 && int(s.measures[n-1].number) >= len(e.names.list) {
			return fmt.Errorf("thing %q: %w", r.name, errEncoding)
		}
		th := things[r.id]
		if th == nil {
			th = &thing{id: r.id, name: r.name, table: e}
		}
		th.state = s
		e.things[r.name] = th
		return nil
	})
	if err != nil {
		return err
	}
	t.tables, t.dropping, t.nextID = byName, dropping, last
	return nil
}

func newTable(id int64, name string) *table {
	return &table{id: id, name: name, things: make(map[string]*thing), names: newNames(nil)}
}

// Close writes what is queued and closes the file. Later writes get ErrClosed.
func (t *Tables) Close() error {
	t.cancel()
	t.queue.close()
	t.stopped.Wait()
	return t.db.close()
}

// Stats are numbers since Open and of now.
type Stats struct {
	Tables, Things  int
	Rows, Bytes     int64  // kept now; bytes as stored, without free space of pages
	FileBytes       int64  // of readings.db, or of the tables in PostgreSQL
	Inserted        uint64 // rows
	Duplicates      uint64 // rows that were there already
	Deleted         uint64 // rows, by retention or by hand
	Commits, Failed uint64 // transactions
	QueuedRows      int    // waiting for a commit
	QueuedBytes     int
}

// Stats returns the numbers.
func (t *Tables) Stats() Stats {
	s := Stats{Inserted: t.counts.inserted.Load(), Duplicates: t.counts.duplicates.Load(), Deleted: t.counts.deleted.Load(),
		Commits: t.counts.commits.Load(), Failed: t.counts.failed.Load()}
	s.QueuedRows, s.QueuedBytes = t.queue.size()
	s.FileBytes = t.db.size()
	t.mu.RLock()
	defer t.mu.RUnlock()
	s.Tables = len(t.tables)
	for _, e := range t.tables {
		s.Things += len(e.things)
		for _, th := range e.things {
			s.Rows += th.state.rows
			s.Bytes += th.state.bytes
		}
	}
	return s
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

func notFound(name string) error { return fmt.Errorf("table %q: %w", name, ErrNotFound) }
