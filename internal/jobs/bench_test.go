package jobs

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
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
	for from := 0; from < n; from += 1000 {
		be.check(be.db.Write(ctx, func(tx *store.Tx) error {
			for i := from; i < from+1000; i++ {
				name := fmt.Sprintf("T%06d", i)
				if _, err := be.reg.CreateThingTx(tx, registry.NewThing{Name: name}); err != nil {
					return err
				}
				if _, err := tx.Exec(`INSERT INTO group_member (grp, thing) VALUES ('G', ?)`, name); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint("j", i)
		start := time.Now()
		be.create(id, Definition{Rollout: &Rollout{MaximumPerMinute: 1 << 30}}, "", groupARN+"G")
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
