package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ErrNotEmpty refuses to copy into a database that has tables.
var ErrNotEmpty = errors.New("the target is not empty")

// copyChunk is the number of rows that are written together.
const copyChunk = 1000

// CopiedTable is a table that Copy has written and read again.
type CopiedTable struct {
	Name   string
	Rows   int64
	Digest string // SHA-256 over the rows in the order of their key, in hexadecimal
}

// Copy writes the content of a database into one that does not exist or is empty, reads it again, and
// compares: a difference is an error. Each of them is a data directory, for SQLite, or a URL of
// PostgreSQL. Nothing else may use them. tell, if not nil, hears of each table when it is written.
//
// A copy that fails leaves nothing that a server would start with.
func Copy(ctx context.Context, from, to string, tell func(CopiedTable)) (_ []CopiedTable, err error) {
	source, err := openSource(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("copy from: %w", err)
	}
	defer source.Close()
	target, finish, err := openTarget(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("copy to: %w", err)
	}
	defer func() {
		if ended := finish(err == nil); err == nil && ended != nil {
			err = fmt.Errorf("copy to: %w", ended)
		}
	}()
	return copyAll(ctx, source, target, tell)
}

func copyAll(ctx context.Context, source, target *DB, tell func(CopiedTable)) ([]CopiedTable, error) {
	if err := copySchema(ctx, source, target); err != nil {
		return nil, err
	}
	tables, err := source.describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("copy from: %w", err)
	}
	made, err := target.describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("copy to: %w", err)
	}
	if !slices.EqualFunc(tables, made, described.equal) {
		return nil, errors.New("copy: the tables of source and target differ")
	}
	var list []CopiedTable
	for _, t := range tables {
		done := CopiedTable{Name: t.Name}
		if done.Rows, done.Digest, err = t.copy(ctx, source, target); err != nil {
			return nil, fmt.Errorf("copy table %s: %w", t.Name, err)
		}
		list = append(list, done)
		if tell != nil {
			tell(done)
		}
	}
	for i, t := range tables {
		rows, digest, err := t.read(ctx, target, nil)
		if err != nil {
			return nil, fmt.Errorf("read table %s again: %w", t.Name, err)
		}
		if rows != list[i].Rows || digest != list[i].Digest {
			return nil, fmt.Errorf("table %s has %d rows in the copy, with digest %.12s, and %d in the source, with %.12s", t.Name, rows, digest, list[i].Rows, list[i].Digest)
		}
	}
	return list, nil
}

// isURL tells a URL from a directory.
func isURL(place string) bool { return strings.Contains(place, "://") }

func openSource(ctx context.Context, place string) (*DB, error) {
	log := slog.New(slog.DiscardHandler)
	if isURL(place) {
		return OpenPostgres(ctx, place, log)
	}
	path := filepath.Join(place, FileName)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return OpenFile(ctx, path, log)
}

// openTarget opens an empty database. finish closes it and makes it one to be used, or removes it.
func openTarget(ctx context.Context, place string) (_ *DB, finish func(ok bool) error, err error) {
	log := slog.New(slog.DiscardHandler)
	if isURL(place) {
		return postgresTarget(ctx, place, log)
	}
	if err := os.MkdirAll(place, 0o700); err != nil {
		return nil, nil, err
	}
	path := filepath.Join(place, FileName)
	if _, err := os.Stat(path); err == nil {
		return nil, nil, fmt.Errorf("%w: %s exists", ErrNotEmpty, path)
	}
	unfinished := path + ".copy"
	remove := func() {
		for _, end := range []string{"", "-wal", "-shm"} {
			os.Remove(unfinished + end)
		}
	}
	remove()
	db, err := OpenFile(ctx, unfinished, log)
	if err != nil {
		return nil, nil, err
	}
	return db, func(ok bool) error {
		err := db.Close()
		if err == nil && ok {
			err = mergeLog(ctx, unfinished)
		}
		if err != nil || !ok {
			remove()
			return err
		}
		if err := os.Rename(unfinished, path); err != nil {
			return err
		}
		dir, err := os.Open(place)
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Sync()
	}, nil
}

// mergeLog brings the write-ahead log of a database that is closed into its file.
func mergeLog(ctx context.Context, path string) error {
	db, err := sqlitePool(path, false)
	if err != nil {
		return err
	}
	defer db.Close()
	mode := ""
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode(DELETE)").Scan(&mode); err != nil || mode != "delete" {
		return errors.Join(fmt.Errorf("end the write-ahead log: its mode is %q", mode), err)
	}
	return nil
}

func postgresTarget(ctx context.Context, url string, log *slog.Logger) (*DB, func(ok bool) error, error) {
	p, config, err := parsePostgres(url, log)
	if err != nil {
		return nil, nil, err
	}
	p.instance, p.empty = unfinished, true
	if err := p.open(ctx, config); err != nil {
		return nil, nil, err
	}
	db := start(p, log)
	return db, func(ok bool) error {
		ctx := context.WithoutCancel(ctx)
		if ok {
			err := db.Write(ctx, func(tx *Tx) error {
				_, err := tx.Exec(`UPDATE store_instance SET instance = ''`)
				return err
			})
			return errors.Join(err, db.Close())
		}
		err := db.Close()
		if !p.created {
			return err
		}
		conn, err := pgx.ConnectConfig(ctx, p.config)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{p.schema}.Sanitize()+" CASCADE")
		return err
	}, nil
}

// copySchema makes the target's tables with the steps that made the source's.
func copySchema(ctx context.Context, source, target *DB) error {
	versions, steps := make(map[string]int), make(map[string][]string)
	var components []string
	err := source.Query(ctx, `SELECT component, version FROM schema_version ORDER BY component`, nil, func(row Row) error {
		var component string
		var version int
		err := row.Scan(&component, &version)
		components, versions[component] = append(components, component), version
		return err
	})
	if err == nil {
		err = source.Query(ctx, `SELECT component, definition FROM schema_step ORDER BY component, number`, nil, func(row Row) error {
			var component, step string
			err := row.Scan(&component, &step)
			steps[component] = append(steps[component], step)
			return err
		})
	}
	for _, c := range components {
		if err == nil && len(steps[c]) < versions[c] {
			err = fmt.Errorf("the steps of %s are missing", c)
		}
	}
	if err != nil || len(components) == 0 {
		return errors.Join(errors.New("copy from: no database that this version of berth has opened; start the server with it once"), err)
	}
	for _, c := range components {
		if err := target.Migrate(ctx, c, steps[c][:versions[c]]); err != nil {
			return fmt.Errorf("copy to: %w", err)
		}
	}
	return nil
}

// described is a table as the database describes it: the columns of the key first.
type described struct {
	Table
	kinds []byte // of the columns: text, integer, float, bytes by their first letters
}

func (t described) equal(other described) bool {
	return t.Name == other.Name && t.Key == other.Key && slices.Equal(t.Columns, other.Columns) && slices.Equal(t.kinds, other.kinds)
}

const (
	describeSQLite = `SELECT m.name, i.name, lower(i.type), i.pk FROM sqlite_master m JOIN pragma_table_info(m.name) i
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, i.pk = 0, i.pk, i.cid`
	describePostgres = `SELECT c.relname::text, a.attname::text, t.typname::text, coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0) AS pk
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
		WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace ORDER BY c.relname, coalesce(array_position(i.indkey::int2[], a.attnum), 99), a.attnum`
)

// describe lists the tables of all components by name.
func (db *DB) describe(ctx context.Context) ([]described, error) {
	kinds := map[string]byte{"text": 't', "bigint": 'i', "int8": 'i', "double precision": 'f', "float8": 'f', "blob": 'b', "bytea": 'b'}
	query := describeSQLite
	switch db.backend.(type) {
	case *postgres, *frozen:
		query = describePostgres
	}
	var list []described
	err := db.Query(ctx, query, nil, func(row Row) error {
		var table, column, kind string
		var key int
		if err := row.Scan(&table, &column, &kind, &key); err != nil {
			return err
		}
		if kinds[kind] == 0 {
			return fmt.Errorf("table %s: column %s is of type %s", table, column, kind)
		}
		if len(list) == 0 || list[len(list)-1].Name != table {
			list = append(list, described{Table: Table{Name: table}})
		}
		t := &list[len(list)-1]
		t.Columns, t.kinds = append(t.Columns, column), append(t.kinds, kinds[kind])
		t.Key = max(t.Key, key)
		return nil
	})
	return slices.DeleteFunc(list, func(t described) bool {
		return slices.Contains([]string{"schema_version", "schema_step", "store_instance"}, t.Name) || strings.HasPrefix(t.Name, "cluster_")
	}), err
}

// read calls yield, if not nil, with the rows of a table in the order of its key.
func (t described) read(ctx context.Context, db *DB, yield func(row []any) error) (rows int64, digest string, err error) {
	sum := sha256.New()
	dest := make([]any, len(t.Columns))
	for i, k := range t.kinds {
		switch k {
		case 't':
			dest[i] = new(sql.Null[string])
		case 'i':
			dest[i] = new(sql.Null[int64])
		case 'f':
			dest[i] = new(sql.Null[float64])
		default:
			dest[i] = new(sql.Null[[]byte])
		}
	}
	query := fmt.Sprintf("SELECT %s FROM %s ORDER BY %s", strings.Join(t.Columns, ", "), t.Name, strings.Join(t.Columns[:t.Key], ", "))
	err = db.Query(ctx, query, nil, func(r Row) error {
		if err := r.Scan(dest...); err != nil {
			return err
		}
		rows++
		row := make([]any, len(dest))
		for i, d := range dest {
			row[i] = add(sum, d)
		}
		if yield == nil {
			return nil
		}
		return yield(row)
	})
	return rows, hex.EncodeToString(sum.Sum(nil)), err
}

// add puts a value into a digest, and returns it as it is written; nil for NULL.
func add(sum hash.Hash, d any) any {
	head := make([]byte, 9)
	text := func(b []byte) {
		binary.BigEndian.PutUint64(head[1:], uint64(len(b)))
		sum.Write(head)
		sum.Write(b)
	}
	number := func(n uint64) {
		binary.BigEndian.PutUint64(head[1:], n)
		sum.Write(head)
	}
	head[0] = 1
	switch d := d.(type) {
	case *sql.Null[string]:
		if d.Valid {
			text([]byte(d.V))
			return d.V
		}
	case *sql.Null[int64]:
		if d.Valid {
			number(uint64(d.V))
			return d.V
		}
	case *sql.Null[float64]:
		if d.Valid {
			number(math.Float64bits(d.V))
			return d.V
		}
	case *sql.Null[[]byte]:
		if d.Valid {
			text(d.V)
			return append([]byte{}, d.V...)
		}
	}
	sum.Write([]byte{0})
	return nil
}

func (t described) copy(ctx context.Context, source, target *DB) (rows int64, digest string, err error) {
	var chunk [][]any
	done := make(chan error, 1)
	write := func() error {
		target.Put(&t.Table, chunk, func(err error) { done <- err })
		chunk = nil
		return <-done
	}
	rows, digest, err = t.read(ctx, source, func(row []any) error {
		if chunk = append(chunk, row); len(chunk) < copyChunk {
			return nil
		}
		return write()
	})
	if err == nil && len(chunk) > 0 {
		err = write()
	}
	return rows, digest, err
}
