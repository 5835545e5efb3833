package trend

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := uint64(0)
		h := New(func() Sample { n++; return Sample{Received: n} })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { h.Loop(ctx); close(done) }()
		time.Sleep(3*time.Hour + time.Second)
		synctest.Wait()
		fine, coarse := h.Samples()
		if len(fine) != FineKept || len(coarse) != 37 {
			t.Fatalf("%d and %d samples after three hours, not %d and 37", len(fine), len(coarse), FineKept)
		}
		for _, of := range []struct {
			list []Sample
			pace time.Duration
		}{{fine, Fine}, {coarse, Coarse}} {
			for i := 1; i < len(of.list); i++ {
				if d := of.list[i].Time - of.list[i-1].Time; d != of.pace.Milliseconds() || of.list[i].Received <= of.list[i-1].Received {
					t.Fatalf("sample %d comes %d ms after the one before, not %v", i, d, of.pace)
				}
			}
		}
		if fine[len(fine)-1].Received != n {
			t.Error("the latest sample is not the last")
		}
		cancel()
		<-done
	})
}
