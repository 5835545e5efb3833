package store_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

// cluster is what tests share that do not stop it.
var cluster postgrestest.Cluster

func TestMain(m *testing.M) {
	code := m.Run()
	cluster.Stop()
	os.Exit(code)
}

var discard = slog.New(slog.DiscardHandler)

func openPostgres(t testing.TB, url string) *store.DB {
	t.Helper()
	db, err := store.OpenPostgres(context.Background(), url, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	base := cluster.Database(t)
	storetest.Run(t, func(t *testing.T) (*store.DB, func() *store.DB) {
		url := storetest.Schema(t, base, t.Name())
		return openPostgres(t, url), func() *store.DB { return openPostgres(t, url) }
	})
}

// Two tables are read side by side, whatever the URL says of connections.
func TestReadsSideBySide(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	db, err := store.OpenPostgres(ctx, storetest.Schema(t, cluster.Database(t), t.Name())+"&pool_max_conns=1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	n := 0
	if err := db.Scan(ctx, `SELECT 1`, func(store.Row) error {
		return db.Scan(ctx, `SELECT 1`, func(store.Row) error { n++; return nil })
	}); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}
