package storetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/berth-iot/berth/internal/store"
)

// Variable is the environment variable with the URL of a PostgreSQL database that tests use instead of
// SQLite. `go run ./test/postgres go test ./...` sets it.
const Variable = "BERTH_TEST_DATABASE"

// Open opens the database of a test in dir; what was opened with the same dir before, and closed, is
// opened again. It is SQLite there, or a schema of its own in PostgreSQL, see Variable.
func Open(tb testing.TB, dir string) *store.DB {
	tb.Helper()
	var db *store.DB
	var err error
	if url := URL(tb, dir); url != "" {
		db, err = store.OpenPostgres(context.Background(), url, slog.New(slog.DiscardHandler))
	} else {
		db, err = store.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

// URL is the database of a test for `berth serve --database`: empty, or a schema as of Open.
func URL(tb testing.TB, dir string) string {
	tb.Helper()
	base := os.Getenv(Variable)
	if base == "" {
		return ""
	}
	return Schema(tb, base, dir)
}

// Schema returns the URL of a database with a schema of its own for a name, and removes the schema
// when the test ends.
func Schema(tb testing.TB, base, name string) string {
	tb.Helper()
	schema := fmt.Sprintf("t%x", sha256.Sum256(fmt.Append(nil, os.Getpid(), name)))[:24]
	if _, known := cleaned.LoadOrStore(schema, true); !known {
		tb.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			conn, err := pgx.Connect(ctx, base)
			if err == nil {
				_, err = conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
				conn.Close(ctx)
			}
			if err != nil {
				tb.Error(err)
			}
			cleaned.Delete(schema)
		})
	}
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

// cleaned are the schemas that will be removed.
var cleaned sync.Map
