package soak

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// writer makes effects of one kind and knows which were acknowledged.
type writer interface {
	// prepare makes what the kind needs, once, on a running server.
	prepare(s *site)
	// write makes effects until ctx ends or the server is gone.
	write(ctx context.Context, s *site)
	// check looks for what was acknowledged since the last check, or ever, and counts.
	check(s *site, everything bool)
	// counts is what was counted.
	counts() *tally
}

// tally counts the effects of one kind. It may be used concurrently.
type tally struct {
	kind  string
	pause time.Duration // between effects; 0 for as fast as they come
	mu    sync.Mutex
	acknowledged, lost, doubled, disordered,
	repeated, // came again, where that may be
	refused int
	faults []string // the first ones, in words
}

func (y *tally) counts() *tally { return y }

func (y *tally) acked(n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.acknowledged += n
}

// now is what has been acknowledged so far.
func (y *tally) now() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.acknowledged
}

func (y *tally) again() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.repeated++
}

// answered notes an error of the server's that is an answer.
func (y *tally) answered(err error) {
	var r *refused
	if !errors.As(err, &r) {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.refused++
}

func (y *tally) note(counter *int, format string, args ...any) {
	y.mu.Lock()
	defer y.mu.Unlock()
	*counter++
	if len(y.faults) < 10 {
		y.faults = append(y.faults, fmt.Sprintf(format, args...))
	}
}

func (y *tally) loss(format string, args ...any) { y.note(&y.lost, "lost: "+format, args...) }
func (y *tally) double(format string, args ...any) {
	y.note(&y.doubled, "doubled: "+format, args...)
}
func (y *tally) disorder(format string, args ...any) {
	y.note(&y.disordered, "out of order: "+format, args...)
}

// report logs the table of counts and fails the test if anything was lost, doubled or out of order.
func report(t testing.TB, what string, writers []writer) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n| kind | acknowledged | lost | doubled | out of order | came again |\n|---|--:|--:|--:|--:|--:|\n", what)
	for _, w := range writers {
		y := w.counts()
		y.mu.Lock()
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", y.kind, y.acknowledged, y.lost, y.doubled, y.disordered, y.repeated)
		if y.lost+y.doubled+y.disordered > 0 {
			t.Errorf("%s: %s", y.kind, strings.Join(y.faults, "\n  "))
		}
		if y.acknowledged == 0 && *killsFlag > 0 { // a short form on a busy machine may not come to it
			t.Errorf("%s: nothing was acknowledged, so nothing was checked", y.kind)
		}
		y.mu.Unlock()
	}
	t.Log(b.String())
}

// every is all kinds of writers.
func every(t testing.TB) []writer {
	return append([]writer{newThings(), newCertificates(), newShadows(), newJobs(), newRetained(), newClaims(), newReadings(), newPosts(t)}, newMessages()...)
}
