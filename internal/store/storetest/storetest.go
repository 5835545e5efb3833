// Package storetest is the suite that every dialect of package store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-iot/berth/internal/store"
)

// Run runs the suite. open returns an empty database; reopen opens the same one again after it was
// closed.
func Run(t *testing.T, open func(t *testing.T) (db *store.DB, reopen func() *store.DB)) {
	ctx := context.Background()
	table := &store.Table{Name: "item", Columns: []string{"name", "value", "body"}, Key: 1}
	schema := []string{`CREATE TABLE item (name TEXT PRIMARY KEY, value BIGINT NOT NULL, body BLOB) /*sqlite WITHOUT ROWID*/;
		CREATE INDEX item_value ON item (value)`}
	fresh := func(t *testing.T) (*store.DB, func() *store.DB) {
		t.Helper()
		db, reopen := open(t)
		if err := db.Migrate(ctx, "items", schema); err != nil {
			t.Fatal(err)
		}
		return db, reopen
	}
	count := func(t *testing.T, db *store.DB) (n int) {
		t.Helper()
		if err := db.QueryRow(ctx, `SELECT count(*) FROM item`, nil, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	t.Run("write is there after reopening", func(t *testing.T) {
		t.Parallel()
		db, reopen := fresh(t)
		err := db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO item (name, value, body) VALUES (?, ?, ?)`, "a", 1, []byte{0, 1, 255})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = reopen()
		var body []byte
		if err := db.QueryRow(ctx, `SELECT body FROM item WHERE name = ?`, []any{"a"}, &body); err != nil || string(body) != "\x00\x01\xff" {
			t.Fatalf("body %x, error %v", body, err)
		}
	})

	t.Run("failed write undoes only itself", func(t *testing.T) {
		t.Parallel()
		db, _ := fresh(t)
		refused := errors.New("refused")
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				err := db.Write(ctx, func(tx *store.Tx) error {
					if _, err := tx.Exec(`INSERT INTO item (name, value) VALUES (?, ?)`, fmt.Sprint(i), i); err != nil {
						return err
					}
					switch i % 4 {
					case 0:
						return refused
					case 1:
						panic("broken")
					}
					return nil
				})
				if (err == nil) != (i%4 > 1) {
					t.Errorf("write %d: %v", i, err)
				}
				if i%4 == 0 && !errors.Is(err, refused) {
					t.Errorf("write %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := count(t, db); n != 100 {
			t.Errorf("%d rows, want 100", n)
		}
	})

	t.Run("rows are put, replaced and deleted in order", func(t *testing.T) {
		t.Parallel()
		db, _ := fresh(t)
		var order []int
		for i := range 1000 {
			db.Put(table, [][]any{{"same", i, nil}, {fmt.Sprint("k", i), i, []byte("x")}}, func(err error) {
				if err != nil {
					t.Error(err)
				}
				order = append(order, i) // one goroutine calls all of these
			})
		}
		db.Delete(table, [][]any{{"k1"}, {"k2"}, {"missing"}}, nil)
		if err := db.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		for i, n := range order {
			if i != n {
				t.Fatalf("callback %d came at place %d", n, i)
			}
		}
		var value int
		if err := db.QueryRow(ctx, `SELECT value FROM item WHERE name = ?`, []any{"same"}, &value); err != nil || value != 999 {
			t.Errorf("value %d, error %v", value, err)
		}
		if n := count(t, db); n != 999 {
			t.Errorf("%d rows, want 999", n)
		}
	})

	t.Run("a bad row fails alone", func(t *testing.T) {
		t.Parallel()
		db, _ := fresh(t)
		var failed, done atomic.Int32
		for i := range 100 {
			var value any = i
			if i%10 == 3 {
				value = nil // NOT NULL
			}
			db.Put(table, [][]any{{fmt.Sprint(i), value, nil}}, func(err error) {
				done.Add(1)
				if err != nil {
					failed.Add(1)
				}
			})
		}
		if err := db.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if done.Load() != 100 || failed.Load() != 10 {
			t.Errorf("%d done, %d failed", done.Load(), failed.Load())
		}
		if n := count(t, db); n != 90 {
			t.Errorf("%d rows, want 90", n)
		}
	})

	t.Run("writers share commits", func(t *testing.T) {
		t.Parallel()
		db, _ := fresh(t)
		for i := range 2000 {
			db.Put(table, [][]any{{fmt.Sprint(i), i, nil}}, nil)
		}
		if err := db.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		s := db.Stats()
		if s.Operations < 2000 || s.Commits > 1000 {
			t.Errorf("%d operations took %d commits", s.Operations, s.Commits)
		}
	})

	t.Run("migrations run once and never back", func(t *testing.T) {
		t.Parallel()
		db, reopen := fresh(t)
		two := append(schema[:1:1], `ALTER TABLE item ADD COLUMN extra TEXT`)
		for range 2 {
			if err := db.Migrate(ctx, "items", two); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = reopen()
		if err := db.Migrate(ctx, "items", schema); err == nil {
			t.Error("an older list of migrations was accepted")
		}
		if err := db.Migrate(ctx, "items", two); err != nil {
			t.Error(err)
		}
	})

	t.Run("closed store refuses writes", func(t *testing.T) {
		t.Parallel()
		db, _ := fresh(t)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Flush(ctx); !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
