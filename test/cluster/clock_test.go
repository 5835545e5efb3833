package cluster

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// jump sets the clocks of all nodes, by up to so much, while a node is killed or not.
func jump(by time.Duration) fault {
	return fault{"set all clocks", func(s *site, _ *process) {
		for range 3 {
			for _, p := range s.processes {
				p.clock.Set(s.t, time.Duration(rand.Int64N(int64(2*by)))-by)
			}
			time.Sleep(time.Second)
		}
	}}
}

// TestClocksApart has faults while the clocks of the nodes are minutes apart, as signed requests still bear,
// and hours, and jump. Ownership, order and what is acknowledged are a matter of the database's clock and of
// monotonic ones. BERTH_CLUSTER_CLOCK_FAULTS is the number of faults.
func TestClocksApart(t *testing.T) {
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("BERTH_CLUSTER_CLOCK_FAULTS")); err == nil {
		rounds = n
	}
	for name, by := range map[string]time.Duration{"minutes": 3 * time.Minute, "hours": 5 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, 3, -by, 0, by)
			var list []fault
			for _, f := range schedule() {
				list = append(list, f, jump(by))
			}
			s.endure(t, rounds, list)
		})
	}
}
