package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

// TestCloseWhileReading: who still reads when the database is closed gets errors, and nothing worse.
func TestCloseWhileReading(t *testing.T) {
	t.Parallel()
	for range 5 {
		db := storetest.Open(t, t.TempDir())
		var readers sync.WaitGroup
		begun := make(chan struct{}, 4)
		for r := range 4 {
			readers.Go(func() {
				for i := 0; ; i++ {
					err := db.Query(context.Background(), fmt.Sprintf("SELECT %d, %d", r, i), nil, func(row store.Row) error {
						var a, b int
						return row.Scan(&a, &b)
					})
					if err != nil {
						return
					}
					if i == 10 {
						begun <- struct{}{}
					}
				}
			})
		}
		for range 4 {
			<-begun
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		readers.Wait()
	}
}
