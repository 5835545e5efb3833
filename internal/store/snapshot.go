package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
)

// TakeSnapshot writes what a database holds at one moment to the SQLite database [FileName] in dir,
// which must not have one. place is a data directory or a URL of PostgreSQL; a server may be using it,
// and goes on writing meanwhile. What was acknowledged before the call is in the snapshot.
func TakeSnapshot(ctx context.Context, place, dir string) error {
	if !isURL(place) {
		return TakeFileSnapshot(ctx, filepath.Join(place, FileName), filepath.Join(dir, FileName))
	}
	source, err := freeze(ctx, place)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer source.backend.close()
	target, finish, err := openTarget(ctx, dir)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	_, err = copyAll(ctx, source, target, nil)
	if ended := finish(err == nil); err == nil {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// TakeFileSnapshot is TakeSnapshot for one SQLite database file.
func TakeFileSnapshot(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	db, err := sqlitePool(from, false)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer db.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // empty: VACUUM INTO takes it, with its mode
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	f.Close()
	// It reads in one transaction. In WAL mode that hinders no writer; the log grows until it ends.
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		os.Remove(to)
		return fmt.Errorf("snapshot of %s: %w", from, err)
	}
	return nil
}

// frozen is a transaction of PostgreSQL that sees one moment. It takes no lock from the server.
type frozen struct {
	conn *pgx.Conn
	tx   pgx.Tx
}

func freeze(ctx context.Context, url string) (*DB, error) {
	p, _, err := parsePostgres(url, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	f := &frozen{}
	if f.conn, err = pgx.ConnectConfig(ctx, p.config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if f.tx, err = f.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		f.close()
		return nil, err
	}
	return &DB{backend: f}, nil
}

var errFrozen = errors.New("a snapshot is not written to")

func (f *frozen) commit([]operation) error      { return errFrozen }
func (f *frozen) connect(context.Context) error { return errFrozen }
func (f *frozen) close() error                  { return f.conn.Close(context.Background()) }

func (f *frozen) query(ctx context.Context, query string, args []any, scan func(row Row) error) error {
	rows, err := f.tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(poolRow{rows}); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (f *frozen) scan(ctx context.Context, query string, each func(row Row) error) error {
	return f.query(ctx, query, nil, each)
}

func (f *frozen) queryRow(ctx context.Context, query string, args []any, dest ...any) error {
	return f.tx.QueryRow(ctx, query, args...).Scan(dest...)
}

// Snapshot is a SQLite database file that nobody writes to.
type Snapshot struct{ db *sql.DB }

// OpenSnapshot opens a file that TakeSnapshot wrote, without changing it or making others beside it.
func OpenSnapshot(path string) (*Snapshot, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=ro&immutable=1"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	return &Snapshot{db}, nil
}

// Close closes the file.
func (s *Snapshot) Close() error { return s.db.Close() }

// Query calls scan for every row.
func (s *Snapshot) Query(ctx context.Context, query string, args []any, scan func(row Row) error) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return eachRow(rows, scan)
}

// Check has SQLite look at every page and index, and returns what it finds wrong.
func (s *Snapshot) Check(ctx context.Context) error {
	return s.Query(ctx, "PRAGMA integrity_check(1)", nil, func(row Row) error {
		var found string
		if err := row.Scan(&found); err != nil {
			return err
		}
		if found != "ok" {
			return fmt.Errorf("the database is damaged: %s", found)
		}
		return nil
	})
}

// Rows counts the rows of every table.
func (s *Snapshot) Rows(ctx context.Context) (map[string]int64, error) {
	rows := make(map[string]int64)
	err := s.Query(ctx, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'`, nil, func(row Row) error {
		var name string
		err := row.Scan(&name)
		rows[name] = 0
		return err
	})
	for name := range rows {
		if err != nil {
			return nil, err
		}
		n := int64(0)
		err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM "`+name+`"`).Scan(&n)
		rows[name] = n
	}
	return rows, err
}
