package store_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/berth-iot/berth/internal/store"
)

var kindsSchema = []string{
	`CREATE TABLE kinds (body BLOB, name TEXT NOT NULL, n BIGINT NOT NULL, x DOUBLE PRECISION, note TEXT, PRIMARY KEY (n, name)) /*sqlite WITHOUT ROWID*/`,
	`ALTER TABLE kinds ADD COLUMN later TEXT NOT NULL DEFAULT 'd'; CREATE INDEX kinds_note ON kinds (note) WHERE note <> ''`,
}

func fill(t *testing.T, dir string, names ...string) {
	t.Helper()
	db, err := store.Open(t.Context(), dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context(), "kinds", kindsSchema); err != nil {
		t.Fatal(err)
	}
	migrateItems(t, db)
	table := &store.Table{Name: "kinds", Columns: []string{"n", "name", "body", "x", "note"}, Key: 2}
	for i, name := range names {
		db.Put(table, [][]any{
			{i % 3, name, []byte{0, 255, byte(i)}, 1.5 * float64(i), "ü"}, {-1 - i, name, nil, nil, nil}, {int64(1 << 62), name, []byte{}, math.Copysign(0, -1), ""}}, nil)
	}
	rows := make([][]any, 2500)
	for i := range rows {
		rows[i] = []any{string(rune('a'+i%26)) + string(rune(' '+i/26)), i}
	}
	db.Put(itemTable, rows, nil)
	if err := db.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestCopy copies from SQLite to PostgreSQL, to another schema, and back to SQLite.
func TestCopy(t *testing.T) {
	t.Parallel()
	ctx, from, back := t.Context(), t.TempDir(), t.TempDir()
	fill(t, from, "a", "B", "b", "_", "é", "Z", "日本", "a b", `"'\`, "")
	url := cluster.Database(t)
	places := []string{from, url, url + "&search_path=other", back}
	var before []store.CopiedTable
	for i := range places[1:] {
		list, err := store.Copy(ctx, places[i], places[i+1], nil)
		if err != nil {
			t.Fatal(places[i+1], err)
		}
		if before != nil && !cmp.Equal(list, before) {
			t.Error(cmp.Diff(before, list))
		}
		before = list
	}
	if len(before) != 2 || before[0].Name != "item" || before[0].Rows != 2500 || before[1].Rows != 30 {
		t.Errorf("%+v", before)
	}
	for _, to := range []string{url, back} {
		if _, err := store.Copy(ctx, from, to, nil); !errors.Is(err, store.ErrNotEmpty) {
			t.Errorf("into %s: %v", to, err)
		}
	}
	db, err := store.Open(ctx, back, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(ctx, "kinds", append(kindsSchema[:2:2], `ALTER TABLE kinds ADD COLUMN last BIGINT`)); err != nil {
		t.Error("the copy cannot be used:", err)
	}
	other := openPostgres(t, url)
	if err := other.Migrate(ctx, "kinds", kindsSchema); err != nil {
		t.Error("the copy cannot be used:", err)
	}
	var names []string
	err = other.Query(ctx, `SELECT name FROM kinds WHERE n >= 4611686018427387904 ORDER BY name`, nil, func(row store.Row) error {
		var name string
		err := row.Scan(&name)
		names = append(names, name)
		return err
	})
	if want := []string{"", `"'\`, "B", "Z", "_", "a", "a b", "b", "é", "日本"}; err != nil || !cmp.Equal(names, want) {
		t.Errorf("order %q, %v", names, err)
	}
}

// TestFailedCopy leaves nothing behind, and what a killed copy leaves is refused.
func TestFailedCopy(t *testing.T) {
	t.Parallel()
	ctx, from := t.Context(), t.TempDir()
	fill(t, from, "zero \x00 byte")
	url := cluster.Database(t)
	if _, err := store.Copy(ctx, from, url, nil); !errors.Is(err, store.ErrText) {
		t.Errorf("U+0000: %v", err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	n := 0
	if err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_namespace WHERE nspname = 'berth_state'`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d schemas, %v", n, err)
	}
	openPostgres(t, url).Close()
	if _, err := conn.Exec(ctx, `UPDATE berth_state.store_instance SET instance = 'unfinished copy'`); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenPostgres(ctx, url, discard); err == nil {
		t.Error("an unfinished copy was opened")
	}

	if _, err := store.Copy(ctx, t.TempDir(), url, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("from nothing: %v", err)
	}
	empty := t.TempDir()
	if db, err := store.Open(ctx, empty, discard); err != nil {
		t.Fatal(err)
	} else if db.Close(); true {
		if _, err := store.Copy(ctx, empty, t.TempDir(), nil); err == nil {
			t.Error("a database without tables was copied")
		}
	}
	to := t.TempDir()
	canceled, cancel := context.WithCancel(ctx)
	if _, err := store.Copy(canceled, from, to, func(store.CopiedTable) { cancel() }); err == nil {
		t.Error("a canceled copy ended well")
	}
	if left, _ := filepath.Glob(filepath.Join(to, "*")); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}
