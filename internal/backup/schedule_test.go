package backup

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSchedule runs a schedule by a clock of its own: when it waits, how it goes on after a failure
// and after a restart, and what it keeps.
func TestSchedule(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "backups")
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var waits []time.Duration
	fail := map[int]bool{2: true}
	made := 0
	run := func(waitsBeforeEnd int) Stats {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		s, err := StartSchedule(ctx, ScheduleConfig{Dir: dir, Every: 24 * time.Hour, Keep: 3, Log: slog.New(slog.DiscardHandler),
			Now: func() time.Time { return at },
			After: func(_ context.Context, wait time.Duration) error {
				if waits = append(waits, wait); waitsBeforeEnd == 0 {
					return context.Canceled
				}
				waitsBeforeEnd--
				at = at.Add(wait)
				return nil
			},
			Make: func(_ context.Context, out string) (*Manifest, error) {
				at = at.Add(time.Minute) // that is how long it takes
				if made++; fail[made] {
					return nil, errors.New("no room")
				}
				return &Manifest{}, os.WriteFile(out, []byte("12345"), 0o600)
			}})
		if err != nil {
			t.Fatal(err)
		}
		s.Wait()
		return s.Stats()
	}
	if got := run(3); got.Made != 2 || got.Failed != 1 || got.LastBytes != 5 || got.LastTook != time.Minute {
		t.Errorf("%+v", got)
	}
	at = at.Add(time.Hour)
	if got := run(2); got.Made != 2 || got.Last.IsZero() {
		t.Errorf("%+v", got)
	}
	day := 24 * time.Hour
	want := []time.Duration{0, day - time.Minute, 9 * time.Minute, day - time.Minute, day - time.Minute - time.Hour, day - time.Minute, day - time.Minute}
	if !cmp.Equal(waits, want) {
		t.Error(cmp.Diff(want, waits))
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}
