package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/store"
)

var itemTable = &store.Table{Name: "item", Columns: []string{"name", "value"}, Key: 1}

func migrateItems(t testing.TB, db *store.DB) {
	t.Helper()
	if err := db.Migrate(context.Background(), "items", []string{`CREATE TABLE item (name TEXT PRIMARY KEY, value BIGINT NOT NULL)`}); err != nil {
		t.Fatal(err)
	}
}

// ledger notes what writers were told.
type ledger struct {
	mu     sync.Mutex
	done   map[string]bool
	failed map[string]bool
}

func (l *ledger) note(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.done[name] = true
	} else {
		l.failed[name] = true
	}
}

// write keeps writers of rows and of functions busy until stop is closed.
func (l *ledger) write(t testing.TB, db *store.DB, stop chan struct{}) (wait func()) {
	l.done, l.failed = make(map[string]bool), make(map[string]bool)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprint(w, "-", i)
				var err error
				if w%2 == 0 {
					answer := make(chan error, 1)
					db.Put(itemTable, [][]any{{name, i}}, func(err error) { answer <- err })
					err = <-answer
				} else {
					err = db.Write(context.Background(), func(tx *store.Tx) error {
						n := 0
						if err := tx.QueryRow(`SELECT count(*) FROM item WHERE name = ?`, []any{name}, &n); err != nil || n != 0 {
							return fmt.Errorf("%d rows before the insert: %w", n, err)
						}
						if _, err := tx.Exec(`INSERT INTO item (name, value) VALUES (?, ?)`, name, i); err != nil {
							return err
						}
						if i%10 == 5 {
							return errors.New("changed its mind")
						}
						return nil
					})
					if i%10 == 5 != (err != nil) && !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("%s: %v", name, err)
					}
				}
				l.note(name, err)
			}
		})
	}
	return wg.Wait
}

// check compares what is in the database with what writers were told: both ways.
func (l *ledger) check(t testing.TB, db *store.DB) {
	t.Helper()
	there := make(map[string]bool)
	err := db.Query(context.Background(), `SELECT name FROM item`, nil, func(row store.Row) error {
		var name string
		err := row.Scan(&name)
		there[name] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range l.done {
		if !there[name] {
			t.Errorf("acknowledged %s is missing", name)
		}
	}
	for name := range l.failed {
		if there[name] {
			t.Errorf("refused %s is there", name)
		}
	}
	t.Logf("%d acknowledged, %d refused, %d there", len(l.done), len(l.failed), len(there))
}

// TestServerOfPostgresKilled stops PostgreSQL at once, again and again, under writers.
func TestServerOfPostgresKilled(t *testing.T) {
	t.Parallel()
	var c postgrestest.Cluster
	t.Cleanup(c.Stop)
	db := openPostgres(t, c.Database(t))
	migrateItems(t, db)
	var l ledger
	stop := make(chan struct{})
	wait := l.write(t, db, stop)
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		time.Sleep(50*time.Millisecond + rand.N(300*time.Millisecond))
		c.Kill(t)
		c.Start(t)
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	wait()
	if err := db.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	l.check(t, db)
	if n := db.Stats().Outages; n == 0 {
		t.Error("no outage was seen")
	}
}

// TestConnectionsCut ends the writing connection at random moments, so that commits are under way.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	db := openPostgres(t, url)
	migrateItems(t, db)
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	var l ledger
	stop := make(chan struct{})
	wait := l.write(t, db, stop)
	for range 50 {
		time.Sleep(rand.N(20 * time.Millisecond))
		if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wait()
	l.check(t, db)
}

// TestPromotedStandby loses the machine of PostgreSQL and goes on with its synchronous standby.
func TestPromotedStandby(t *testing.T) {
	t.Parallel()
	var primary postgrestest.Cluster
	t.Cleanup(primary.Stop)
	primary.Database(t)
	standby := primary.Standby(t, true)
	t.Cleanup(standby.Stop)
	db := openPostgres(t, primary.Either(standby, "test1"))
	migrateItems(t, db)
	var l ledger
	stop := make(chan struct{})
	wait := l.write(t, db, stop)
	time.Sleep(300 * time.Millisecond)
	primary.Kill(t)
	standby.Promote(t)
	if err := db.Flush(context.Background()); err != nil {
		t.Error(err)
	}
	time.Sleep(300 * time.Millisecond)
	close(stop)
	wait()
	l.check(t, db)
}

// TestLongOutage: writes fail after a while, those that nobody waits for are made up for.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	var c postgrestest.Cluster
	t.Cleanup(c.Stop)
	db := openPostgres(t, c.Database(t))
	migrateItems(t, db)
	ctx := context.Background()
	c.Kill(t)
	db.Put(itemTable, [][]any{{"owed", 1}}, nil)
	if err := db.Flush(ctx); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("during the outage: %v", err)
	}
	began := time.Now()
	if err := db.Flush(ctx); !errors.Is(err, store.ErrUnavailable) || time.Since(began) > 6*time.Second {
		t.Errorf("later: %v after %v", err, time.Since(began))
	}
	if err := db.QueryRow(ctx, `SELECT 1`, nil, new(int)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("read: %v", err)
	}
	if err := db.Available(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("available: %v", err)
	}
	c.Start(t)
	for end := time.Now().Add(20 * time.Second); db.Available() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("does not come back")
		}
	}
	if err := db.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	value := 0
	if err := db.QueryRow(ctx, `SELECT value FROM item WHERE name = ?`, []any{"owed"}, &value); err != nil || value != 1 {
		t.Errorf("%d, %v", value, err)
	}
}

// TestOneServer: a database has one server, and one that lost it does not go on.
func TestOneServer(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	first := openPostgres(t, url)
	migrateItems(t, first)
	ctx := context.Background()
	if _, err := store.OpenPostgres(ctx, url, discard); !errors.Is(err, store.ErrTaken) {
		t.Fatalf("a second server: %v", err)
	}
	admin, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	// What a second server does that comes while the connection of the first is broken.
	if _, err := admin.Exec(ctx, `UPDATE berth_state.store_instance SET instance = 'another'`); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	if err := first.Flush(ctx); !errors.Is(err, store.ErrTaken) {
		t.Errorf("the first: %v", err)
	}
	select {
	case err := <-first.Lost():
		if !errors.Is(err, store.ErrTaken) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the first was not told")
	}
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "postgres", "mysql://a/b", "host=a password=secret", "postgres://u:secret@h:port/x"} {
		_, err := store.ParseURL(url)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if shown, err := store.ParseURL("postgres://u:secret@h/x?search_path=s"); err != nil || shown != "postgres://u:xxxxx@h/x?search_path=s" {
		t.Errorf("%s, %v", shown, err)
	}
}
