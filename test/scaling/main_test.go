package main

import (
	"os"
	"strings"
	"testing"
)

// TestDocument: the table in docs/scaling.md is the one that is computed.
func TestDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	write(&out)
	if !strings.Contains(string(b), out.String()) {
		t.Errorf("docs/scaling.md has not the table of go run ./test/scaling:\n%s", out.String())
	}
}
