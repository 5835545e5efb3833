package topic

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter, name string
		aws, mqtt    bool
	}{
		{"a", "a", true, true},
		{"a", "b", false, false},
		{"a/b", "a", false, false},
		{"a", "a/b", false, false},
		{"+", "a", true, true},
		{"+", "/a", false, false},
		{"+/+", "/a", true, true},
		{"/+", "/a", true, true},
		{"#", "a", true, true},
		{"#", "a/b/c", true, true},
		{"#", "/", true, true},
		{"a/#", "a", false, true}, // AWS: sensor/# does not match sensor
		{"a/#", "a/", true, true},
		{"a/#", "a/b/c", true, true},
		{"a/+/#", "a/b", false, true},
		{"a/+/c", "a/b/c", true, true},
		{"a/+/c", "a/b/d", false, false},
		{"a/+", "a/", true, true},
		{"a/+", "a", false, false},
		{"+/b/#", "a/b/c", true, true},
		{"#", "$aws/x", false, false},
		{"+/x", "$aws/x", false, false},
		{"$aws/#", "$aws/x", true, true},
		{"$aws/+", "$aws/x", true, true},
		{"a//b", "a//b", true, true},
		{"a/+/b", "a//b", true, true},
	} {
		if got := AWS.Match(c.filter, c.name); got != c.aws {
			t.Errorf("AWS: %q on %q: %v", c.filter, c.name, got)
		}
		if got := Standard.Match(c.filter, c.name); got != c.mqtt {
			t.Errorf("standard: %q on %q: %v", c.filter, c.name, got)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("a/", 8) + "a"
	for _, c := range []struct {
		s            string
		name, filter error
	}{
		{"a/b", nil, nil},
		{"", ErrEmpty, ErrEmpty},
		{"/", nil, nil},
		{"a/+", ErrWildcard, nil},
		{"a/b+", ErrWildcard, ErrWildcard},
		{"a/#/b", ErrWildcard, ErrWildcard},
		{"#", ErrWildcard, nil},
		{"a#", ErrWildcard, ErrWildcard},
		{"a\x00b", ErrCharacter, ErrCharacter},
		{"a\xffb", ErrCharacter, ErrCharacter},
		{strings.Repeat("x", 256), nil, nil},
		{strings.Repeat("x", 257), ErrTooLong, ErrTooLong},
		{"1/2/3/4/5/6/7/8", nil, nil},
		{deep, ErrTooDeep, ErrTooDeep},
		{"$aws/rules/r/" + deep[2:], nil, nil},
		{"$aws/rules/r/" + deep, ErrTooDeep, ErrTooDeep},
		{"$share/g/1/2/3/4/5/6/7/8", ErrTooDeep, nil},
		{"$share/g/a/+", ErrWildcard, nil},
		{"$share/g", nil, ErrShare},
		{"$share//a", nil, ErrShare},
		{"$share/+/a", ErrWildcard, ErrShare},
		{"$aws/things/t/shadow/name/s/update/accepted", nil, nil},
	} {
		if err := AWS.CheckName(c.s); !errors.Is(err, c.name) {
			t.Errorf("name %.40q: %v", c.s, err)
		}
		if err := AWS.CheckFilter(c.s); !errors.Is(err, c.filter) {
			t.Errorf("filter %.40q: %v", c.s, err)
		}
		if err := Standard.CheckName(deep); err != nil {
			t.Error(err)
		}
	}
}

func TestReservedUse(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Use{
		"$aws/things/t/shadow/update":            Publish | Subscribe,
		"$aws/things/t/shadow/update/accepted":   Subscribe,
		"$aws/things/t/shadow/name/s/get":        Publish | Subscribe,
		"$aws/things/t/shadow/name/s/get/+":      Subscribe,
		"$aws/things/t/jobs/get":                 Publish,
		"$aws/things/t/jobs/$next/get/+":         Subscribe,
		"$aws/things/t/jobs/notify-next":         Subscribe,
		"$aws/things/+/shadow/#":                 Publish | Subscribe,
		"$aws/rules/r":                           Publish,
		"$aws/rules/r/a/b/c":                     Publish,
		"$aws/events/presence/connected/+":       Subscribe,
		"$aws/certificates/create/cbor":          Publish,
		"$aws/certificates/create/cbor/accepted": Subscribe,
		"$aws/things/t/nothing":                  0,
		"$aws":                                   0,
		"$sys/x":                                 0,
	} {
		if got := ReservedUse(s); got != want {
			t.Errorf("%s: %b, want %b", s, got, want)
		}
	}
}

func TestSplitShare(t *testing.T) {
	t.Parallel()
	share, rest, ok := SplitShare("$share/g/a/#")
	if share != "g" || rest != "a/#" || !ok {
		t.Error(share, rest, ok)
	}
}

func randomTopic(r *rand.Rand, wild bool) string {
	levels := []string{"a", "b", "", "c", "$x"}
	if wild {
		levels = append(levels, "+", "+")
	}
	var parts []string
	for range 1 + r.IntN(4) {
		parts = append(parts, levels[r.IntN(len(levels))])
	}
	if wild && r.IntN(3) == 0 {
		parts = append(parts, "#")
	}
	return strings.Join(parts, "/")
}

// TestIndexAgreesWithMatch compares the index and the tree with Match over random filters and
// names, through additions and removals.
func TestIndexAgreesWithMatch(t *testing.T) {
	t.Parallel()
	for _, rules := range []Rules{AWS, Standard} {
		r := rand.New(rand.NewPCG(1, 2))
		x := NewIndex[int, string](rules)
		tree := NewTree[string](rules)
		live := map[string]bool{}
		names := map[string]bool{}
		for step := range 20000 {
			filter, key := randomTopic(r, true), r.IntN(40)
			if rules.CheckFilter(filter) != nil {
				continue
			}
			id := fmt.Sprint(filter, " ", key)
			if r.IntN(3) == 0 {
				if got := x.Remove(filter, key); got != live[id] {
					t.Fatalf("remove %s: %v", id, got)
				}
				delete(live, id)
			} else {
				if got := x.Set(filter, key, id); got == live[id] {
					t.Fatalf("set %s: %v", id, got)
				}
				live[id] = true
			}
			name := randomTopic(r, false)
			if name == "" {
				continue
			}
			if r.IntN(3) == 0 {
				if tree.Remove(name) != names[name] {
					t.Fatalf("tree remove %s", name)
				}
				delete(names, name)
			} else {
				if tree.Set(name, name) == names[name] {
					t.Fatalf("tree set %s", name)
				}
				names[name] = true
			}
			if _, ok := tree.Get(name); ok != names[name] {
				t.Fatalf("tree get %s: %v", name, ok)
			}
			if step%100 != 0 {
				continue
			}
			if x.Len() != len(live) || tree.Len() != len(names) {
				t.Fatalf("sizes %d %d, want %d %d", x.Len(), tree.Len(), len(live), len(names))
			}
			var got, want []string
			x.Match(name, func(_ int, v string) { got = append(got, v) })
			for id := range live {
				if rules.Match(id[:strings.LastIndexByte(id, ' ')], name) {
					want = append(want, id)
				}
			}
			compare(t, "index "+name, got, want)
			got, want = nil, nil
			tree.Match(filter, func(v string) { got = append(got, v) })
			for n := range names {
				if rules.Match(filter, n) {
					want = append(want, n)
				}
				if v, ok := tree.Get(n); !ok || v != n {
					t.Fatalf("get %s: %s", n, v)
				}
			}
			compare(t, "tree "+filter, got, want)
		}
		for id := range live {
			i := strings.LastIndexByte(id, ' ')
			var key int
			fmt.Sscan(id[i+1:], &key)
			x.Remove(id[:i], key)
		}
		if x.Len() != 0 || len(x.exact) != 0 || len(x.wild.children) != 0 || x.wild.plus != nil {
			t.Error("nodes are left in an empty index")
		}
		for name := range names {
			tree.Remove(name)
		}
		if tree.Len() != 0 || len(tree.root.children) != 0 {
			t.Error("branches are left in an empty tree")
		}
	}
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	sort.Strings(got)
	sort.Strings(want)
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a/b", "+/a/#", "#", "$share/g/a", "$share/", "a/#/b", "$aws/things/+/shadow/#", "\xff", "a\x00"} {
		f.Add(s, "a/b/c")
		f.Add(s, "$aws/things/t/shadow/get")
	}
	f.Fuzz(func(t *testing.T, filter, name string) {
		for _, rules := range []Rules{AWS, Standard} {
			ReservedUse(filter)
			if rules.CheckFilter(filter) != nil || rules.CheckName(name) != nil {
				continue
			}
			if _, rest, ok := SplitShare(filter); ok {
				filter = rest
			}
			want := rules.Match(filter, name)
			x := NewIndex[int, int](rules)
			x.Set(filter, 1, 1)
			got := false
			x.Match(name, func(int, int) { got = true })
			tree := NewTree[int](rules)
			tree.Set(name, 1)
			inTree := false
			tree.Match(filter, func(int) { inTree = true })
			if got != want || inTree != want {
				t.Errorf("%q on %q: match %v, index %v, tree %v", filter, name, want, got, inTree)
			}
		}
	})
}

func BenchmarkIndexMatch(b *testing.B) {
	x := NewIndex[int, int](AWS)
	for i := range 100_000 {
		x.Set(fmt.Sprintf("fleet/%d/+", i), i, i)
		x.Set(fmt.Sprintf("fleet/%d/state", i), i, i)
	}
	x.Set("fleet/#", -1, -1)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		x.Match("fleet/4711/state", func(int, int) { n++ })
	}
}
