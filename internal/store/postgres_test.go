package store_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

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
