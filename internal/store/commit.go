package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// operation is one unit of a commit: a function, or rows for one table.
type operation struct {
	fn     func(tx *Tx) error
	table  *Table
	rows   [][]any
	remove bool
	done   func(error)
	err    error
}

func (db *DB) submit(op operation) {
	db.mu.Lock()
	for len(db.queue) >= maxQueued && !db.closed {
		db.room.Wait()
	}
	if db.closed {
		db.mu.Unlock()
		if op.done != nil {
			op.done(ErrClosed)
		}
		return
	}
	db.queue = append(db.queue, op)
	if len(db.queue) == 1 {
		db.work.Signal()
	}
	db.mu.Unlock()
}

// commitLoop owns the writing connection until the database closes and the queue is empty.
func (db *DB) commitLoop(conn *sql.Conn) {
	defer close(db.stopped)
	defer conn.Close()
	tx := &Tx{conn: conn, dialect: db.dialect, prepared: make(map[string]*sql.Stmt)}
	batch := make([]operation, 0, MaxBatch)
	for {
		db.mu.Lock()
		for len(db.queue) == 0 && !db.closed {
			db.work.Wait()
		}
		if len(db.queue) == 0 {
			db.mu.Unlock()
			return
		}
		n := min(len(db.queue), MaxBatch)
		batch = append(batch[:0], db.queue[:n]...)
		rest := copy(db.queue, db.queue[n:])
		clear(db.queue[rest:])
		db.queue = db.queue[:rest]
		db.room.Broadcast()
		db.mu.Unlock()

		err := commit(tx, batch)
		if err != nil && len(batch) > 1 && !errors.Is(err, errDatabase) {
			// One operation spoilt the transaction: give each its own, so that only it fails.
			for i := range batch {
				batch[i].err = commit(tx, batch[i:i+1])
			}
			err = nil
		}
		db.mu.Lock()
		if err != nil {
			db.stats.Failures++
		} else {
			db.stats.Commits++
			db.stats.Operations += uint64(len(batch))
		}
		db.mu.Unlock()
		if err != nil {
			db.log.Error("commit failed", "operations", len(batch), "error", err)
		}
		for i := range batch {
			if batch[i].done != nil {
				batch[i].done(errors.Join(batch[i].err, err))
			}
		}
		clear(batch)
	}
}

// errDatabase marks failures that concern the whole transaction: begin and commit.
var errDatabase = errors.New("database")

// commit runs one transaction. An operation's own failure is kept in its err; the returned error
// concerns all of them.
func commit(tx *Tx, batch []operation) error {
	ctx := context.Background()
	if _, err := tx.conn.ExecContext(ctx, tx.dialect.begin()); err != nil {
		return fmt.Errorf("%w: begin: %w", errDatabase, err)
	}
	for i := range batch {
		op := &batch[i]
		op.err = nil
		var err error
		if op.fn != nil {
			err = runFunc(tx, op)
		} else {
			err = runRows(tx, op)
		}
		if err != nil {
			tx.conn.ExecContext(ctx, "ROLLBACK")
			return err
		}
	}
	if _, err := tx.conn.ExecContext(ctx, "COMMIT"); err != nil {
		tx.conn.ExecContext(ctx, "ROLLBACK")
		return fmt.Errorf("%w: commit: %w", errDatabase, err)
	}
	return nil
}

func runFunc(tx *Tx, op *operation) error {
	if _, err := tx.Exec("SAVEPOINT op"); err != nil {
		return err
	}
	op.err = callFunc(tx, op.fn)
	if op.err != nil {
		if _, err := tx.Exec("ROLLBACK TO op"); err != nil {
			return err
		}
	}
	_, err := tx.Exec("RELEASE op")
	return err
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

func runRows(tx *Tx, op *operation) error {
	query := op.table.upsert
	if op.remove {
		query = op.table.delete
	}
	stmt, err := tx.rowStatement(op.table, op.remove, query)
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

// Tx is the transaction that a write function runs in. It is valid only during the call.
type Tx struct {
	conn     *sql.Conn
	dialect  dialect
	prepared map[string]*sql.Stmt
	rows     [2]map[*Table]*sql.Stmt
}

func (tx *Tx) rowStatement(t *Table, remove bool, query func() string) (*sql.Stmt, error) {
	i := 0
	if remove {
		i = 1
	}
	if s := tx.rows[i][t]; s != nil {
		return s, nil
	}
	s, err := tx.prepare(query())
	if err != nil {
		return nil, err
	}
	if tx.rows[i] == nil {
		tx.rows[i] = make(map[*Table]*sql.Stmt)
	}
	tx.rows[i][t] = s
	return s, nil
}

func (tx *Tx) prepare(query string) (*sql.Stmt, error) {
	if s := tx.prepared[query]; s != nil {
		return s, nil
	}
	s, err := tx.conn.PrepareContext(context.Background(), tx.dialect.rebind(query))
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	tx.prepared[query] = s
	return s, nil
}

// Exec runs a statement and returns the number of rows it changed.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
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

// Query calls scan for every row; it sees what this transaction wrote.
func (tx *Tx) Query(query string, args []any, scan func(row Row) error) error {
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

// QueryRow reads at most one row into dest; ErrNoRows when there is none.
func (tx *Tx) QueryRow(query string, args []any, dest ...any) error {
	stmt, err := tx.prepare(query)
	if err != nil {
		return err
	}
	return stmt.QueryRow(args...).Scan(dest...)
}
