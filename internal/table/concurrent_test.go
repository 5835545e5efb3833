package table

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestConcurrent reads everything while rows come and go.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testConcurrent)
}

func testConcurrent(t *testing.T, dir string) {
	tables := open(t, dir)
	insert(t, tables, "r", row(1, "first", 1))
	var wait sync.WaitGroup
	for w := range 3 {
		wait.Go(func() {
			for i := range 40 {
				rows := []Row{row(int64(i+1), fmt.Sprint(w), 1), {Time: int64(i + 1), Thing: fmt.Sprint(w, i), Measures: Measures{{fmt.Sprint("m", w, i), Bool(true)}}}}
				if err := tables.Insert(t.Context(), "r", rows); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Go(func() {
		for i := range 40 {
			_, err := tables.Query(t.Context(), Query{Table: "r", Descending: i%2 == 0})
			_, err2 := tables.Latest("r", nil, nil)
			_, err3 := tables.Query(t.Context(), Query{Table: "r", Every: time.Second})
			_, err4 := tables.DeleteRange(t.Context(), "r", []string{"0", fmt.Sprint(1, i)}, 0, int64(i))
			if err := errors.Join(err, err2, err3, err4); err != nil {
				t.Error(err)
			}
			tables.List()
		}
	})
	wait.Wait()
	total := tables.Stats()
	if int64(total.Inserted-total.Deleted) != total.Rows {
		t.Errorf("%+v", total)
	}
}
