package commands

import (
	"errors"
	"testing"
)

// TestEveryStateAndEvent walks the whole machine.
func TestEveryStateAndEvent(t *testing.T) {
	t.Parallel()
	open := func(s Status) State { return State{Status: s} }
	ends := map[Event]State{Succeed: {Succeeded, true}, Fail: {Failed, true}, Reject: {Rejected, true}, TimeOut: {TimedOut, true}}
	for _, s := range []State{open(Created), open(InProgress), open(TimedOut), {Succeeded, true}, {Failed, true}, {Rejected, true}, {TimedOut, true}} {
		for e := range events {
			want, allowed := ends[e]
			switch {
			case s.Final:
				allowed = false
			case s.Status == TimedOut:
			case e == Progress:
				want, allowed = open(InProgress), true
			case e == Expire:
				want, allowed = open(TimedOut), true
			}
			got, err := s.After(e)
			if !allowed {
				want = s
			}
			if got != want || (err == nil) != allowed || err != nil && !errors.Is(err, ErrTransition) {
				t.Errorf("%+v after event %d: %+v %v, want %+v", s, e, got, err, want)
			}
		}
	}
	for _, s := range append(Statuses(), "DONE", "") {
		e, err := eventOf(s)
		if bad := s == Created || !s.Valid(); (err != nil) != bad {
			t.Errorf("event of %q: %d %v", s, e, err)
		}
	}
}
