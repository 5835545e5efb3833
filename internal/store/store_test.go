package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) (*store.DB, func() *store.DB) {
		dir := t.TempDir()
		open := func() *store.DB {
			db, err := store.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			return db
		}
		return open(), open
	})
}

func TestFileMode(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "with ?#% in it")
	db, err := store.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	info, err := os.Stat(filepath.Join(dir, "berth.db"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
}

// BenchmarkPut appends rows of 256 bytes, as queues do, by writers that wait for the disk.
func BenchmarkPut(b *testing.B) {
	for name, open := range benchmarked(b) {
		b.Run(name, func(b *testing.B) {
			db := open(b)
			table := &store.Table{Name: "item", Columns: []string{"name", "body"}, Key: 1}
			body := make([]byte, 256)
			var n atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				done := make(chan error, 1)
				for pb.Next() {
					db.Put(table, [][]any{{fmt.Sprint(n.Add(1)), body}}, func(err error) { done <- err })
					if err := <-done; err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkWrite reads and changes a row in a function, as the registry does.
func BenchmarkWrite(b *testing.B) {
	for name, open := range benchmarked(b) {
		b.Run(name, func(b *testing.B) {
			db := open(b)
			body := make([]byte, 256)
			var n atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					key, found := fmt.Sprint(n.Add(1)), 0
					err := db.Write(context.Background(), func(tx *store.Tx) error {
						if err := tx.QueryRow(`SELECT count(*) FROM item WHERE name = ?`, []any{key}, &found); err != nil {
							return err
						}
						_, err := tx.Exec(`INSERT INTO item (name, body) VALUES (?, ?)`, key, body)
						return err
					})
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func benchmarked(b *testing.B) map[string]func(b *testing.B) *store.DB {
	schema := []string{`CREATE TABLE item (name TEXT PRIMARY KEY, body BLOB) /*sqlite WITHOUT ROWID*/`}
	migrated := func(b *testing.B, db *store.DB) *store.DB {
		if err := db.Migrate(b.Context(), "bench", schema); err != nil {
			b.Fatal(err)
		}
		return db
	}
	return map[string]func(b *testing.B) *store.DB{
		"sqlite": func(b *testing.B) *store.DB {
			db, err := store.Open(b.Context(), b.TempDir(), discard)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { db.Close() })
			return migrated(b, db)
		},
		"postgres": func(b *testing.B) *store.DB { return migrated(b, openPostgres(b, cluster.Database(b))) },
	}
}
