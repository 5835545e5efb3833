package session

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/berth-iot/berth/internal/router"
)

// TestSubscriptionsAreAMap compares subscriptions with a map over random changes, below and beyond the
// number from which they have one.
func TestSubscriptionsAreAMap(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for _, filters := range []int{1, 3, mappedFrom, 4 * mappedFrom} {
		var s subscriptions
		want := make(map[string]router.Subscription)
		for range 5000 {
			filter := fmt.Sprint("a/", r.IntN(filters))
			had, known := want[filter]
			if got, ok := s.get(filter); ok != known || got != had {
				t.Fatalf("get %s: %v %v, want %v %v", filter, got, ok, had, known)
			}
			if r.IntN(2) == 0 {
				sub := router.Subscription{QoS: byte(r.IntN(3)), ID: r.Uint32()}
				s.set(filter, sub)
				want[filter] = sub
			} else {
				if s.remove(filter) != known {
					t.Fatalf("remove %s, want %v", filter, known)
				}
				delete(want, filter)
			}
			if s.len() != len(want) || !maps.Equal(maps.Collect(s.all()), want) {
				t.Fatalf("%v, want %v", maps.Collect(s.all()), want)
			}
		}
	}
}
