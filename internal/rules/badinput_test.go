package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/table"
)

// TestBadPayloads: whatever comes, a rule either fails and says why or delivers, and goes on.
func TestBadPayloads(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat(`{"n":`, n) + "1" + strings.Repeat("}", n) }
	for _, x := range []struct {
		name, payload string
		stream        bool   // the result reaches a stream
		row           bool   // and a table
		why           string // the last error, if something failed
	}{
		{"fine", `{"n":1}`, true, true, ""},
		{"nothing", ``, true, false, "no measures"},
		{"not JSON", `n=1`, false, false, "JSON"},
		{"NaN", `{"n":NaN}`, false, false, "JSON"},
		{"infinite", `{"n":Infinity}`, false, false, "JSON"},
		{"larger than a double", `{"n":1e400}`, true, false, "1e400"},
		{"larger than a decimal", `{"n":1e5000}`, true, false, "1e5000"},
		{"smaller than a double", `{"n":1e-400}`, true, true, ""},
		{"forty digits", `{"n":1234567890123456789012345678901234567890}`, true, true, ""},
		{"minus zero", `{"n":-0}`, true, true, ""},
		{"Undefined", `{"m":1}`, true, false, "no measures"},
		{"null", `{"n":null}`, true, false, "no measures"},
		{"deep", `{"n":` + deep(400) + `}`, true, true, ""},
		{"too deep", `{"n":` + deep(100000/6) + `}`, false, false, "JSON"},
		{"128 KiB", `{"n":"` + strings.Repeat("x", 128<<10-8) + `"}`, true, true, ""},
		{"a surrogate alone", `{"n":"\ud800"}`, true, true, ""},
		{"a zero character", `{"n":"\u0000"}`, true, true, ""},
		{"not UTF-8", "{\"n\":\"\xff\"}", false, false, "JSON"},
		{"the same key twice", `{"n":1,"n":2}`, true, true, ""},
		{"a bool", `{"n":true}`, true, true, ""},
		{"a list", `{"n":[1,[2]]}`, true, true, ""},
		{"cut off", `{"n":1`, false, false, "JSON"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			b, s := flow(t, quick)
			b.create("rows", `{"sql":"SELECT n FROM 'n'","awsIotSqlVersion":"2016-03-23","actions":[{"table":{"table":"t","thing":"x"}}]}`)
			for _, qos := range []byte{1, 0} {
				b.send(qos, "n", x.payload)
			}
			b.eventually("both are done with", func() bool {
				done := 0
				for _, name := range []string{"r", "rows"} {
					if v, _ := b.Stats(name); v.Delivered+v.Failed == 2 {
						done++
					}
				}
				return done == 2
			})
			stream, _ := b.Stats("r")
			rows, _ := b.Stats("rows")
			if stream.Delivered != count(x.stream) || rows.Delivered != count(x.row) {
				t.Errorf("%d to the stream, %d to the table: %s %s", stream.Delivered, rows.Delivered, stream.LastError, rows.LastError)
			}
			if !strings.Contains(rows.LastError, x.why) || (rows.Failed > 0) != (rows.LastError != "") {
				t.Errorf("%q", rows.LastError)
			}
			s.mu.Lock()
			for _, data := range s.records {
				if !json.Valid([]byte(data)) || !utf8.ValidString(data) {
					t.Errorf("the stream got %.100q", data)
				}
			}
			s.mu.Unlock()
			page, err := b.tables.Query(context.Background(), table.Query{Table: "t"})
			if x.row && (err != nil || len(page.Rows) != 2) {
				t.Errorf("%+v: %v", page, err)
			}
			b.send(1, "n", `{"n":"good"}`)
			b.eventually("it goes on", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.seen[`{"n":"good"}`] == 1 })
		})
	}
}

func count(both bool) uint64 {
	if both {
		return 2
	}
	return 0
}

// TestRowsOnce: a row that comes again, because its delivery was replayed or was found on disk after a
// crash, is there once.
func TestRowsOnce(t *testing.T) {
	t.Parallel()
	b := open(t, t.TempDir(), quick)
	b.create("rows", `{"sql":"SELECT * FROM 'n'","actions":[{"table":{"table":"t","thing":"x"}},{"table":{"table":"t","thing":"x","measures":["n"]}}]}`)
	b.send(1, "n", `{"n":1,"m":{"k":2}}`)
	rows := func() int {
		t.Helper()
		page, err := b.tables.Query(context.Background(), table.Query{Table: "t"})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Rows)
	}
	if n := rows(); n != 2 {
		t.Fatalf("%d rows of two actions", n)
	}
	// The same deliveries once more, through the database and a lane, as after a crash.
	list := []*delivery{}
	for i := range 2 {
		d := &delivery{record: record{Rule: "rows", Kind: "table", Fields: []byte(`{"table":"t","thing":"x"}`), Payload: []byte(`{"n":1}`), ID: fmt.Sprint("same", i/2), At: 1700000000000, Topic: "n"}, durable: true, created: b.now()}
		var err error
		if d, err = again(d); err != nil {
			t.Fatal(err)
		}
		list = append(list, d)
	}
	b.queue.store(list, nil)
	b.eventually("both were delivered", func() bool { v, _ := b.Stats("rows"); return v.Delivered == 4 })
	if n := rows(); n != 3 {
		t.Errorf("%d rows", n)
	}
}

// again reads a delivery as it is stored.
func again(d *delivery) (*delivery, error) {
	body, err := json.Marshal(d.record)
	if err != nil {
		return nil, err
	}
	return new(Service).restore(0, body, d.created)
}
