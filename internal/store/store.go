// Package store keeps berth's durable state in SQL and turns many small writes into few commits.
//
// Every domain package owns its tables and statements. This package owns the connections, the
// migrations, the differences between SQLite and PostgreSQL, and group commit: one goroutine commits
// whatever queued while the previous commit ran, at most [MaxBatch] operations at a time, without
// a timer. A write is reported done only after its transaction is on disk (SQLite in WAL mode with
// synchronous=FULL; PostgreSQL's commit), so an acknowledgement sent from a done callback survives
// kill -9 and power loss.
//
// Statements keep to the common subset of both: `?` placeholders, TEXT, BIGINT, DOUBLE PRECISION and
// BLOB columns, ON CONFLICT and RETURNING, no JSON operators. Text is compared by its bytes and has
// no U+0000. Times are BIGINT milliseconds since 1970, and so are 0 and 1 for bool.
//
// A SQLite file is checked when it is opened: a damaged one, or a write-ahead log that lacks committed
// transactions, is refused with [ErrDamaged]; damage that shows later ends the server.
//
// PostgreSQL can be away. What was committed when the connection broke is found out on the next one,
// so that no write is reported failed that was carried out; what was not is tried again. Writes wait
// ten seconds for it and fail with [ErrUnavailable] after that, those without a callback are kept until
// it is back. One server owns a database.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// MaxBatch is the largest number of operations that share one commit.
const MaxBatch = 256

// maxQueued bounds the operations that wait for a commit; writers beyond it block, which is the
// back-pressure that reaches publishers when the disk cannot follow.
const maxQueued = 16384

// ErrClosed is returned for what is written or read after Close.
var ErrClosed = errors.New("store is closed")

// ErrUnavailable is returned while PostgreSQL cannot be reached. A write that ends with it was not
// carried out, unless the store was closed while that was not known.
var ErrUnavailable = errors.New("the database cannot be reached")

// ErrTaken ends the use of a database that another server has taken over meanwhile.
var ErrTaken = errors.New("another server uses this database")

// ErrText is returned for text with U+0000 or bytes that are not UTF-8, which PostgreSQL does not take.
var ErrText = errors.New("text has bytes that the database does not take")

// ErrNoRows is what a single-row query returns when nothing matches.
var ErrNoRows = sql.ErrNoRows

// backend is a database. One goroutine calls connect and commit.
type backend interface {
	// commit runs one transaction. An operation's own failure is kept in its err. An error that
	// matches errDatabase concerns all of them; with any other, each may be tried alone. One that
	// matches errAway asks for connect and for the same operations again.
	commit(batch []operation) error
	// connect reaches the database again after errAway.
	connect(ctx context.Context) error
	query(ctx context.Context, query string, args []any, scan func(row Row) error) error
	queryRow(ctx context.Context, query string, args []any, dest ...any) error
	scan(ctx context.Context, query string, each func(row Row) error) error
	close() error
}

// DB is an open database. All methods may be called concurrently.
type DB struct {
	log     *slog.Logger
	backend backend

	mu      sync.Mutex
	work    sync.Cond // signalled when the queue grows, the database closes or may be tried again
	room    sync.Cond // signalled when the queue shrinks
	queue   []operation
	closed  bool
	closing chan struct{}
	stopped chan struct{}
	stats   Stats
	outage  outage
	lost    chan error
	reading reading

	probe  sync.Mutex
	probed bool // the table of Probe is there
}

// Stats counts what the committer has done since Open.
type Stats struct {
	Commits    uint64 // transactions committed
	Operations uint64 // operations in them
	Failures   uint64 // transactions that could not be committed
	Queued     int    // operations waiting now
	Outages    uint64 // times that the database went away
}

// Open opens the SQLite database [FileName] in dir, making both if they do not exist.
// The directory is created with mode 0700 and the database with mode 0600.
func Open(ctx context.Context, dir string, log *slog.Logger) (*DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return OpenFile(ctx, filepath.Join(dir, FileName), log)
}

// FileName is the name of the SQLite database in the data directory.
const FileName = "berth.db"

// OpenFile opens one SQLite database file, creating it with mode 0600. ErrDamaged.
func OpenFile(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	b, err := openSQLite(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", path, err)
	}
	db := start(b, log)
	if b.unchecked {
		go func() {
			select { // the start has more urgent use for processor and disk
			case <-db.closing:
				return
			case <-time.After(checkDelay):
			}
			db.distrust(db.atLength(context.Background(), b.quickCheck))
		}()
	}
	return db, nil
}

// distrust ends the use of a database that is damaged.
func (db *DB) distrust(err error) {
	if !errors.Is(err, ErrDamaged) {
		return
	}
	db.log.Error("the database cannot be used any more", "error", err)
	select {
	case db.lost <- err:
	default:
	}
}

// OpenPostgres opens a schema of a PostgreSQL database by its URL, postgres://user:password@host/name,
// and becomes its only user. Several hosts may stand between commas: the one that takes writes is
// used. Parameters of the URL beside those of libpq are search_path, the schema (berth_state, made if it
// is missing), and pool_max_conns, the number of connections that read (8). ErrTaken, ErrUnavailable.
func OpenPostgres(ctx context.Context, url string, log *slog.Logger) (*DB, error) {
	b, err := openPostgres(ctx, url, log)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return start(b, log), nil
}

func start(b backend, log *slog.Logger) *DB {
	db := &DB{log: log, backend: b, closing: make(chan struct{}), stopped: make(chan struct{}), lost: make(chan error, 1)}
	db.reading.last = make(chan struct{}, 1)
	db.work.L, db.room.L = &db.mu, &db.mu
	go db.commitLoop()
	return db
}

// Close commits what is queued and waits for who is reading, then closes the database. Later writes and
// reads get ErrClosed, and so does a Scan that is under way.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		<-db.stopped
		return nil
	}
	db.closed = true
	close(db.closing)
	db.work.Broadcast()
	db.room.Broadcast()
	db.mu.Unlock()
	<-db.stopped
	db.reading.end()
	return db.backend.close()
}

// Stats returns the committer's counters.
func (db *DB) Stats() Stats {
	db.mu.Lock()
	defer db.mu.Unlock()
	s := db.stats
	s.Queued = len(db.queue)
	return s
}

// Available returns an error that matches ErrUnavailable while the database is away. SQLite never is.
func (db *DB) Available() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.outage.err
}

// Lost gives an error when the database cannot be used any more: the server has to end.
func (db *DB) Lost() <-chan error { return db.lost }

// Write runs fn inside the next commit and returns once that commit is on disk, or with fn's error
// after undoing what fn alone did. fn runs on the committing goroutine and may run more than once: it
// must not block, call back into the store, keep tx, or go on after a statement failed.
func (db *DB) Write(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	db.submit(operation{fn: fn, done: func(err error) { done <- err }})
	// Waiting for the outcome even when ctx ends keeps the answer truthful: the write may be on disk.
	return <-done
}

// Submit is Write without waiting: done is called on the committing goroutine, in submission
// order, after the commit. It must not block.
func (db *DB) Submit(fn func(tx *Tx) error, done func(error)) {
	db.submit(operation{fn: fn, done: done})
}

// WriteLoose is Write for a function that stays right whatever other nodes of a cluster write meanwhile.
// The functions of Write and Submit run one after another in the whole cluster, as in a server alone.
func (db *DB) WriteLoose(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	db.submit(operation{fn: fn, loose: true, done: func(err error) { done <- err }})
	return <-done
}

// SubmitLoose is WriteLoose without waiting; see Submit.
func (db *DB) SubmitLoose(fn func(tx *Tx) error, done func(error)) {
	db.submit(operation{fn: fn, loose: true, done: done})
}

// Put queues rows to be inserted, or replaced where the table's key already exists, in the next
// commit. Each row has one value per column of the table. done may be nil; it is called like
// Submit's. The rows must not be changed afterwards.
func (db *DB) Put(table *Table, rows [][]any, done func(error)) {
	db.submit(operation{table: table, rows: rows, done: done})
}

// Delete queues the deletion of rows by key: one value per key column each.
func (db *DB) Delete(table *Table, keys [][]any, done func(error)) {
	db.submit(operation{table: table, rows: keys, remove: true, done: done})
}

// Flush returns when everything queued before it is on disk.
func (db *DB) Flush(ctx context.Context) error {
	return db.WriteLoose(ctx, func(*Tx) error { return nil })
}

// Probe returns when a row has reached the disk: a commit of nothing would succeed on a full one.
func (db *DB) Probe(ctx context.Context) error {
	db.probe.Lock()
	defer db.probe.Unlock()
	if !db.probed {
		if err := db.Migrate(ctx, "probe", probeSchema); err != nil {
			return err
		}
		db.probed = true
	}
	return db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO store_probe (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at`, time.Now().UnixNano())
		return err
	})
}

var probeSchema = []string{`CREATE TABLE store_probe (id BIGINT PRIMARY KEY, at BIGINT NOT NULL)`}

// Query runs a read outside any write transaction and calls scan for every row.
func (db *DB) Query(ctx context.Context, query string, args []any, scan func(row Row) error) error {
	if !db.reading.enter() {
		return ErrClosed
	}
	defer db.reading.leave()
	return db.backend.query(ctx, query, args, scan)
}

// Scan is Query for results of very many rows: a connection of its own, which costs a millisecond, and a
// fraction of the time for each row. Row.Scan copies what it gives.
func (db *DB) Scan(ctx context.Context, query string, each func(row Row) error) error {
	return db.atLength(ctx, func(ctx context.Context) error { return db.backend.scan(ctx, query, each) })
}

// atLength reads for a time that Close does not wait for.
func (db *DB) atLength(ctx context.Context, read func(ctx context.Context) error) error {
	if !db.reading.enter() {
		return ErrClosed
	}
	defer db.reading.leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-db.closing:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}()
	err := read(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// QueryRow reads at most one row into dest; ErrNoRows when there is none.
func (db *DB) QueryRow(ctx context.Context, query string, args []any, dest ...any) error {
	if !db.reading.enter() {
		return ErrClosed
	}
	defer db.reading.leave()
	return db.backend.queryRow(ctx, query, args, dest...)
}

// Row is one result row. Scan takes pointers to string, []byte, integers, floats, bool or `any`, and
// types made of them.
type Row interface{ Scan(dest ...any) error }

// Table describes a table whose rows are written whole, in batches.
type Table struct {
	Name    string
	Columns []string
	Key     int // the first Key columns are the primary key; 0 for rows that are only added
	// Feed is the kind of change that other nodes of a cluster are told, with the text of the first
	// column, when rows are written or deleted; empty for none.
	Feed string
}

// conflict is what an INSERT does with rows whose key exists.
func (t *Table) conflict() string {
	if t.Key == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, " ON CONFLICT (%s) DO ", strings.Join(t.Columns[:t.Key], ", "))
	if len(t.Columns) == t.Key {
		b.WriteString("NOTHING")
		return b.String()
	}
	b.WriteString("UPDATE SET ")
	for i, c := range t.Columns[t.Key:] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s = excluded.%s", c, c)
	}
	return b.String()
}

// Tx is the transaction that a write function runs in. It is valid only during the call.
type Tx struct{ run runner }

// runner runs the statements of a transaction.
type runner interface {
	exec(query string, args []any) (int64, error)
	query(query string, args []any, scan func(row Row) error) error
	queryRow(query string, args []any, dest []any) error
	define(statement string) error // CREATE or ALTER in the dialect of the schema
}

// Exec runs a statement and returns the number of rows it changed.
func (tx *Tx) Exec(query string, args ...any) (int64, error) { return tx.run.exec(query, args) }

// Query calls scan for every row; it sees what this transaction wrote.
func (tx *Tx) Query(query string, args []any, scan func(row Row) error) error {
	return tx.run.query(query, args, scan)
}

// QueryRow reads at most one row into dest; ErrNoRows when there is none.
func (tx *Tx) QueryRow(query string, args []any, dest ...any) error {
	return tx.run.queryRow(query, args, dest)
}

// callFunc contains a panic in a domain function: it fails its own operation only.
func callFunc(tx *Tx, fn func(*Tx) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("write panicked: %v", r)
		}
	}()
	return fn(tx)
}

// outage is what is known of a database that is away.
type outage struct {
	err   error // nil while it is there
	since time.Time
	next  time.Time // when it is tried again
	delay time.Duration
	owed  []operation // without callback, for when it is back
}
