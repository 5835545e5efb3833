package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/berth-iot/berth/internal/store"
)

// TestScanReadsWhatQueryReads compares the two over values of every type, and what they refuse.
func TestScanReadsWhatQueryReads(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := store.Open(ctx, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(ctx, "items", []string{`CREATE TABLE item (name TEXT PRIMARY KEY, value BIGINT NOT NULL, body BLOB)`}); err != nil {
		t.Fatal(err)
	}
	table := &store.Table{Name: "item", Columns: []string{"name", "value", "body"}, Key: 1}
	for i, body := range [][]byte{nil, {}, {0, 1, 255}, make([]byte, 100_000)} {
		db.Put(table, [][]any{{fmt.Sprint("item ", i), int64(i) << 40, body}}, nil)
	}
	if err := db.Flush(ctx); err != nil {
		t.Fatal(err)
	}

	type name string
	type octets []byte
	read := func(each func(query string, scan func(row store.Row) error) error) (rows []string) {
		t.Helper()
		err := each(`SELECT name, name, value, value, value > 0, body, CAST(coalesce(body, '') AS BLOB), coalesce(body, name), value * 0.5, value / 1099511627776 FROM item ORDER BY name`,
			func(row store.Row) error {
				var text string
				var kind name
				var value int64
				var size uint64
				var positive bool
				var body []byte
				var more octets
				var either any
				var half float64
				var small int8
				err := row.Scan(&text, &kind, &value, &size, &positive, &body, &more, &either, &half, &small)
				rows = append(rows, fmt.Sprintf("%s %s %d %d %v %x %x %T %v %v", text, kind, value, size, positive, body, more, either, half, small))
				return err
			})
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	scan := func(q string, f func(row store.Row) error) error { return db.Scan(ctx, q, f) }
	query := func(q string, f func(row store.Row) error) error { return db.Query(ctx, q, nil, f) }
	if got, want := read(scan), read(query); !slices.Equal(got, want) || len(got) != 4 {
		t.Errorf("got %.300q\nwant %.300q", got, want)
	}

	for _, c := range []struct {
		column string
		into   any
	}{{"value", new(byte)}, {"value", new(int32)}, {"value", new(uint16)}, {"NULL", new(string)}, {"NULL", new(name)}, {"NULL", new(int64)},
		{"NULL", new(bool)}, {"NULL", new(float64)}, {"value", new([]int)}, {"value", ""}, {"value", new(struct{})}} {
		err := db.Scan(ctx, `SELECT `+c.column+` FROM item ORDER BY value DESC`, func(row store.Row) error { return row.Scan(c.into) })
		if err == nil {
			t.Errorf("%s went into %T", c.column, c.into)
		}
	}
	if err := db.Scan(ctx, `SELECT name, value FROM item`, func(row store.Row) error { return row.Scan(new(string)) }); err == nil {
		t.Error("two columns went into one value")
	}
	n, enough := 0, errors.New("enough")
	if err := db.Scan(ctx, `SELECT name FROM item`, func(store.Row) error { n++; return enough }); !errors.Is(err, enough) || n != 1 {
		t.Errorf("%d rows, error %v", n, err)
	}
	if err := db.Scan(ctx, `SELECT nothing FROM item`, func(store.Row) error { return nil }); err == nil {
		t.Error("a column that is not there was read")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := db.Scan(ended, `SELECT name FROM item`, func(store.Row) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context had ended: %v", err)
	}
}

// TestScanTellsOfDamage reads a database whose pages are overwritten while it is open.
func TestScanTellsOfDamage(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	db, err := store.Open(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { db.Close() }()
	if err := db.Migrate(ctx, "items", []string{`CREATE TABLE item (id BIGINT, body TEXT)`}); err != nil {
		t.Fatal(err)
	}
	table := &store.Table{Name: "item", Columns: []string{"id", "body"}}
	for i := range 3000 {
		db.Put(table, [][]any{{i, fmt.Sprintf("%0100d", i)}}, nil)
	}
	if err := db.Close(); err != nil { // moves the log into the file
		t.Fatal(err)
	}
	if db, err = store.Open(ctx, dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, store.FileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(10 * 4096); at < info.Size(); at += 4096 {
		if _, err := f.WriteAt(make([]byte, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	err = db.Scan(ctx, `SELECT body FROM item`, func(store.Row) error { return nil })
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}
