package action

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/berth-iot/berth/internal/postgrestest"
)

// cluster is the PostgreSQL of these tests.
var cluster postgrestest.Cluster

func TestMain(m *testing.M) {
	code := m.Run()
	cluster.Stop()
	os.Exit(code)
}

// connected is services with connections and nothing else.
func connected(tb testing.TB, cfg ConnectionConfig) *Services {
	s := &Services{Connections: NewConnections(cfg)}
	tb.Cleanup(s.Connections.Close)
	return s
}

// query returns the rows of a statement as text.
func query(tb testing.TB, url, statement string) []string {
	tb.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), statement, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func execute(tb testing.TB, url, statement string) {
	tb.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err == nil {
		_, err = conn.Exec(context.Background(), statement, pgx.QueryExecModeSimpleProtocol)
		conn.Close(context.Background())
	}
	if err != nil {
		tb.Fatal(err)
	}
}

func sameText(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q\nwant %q", got, want)
	}
}

func message(id, payload string) *Message {
	return &Message{ID: id, Payload: []byte(payload), Time: time.UnixMilli(1769860800000)}
}

func TestPostgresMembers(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	s := connected(t, ConnectionConfig{Databases: map[string]string{"main": url}})
	a := decode(t, "postgres", `{"connection":"main","table":"weather","idColumn":"message_id","timeColumn":"at","createTable":true}`)
	for _, m := range []*Message{
		message("1", `{"temperature":21.5,"door":true,"note":"warm 'x'","list":[1,2],"nothing":null}`),
		message("2", `{"temperature":1e300,"Größe \"q\"":7}`),
		message("1", `{"temperature":99}`), // comes again
	} {
		if err := a.Do(t.Context(), s, m); err != nil {
			t.Fatal(err)
		}
	}
	sameText(t, query(t, url, `SELECT message_id || ' ' || (at = '2026-01-31T12:00:00Z')::text || ' ' || temperature || ' ' || coalesce(door::text || note || (list->>1) , '-') || ' ' || coalesce("Größe ""q"""::text, '-') FROM weather ORDER BY 1`),
		"1 true 21.5 truewarm 'x'2 -", "2 true 1e+300 - 7")
	for _, bad := range []string{`[1]`, `"x"`, `5`, `{"":1}`, `{"note":"\u0000"}`, `{"temperature":"hot"}`, `{}x`, `{"` + strings.Repeat("x", 64) + `":1}`} {
		if err := a.Do(t.Context(), s, message(bad, bad)); !IsPermanent(err) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	b := decode(t, "postgres", `{"connection":"main","table":"none"}`)
	if err := b.Do(t.Context(), s, message("1", `{"a":1}`)); !IsPermanent(err) || !strings.Contains(err.Error(), "no table") {
		t.Error(err)
	}
	c := decode(t, "postgres", `{"connection":"main","table":"weather"}`)
	if err := c.Do(t.Context(), s, message("1", `{"colour":1}`)); !IsPermanent(err) || !strings.Contains(err.Error(), `no column "colour"`) {
		t.Error(err)
	}
	execute(t, url, `ALTER TABLE weather ADD COLUMN colour int, DROP CONSTRAINT weather_pkey; ALTER TABLE weather ALTER COLUMN message_id DROP NOT NULL`)
	if err := c.Do(t.Context(), s, message("3", `{"colour":1}`)); err != nil {
		t.Error("a new column is not seen:", err)
	}
	d := decode(t, "postgres", `{"connection":"other","table":"weather"}`)
	if err := d.Do(t.Context(), s, message("1", `{"a":1}`)); !IsPermanent(err) {
		t.Error(err)
	}
}

func TestPostgresColumns(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	execute(t, url, `CREATE SCHEMA plant; CREATE TABLE plant.reading (at timestamptz, device varchar(20), value numeric, raw jsonb, tags text[], count int DEFAULT 7)`)
	s := connected(t, ConnectionConfig{})
	a := decode(t, "postgres", fmt.Sprintf(`{"url":%q,"table":"plant.reading","columns":{"at":"2026-01-31T12:00:00Z","device":"x'); DROP TABLE plant.reading; --","value":"21.50","raw":"{\"a\":1}","tags":"{a,b}"}}`, url))
	a.(*Postgres).Columns["device"] = "x'); DROP TABLE"
	empty := decode(t, "postgres", fmt.Sprintf(`{"url":%q,"table":"plant.reading","columns":{"value":"","device":""}}`, url))
	for _, x := range []Action{a, empty} {
		if err := x.Do(t.Context(), s, &Message{Payload: []byte("\x00"), Binary: true}); err != nil {
			t.Fatal(err)
		}
	}
	sameText(t, query(t, url, `SELECT concat_ws(' ', device, value, raw->>'a', tags[2], count, value IS NULL, device = '') FROM plant.reading ORDER BY device`),
		" 7 t t", "x'); DROP TABLE 21.50 1 b 7 f f")
	if err := decode(t, "postgres", fmt.Sprintf(`{"url":%q,"table":"plant.reading","columns":{"at":"soon"}}`, url)).Do(t.Context(), s, &Message{}); !IsPermanent(err) {
		t.Error(err)
	}
}

func TestPostgresBatch(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	s := connected(t, ConnectionConfig{})
	a := decode(t, "postgres", fmt.Sprintf(`{"url":%q,"table":"r","idColumn":"id","createTable":true}`, url)).(*Postgres)
	var list []Delivery
	for i := range 100 {
		payload := fmt.Sprintf(`{"n":%d}`, i)
		if i%2 == 1 {
			payload = fmt.Sprintf(`{"m":%d}`, i)
		}
		list = append(list, Delivery{a, message(fmt.Sprint(i%90), payload)})
	}
	list[5].Message.Payload = []byte("no")
	errs := a.DoBatch(t.Context(), s, list)
	for i, err := range errs {
		if (err != nil) != (i == 5) || i == 5 && !IsPermanent(err) {
			t.Errorf("%d: %v", i, err)
		}
	}
	sameText(t, query(t, url, `SELECT count(*) || ' ' || count(n) || ' ' || count(m) FROM r`), "90 45 45")
	// Two servers make a table at once.
	var wait sync.WaitGroup
	for range 4 {
		other := connected(t, ConnectionConfig{})
		wait.Go(func() {
			b := decode(t, "postgres", fmt.Sprintf(`{"url":%q,"table":"made","createTable":true}`, url))
			if err := b.Do(t.Context(), other, message("", `{"a":1}`)); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	sameText(t, query(t, url, `SELECT count(*)::text FROM made`), "4")
}

// TestPostgresAway writes while PostgreSQL is stopped and started: failures pass, and nothing that was
// delivered is missing.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	var own postgrestest.Cluster
	t.Cleanup(own.Stop)
	url := own.Database(t)
	s := connected(t, ConnectionConfig{})
	a := decode(t, "postgres", fmt.Sprintf(`{"url":%q,"table":"r","idColumn":"id","createTable":true}`, url))
	deliver := func(i int) error { return a.Do(t.Context(), s, message(fmt.Sprint(i), fmt.Sprintf(`{"n":%d}`, i))) }
	if err := deliver(1); err != nil {
		t.Fatal(err)
	}
	own.Kill(t)
	if err := deliver(2); err == nil || IsPermanent(err) {
		t.Errorf("without PostgreSQL: %v", err)
	}
	own.Start(t)
	var err error
	for i := 0; i < 10; i++ { // connections that are gone are found one after the other
		if err = deliver(2); err == nil {
			break
		}
		if IsPermanent(err) {
			t.Fatal(err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	sameText(t, query(t, url, `SELECT id FROM r ORDER BY id`), "1", "2")
}

func TestDatabaseValidate(t *testing.T) {
	t.Parallel()
	for kind, list := range map[string][]string{
		"postgres": {`{}`, `{"table":"t"}`, `{"table":"t","url":"postgres:///x","connection":"y"}`, `{"table":"t","url":"postgres://:port/"}`,
			`{"table":"t","connection":"y","columns":{"` + strings.Repeat("x", 64) + `":""}}`},
		"kafka": {`{}`, `{"topic":"t"}`, `{"topic":"t","clientProperties":{"bootstrap.servers":"b:1","acks":"2"}}`, `{"topic":"t","partition":"x","clientProperties":{"bootstrap.servers":"b:1"}}`,
			`{"topic":"t","clientProperties":{"bootstrap.servers":"b:1","sasl.jaas.config":"x"}}`, `{"topic":"t","clientProperties":{"bootstrap.servers":"b:1","security.protocol":"SASL_SSL"}}`},
		"influx": {`{}`, `{"url":"http://i","measurement":"m"}`, `{"url":"http://i","measurement":"m","bucket":"b","database":"d"}`, `{"url":"ftp://i","measurement":"m","bucket":"b"}`,
			`{"url":"http://i","measurement":"m","bucket":"b","precision":"m"}`, `{"url":"http://i","measurement":"m","bucket":"b","tags":{"":"x"}}`},
		"openSearch": {`{}`, `{"endpoint":"x","index":"i","type":"t","id":"1"}`, `{"endpoint":"https://x","index":"i","type":"t"}`},
		"file": {`{}`, `{"path":"/etc/passwd"}`, `{"path":"../x"}`, `{"path":"a/../b"}`, `{"path":"a//b"}`, `{"path":".hidden"}`, `{"path":"a\\b"}`, `{"path":"a","format":"xml"}`,
			`{"path":"a.ndjson","rollSeconds":5}`, `{"path":"a.parquet","rollBytes":5}`},
	} {
		k, ok := KindOf(kind)
		if !ok {
			t.Fatal(kind)
		}
		for _, fields := range list {
			a, err := k.Decode([]byte(fields))
			if err == nil {
				err = a.Validate()
			}
			if err == nil {
				t.Errorf("%s: %s passed", kind, fields)
			}
		}
	}
}

var errTest = errors.New("test")

// TestShared opens a value once, tells all who wait of a failure, and opens it again after that.
func TestShared(t *testing.T) {
	t.Parallel()
	var ended int
	s := shared[int]{end: func(int) { ended++ }}
	fail := func() (int, error) { return 0, errTest }
	if err := s.use(t.Context(), "a", fail, nil); !errors.Is(err, errTest) {
		t.Error(err)
	}
	for range 3 {
		if err := s.use(t.Context(), "a", func() (int, error) { return 5, nil }, func(v int) error {
			if v != 5 {
				t.Error(v)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	s.close()
	if err := s.use(t.Context(), "a", fail, nil); !errors.Is(err, errConnectionsClosed) || ended != 1 {
		t.Error(err, ended)
	}
}
