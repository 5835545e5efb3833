// Package store keeps berth's durable state in SQL and turns many small writes into few commits.
//
// Every domain package owns its tables and statements. This package owns the connections, the
// migrations, the few differences between dialects, and group commit: one goroutine commits
// whatever queued while the previous commit ran, at most [MaxBatch] operations at a time, without
// a timer. A write is reported done only after its transaction is on disk (SQLite in WAL mode with
// synchronous=FULL), so an acknowledgement sent from a done callback survives kill -9 and power
// loss.
//
// Statements keep to the common subset of SQLite and PostgreSQL: `?` placeholders, TEXT, BIGINT,
// DOUBLE PRECISION and BLOB columns, ON CONFLICT and RETURNING, no JSON operators. Times are
// BIGINT milliseconds since 1970.
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
)

// MaxBatch is the largest number of operations that share one commit.
const MaxBatch = 256

// maxQueued bounds the operations that wait for a commit; writers beyond it block, which is the
// back-pressure that reaches publishers when the disk cannot follow.
const maxQueued = 16384

// ErrClosed is returned for writes queued after Close.
var ErrClosed = errors.New("store is closed")

// ErrNoRows is what a single-row query returns when nothing matches.
var ErrNoRows = sql.ErrNoRows

// DB is an open database. All methods may be called concurrently.
type DB struct {
	log     *slog.Logger
	dialect dialect
	read    *sql.DB
	write   *sql.DB
	reads   statements

	mu      sync.Mutex
	work    sync.Cond // signalled when the queue grows or the database closes
	room    sync.Cond // signalled when the queue shrinks
	queue   []operation
	closed  bool
	stopped chan struct{}
	stats   Stats
}

// Stats counts what the committer has done since Open.
type Stats struct {
	Commits    uint64 // transactions committed
	Operations uint64 // operations in them
	Failures   uint64 // transactions that could not be committed
	Queued     int    // operations waiting now
}

// Open opens the SQLite database `berth.db` in dir, making both if they do not exist.
// The directory is created with mode 0700 and the database with mode 0600.
func Open(ctx context.Context, dir string, log *slog.Logger) (*DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return OpenFile(ctx, filepath.Join(dir, "berth.db"), log)
}

// OpenFile opens one SQLite database file, creating it with mode 0600.
func OpenFile(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	f.Close()
	write, err := openSQLite(path, false)
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", path, err)
	}
	if err := write.PingContext(ctx); err != nil {
		write.Close()
		return nil, fmt.Errorf("open store %q: %w", path, err)
	}
	read, err := openSQLite(path, true)
	if err != nil {
		write.Close()
		return nil, fmt.Errorf("open store %q: %w", path, err)
	}
	db := &DB{log: log, dialect: sqliteDialect{}, read: read, write: write, stopped: make(chan struct{})}
	db.work.L, db.room.L = &db.mu, &db.mu
	conn, err := write.Conn(ctx)
	if err != nil {
		read.Close()
		write.Close()
		return nil, fmt.Errorf("open store %q: %w", path, err)
	}
	go db.commitLoop(conn)
	return db, nil
}

// Close commits what is queued, then closes the database. Later writes get ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		<-db.stopped
		return nil
	}
	db.closed = true
	db.work.Broadcast()
	db.room.Broadcast()
	db.mu.Unlock()
	<-db.stopped
	return errors.Join(db.read.Close(), db.write.Close())
}

// Stats returns the committer's counters.
func (db *DB) Stats() Stats {
	db.mu.Lock()
	defer db.mu.Unlock()
	s := db.stats
	s.Queued = len(db.queue)
	return s
}

// Write runs fn inside the next commit and returns once that commit is on disk, or with fn's error
// after undoing what fn alone did. fn runs on the committing goroutine: it must not block, call
// back into the store, or keep tx.
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
	return db.Write(ctx, func(*Tx) error { return nil })
}

// Query runs a read outside any write transaction and calls scan for every row.
func (db *DB) Query(ctx context.Context, query string, args []any, scan func(row Row) error) error {
	stmt, err := db.reads.get(ctx, db, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return eachRow(rows, scan)
}

// QueryRow reads at most one row into dest; ErrNoRows when there is none.
func (db *DB) QueryRow(ctx context.Context, query string, args []any, dest ...any) error {
	stmt, err := db.reads.get(ctx, db, query)
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(ctx, args...).Scan(dest...)
}

// Row is one result row.
type Row interface{ Scan(dest ...any) error }

func eachRow(rows *sql.Rows, scan func(row Row) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Table describes a table whose rows are written whole, in batches.
type Table struct {
	Name    string
	Columns []string
	Key     int // the first Key columns are the primary key
}

func (t *Table) upsert() string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES (?%s) ON CONFLICT (%s) DO ",
		t.Name, strings.Join(t.Columns, ", "), strings.Repeat(", ?", len(t.Columns)-1), strings.Join(t.Columns[:t.Key], ", "))
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

func (t *Table) delete() string {
	return fmt.Sprintf("DELETE FROM %s WHERE %s = ?", t.Name, strings.Join(t.Columns[:t.Key], " = ? AND "))
}
