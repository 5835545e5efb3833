package table

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

func readParquet(t *testing.T, b []byte) (names []string, rows []map[string]any) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range f.Root().Columns() {
		names = append(names, c.Name())
	}
	for _, g := range f.RowGroups() {
		r := g.Rows()
		buffer := make([]parquet.Row, 100)
		for {
			n, err := r.ReadRows(buffer)
			for _, row := range buffer[:n] {
				m := make(map[string]any)
				for _, v := range row {
					if v.IsNull() {
						continue
					}
					switch v.Kind() {
					case parquet.ByteArray:
						m[names[v.Column()]] = string(v.ByteArray())
					case parquet.Double:
						m[names[v.Column()]] = v.Double()
					case parquet.Boolean:
						m[names[v.Column()]] = v.Boolean()
					default:
						m[names[v.Column()]] = v.Int64()
					}
				}
				rows = append(rows, m)
			}
			if err != nil || n == 0 {
				break
			}
		}
		r.Close()
	}
	return names, rows
}

func parquetTable(t *testing.T, tables *Tables) {
	insert(t, tables, "p",
		Row{Time: 1769860800000, Thing: "kitchen", Measures: Measures{{"temperature", Number(21.5)}, {"time", Bool(true)}, {"raw", JSON(`[1,{"a":null}]`)}}},
		Row{Time: 1769860801000, Thing: "hall", Measures: Measures{{"temperature", String("grün")}, {"a.b", Number(-1)}}},
		Row{Time: 1769860802000, Thing: "hall", Measures: Measures{{"temperature", Number(20)}}})
}

func TestParquet(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, dir string) {
		tables := open(t, dir)
		parquetTable(t, tables)
		var out bytes.Buffer
		if err := tables.WriteParquet(t.Context(), &out, Query{Table: "p"}); err != nil {
			t.Fatal(err)
		}
		names, rows := readParquet(t, out.Bytes())
		if want := []string{"time", "thing", "a.b", "raw", "temperature.number", "temperature.string", "time_2"}; !reflect.DeepEqual(names, want) {
			t.Errorf("columns %q", names)
		}
		want := []map[string]any{
			{"time": int64(1769860800000), "thing": "kitchen", "temperature.number": 21.5, "time_2": true, "raw": `[1,{"a":null}]`},
			{"time": int64(1769860801000), "thing": "hall", "temperature.string": "grün", "a.b": -1.},
			{"time": int64(1769860802000), "thing": "hall", "temperature.number": 20.}}
		if !reflect.DeepEqual(rows, want) {
			t.Errorf("%v\nwant %v", rows, want)
		}
		out.Reset()
		q := Query{Table: "p", Every: time.Minute, Measures: []string{"temperature"}, Aggregates: []Aggregate{Count, Max, Last}}
		if err := tables.WriteParquet(t.Context(), &out, q); err != nil {
			t.Fatal(err)
		}
		_, rows = readParquet(t, out.Bytes())
		want = []map[string]any{
			{"time": int64(1769860800000), "thing": "hall", "temperature.count": int64(2), "temperature.max": 20., "temperature.last.number": 20.},
			{"time": int64(1769860800000), "thing": "kitchen", "temperature.count": int64(1), "temperature.max": 21.5, "temperature.last.number": 21.5}}
		if !reflect.DeepEqual(rows, want) {
			t.Errorf("%v\nwant %v", rows, want)
		}
	})
}

// TestParquetGroups writes more than a row group takes.
func TestParquetGroups(t *testing.T) {
	t.Parallel()
	tables := open(t, t.TempDir())
	for i := 0; i < 150_000; i += 10_000 {
		insert(t, tables, "bench", benchRows(i, 10_000, 100)...)
	}
	var out bytes.Buffer
	if err := tables.WriteParquet(t.Context(), &out, Query{Table: "bench"}); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil || f.NumRows() != 150_000 || len(f.RowGroups()) != 2 {
		t.Error(f.NumRows(), len(f.RowGroups()), err)
	}
}

// TestParquetReaders reads a file with another implementation, hyparquet of npm.
func TestParquetReaders(t *testing.T) {
	t.Parallel()
	modules, err := filepath.Abs("../../test/realclients/node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "node_modules", "hyparquet")); err != nil {
		if os.Getenv("BERTH_REAL_CLIENTS") != "" {
			t.Fatal(err)
		}
		t.Skip("hyparquet is not installed: npm ci --prefix test/realclients/node")
	}
	tables := open(t, t.TempDir())
	parquetTable(t, tables)
	name := filepath.Join(t.TempDir(), "p.parquet")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.WriteParquet(t.Context(), f, Query{Table: "p"}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=module", "-e", fmt.Sprintf(`
		import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
		const rows = await parquetReadObjects({ file: await asyncBufferFromFile(%q) })
		console.log(JSON.stringify(rows))`, name))
	cmd.Dir = modules
	b, err := cmd.CombinedOutput()
	want := `[{"time":"2026-01-31T12:00:00.000Z","thing":"kitchen","a.b":null,"raw":[1,{"a":null}],"temperature.number":21.5,"temperature.string":null,"time_2":true},` +
		`{"time":"2026-01-31T12:00:01.000Z","thing":"hall","a.b":-1,"raw":null,"temperature.number":null,"temperature.string":"grün","time_2":null},` +
		`{"time":"2026-01-31T12:00:02.000Z","thing":"hall","a.b":null,"raw":null,"temperature.number":20,"temperature.string":null,"time_2":null}]` + "\n"
	if err != nil || string(b) != want {
		t.Errorf("%s\nwant %s\n%v", b, want, err)
	}
}
