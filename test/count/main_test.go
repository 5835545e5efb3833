package main

import (
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	t.Parallel()
	const run = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"fine\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"it broke\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"=== RUN   TestC\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:7: no disk to fill\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"--- SKIP: TestC (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
{"Action":"skip","Package":"empty"}
{"Action":"output","Package":"q","Output":"does not build\n"}
{"Action":"fail","Package":"q"}
{"Action":"pass","Package":"r"}
`
	var sum totals
	var out strings.Builder
	if err := sum.add(strings.NewReader(run), &out); err != nil {
		t.Fatal(err)
	}
	if want := (totals{passed: 1, failed: 2, skipped: 1}); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
	if want := "--- p TestB\nit broke\nskipped p TestC: c_test.go:7: no disk to fill\n--- q \ndoes not build\n"; out.String() != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
}
