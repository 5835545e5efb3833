package server

import (
	"errors"
	"testing"
)

func TestOneServerOfADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); !errors.Is(err, ErrTaken) {
		t.Errorf("a second server gets %v, want ErrTaken", err)
	}
	first.Close()
	again, err := lock(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}
