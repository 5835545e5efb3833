package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

// TestCloseWhileReading: who still reads when the database is closed gets ErrClosed or what it asked for,
// and leaves nothing behind.
func TestCloseWhileReading(t *testing.T) {
	t.Parallel()
	for range 5 {
		dir := t.TempDir()
		db := storetest.Open(t, dir)
		const endless = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n`
		var row int
		reads := []func(i int) error{
			func(i int) error {
				return db.Query(context.Background(), fmt.Sprintf("SELECT %d", i), nil, func(r store.Row) error { return r.Scan(&row) })
			},
			func(i int) error {
				var row int
				return db.QueryRow(context.Background(), fmt.Sprintf("SELECT %d + 1", i), nil, &row)
			},
			func(i int) error {
				return db.Scan(context.Background(), fmt.Sprintf("SELECT %d", i), func(store.Row) error { return nil })
			},
			func(i int) error {
				if i < 10 {
					return nil
				}
				return db.Scan(context.Background(), endless, func(store.Row) error { return nil })
			},
		}
		var readers sync.WaitGroup
		begun := make(chan struct{}, len(reads))
		for _, read := range reads {
			readers.Go(func() {
				for i := 0; ; i++ {
					if i == 10 {
						begun <- struct{}{}
					}
					if err := read(i); err != nil {
						if !errors.Is(err, store.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		for range reads {
			<-begun
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range left {
			if f.Name() != store.FileName {
				t.Errorf("%s is left", f.Name())
			}
		}
		readers.Wait()
	}
}
