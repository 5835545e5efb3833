package jobs

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/registry"
)

// BenchmarkStart makes a job for a group of 100,000 things: how long CreateJob takes, and how long it
// takes until every thing has its execution, without a limit of the rate.
func BenchmarkStart(b *testing.B) {
	const n = 100000
	be := newBench(b)
	defer be.close()
	ctx := context.Background()
	_, err := be.reg.CreateThingGroup(ctx, registry.NewThingGroup{Name: "G"})
	be.check(err)
	var makers sync.WaitGroup
	for worker := range 64 {
		makers.Go(func() {
			for i := worker; i < n; i += 64 {
				_, err := be.reg.Provision(ctx, registry.Provisioning{Thing: &registry.ProvisionThing{Name: fmt.Sprintf("T%06d", i), Groups: []string{"G"}}}, nil)
				be.check(err)
			}
		})
	}
	makers.Wait()
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint("j", i)
		start := time.Now()
		be.create(id, Definition{Rollout: &Rollout{MaximumPerMinute: new(int64(1 << 30))}}, "", groupARN+"G")
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms/create")
		for {
			j, err := be.DescribeJob(ctx, id)
			be.check(err)
			if j.Counts.Queued == n {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
