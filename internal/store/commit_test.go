package store

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
)

// scripted is a database whose commits wait for what comes of them.
type scripted struct {
	backend
	begun   chan []string // first columns of the rows of a commit
	outcome chan error
}

func (b *scripted) commit(batch []operation) error {
	var names []string
	for _, op := range batch {
		names = append(names, op.rows[0][0].(string))
	}
	b.begun <- names
	return <-b.outcome
}

func (b *scripted) close() error { return nil }

// TestFailedCommitTakesWhatWaitsAlong: a write that was queued behind one that fails does not succeed, unless the
// failure is that of the write alone.
func TestFailedCommitTakesWhatWaitsAlong(t *testing.T) {
	t.Parallel()
	b := &scripted{begun: make(chan []string), outcome: make(chan error)}
	db := start(b, slog.New(slog.DiscardHandler))
	var mu sync.Mutex
	outcomes := make(map[string]error)
	put := func(name string, after func()) {
		db.Put(&Table{Name: "t", Columns: []string{"name"}}, [][]any{{name}}, func(err error) {
			mu.Lock()
			outcomes[name] = err
			mu.Unlock()
			if after != nil {
				after()
			}
		})
	}
	full := errors.Join(errDatabase, errors.New("disk full"))
	put("first", func() { put("third", nil) }) // an owner that has not noticed yet
	if got := <-b.begun; !slices.Equal(got, []string{"first"}) {
		t.Fatal(got)
	}
	put("second", nil)
	db.Put(&Table{Name: "t", Columns: []string{"name"}}, [][]any{{"nobody's"}}, nil)
	b.outcome <- full
	if got := <-b.begun; !slices.Equal(got, []string{"nobody's"}) {
		t.Errorf("%q are written after the failure", got)
	}
	b.outcome <- nil
	put("wrong", nil)
	if got := <-b.begun; !slices.Equal(got, []string{"wrong"}) {
		t.Errorf("%q are written when there is room again", got)
	}
	put("fourth", nil)
	b.outcome <- errors.New("it cannot be written")
	if got := <-b.begun; !slices.Equal(got, []string{"fourth"}) {
		t.Errorf("%q are written after one that was wrong", got)
	}
	b.outcome <- nil
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"first", "second", "third"} {
		if !errors.Is(outcomes[name], errDatabase) {
			t.Errorf("%s: %v", name, outcomes[name])
		}
	}
	if outcomes["wrong"] == nil {
		t.Error("what was wrong was written")
	}
	if err := outcomes["fourth"]; err != nil {
		t.Errorf("fourth: %v", err)
	}
}
