package fleetindex_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/store"
)

// BenchmarkBuild reads a hundred thousand things with shadows from the database, as a start does, and
// answers pages of 100 documents.
func BenchmarkBuild(b *testing.B) {
	f := newBench(b)
	f.all()
	const n = 100_000
	for first := 0; first < n; first += 10_000 {
		f.ok(f.db.Write(context.Background(), func(tx *store.Tx) error {
			for i := first; i < first+10_000; i++ {
				if _, err := tx.Exec(`INSERT INTO thing (name, id, type, attributes, billing_group, version, created) VALUES (?, ?, '', ?, '', 1, 0)`,
					fmt.Sprintf("device-%06d", i), fmt.Sprint("id-", i), fmt.Sprintf(`{"model":"esp32","serial":"%d","site":"site-%d"}`, i, i%1000)); err != nil {
					return err
				}
				if _, err := tx.Exec(`INSERT INTO shadow (thing, name, version, state, stamps, modified_at, deleted_at) VALUES (?, '', 1, ?, ?, 0, 0)`,
					fmt.Sprintf("device-%06d", i), fmt.Sprintf(`{"desired":{"led":true},"reported":{"led":false,"battery":%d,"temperature":%d,"firmware":"1.2.0"}}`, i%101, i%40),
					[]byte{0, 0, 0, 0, 0}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			f.restart()
			f.ready()
		}
	})
	b.Run("page", func(b *testing.B) {
		for b.Loop() {
			res, err := f.Search(context.Background(), fleetindex.Things, "shadow.reported.battery>98", "", 100)
			if err != nil || len(res.Things) != 100 {
				b.Fatal(err)
			}
		}
	})
}
