package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/berth-iot/berth/internal/postgrestest"
)

// TestPostgresKilled stops PostgreSQL in the middle of writes, again and again: everything that was
// acknowledged is there, once, and the counts are right.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	var own postgrestest.Cluster
	t.Cleanup(own.Stop)
	url := own.Database(t)
	tables := open(t, url)
	var acknowledged sync.Map
	var count, next atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1)
				rows := make([]Row, 20)
				for k := range rows {
					rows[k] = Row{Time: i, Thing: fmt.Sprint(w, "-", k), ID: fmt.Sprint(i), Measures: Measures{{"n", Number(float64(i))}}}
				}
				for ctx.Err() == nil { // as a queue would deliver
					err := tables.Insert(ctx, "k", rows)
					if err == nil {
						acknowledged.Store(i, true)
						count.Add(1)
						break
					}
					if !errors.Is(err, ErrUnavailable) && ctx.Err() == nil {
						t.Errorf("insert: %v", err)
						return
					}
				}
			}
		})
	}
	reached := func(n int64) {
		for begin := time.Now(); count.Load() < n && !t.Failed(); time.Sleep(time.Millisecond) {
			if time.Since(begin) > 90*time.Second {
				t.Fatalf("only %d inserts were acknowledged", count.Load())
			}
		}
	}
	for range 3 {
		reached(count.Load() + 100)
		own.Kill(t)
		if err := tables.Insert(t.Context(), "k", []Row{row(1, "x", 1)}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("insert without PostgreSQL: %v", err)
		}
		if _, err := tables.Query(t.Context(), Query{Table: "k"}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("query without PostgreSQL: %v", err)
		}
		own.Start(t)
	}
	reached(count.Load() + 100)
	cancel()
	writers.Wait()
	insert(t, tables, "k", row(2, "x", 1)) // what was still queued is written
	check := func() {
		t.Helper()
		seen := make(map[string]bool)
		inserts := make(map[int64]int)
		err := tables.Rows(t.Context(), Query{Table: "k"}, func(r Row) bool {
			if r.Thing != "x" {
				key := fmt.Sprint(r.Thing, "/", r.Time)
				if seen[key] {
					t.Errorf("%s is there twice", key)
				}
				seen[key] = true
				inserts[r.Time]++
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		acknowledged.Range(func(i, _ any) bool {
			if inserts[i.(int64)] != 20 {
				t.Errorf("insert %d was acknowledged and has %d rows", i, inserts[i.(int64)])
			}
			return true
		})
		info, _, err := tables.Describe("k")
		if err != nil || info.Rows < int64(len(seen)) || info.Rows > int64(len(seen))+5 {
			t.Errorf("%d rows are counted, %d there: %v", info.Rows, len(seen), err)
		}
	}
	check()
	t.Logf("%d inserts of 20 rows acknowledged", count.Load())
	tables.Close()
	tables = open(t, url)
	check()
}

// TestPostgresOwner opens the tables of a database twice.
func TestPostgresOwner(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	first := open(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, t.TempDir(), Config{Database: url}); err == nil {
		t.Fatal("a second server opened the tables")
	}
	insert(t, first, "r", row(1, "x", 1))
	first.Close()
	if list := open(t, url).List(); len(list) != 1 || list[0].Rows != 1 {
		t.Errorf("%+v", list)
	}
	for _, bad := range []string{"postgres://:port", "postgres:///x?host=" + t.TempDir()} {
		if _, err := Open(t.Context(), t.TempDir(), Config{Database: bad}); err == nil {
			t.Errorf("%s was opened", bad)
		}
	}
}

// TestPostgresSQL reads readings as others would, and reads what others wrote.
func TestPostgresSQL(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	tables := open(t, url)
	insert(t, tables, "weather", Row{Time: 1769860800000, Thing: "kitchen", Measures: Measures{{"temperature", Number(21.5)}, {"note", String("warm \"x\"")}}})
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var at, thing, measures string
	var value float64
	err = conn.QueryRow(t.Context(), `SET timezone = 'UTC'`).Scan()
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	err = conn.QueryRow(t.Context(), `SELECT time::text, thing, (measures->>'temperature')::float8, measures::text FROM berth.readings WHERE "table" = 'weather'`).Scan(&at, &thing, &value, &measures)
	if err != nil || at != "2026-01-31 12:00:00+00" || thing != "kitchen" || value != 21.5 || !strings.Contains(measures, `"note":"warm \"x\""`) {
		t.Errorf("%s %s %v %s %v", at, thing, value, measures, err)
	}
	if _, err := conn.Exec(t.Context(), `UPDATE berth.reading SET measures = '{ "new": 5, "note": null, "temperature": 22, "temperature": 23 }'`); err != nil {
		t.Fatal(err)
	}
	p, err := tables.Query(t.Context(), Query{Table: "weather"})
	if v, _ := p.Rows[0].Measures.Get("temperature"); err != nil || len(p.Rows[0].Measures) != 1 || v != Number(23) {
		t.Errorf("%+v %v", p.Rows, err)
	}
}

// TestPostgresRefused: a value that PostgreSQL does not take fails its own insert only.
func TestPostgresRefused(t *testing.T) {
	t.Parallel()
	tables := open(t, cluster.Database(t))
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	results := make(chan error, 20)
	for i := range 20 {
		r := row(int64(i+1), "x", 1)
		if i == 10 {
			r.Measures = Measures{{"deep", JSON(deep)}}
		}
		if err := tables.Submit(t.Context(), "r", []Row{r}, func(err error) { results <- err }); err != nil {
			t.Fatal(err)
		}
	}
	failed := 0
	for i := range 20 {
		if err := <-results; err != nil {
			if failed++; !errors.Is(err, ErrInvalid) || i != 10 {
				t.Errorf("insert %d: %v", i, err)
			}
		}
	}
	if list := tables.List(); list[0].Rows != int64(20-failed) {
		t.Errorf("%d rows, %d failed", list[0].Rows, failed)
	}
	if got, err := tables.Query(t.Context(), Query{Table: "r"}); err != nil || len(got.Rows) != 20-failed {
		t.Error(len(got.Rows), err)
	}
}

// TestTimescale: where the extension is installed, readings become a hypertable. Debian has no package
// of it, so a function of that name stands for it.
func TestTimescale(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range []string{
		`SET allow_system_table_mods = on`,
		`INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) VALUES (99999, 'timescaledb', 10, 'public'::regnamespace, false, '2.0')`,
		`CREATE TABLE called (relation regclass, column_name name)`,
		`CREATE FUNCTION create_hypertable(relation regclass, time_column_name name, chunk_time_interval interval, create_default_indexes boolean,
			if_not_exists boolean, migrate_data boolean) RETURNS text LANGUAGE sql AS $$ INSERT INTO called VALUES (relation, time_column_name) RETURNING 'made' $$`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	tables := open(t, url)
	insert(t, tables, "r", row(1, "x", 1))
	var relation, column string
	err = conn.QueryRow(t.Context(), `SELECT (relation = 'berth.reading'::regclass)::text, column_name::text FROM called`).Scan(&relation, &column)
	if err != nil || relation != "true" || column != "time" {
		t.Error(relation, column, err)
	}
}

// FuzzPostgresValues reads rows that others may have written.
func FuzzPostgresValues(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":"x\u0000","c":[1,{}],"d":true,"a":2,"z":null}`, `{}`, `[]`, `{"a":1e999}`, `null`, `{"a":"\ud800"}`, `{"a" : -0 }x`, `{"a":-0,"b":"x","c":true,"d":1.5e-3}`, `{"a":1,}`, `{"a":01}`} {
		f.Add([]byte(s))
	}
	d, known := new(postgres), newNames([]string{"a", "b", "c", "d"})
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []numbered
		if d.values(b, known, nil, func(v numbered) { list = append(list, v) }) != nil {
			return
		}
		if plain, ok := plainValues(b, known, nil, nil); ok {
			var m Measures
			if err := m.UnmarshalJSON(b); err != nil || len(m) != len(plain) || !slices.Equal(plain, list) {
				t.Fatalf("%s read as %+v, is %+v: %v", b, plain, m, err)
			}
			for i, v := range plain {
				if known.list[v.number] != m[i].Name || v.value != m[i].Value {
					t.Fatalf("%s read as %+v, is %+v", b, plain, m)
				}
			}
		}
		for i := range list {
			if i > 0 && list[i].number <= list[i-1].number {
				t.Fatalf("%s: %+v is not in order", b, list)
			}
		}
		again, err := d.encode(known, list)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		err = d.values(again, known, nil, func(v numbered) {
			if v != list[i] && list[i].value.kind != KindJSON {
				t.Fatalf("%s became %s", b, again)
			}
			i++
		})
		if err != nil || i != len(list) {
			t.Fatalf("%s became %s: %v", b, again, err)
		}
	})
}
