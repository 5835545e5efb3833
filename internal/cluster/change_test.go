package cluster

import (
	"context"
	"errors"
	"testing"
)

// TestTellGoesOn: one kind of change that cannot be heard of keeps nobody from hearing of others, such as who may do
// what, and does not count as heard of.
func TestTellGoesOn(t *testing.T) {
	t.Parallel()
	broken, told := errors.New("broken"), 0
	n := &Node{look: make(chan struct{}, 1), handlers: map[string]func([]string) error{
		"rules":      func([]string) error { return broken },
		"principals": func(keys []string) error { told += len(keys); return nil },
	}}
	const before, asked = 1, 2
	n.heard.Store(before)
	kinds, keys := []string{"rules", "nobody's", "principals"}, map[string][]string{"rules": {"r"}, "principals": {"a", "b"}}
	if err := n.tell(kinds, keys, asked); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if told != 2 {
		t.Errorf("%d of 2 principals were told of", told)
	}
	if n.heard.Load() != before {
		t.Error("what could not be told of counts as heard of")
	}
	broken, told = context.DeadlineExceeded, 0
	if err := n.tell(kinds, keys, asked); !errors.Is(err, broken) || told != 0 || n.heard.Load() != before {
		t.Errorf("while the database is silent: %v, %d were told of, heard at %d", err, told, n.heard.Load())
	}
	broken = nil
	if err := n.tell(kinds, keys, asked); err != nil || n.heard.Load() != asked || n.telling.Load() {
		t.Errorf("%v, heard at %d, telling %v", err, n.heard.Load(), n.telling.Load())
	}
}
