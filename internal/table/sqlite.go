package table

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"

	"github.com/berth-iot/berth/internal/store"
)

// sqlite keeps tables in readings.db. A row's data is the encoding of appendValues.
type sqlite struct {
	db   *store.DB
	path string
}

// The index has time, thing and seq: what the primary key lacks is appended by SQLite.
var schema = []string{`
	CREATE TABLE series (id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_at INTEGER NOT NULL,
		retention INTEGER NOT NULL, max_bytes INTEGER NOT NULL, dropped INTEGER NOT NULL);
	CREATE TABLE measure (series INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,
		PRIMARY KEY (series, number)) WITHOUT ROWID;
	CREATE TABLE thing (id INTEGER PRIMARY KEY, series INTEGER NOT NULL, name TEXT NOT NULL, state BLOB NOT NULL);
	CREATE TABLE reading (thing INTEGER NOT NULL, time INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL,
		PRIMARY KEY (thing, time, seq)) WITHOUT ROWID`,
	`CREATE INDEX reading_time ON reading (time)`}

func openSQLite(ctx context.Context, path string, log *slog.Logger) (_ database, err error) {
	d := &sqlite{path: path}
	if d.db, err = store.OpenFile(ctx, path, log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.db.Close()
		}
	}()
	if err := d.db.Migrate(ctx, "table", schema); err != nil {
		return nil, err
	}
	// The end of every thing's range is written again and again: many commits between two
	// checkpoints, and pages that stay in memory, save writes to the file.
	return d, d.db.Write(ctx, func(tx *store.Tx) error {
		for _, pragma := range []string{"PRAGMA cache_size(-65536)", "PRAGMA wal_autocheckpoint(8192)"} {
			if err := tx.Query(pragma, nil, func(store.Row) error { return nil }); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *sqlite) close() error { return d.db.Close() }

// rowOverhead is what a row takes beside its values: key, record header and cell pointer, and an entry
// in the index by time.
const rowOverhead = 36

func (d *sqlite) overhead() int64 { return rowOverhead }

func (d *sqlite) size() int64 {
	info, err := os.Stat(d.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func (d *sqlite) encode(_ *names, values []numbered) ([]byte, error) {
	return appendValues(nil, values), nil
}

func (d *sqlite) values(data []byte, _ *names, keep func(number uint32) bool, yield func(v numbered)) error {
	for len(data) > 0 {
		v, rest, err := nextValue(data, keep)
		if err != nil {
			return err
		}
		yield(v)
		data = rest
	}
	return nil
}

func (d *sqlite) load(ctx context.Context, table func(tableRow), measure func(int64, string), thing func(thingRow) error) error {
	err := d.db.Query(ctx, `SELECT id, name, created_at, retention, max_bytes, dropped FROM series ORDER BY id`, nil, func(row store.Row) error {
		var r tableRow
		if err := row.Scan(&r.id, &r.name, &r.created, &r.retention, &r.maxBytes, &r.dropped); err != nil {
			return err
		}
		table(r)
		return nil
	})
	if err != nil {
		return err
	}
	err = d.db.Query(ctx, `SELECT series, name FROM measure ORDER BY series, number`, nil, func(row store.Row) error {
		var id int64
		var name string
		if err := row.Scan(&id, &name); err != nil {
			return err
		}
		measure(id, name)
		return nil
	})
	if err != nil {
		return err
	}
	return d.db.Query(ctx, `SELECT id, series, name, state FROM thing`, nil, func(row store.Row) error {
		var r thingRow
		if err := row.Scan(&r.id, &r.table, &r.name, &r.state); err != nil {
			return err
		}
		return thing(r)
	})
}

func (d *sqlite) write(ctx context.Context, fn func(tx transaction) error) error {
	return d.db.Write(ctx, func(tx *store.Tx) error { return fn(sqliteTx{tx}) })
}

const (
	readForward  = `SELECT thing, time, seq, data FROM reading WHERE thing = ? AND (time, seq) > (?, ?) AND time < ? ORDER BY time, seq LIMIT ?`
	readBackward = `SELECT thing, time, seq, data FROM reading WHERE thing = ? AND (time, seq) < (?, ?) AND time >= ? ORDER BY time DESC, seq DESC LIMIT ?`
	timeForward  = `SELECT thing, time, seq, data FROM reading INDEXED BY reading_time
		WHERE (time, thing, seq) > (?, ?, ?) AND time < ? ORDER BY time, thing, seq LIMIT ?`
	timeBackward = `SELECT thing, time, seq, data FROM reading INDEXED BY reading_time
		WHERE (time, thing, seq) < (?, ?, ?) AND time >= ? ORDER BY time DESC, thing DESC, seq DESC LIMIT ?`
)

// statement is what reads a span in either dialect, with the same arguments.
func (s *span) statement() (query string, args []any) {
	begin, end := key{s.from, math.MinInt64, math.MinInt64}, s.to
	if s.descending {
		begin, end = key{s.to - 1, math.MaxInt64, math.MaxInt64}, s.from
	}
	if s.after != nil {
		begin = *s.after
	}
	switch {
	case s.thing == 0 && s.descending:
		query = timeBackward
	case s.thing == 0:
		query = timeForward
	case s.descending:
		query = readBackward
	default:
		query = readForward
	}
	if s.thing == 0 {
		return query, []any{begin.time, begin.thing, begin.seq, end, s.limit}
	}
	return query, []any{s.thing, begin.time, begin.seq, end, s.limit}
}

// readings turns rows of the statements above into calls of yield.
func readings(yield func(int64, stored) error) func(store.Row) error {
	var thing int64
	var r stored
	return func(row store.Row) error {
		if err := row.Scan(&thing, &r.time, &r.seq, (*rawBytes)(&r.data)); err != nil {
			return err
		}
		return yield(thing, r)
	}
}

func (d *sqlite) read(ctx context.Context, s span, yield func(int64, stored) error) error {
	query, args := s.statement()
	return d.db.Query(ctx, query, args, readings(yield))
}

// rawBytes takes a blob into memory that is used again for the next row.
type rawBytes []byte

// Scan implements sql.Scanner.
func (b *rawBytes) Scan(src any) error {
	data, ok := src.([]byte)
	if !ok {
		return errEncoding
	}
	*b = append(slices.Grow((*b)[:0], len(data)), data...)
	return nil
}

type sqliteTx struct{ *store.Tx }

func (tx sqliteTx) read(s span, yield func(int64, stored) error) error {
	query, args := s.statement()
	return tx.Query(query, args, readings(yield))
}

const (
	insertOne = `INSERT INTO reading (thing, time, seq, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`
	nextSeq   = `SELECT coalesce(max(seq), -1) + 1 FROM reading WHERE thing = ? AND time = ? AND seq >= 0`
)

func (tx sqliteTx) insert(rows []insertion) error {
	for i := range rows {
		r := &rows[i]
		n, err := tx.Exec(insertOne, r.thing, r.time, r.seq, r.data)
		if err == nil && n == 0 && !r.fixed {
			if err = tx.QueryRow(nextSeq, []any{r.thing, r.time}, &r.seq); err == nil {
				n, err = tx.Exec(insertOne, r.thing, r.time, r.seq, r.data)
			}
		}
		if err != nil {
			return fmt.Errorf("write reading: %w", err)
		}
		r.written = n > 0
	}
	return nil
}

func (tx sqliteTx) remove(thing, from, time, seq int64) error {
	_, err := tx.Exec(`DELETE FROM reading WHERE thing = ? AND time >= ? AND (time, seq) <= (?, ?)`, thing, from, time, seq)
	return err
}

func (tx sqliteTx) addTable(r tableRow) error {
	_, err := tx.Exec(`INSERT INTO series (id, name, created_at, retention, max_bytes, dropped) VALUES (?, ?, ?, ?, ?, ?)`,
		r.id, r.name, r.created, r.retention, r.maxBytes, r.dropped)
	return err
}

func (tx sqliteTx) setTable(r tableRow) error {
	_, err := tx.Exec(`UPDATE series SET retention = ?, max_bytes = ?, dropped = ? WHERE id = ?`, r.retention, r.maxBytes, r.dropped, r.id)
	return err
}

func (tx sqliteTx) removeTable(id int64) error {
	_, err := tx.Exec(`DELETE FROM measure WHERE series = ?`, id)
	_, other := tx.Exec(`DELETE FROM series WHERE id = ?`, id)
	return errors.Join(err, other)
}

func (tx sqliteTx) addMeasure(table int64, number int, name string) error {
	_, err := tx.Exec(`INSERT INTO measure (series, number, name) VALUES (?, ?, ?)`, table, number, name)
	return err
}

func (tx sqliteTx) putThings(rows []thingRow) error {
	for _, r := range rows {
		if _, err := tx.Exec(`INSERT INTO thing (id, series, name, state) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state`,
			r.id, r.table, r.name, r.state); err != nil {
			return err
		}
	}
	return nil
}

func (tx sqliteTx) removeThing(id int64) error {
	_, err := tx.Exec(`DELETE FROM thing WHERE id = ?`, id)
	return err
}
