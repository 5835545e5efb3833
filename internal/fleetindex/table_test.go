package fleetindex

import (
	"fmt"
	"slices"
	"testing"

	"github.com/berth-iot/berth/internal/registry"
)

// TestFieldNamesAreForgotten gives a thing a hundred thousand attribute names one after another.
func TestFieldNamesAreForgotten(t *testing.T) {
	t.Parallel()
	tab := newTable(false)
	w := writer{dictionary: tab.dictionary}
	keep, r := tab.row("keep"), tab.row("r")
	keep.parts[partRegistry] = w.thing(&registry.Thing{Name: "keep", Attributes: map[string]string{"kept": "1"}}, nil)
	for i := range 100_000 {
		r.parts[partRegistry] = w.thing(&registry.Thing{Name: "r", Attributes: map[string]string{fmt.Sprint("a", i): "x"}}, nil)
		tab.sweep()
	}
	if n := len(tab.dictionary.names); n > 2*sweepFrom {
		t.Errorf("%d names are remembered", n)
	}
	if !matches(t, tab, new(view), "attributes.kept:1") || !matches(t, tab, new(view), "attributes.a99999:x") || matches(t, tab, new(view), "attributes.a1:x") {
		t.Error("wrong fields")
	}
}

// TestOrder adds and removes rows and reads pages through the block size.
func TestOrder(t *testing.T) {
	t.Parallel()
	tab := newTable(false)
	w := writer{dictionary: tab.dictionary}
	var want []string
	for i := range 3 * block {
		name := fmt.Sprintf("t%06d", (i*7919)%(3*block)) // in no order
		tab.row(name).parts[partRegistry] = w.thing(&registry.Thing{Name: name}, nil)
		if i%1000 == 0 {
			tab.read()
			tab.mu.RUnlock()
		}
	}
	for i := range 3 * block {
		name := fmt.Sprintf("t%06d", i)
		if i%3 == 0 {
			tab.remove(name)
		} else {
			want = append(want, name)
		}
	}
	q, err := Parse("thingName:t*")
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 100, block, 3 * block} {
		var got []string
		for after := ""; ; {
			tab.read()
			rows := tab.match(tab.plan(q, new(view)), after, limit)
			tab.mu.RUnlock()
			if len(rows) == 0 {
				break
			}
			for _, r := range rows[:min(limit, len(rows))] {
				got = append(got, r.name)
			}
			if after = got[len(got)-1]; limit == 1 && len(got) > 50 {
				break
			}
		}
		if !slices.Equal(got, want[:len(got)]) || limit > 1 && len(got) != len(want) {
			t.Fatalf("limit %d: %d names, want %d", limit, len(got), len(want))
		}
	}
}

// TestComeAndGo: things that come and go leave nothing behind, although nobody searches.
func TestComeAndGo(t *testing.T) {
	t.Parallel()
	x := newTable(false)
	for i := range 100_000 {
		name := fmt.Sprintf("thing-%d", i%10)
		x.row(name)
		if i >= 5 {
			x.remove(fmt.Sprintf("thing-%d", (i-5)%10))
		}
	}
	if n := len(x.order) + len(x.added); n > 2*maxGone || len(x.rows) != 5 {
		t.Errorf("%d rows are kept for %d things", n, len(x.rows))
	}
	x.read()
	defer x.mu.RUnlock()
	if len(x.order) != 5 {
		t.Errorf("%d rows are found", len(x.order))
	}
}
