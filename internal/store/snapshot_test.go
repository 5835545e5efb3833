package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-iot/berth/internal/store"
)

// testSnapshot takes snapshots of a database that is written to: each has whole transactions only, and
// all that was acknowledged before it was taken.
func testSnapshot(t *testing.T, db *store.DB, place string) {
	ctx := t.Context()
	if err := db.Migrate(ctx, "pairs", []string{`CREATE TABLE pair (n BIGINT NOT NULL, half BIGINT NOT NULL, PRIMARY KEY (n, half))`}); err != nil {
		t.Fatal(err)
	}
	var acknowledged atomic.Int64
	var wg sync.WaitGroup
	run, stop := context.WithCancel(ctx)
	wg.Go(func() {
		for n := int64(1); run.Err() == nil; n++ {
			err := db.Write(ctx, func(tx *store.Tx) error {
				for half := range 2 {
					if _, err := tx.Exec(`INSERT INTO pair (n, half) VALUES (?, ?)`, n, half); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			acknowledged.Store(n)
		}
	})
	for range 5 {
		dir, before := t.TempDir(), acknowledged.Load()
		if err := store.TakeSnapshot(ctx, place, dir); err != nil {
			t.Fatal(err)
		}
		s, err := store.OpenSnapshot(filepath.Join(dir, store.FileName))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(ctx); err != nil {
			t.Error(err)
		}
		rows, err := s.Rows(ctx)
		if err != nil || rows["pair"]%2 != 0 || rows["pair"] < 2*before {
			t.Errorf("%d rows, %d acknowledged before: %v", rows["pair"], 2*before, err)
		}
		s.Close()
		again, err := store.Open(ctx, dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Write(ctx, func(tx *store.Tx) error { _, err := tx.Exec(`DELETE FROM pair`); return err }); err != nil {
			t.Error("the snapshot cannot be used:", err)
		}
		again.Close()
	}
	stop()
	wg.Wait()
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	testSnapshot(t, db, dir)
}

func TestSnapshotOfPostgres(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	testSnapshot(t, openPostgres(t, url), url)
}

// TestSnapshotRefused replaces nothing and leaves nothing.
func TestSnapshotRefused(t *testing.T) {
	t.Parallel()
	ctx, from, to := t.Context(), t.TempDir(), t.TempDir()
	if err := store.TakeSnapshot(ctx, from, to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	fill(t, from, "a")
	if err := store.TakeSnapshot(ctx, from, to); err != nil {
		t.Fatal(err)
	}
	if err := store.TakeSnapshot(ctx, from, to); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	path := filepath.Join(to, store.FileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[len(b)/2:], strings.Repeat("\xa5", 5000))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.OpenSnapshot(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Check(ctx); err == nil {
		t.Error("damage was not found")
	}
	if list, _ := filepath.Glob(filepath.Join(to, "*")); len(list) != 1 {
		t.Error(fmt.Sprint("files: ", list))
	}
}
