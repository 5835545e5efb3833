// Package table is berth's own table for readings: what devices measure, kept by time, queried and
// down-sampled on reading, and removed when it is old. It has a database file of its own,
// readings.db, so that telemetry never queues behind the acknowledgements of [store].
//
// A table has a name and rows; a row has a time in milliseconds, a thing (or another key), and
// measures, which are names with a number, a string, a bool or JSON. Tables, things and measures
// come into being when they are first written: there is no schema to declare.
//
// Rows lie in the order of thing, time and sequence, so that a range of one thing is read
// sequentially. Names of things and measures are stored once and numbered; a value takes one byte
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
// Measured on two shared cores with rows of four measures: 110,000 to 195,000 rows a second into an
// empty table, 90,000 over 2.5 million rows of 1000 things; 29 bytes of the file a row, 7.3 a reading;
// a thing's newest 100 rows in 0.3 ms; down-sampling all ten million readings in 5 s. See
// docs/performance.md.
package table

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Errors of this package match one of these with errors.Is, or come from the store or the context.
var (
	ErrNotFound = errors.New("table not found")
	ErrInvalid  = errors.New("invalid")
	ErrLimit    = errors.New("limit exceeded")
	ErrClosed   = errors.New("tables are closed")
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

// Config says how long readings stay; a table may have its own numbers.
type Config struct {
	Retention time.Duration    // age at which readings go; 0 for never
	MaxBytes  int64            // bytes of a table beyond which its oldest readings go; 0 for no limit
	Now       func() time.Time // default time.Now
	Log       *slog.Logger
}

// Tables are the tables of a server. All methods may be called concurrently.
type Tables struct {
	cfg  Config
	db   *store.DB
	path string

	mu       sync.RWMutex // guards the catalogue: tables, their maps, and every thing's state
	tables   map[string]*table
	dropping []*table

	queue   queue
	counts  counters
	nextID  int64 // of tables and things; the writer's own
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
	measures  []string // by number
	numbers   map[string]uint32
}

type thing struct {
	id    int64
	name  string
	table *table
	state *state // never changed, replaced
}

var schema = []string{`
	CREATE TABLE series (id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_at INTEGER NOT NULL,
		retention INTEGER NOT NULL, max_bytes INTEGER NOT NULL, dropped INTEGER NOT NULL);
	CREATE TABLE measure (series INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,
		PRIMARY KEY (series, number)) WITHOUT ROWID;
	CREATE TABLE thing (id INTEGER PRIMARY KEY, series INTEGER NOT NULL, name TEXT NOT NULL, state BLOB NOT NULL);
	CREATE TABLE reading (thing INTEGER NOT NULL, time INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL,
		PRIMARY KEY (thing, time, seq)) WITHOUT ROWID`}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Open opens the tables of a data directory, making the file with mode 0600 if it does not exist.
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
	t := &Tables{cfg: cfg, path: filepath.Join(dir, FileName), tables: make(map[string]*table), wake: make(chan struct{}, 1)}
	if t.db, err = store.OpenFile(ctx, t.path, cfg.Log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.db.Close()
		}
	}()
	if err := t.db.Migrate(ctx, "table", schema); err != nil {
		return nil, err
	}
	// The end of every thing's range is written again and again: many commits between two
	// checkpoints, and pages that stay in memory, save writes to the file.
	err = t.db.Write(ctx, func(tx *store.Tx) error {
		for _, pragma := range []string{"PRAGMA cache_size(-65536)", "PRAGMA wal_autocheckpoint(8192)"} {
			if err := tx.Query(pragma, nil, func(store.Row) error { return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open tables: %w", err)
	}
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

// load reads the catalogue.
func (t *Tables) load(ctx context.Context) error {
	byID := make(map[int64]*table)
	err := t.db.Query(ctx, `SELECT id, name, created_at, retention, max_bytes, dropped FROM series ORDER BY id`, nil, func(row store.Row) error {
		e := newTable(0, "")
		var dropped bool
		if err := row.Scan(&e.id, &e.name, &e.created, &e.retention, &e.maxBytes, &dropped); err != nil {
			return err
		}
		t.nextID = max(t.nextID, e.id)
		byID[e.id] = e
		if dropped {
			t.dropping = append(t.dropping, e)
		} else {
			t.tables[e.name] = e
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = t.db.Query(ctx, `SELECT series, name FROM measure ORDER BY series, number`, nil, func(row store.Row) error {
		var id int64
		var name string
		if err := row.Scan(&id, &name); err != nil {
			return err
		}
		if e := byID[id]; e != nil {
			e.numbers[name] = uint32(len(e.measures))
			e.measures = append(e.measures, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.db.Query(ctx, `SELECT id, series, name, state FROM thing`, nil, func(row store.Row) error {
		var th thing
		var id int64
		var b []byte
		if err := row.Scan(&th.id, &id, &th.name, &b); err != nil {
			return err
		}
		t.nextID = max(t.nextID, th.id)
		var err error
		if th.state, err = decodeState(b); err != nil {
			return fmt.Errorf("thing %q: %w", th.name, err)
		}
		if th.table = byID[id]; th.table != nil {
			if n := len(th.state.measures); n > 0 && int(th.state.measures[n-1].number) >= len(th.table.measures) {
				return fmt.Errorf("thing %q: %w", th.name, errEncoding)
			}
			th.table.things[th.name] = &th
		}
		return nil
	})
}

func newTable(id int64, name string) *table {
	return &table{id: id, name: name, things: make(map[string]*thing), numbers: make(map[string]uint32)}
}

// Close writes what is queued and closes the file. Later writes get ErrClosed.
func (t *Tables) Close() error {
	t.cancel()
	t.queue.close()
	t.stopped.Wait()
	return t.db.Close()
}

// Stats are numbers since Open and of now.
type Stats struct {
	Tables, Things  int
	Rows, Bytes     int64  // kept now; bytes as stored, without free space of pages
	FileBytes       int64  // of readings.db
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
	if info, err := os.Stat(t.path); err == nil {
		s.FileBytes = info.Size()
	}
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
