package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/store/storetest"
)

// rounds is how often a kill test kills.
func rounds(short int) int {
	if *killsFlag > 0 {
		return *killsFlag
	}
	if testing.Short() {
		return 3
	}
	return short
}

// TestKill kills the server at random moments under writers of every kind.
func TestKill(t *testing.T) {
	t.Parallel()
	testKill(t, "", rounds(12))
}

// TestKillInPostgres is the same with the state in PostgreSQL.
func TestKillInPostgres(t *testing.T) {
	t.Parallel()
	var cluster postgrestest.Cluster
	t.Cleanup(cluster.Stop)
	testKill(t, cluster.Database(t), rounds(5))
}

func testKill(t *testing.T, database string, kills int) {
	dir := t.TempDir()
	if database == "" {
		database = storetest.URL(t, dir)
	}
	random := rand.New(rand.NewPCG(uint64(*seedFlag), 1))
	s := newSite(t, dir, database)
	writers := every(t)
	s.open(writers)
	began := time.Now()
	for round := range kills {
		s.during(writers, func() {
			time.Sleep(50*time.Millisecond + time.Duration(random.Int64N(int64(500*time.Millisecond))))
			s.kill()
		})
		s.start()
		s.check(writers, false)
		if (round+1)%20 == 0 {
			t.Logf("%d kills after %v", round+1, time.Since(began).Round(time.Second))
		}
		if t.Failed() {
			break
		}
	}
	s.check(writers, true)
	report(t, fmt.Sprintf("%d kills, seed %d, %v", kills, *seedFlag, time.Since(began).Round(time.Second)), writers)
}

// open starts the server for the first time and prepares the writers.
func (s *site) open(writers []writer) {
	s.t.Helper()
	s.start()
	s.must("POST", "/policies/plain", object{"policyDocument": allowAll}, nil)
	for _, w := range writers {
		w.prepare(s)
	}
}

// during runs the writers until do returns and they have noticed.
func (s *site) during(writers []writer, do func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, w := range writers {
		wg.Go(func() { w.write(ctx, s) })
	}
	do()
	cancel()
	wg.Wait()
}

// check lets all writers check, at the same time.
func (s *site) check(writers []writer, everything bool) {
	s.t.Helper()
	var wg sync.WaitGroup
	for _, w := range writers {
		wg.Go(func() { w.check(s, everything) })
	}
	wg.Wait()
}
