package broker

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func TestTurnsOfSources(t *testing.T) {
	t.Parallel()
	crowd, one := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, test := range []struct {
		name                   string
		limit, perSource, room int
		want                   string
	}{
		{"one at a time", 1, 1, 100, "c0 c1 o0 c2 c3 c4"},
		{"a source does not take everything", 3, 2, 100, "c0 c1 o0 c2 c3 c4"},
		{"no room: the crowd loses its newest", 1, 1, 3, "c0 -c4 -c3 c1 o0 c2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			q := newTurns(test.limit, test.perSource, test.room)
			var got []string
			add := func(from netip.Addr, name string) {
				q.add(from, func() { got = append(got, name) }, func() { got = append(got, "-"+name) })
			}
			for i := range 5 {
				add(crowd, fmt.Sprint("c", i))
			}
			add(one, "o0")
			from := map[byte]netip.Addr{'c': crowd, 'o': one}
			for i := 0; i < len(got); i++ {
				if name := got[i]; name[0] != '-' {
					q.done(from[name[0]])
				}
			}
			if order := strings.Join(got, " "); order != test.want {
				t.Errorf("got  %q\nwant %q", order, test.want)
			}
			if running, waiting := q.counts(); running != 0 || waiting != 0 || len(q.sources) != 0 || len(q.order) != 0 {
				t.Errorf("left over: %d running, %d waiting, %d sources", running, waiting, len(q.sources))
			}
		})
	}
}

// TestTurnsLimit: whatever the order, no more than the limits run, and everybody comes to an end.
func TestTurnsLimit(t *testing.T) {
	t.Parallel()
	const limit, perSource = 4, 2
	q := newTurns(limit, perSource, 1<<20)
	var all sync.WaitGroup
	for i := range 200 {
		u := &turn{turns: q, from: netip.AddrFrom4([4]byte{192, 0, 2, byte(rand.IntN(5))})}
		all.Go(func() {
			for range 20 {
				u.enter()
				q.mu.Lock()
				if s := q.sources[sourceOf(u.from)]; q.running > limit || s.running > perSource {
					t.Errorf("%d: %d run, %d of one source", i, q.running, s.running)
				}
				q.mu.Unlock()
				u.leave()
			}
		})
	}
	all.Wait()
	if running, waiting := q.counts(); running != 0 || waiting != 0 || len(q.sources) != 0 {
		t.Errorf("left over: %d running, %d waiting, %d sources", running, waiting, len(q.sources))
	}
}

func TestSourceOf(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.7":             "192.0.2.7/32",
		"::ffff:192.0.2.7":      "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::99": "2001:db8:1:2::/64",
	} {
		if got := sourceOf(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s is of %s, want %s", address, got, want)
		}
	}
}
