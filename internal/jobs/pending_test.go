package jobs

import (
	"strings"
	"testing"
)

// TestDifferences goes through the changes of a list that the developer guide's table names, and
// some more. A list is written as names in the order of queueing, capitals for those in progress.
func TestDifferences(t *testing.T) {
	t.Parallel()
	list := func(s string) pending {
		var p pending
		for i, name := range strings.Fields(s) {
			e := &execution{job: strings.ToLower(name), number: 1, status: Queued, position: int64(i)}
			if name != e.job {
				e.status = InProgress
			}
			if strings.HasSuffix(name, "2") {
				e.job, e.number = e.job[:1], 2
			}
			p = append(p, e)
		}
		p.sort()
		return p
	}
	for _, tc := range []struct {
		before, after      string
		notify, notifyNext bool
	}{
		{"", "", false, false},
		{"", "a", true, true},
		{"a", "a b", true, false},
		{"a b", "A b", false, false}, // started, already the first
		{"A b", "b", true, true},
		{"a b c", "a b C", false, true}, // started before another
		{"a B", "B", true, false},       // rejected while another runs
		{"a", "", true, true},
		{"A", "a2", true, true}, // tried again
		{"A B", "B", true, true},
		{"A b", "b A2", true, true}, // tried again: behind those queued before
	} {
		notify, notifyNext := differences(list(tc.before), list(tc.after))
		if notify != tc.notify || notifyNext != tc.notifyNext {
			t.Errorf("%q to %q: notify %v, notify-next %v", tc.before, tc.after, notify, notifyNext)
		}
	}
}

func TestPendingChanges(t *testing.T) {
	t.Parallel()
	a := &execution{job: "a", number: 1, status: Queued, position: 1}
	b := &execution{job: "b", number: 1, status: Queued, position: 2}
	p := pending{}.with(b).with(a)
	if p.next() != a || len(p) != 2 {
		t.Fatal("not in the order of queueing")
	}
	started := *b
	started.status = InProgress
	if q := p.with(&started); q.next().job != "b" || p.next() != a {
		t.Error("one in progress is not the first, or the old list has changed")
	}
	ended := *a
	ended.status = Failed
	if q := p.with(&ended); len(q) != 1 || q.next() != b || len(q.with(&ended)) != 1 {
		t.Error("one that has ended is still there")
	}
}
