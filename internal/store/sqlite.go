package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver named "sqlite"
)

// sqlite is a database in a file.
type sqlite struct {
	path        string
	unchecked   bool // too large to be read before it is used
	read, write *sql.DB
	reads       statements
	conn        *sql.Conn // the committer's
	tx          sqliteTx
}

func openSQLite(ctx context.Context, path string) (_ *sqlite, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	if err := checkLog(path); err != nil {
		return nil, err
	}
	s := &sqlite{path: path}
	defer func() {
		if err != nil {
			s.close()
			err = damaged(path, err)
		}
	}()
	if s.write, err = sqlitePool(path, false); err != nil {
		return nil, err
	}
	if err := s.write.PingContext(ctx); err != nil {
		return nil, err
	}
	if s.read, err = sqlitePool(path, true); err != nil {
		return nil, err
	}
	s.reads.db = s.read
	if s.conn, err = s.write.Conn(ctx); err != nil {
		return nil, err
	}
	s.tx = sqliteTx{conn: s.conn, prepared: make(map[string]*sql.Stmt)}
	if info, err := os.Stat(path); err != nil || info.Size() > maxChecked {
		s.unchecked = true
		return s, err
	}
	return s, s.quickCheck(ctx)
}

// sqlitePool opens a pool on one file. synchronous=FULL is what makes a commit in WAL mode survive
// power loss; NORMAL would only survive a crash of the process.
func sqlitePool(path string, readOnly bool) (*sql.DB, error) {
	q := url.Values{}
	for _, pragma := range []string{
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"temp_store(MEMORY)", "cache_size(-16384)",
	} {
		q.Add("_pragma", pragma)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	n := 1
	if readOnly {
		n = 4
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// close ends statements first: a connection lasts, and with it the write-ahead log, while it has one.
func (s *sqlite) close() error {
	var errs []error
	for _, stmt := range s.tx.prepared {
		stmt.Close()
	}
	for _, stmt := range s.reads.prepared {
		stmt.Close()
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *sqlite) connect(context.Context) error { return nil }

func (s *sqlite) commit(batch []operation) (err error) {
	defer func() { err = damaged(s.path, err) }()
	ctx := context.Background()
	if _, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("%w: begin: %w", errDatabase, err)
	}
	tx := &Tx{&s.tx}
	for i := range batch {
		op := &batch[i]
		op.err = nil
		var err error
		if op.fn != nil {
			err = s.runFunc(tx, op)
		} else {
			err = s.tx.writeRows(op)
		}
		if err != nil {
			s.conn.ExecContext(ctx, "ROLLBACK")
			return err
		}
	}
	if _, err := s.conn.ExecContext(ctx, "COMMIT"); err != nil {
		s.conn.ExecContext(ctx, "ROLLBACK")
		return fmt.Errorf("%w: commit: %w", errDatabase, err)
	}
	return nil
}

func (s *sqlite) runFunc(tx *Tx, op *operation) error {
	if _, err := tx.Exec("SAVEPOINT op"); err != nil {
		return err
	}
	op.err = callFunc(tx, op.fn)
	if err := damaged(s.path, op.err); errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: %w", errDatabase, err)
	}
	if op.err != nil {
		if _, err := tx.Exec("ROLLBACK TO op"); err != nil {
			return err
		}
	}
	_, err := tx.Exec("RELEASE op")
	return err
}

func (s *sqlite) query(ctx context.Context, query string, args []any, scan func(row Row) error) error {
	stmt, err := s.reads.get(ctx, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return eachRow(rows, scan)
}

func (s *sqlite) queryRow(ctx context.Context, query string, args []any, dest ...any) error {
	stmt, err := s.reads.get(ctx, query)
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(ctx, args...).Scan(dest...)
}

func eachRow(rows *sql.Rows, scan func(row Row) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// sqliteTx runs statements on the committer's connection.
type sqliteTx struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
	rows     [2]map[*Table]*sql.Stmt
}

func (tx *sqliteTx) writeRows(op *operation) error {
	stmt, err := tx.rowStatement(op.table, op.remove)
	if err != nil {
		return err
	}
	for _, row := range op.rows {
		if _, err := stmt.Exec(row...); err != nil {
			return fmt.Errorf("write %s: %w", op.table.Name, err)
		}
	}
	return nil
}

func (tx *sqliteTx) rowStatement(t *Table, remove bool) (*sql.Stmt, error) {
	i := 0
	if remove {
		i = 1
	}
	if s := tx.rows[i][t]; s != nil {
		return s, nil
	}
	query := fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)%s",
		t.Name, strings.Join(t.Columns, ", "), strings.Repeat(", ?", len(t.Columns)-1), t.conflict())
	if remove {
		query = fmt.Sprintf("DELETE FROM %s WHERE %s = ?", t.Name, strings.Join(t.Columns[:t.Key], " = ? AND "))
	}
	s, err := tx.prepare(query)
	if err != nil {
		return nil, err
	}
	if tx.rows[i] == nil {
		tx.rows[i] = make(map[*Table]*sql.Stmt)
	}
	tx.rows[i][t] = s
	return s, nil
}

func (tx *sqliteTx) prepare(query string) (*sql.Stmt, error) {
	if s := tx.prepared[query]; s != nil {
		return s, nil
	}
	s, err := tx.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	tx.prepared[query] = s
	return s, nil
}

func (tx *sqliteTx) exec(query string, args []any) (int64, error) {
	stmt, err := tx.prepare(query)
	if err != nil {
		return 0, err
	}
	res, err := stmt.Exec(args...)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	n, _ := res.RowsAffected()
	return n, nil
}

func (tx *sqliteTx) query(query string, args []any, scan func(row Row) error) error {
	stmt, err := tx.prepare(query)
	if err != nil {
		return err
	}
	rows, err := stmt.Query(args...)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return eachRow(rows, scan)
}

func (tx *sqliteTx) queryRow(query string, args, dest []any) error {
	stmt, err := tx.prepare(query)
	if err != nil {
		return err
	}
	return stmt.QueryRow(args...).Scan(dest...)
}

func (tx *sqliteTx) define(statement string) error {
	statement = strings.NewReplacer("/*sqlite", "", "*/", "").Replace(statement)
	_, err := tx.conn.ExecContext(context.Background(), statement)
	return err
}

// statements keeps the prepared form of every read query: parsing and planning cost more than
// most reads. Queries are written in the code, so there are few; the database's Close ends them.
type statements struct {
	db       *sql.DB
	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

func (s *statements) get(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.RLock()
	stmt := s.prepared[query]
	s.mu.RUnlock()
	if stmt != nil {
		return stmt, nil
	}
	// Not under the lock: it may have to wait for a connection.
	stmt, err := s.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.prepared[query]; first != nil {
		stmt.Close()
		return first, nil
	}
	if s.prepared == nil {
		s.prepared = make(map[string]*sql.Stmt)
	}
	s.prepared[query] = stmt
	return stmt, nil
}
