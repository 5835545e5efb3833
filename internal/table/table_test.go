package table

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/postgrestest"
)

// cluster is the PostgreSQL of these tests.
var cluster postgrestest.Cluster

// eachDatabase runs a test with a directory for SQLite, and with the URL of an empty PostgreSQL.
func eachDatabase(t *testing.T, test func(t *testing.T, home string)) {
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); test(t, t.TempDir()) })
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); test(t, cluster.Database(t)) })
}

func open(t testing.TB, dir string, change ...func(*Config)) *Tables {
	t.Helper()
	var cfg Config
	if strings.HasPrefix(dir, "postgres:") {
		cfg.Database, dir = dir, t.TempDir()
	}
	for _, c := range change {
		c(&cfg)
	}
	tables, err := Open(t.Context(), dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tables.Close() })
	return tables
}

func insert(t testing.TB, tables *Tables, name string, rows ...Row) {
	t.Helper()
	if err := tables.Insert(t.Context(), name, rows); err != nil {
		t.Fatal(err)
	}
}

func row(at int64, thing string, temperature float64) Row {
	return Row{Time: at, Thing: thing, Measures: Measures{{"temperature", Number(temperature)}}}
}

// model is a table as a list.
type model []Row

func randomValue(r *rand.Rand) Value {
	switch r.IntN(8) {
	case 0:
		return Bool(r.IntN(2) == 0)
	case 1:
		return String(strconv.Itoa(r.IntN(100)))
	case 2:
		return JSON(`[1,{"a":null}]`)
	case 3:
		return Number(r.NormFloat64() * 1e6)
	}
	return Number(float64(r.IntN(20000)-10000) / 100)
}

// randomTable writes random rows, in several inserts, at times that differ per thing.
func randomTable(t *testing.T, tables *Tables, r *rand.Rand, n, things int) model {
	var m model
	used := make(map[string]bool)
	for len(m) < n {
		row := Row{Time: int64(1 + r.IntN(20000)), Thing: fmt.Sprintf("t%d", r.IntN(things))}
		if key := fmt.Sprint(row.Time, row.Thing); used[key] {
			continue
		} else {
			used[key] = true
		}
		if r.IntN(2) == 0 {
			row.ID = strconv.Itoa(r.IntN(1 << 30))
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			if r.IntN(3) > 0 || name == "a" && len(row.Measures) == 0 {
				row.Measures = append(row.Measures, Measure{name, randomValue(r)})
			}
		}
		if len(row.Measures) > 0 {
			m = append(m, row)
		}
	}
	for i := 0; i < n; {
		k := min(n-i, 1+r.IntN(300))
		insert(t, tables, "p", slices.Clone(m[i:i+k])...)
		i += k
	}
	return m
}

// select answers a query the slow way.
func (m model) query(q Query) []Row {
	var out []Row
	for _, r := range m {
		if r.Time < q.From || q.To != 0 && r.Time >= q.To || q.Things != nil && !slices.Contains(q.Things, r.Thing) {
			continue
		}
		var kept Measures
		for _, v := range r.Measures {
			if q.Measures == nil || slices.Contains(q.Measures, v.Name) {
				kept = append(kept, v)
			}
		}
		if kept != nil {
			out = append(out, Row{Time: r.Time, Thing: r.Thing, Measures: kept})
		}
	}
	slices.SortFunc(out, func(a, b Row) int {
		c := cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Thing, b.Thing))
		if q.Descending {
			return -c
		}
		return c
	})
	return out
}

func sameMeasures(a, b Measures) bool {
	x, y := make(map[string]Value), make(map[string]Value)
	for _, m := range a {
		x[m.Name] = m.Value
	}
	for _, m := range b {
		y[m.Name] = m.Value
	}
	return maps.Equal(x, y)
}

func sameRows(a, b []Row) bool {
	return slices.EqualFunc(a, b, func(x, y Row) bool {
		return x.Time == y.Time && x.Thing == y.Thing && sameMeasures(x.Measures, y.Measures)
	})
}

func randomQuery(r *rand.Rand) Query {
	q := Query{Table: "p", Limit: 1 + r.IntN(400), Descending: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		q.From = int64(r.IntN(20000))
		q.To = q.From + int64(r.IntN(20000))
	}
	for i := r.IntN(4); i > 0; i-- {
		q.Things = append(q.Things, fmt.Sprintf("t%d", r.IntN(9)))
	}
	for i := r.IntN(3); i > 0; i-- {
		q.Measures = append(q.Measures, string(rune('a'+r.IntN(5))))
	}
	return q
}

// pages reads a query to its end.
func pages(t *testing.T, tables *Tables, q Query) (rows []Row, samples []Sample) {
	t.Helper()
	for {
		p, err := tables.Query(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Rows) > q.Limit || len(p.Samples) > q.Limit {
			t.Fatalf("%d rows, %d samples, want at most %d", len(p.Rows), len(p.Samples), q.Limit)
		}
		rows, samples = append(rows, p.Rows...), append(samples, p.Samples...)
		if p.Next == "" {
			return rows, samples
		}
		q.Token = p.Next
	}
}

// TestQueryProperty compares queries, page by page, with a naive filter, before and after deletions
// and a restart.
func TestQueryProperty(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testQueryProperty)
}

func testQueryProperty(t *testing.T, dir string) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	tables := open(t, dir)
	m := randomTable(t, tables, r, 4000, 7)
	queries := 60
	if tables.cfg.Database != "" {
		queries = 15 // each costs many round trips
	}
	check := func() {
		for range queries {
			q := randomQuery(r)
			got, _ := pages(t, tables, q)
			if want := m.query(q); !sameRows(got, want) {
				t.Fatalf("seed %d: %+v: %d rows, want %d", seed, q, len(got), len(want))
			}
		}
		checkCatalogue(t, tables, m)
	}
	check()
	for range 5 {
		from := int64(r.IntN(20000))
		to := from + int64(r.IntN(4000))
		var things []string
		if r.IntN(2) == 0 {
			things = []string{"t1", "t5", "none"}
		}
		n, err := tables.DeleteRange(t.Context(), "p", things, from, to)
		if err != nil {
			t.Fatal(err)
		}
		before := len(m)
		m = slices.DeleteFunc(m, func(r Row) bool {
			return r.Time >= from && r.Time < to && (things == nil || slices.Contains(things, r.Thing))
		})
		if int(n) != before-len(m) {
			t.Fatalf("seed %d: deleted %d rows, want %d", seed, n, before-len(m))
		}
		check()
	}
	tables.Close()
	tables = open(t, dir)
	check()
}

// checkCatalogue compares counts, ranges and latest values with the model.
func checkCatalogue(t *testing.T, tables *Tables, m model) {
	t.Helper()
	info, measures, err := tables.Describe("p")
	if err != nil || info.Rows != int64(len(m)) {
		t.Fatalf("%+v %v, want %d rows", info, err, len(m))
	}
	sorted := m.query(Query{})
	if info.First != sorted[0].Time || info.Last != sorted[len(sorted)-1].Time {
		t.Fatalf("range %d to %d, want %d to %d", info.First, info.Last, sorted[0].Time, sorted[len(sorted)-1].Time)
	}
	counts := make(map[string]int64)
	latest := make(map[string]Latest)
	for _, r := range sorted {
		for _, v := range r.Measures {
			counts[v.Name]++
			latest[r.Thing+"/"+v.Name] = Latest{r.Thing, v.Name, r.Time, v.Value}
		}
	}
	for _, v := range measures {
		if counts[v.Name] != v.Count {
			t.Fatalf("measure %s has %d, want %d", v.Name, v.Count, counts[v.Name])
		}
	}
	got, err := tables.Latest("p", nil, nil)
	if err != nil || len(got) != len(latest) {
		t.Fatalf("%d latest values, want %d: %v", len(got), len(latest), err)
	}
	for _, l := range got {
		if latest[l.Thing+"/"+l.Measure] != l {
			t.Fatalf("latest %+v, want %+v", l, latest[l.Thing+"/"+l.Measure])
		}
	}
}

// TestSampleProperty compares down-sampling with a naive computation.
func TestSampleProperty(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testSampleProperty)
}

func testSampleProperty(t *testing.T, dir string) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 2))
	tables := open(t, dir)
	m := randomTable(t, tables, r, 3000, 7)
	for range 60 {
		q := randomQuery(r)
		q.Every, q.Aggregates = time.Duration(1+r.IntN(3000))*time.Millisecond, Aggregates
		_, got := pages(t, tables, q)
		raw := q
		raw.Every, raw.Descending = 0, false
		type key struct {
			at             int64
			thing, measure string
		}
		groups := make(map[key][]Value)
		for _, row := range m.query(raw) {
			for _, v := range row.Measures {
				k := key{row.Time - row.Time%q.Every.Milliseconds(), row.Thing, v.Name}
				groups[k] = append(groups[k], v.Value)
			}
		}
		ordered := slices.IsSortedFunc(got, func(a, b Sample) int {
			c := cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Thing, b.Thing))
			if q.Descending {
				c = -c
			}
			return c
		})
		if !ordered {
			t.Fatalf("seed %d: %+v: samples out of order", seed, q)
		}
		n := 0
		for _, s := range got {
			for _, measure := range s.Measures {
				n++
				values := groups[key{s.Time, s.Thing, measure.Name}]
				if len(values) == 0 {
					t.Fatalf("seed %d: %+v: sample %+v is of nothing", seed, q, s)
				}
				sum, lowest, highest, numbers := 0.0, math.Inf(1), math.Inf(-1), 0
				for _, v := range values {
					if f, ok := v.Float(); ok {
						sum, lowest, highest, numbers = sum+f, min(lowest, f), max(highest, f), numbers+1
					}
				}
				want := map[Aggregate]Value{Count: Number(float64(len(values))), First: values[0], Last: values[len(values)-1]}
				if numbers > 0 {
					want[Min], want[Max], want[Sum], want[Avg] = Number(lowest), Number(highest), Number(sum), Number(sum/float64(numbers))
				}
				if len(want) != len(measure.Values) {
					t.Fatalf("seed %d: %+v: %+v, want %+v", seed, q, measure, want)
				}
				for _, v := range measure.Values {
					w := want[v.Aggregate]
					if v.Aggregate == Sum || v.Aggregate == Avg { // the order of adding differs
						if math.Abs(v.Value.number-w.number) <= 1e-9*(1+math.Abs(w.number))*1e6 {
							continue
						}
					}
					if v.Value != w {
						t.Fatalf("seed %d: %+v: %s of %+v is %v, want %v", seed, q, v.Aggregate, s, v.Value, w)
					}
				}
			}
		}
		if n != len(groups) {
			t.Fatalf("seed %d: %+v: %d measures, want %d", seed, q, n, len(groups))
		}
	}
}

// TestIDs writes rows again: those with an ID once, those without each time.
func TestIDs(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testIDs)
}

func testIDs(t *testing.T, dir string) {
	tables := open(t, dir)
	a, b := row(5, "x", 1), row(5, "x", 2)
	a.ID, b.ID = "message-1", "message-2"
	insert(t, tables, "r", a, b, a)
	insert(t, tables, "r", a)
	tables.Close()
	tables = open(t, dir)
	insert(t, tables, "r", b, a)
	plain := row(5, "x", 3)
	insert(t, tables, "r", plain, plain)
	insert(t, tables, "r", plain)
	p, err := tables.Query(t.Context(), Query{Table: "r"})
	if err != nil || len(p.Rows) != 5 {
		t.Fatalf("%d rows, want 5: %v", len(p.Rows), err)
	}
	if s := tables.Stats(); s.Duplicates != 2 || s.Inserted != 3 || s.Rows != 5 {
		t.Errorf("%+v", s)
	}
	rows, _ := pages(t, tables, Query{Table: "r", Limit: 1, Descending: true})
	if len(rows) != 5 {
		t.Errorf("%d rows of one millisecond in pages of one, want 5", len(rows))
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testRefused)
}

func testRefused(t *testing.T, dir string) {
	tables := open(t, dir)
	ok := Measures{{"v", Number(1)}}
	for what, rows := range map[string][]Row{
		"none":           {},
		"no measures":    {{Time: 1}},
		"negative":       {{Time: -1, Measures: ok}},
		"year 10000":     {{Time: MaxTime + 1, Measures: ok}},
		"long thing":     {{Thing: strings.Repeat("x", MaxName+1), Measures: ok}},
		"no UTF-8":       {{Thing: "\xff", Measures: ok}},
		"unnamed":        {{Measures: Measures{{"", Number(1)}}}},
		"zero value":     {{Measures: Measures{{"v", Value{}}}}},
		"NaN":            {{Measures: Measures{{"v", Number(math.NaN())}}}},
		"infinite":       {{Measures: Measures{{"v", Number(math.Inf(1))}}}},
		"broken JSON":    {{Measures: Measures{{"v", JSON("{")}}}},
		"large":          {{Measures: Measures{{"v", String(strings.Repeat("x", MaxRow))}}}},
		"one of several": {{Time: 1, Measures: ok}, {Time: 1}},
		"too many":       make([]Row, MaxRows+1),
	} {
		if err := tables.Insert(t.Context(), "r", rows); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"", "a/b", ".x", "ä", strings.Repeat("x", 129)} {
		if err := tables.Insert(t.Context(), name, []Row{row(1, "x", 1)}); !errors.Is(err, ErrInvalid) {
			t.Errorf("table %q: %v", name, err)
		}
	}
	many := make([]Row, 5)
	for i := range many {
		many[i].Time = 1
		for k := range 1000 {
			many[i].Measures = append(many[i].Measures, Measure{fmt.Sprint(i, "-", k), Bool(true)})
		}
	}
	if err := tables.Insert(t.Context(), "r", many); !errors.Is(err, ErrLimit) {
		t.Errorf("too many measures: %v", err)
	}
	if got := tables.List(); len(got) != 0 {
		t.Errorf("refused rows left %+v", got)
	}
	if _, err := tables.Query(t.Context(), Query{Table: "r"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("query of no table: %v", err)
	}
	insert(t, tables, "r", row(1, "x", 1))
	for _, q := range []Query{{Limit: -1}, {Limit: MaxRows + 1}, {From: -1}, {Every: time.Microsecond}, {Aggregates: []Aggregate{Avg}},
		{Every: time.Second, Aggregates: []Aggregate{"median"}}, {Token: "?"}, {Token: "AA"}} {
		q.Table = "r"
		if _, err := tables.Query(t.Context(), q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	tables.Close()
	if err := tables.Insert(t.Context(), "r", []Row{row(1, "x", 1)}); !errors.Is(err, ErrClosed) {
		t.Errorf("insert after close: %v", err)
	}
}

// TestRetention moves the clock: readings go by age, then by size, the oldest first.
func TestRetention(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testRetention)
}

func testRetention(t *testing.T, dir string) {
	var now atomic.Int64
	const day = 24 * 3600 * 1000
	now.Store(100 * day)
	tables := open(t, dir, func(c *Config) {
		c.Retention = 30 * 24 * time.Hour
		c.Now = func() time.Time { return time.UnixMilli(now.Load()) }
	})
	var rows []Row
	for i := range 9000 {
		rows = append(rows, row(now.Load()-int64(i)*day/100, fmt.Sprintf("t%d", i%3), float64(i)))
	}
	insert(t, tables, "r", rows...)
	insert(t, tables, "kept", slices.Clone(rows[:6000])...)
	if err := tables.SetRetention(t.Context(), "kept", -1, -1); err != nil {
		t.Fatal(err)
	}
	sweep := func(want int64) Table {
		t.Helper()
		if err := tables.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		list := tables.List()
		if list[0].Rows != 6000 {
			t.Errorf("the table without retention has %d rows", list[0].Rows)
		}
		if len(list) < 2 {
			t.Fatal("table r went")
		}
		if list[1].Rows != want {
			t.Errorf("%d rows, want %d", list[1].Rows, want)
		}
		return list[1]
	}
	info := sweep(3001)
	if info.First != now.Load()-30*day {
		t.Errorf("first is %d days old", (now.Load()-info.First)/day)
	}
	now.Add(10 * day)
	info = sweep(2001)
	if err := tables.SetRetention(t.Context(), "r", 0, info.Bytes/2); err != nil {
		t.Fatal(err)
	}
	if err := tables.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	info = tables.List()[1]
	if info.Bytes > info.MaxBytes || info.Bytes < info.MaxBytes*9/10 || info.Last != 100*day {
		t.Errorf("%+v after shrinking", info)
	}
	now.Add(100 * day)
	sweep(0)
	if err := tables.SetRetention(t.Context(), "none", 0, 0); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if stats := tables.Stats(); stats.Deleted != 9000 || stats.Things != 3 {
		t.Errorf("%+v", stats)
	}
}

// TestDrop deletes a table and makes one of the same name; also what a restart interrupts.
func TestDrop(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testDrop)
}

func testDrop(t *testing.T, dir string) {
	tables := open(t, dir)
	var rows []Row
	for i := range 5000 {
		rows = append(rows, row(int64(i), "x", 1))
	}
	insert(t, tables, "r", rows...)
	insert(t, tables, "s", rows[0])
	if err := tables.Drop(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if err := tables.Drop(t.Context(), "r"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	insert(t, tables, "r", row(7, "x", 2))
	tables.Close()
	tables = open(t, dir)
	if err := tables.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	err := tables.db.read(t.Context(), span{to: MaxTime + 1, limit: 10000}, func(int64, stored) error { left++; return nil })
	if err != nil || left != 2 {
		t.Errorf("%d rows left, want 2: %v", left, err)
	}
	if p, err := tables.Query(t.Context(), Query{Table: "r"}); err != nil || len(p.Rows) != 1 {
		t.Errorf("%+v %v", p, err)
	}
}

// TestBackPressure fills the queue while nothing is committed.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	var q queue
	q.open()
	if err := q.put(t.Context(), &operation{cost: 2 * maxQueuedBytes}); err != nil { // alone, anything goes
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.put(ctx, &operation{cost: 1}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- q.put(t.Context(), &operation{cost: 1}) }()
	q.finished(q.take())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestValues writes every form and reads it again, also from the latest values after a restart.
func TestValues(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testValues)
}

func testValues(t *testing.T, dir string) {
	tables := open(t, dir)
	var all Measures
	for i, v := range []Value{Bool(true), Bool(false), String(""), String("grün"), JSON(`{"a":[1,2]}`), Number(0), Number(math.Copysign(0, -1)),
		Number(21.37), Number(-0.1), Number(1e300), Number(math.Pi), Number(0.5), Number(1 << 53), Number(math.MaxFloat64), Number(5e-324), Number(123456789.125)} {
		all = append(all, Measure{fmt.Sprintf("m%02d", i), v})
	}
	insert(t, tables, "v", Row{Time: 1, Thing: "x", Measures: append(Measures{{"m00", Number(9)}}, all...)})
	p, err := tables.Query(t.Context(), Query{Table: "v"})
	if err != nil || len(p.Rows) != 1 || !slices.Equal(p.Rows[0].Measures, all) {
		t.Fatalf("%+v %v", p, err)
	}
	tables.Close()
	latest, err := open(t, dir).Latest("v", []string{"x"}, nil)
	if err != nil || len(latest) != len(all) {
		t.Fatal(latest, err)
	}
	for i, l := range latest {
		if l.Value != all[i].Value || math.Signbit(l.Value.number) != math.Signbit(all[i].Value.number) {
			t.Errorf("%s is %v, want %v", l.Measure, l.Value, all[i].Value)
		}
	}
}

// TestLargeRows reads rows whose pages end before their limit.
func TestLargeRows(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testLargeRows)
}

func testLargeRows(t *testing.T, dir string) {
	tables := open(t, dir)
	for i := range 100 {
		insert(t, tables, "r", Row{Time: int64(i + 1), Measures: Measures{{"text", String(strings.Repeat("x", 200<<10))}}})
	}
	p, err := tables.Query(t.Context(), Query{Table: "r"})
	if err != nil || len(p.Rows) < 40 || len(p.Rows) > 50 || p.Next == "" {
		t.Fatal(len(p.Rows), p.Next, err)
	}
	if rows, _ := pages(t, tables, Query{Table: "r", Limit: 1000}); len(rows) != 100 {
		t.Error(len(rows))
	}
}
