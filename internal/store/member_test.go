package store_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

func openMember(t *testing.T, url, name string, changed func()) *store.DB {
	t.Helper()
	db, err := store.OpenMember(context.Background(), url, store.Member{Name: name, Lease: 10 * time.Second, Changed: changed}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Nodes share a database and keep a server of its own out; a node that was declared dead writes no more.
func TestMembers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := storetest.Schema(t, cluster.Database(t), t.Name())
	told := make(chan struct{}, 100)
	a := openMember(t, url, "a", func() { told <- struct{}{} })
	b := openMember(t, url, "b", nil)
	if _, err := store.OpenPostgres(ctx, url, slog.New(slog.DiscardHandler)); !errors.Is(err, store.ErrTaken) {
		t.Fatalf("a server of its own got the database of nodes: %v", err)
	}
	for _, db := range []*store.DB{a, b} {
		if err := db.Migrate(ctx, "test", []string{`CREATE TABLE item (id TEXT PRIMARY KEY, n BIGINT NOT NULL)`}); err != nil {
			t.Fatal(err)
		}
	}
	if a.Membership().Cluster() != b.Membership().Cluster() {
		t.Error("two nodes of one database are in different clusters")
	}
	table := &store.Table{Name: "item", Columns: []string{"id", "n"}, Key: 1, Feed: "item"}
	done := make(chan error, 1)
	a.Put(table, [][]any{{"x", 1}, {"y", 2}, {"x", 3}}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told of a change")
	}
	var keys string
	err := b.Query(ctx, `SELECT kind, key FROM cluster_change ORDER BY version, number`, nil, func(row store.Row) error {
		var kind, key string
		err := row.Scan(&kind, &key)
		keys += kind + " " + key + ";"
		return err
	})
	if err != nil || keys != "item x;item y;" {
		t.Fatalf("changes %q, %v", keys, err)
	}

	if a.Membership().Remaining() <= 0 {
		t.Error("a node that has just committed has no lease")
	}
	if err := b.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM cluster_node WHERE instance = ?`, a.Membership().Instance())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	a.Delete(table, [][]any{{"x"}}, func(err error) { done <- err })
	if err := <-done; err == nil {
		t.Error("a node that was declared dead has written")
	}
	select {
	case err := <-a.Lost():
		if !errors.Is(err, store.ErrTaken) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a node that was declared dead goes on")
	}
	var n int
	if err := b.QueryRow(ctx, `SELECT count(*) FROM item`, nil, &n); err != nil || n != 2 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// A node whose connection breaks goes on with a new one.
func TestMemberReconnects(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := storetest.Schema(t, cluster.Database(t), t.Name())
	a := openMember(t, url, "a", nil)
	if err := a.Migrate(ctx, "test", []string{`CREATE TABLE item (id TEXT PRIMARY KEY)`}); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for range 3 {
		if _, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
		if err := a.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// Functions of several nodes that read and then write lose nothing to each other, and rows that they lock in
// different orders are written in the end.
func TestMembersTakeTurns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := storetest.Schema(t, cluster.Database(t), t.Name())
	nodes := []*store.DB{openMember(t, url, "a", nil), openMember(t, url, "b", nil), openMember(t, url, "c", nil)}
	for _, db := range nodes {
		if err := db.Migrate(ctx, "test", []string{`CREATE TABLE item (id TEXT PRIMARY KEY, n BIGINT NOT NULL)`}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nodes[0].Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO item (id, n) VALUES ('counter', 0), ('x', 0), ('y', 0)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	const each = 50
	var wg sync.WaitGroup
	for i, db := range nodes {
		wg.Go(func() {
			for range each {
				err := db.Write(ctx, func(tx *store.Tx) error {
					var n int
					if err := tx.QueryRow(`SELECT n FROM item WHERE id = 'counter'`, nil, &n); err != nil {
						return err
					}
					_, err := tx.Exec(`UPDATE item SET n = ? WHERE id = 'counter'`, n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			order := []string{"x", "y"}
			if i%2 == 1 {
				order = []string{"y", "x"}
			}
			for range 5 {
				err := db.WriteLoose(ctx, func(tx *store.Tx) error {
					for _, id := range order {
						if _, err := tx.Exec(`UPDATE item SET n = n + 1 WHERE id = ?`, id); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for id, want := range map[string]int{"counter": each * len(nodes), "x": 5 * len(nodes), "y": 5 * len(nodes)} {
		var n int
		if err := nodes[0].QueryRow(ctx, `SELECT n FROM item WHERE id = ?`, []any{id}, &n); err != nil || n != want {
			t.Errorf("%s is %d, want %d, %v", id, n, want, err)
		}
	}
}

// A read for which nobody else would give up ends when the database is silent for a third of a lease: who waits for it, such as
// what a node reads again because others have changed it, must not go on with what it knew.
func TestMemberReadsAreBounded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := storetest.Schema(t, cluster.Database(t), t.Name())
	db, err := store.OpenMember(ctx, url, store.Member{Name: "a", Lease: 3 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	read := make(chan error, 1)
	go func() {
		read <- db.Query(ctx, `SELECT pg_sleep(20)::text`, nil, func(store.Row) error { return nil })
	}()
	select {
	case err := <-read:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a read waits for longer than a lease")
	}
}
