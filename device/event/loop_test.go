package event_test

import (
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/berth-iot/berth/device/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoopKeepsOrderAndContainsCrashes(t *testing.T) {
	t.Parallel()
	var got []int
	var crashes []error
	l := event.NewLoop(func(err error) {
		crashes = append(crashes, err)
		panic("the listener too")
	})
	for i := range 100 {
		l.Post("number", func() {
			if i%10 == 3 {
				panic(i)
			}
			got = append(got, i)
			if i == 50 {
				l.Post("late", func() { got = append(got, 1000) })
			}
		})
	}
	done := make(chan struct{})
	l.Post("end", func() { close(done) })
	<-done
	l.Close()
	l.Close()
	<-l.Done()
	if l.Post("after", func() { t.Error("ran after the end") }) {
		t.Error("a closed loop takes a function")
	}
	if len(got) != 91 || !slices.IsSorted(got) || got[90] != 1000 {
		t.Errorf("ran %v", got)
	}
	var crash *event.CrashError
	if len(crashes) != 10 || !errors.As(crashes[0], &crash) || crash.Value != 3 || crash.Error() != "number handler crashed: 3" {
		t.Errorf("crashes %v", crashes)
	}
}
