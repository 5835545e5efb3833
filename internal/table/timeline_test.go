package table

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestTimeline compares queries of many things, which read the index by time where few rows lie in the
// range, with a naive filter.
func TestTimeline(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, dir string) {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 3))
		tables := open(t, dir)
		m := randomTable(t, tables, r, 4000, 300)
		insert(t, tables, "other", row(10000, "t5", 1), row(10000, "t6", 1))
		many := make([]Row, 300) // of one moment
		for i := range many {
			many[i] = Row{Time: 10000, Thing: string(rune('A'+i%50)) + string(rune('a'+i/50)), Measures: Measures{{"a", Number(float64(i))}}}
		}
		insert(t, tables, "p", many...)
		m = append(m, many...)
		for range 80 {
			q := randomQuery(r)
			q.Things = nil
			q.From = int64(r.IntN(20000))
			q.To = q.From + int64(1+r.IntN(1500))
			if r.IntN(4) == 0 {
				q.Limit, q.Measures = 3, []string{"c"}
			}
			got, _ := pages(t, tables, q)
			if want := m.query(q); !sameRows(got, want) {
				t.Fatalf("seed %d: %+v: %d rows, want %d", seed, q, len(got), len(want))
			}
			q.Every, q.Aggregates = 100*time.Millisecond, []Aggregate{Count}
			_, samples := pages(t, tables, q)
			n := 0.0
			for _, s := range samples {
				for _, v := range s.Measures {
					f, _ := v.Values[0].Value.Float()
					n += f
				}
			}
			values := 0
			for _, row := range m.query(q) {
				values += len(row.Measures)
			}
			if int(n) != values {
				t.Fatalf("seed %d: %+v: %v values in samples, want %d", seed, q, n, values)
			}
		}
	})
}

// TestTimelineEnds takes what the index by time gave up on from where it ended.
func TestTimelineEnds(t *testing.T) {
	t.Parallel()
	tables := open(t, t.TempDir())
	r := rand.New(rand.NewPCG(1, 4))
	m := randomTable(t, tables, r, 3000, 200)
	for _, most := range []int{0, 300, 900} {
		for _, descending := range []bool{false, true} {
			q := Query{Table: "p", Descending: descending}
			if err := q.check(); err != nil {
				t.Fatal(err)
			}
			s, err := tables.resolve(&q)
			if err != nil {
				t.Fatal(err)
			}
			var got []Row
			take := func(c *cursor, r *stored) (bool, error) {
				got = append(got, Row{Time: r.time, Thing: c.name})
				return true, nil
			}
			done, err := tables.timeline(t.Context(), s, most, take)
			if err != nil || done {
				t.Fatal(done, err)
			}
			if err := tables.merge(t.Context(), s.cursors, 0, take); err != nil {
				t.Fatal(err)
			}
			want := m.query(q)
			if len(got) != len(want) {
				t.Fatalf("%d rows, want %d", len(got), len(want))
			}
			for i := range got {
				if got[i].Time != want[i].Time || got[i].Thing != want[i].Thing {
					t.Fatalf("row %d of %v is %+v, want %+v", i, descending, got[i], want[i])
				}
			}
		}
	}
}
