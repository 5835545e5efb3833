package backup

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names of scheduled backups are FilePrefix, a time in UTC, FileSuffix, and ".age" if encrypted, so
// that their order is that of their times.
const (
	FilePrefix = "berth-"
	FileSuffix = ".tar.gz"
	nameTime   = "20060102T150405Z"
)

// retryAfter is how long a backup that failed waits for the next, if that is not due earlier.
const retryAfter = 10 * time.Minute

// Name is the name of a backup that is made at a time.
func Name(at time.Time, encrypted bool) string {
	name := FilePrefix + at.UTC().Format(nameTime) + FileSuffix
	if encrypted {
		name += ".age"
	}
	return name
}

// parseName is the reverse of Name.
func parseName(name string) (time.Time, bool) {
	text, ok := strings.CutPrefix(strings.TrimSuffix(name, ".age"), FilePrefix)
	text, tail := strings.CutSuffix(text, FileSuffix)
	at, err := time.Parse(nameTime, text)
	return at, ok && tail && err == nil
}

// ScheduleConfig says when backups are made, and where.
type ScheduleConfig struct {
	Source     Source
	Dir        string        // made if it does not exist
	Every      time.Duration // from one to the next
	Keep       int           // how many remain; 0 for all
	Passphrase string
	Log        *slog.Logger

	Now   func() time.Time                                            // nil is time.Now
	Make  func(ctx context.Context, out string) (*Manifest, error)    // nil is Create
	After func(ctx context.Context, wait time.Duration) (ended error) // waits; nil waits by the clock
}

// Stats are what a schedule has done since it was started.
type Stats struct {
	Made, Failed uint64
	Last         time.Time     // of the last backup in the folder; zero for none
	LastBytes    int64         // of its file
	LastTook     time.Duration // 0 for one of an earlier run
}

// Schedule makes backups. Methods may be called concurrently.
type Schedule struct {
	cfg  ScheduleConfig
	done chan struct{}

	mu    sync.Mutex
	stats Stats
}

// StartSchedule makes the folder and begins; it ends with ctx, see Wait. A backup is due when the last
// one in the folder is old enough, whoever made it, so that a server that is restarted neither makes
// one each time nor none at all.
func StartSchedule(ctx context.Context, cfg ScheduleConfig) (*Schedule, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Make == nil {
		cfg.Make = func(ctx context.Context, out string) (*Manifest, error) {
			return Create(ctx, cfg.Source, out, Options{Passphrase: cfg.Passphrase})
		}
	}
	if cfg.After == nil {
		cfg.After = func(ctx context.Context, wait time.Duration) error {
			t := time.NewTimer(wait)
			defer t.Stop()
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			return ctx.Err()
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("backup folder: %w", err)
	}
	s := &Schedule{cfg: cfg, done: make(chan struct{})}
	if list := s.list(); len(list) > 0 {
		last := list[len(list)-1]
		s.stats.Last, _ = parseName(last)
		if info, err := os.Stat(filepath.Join(cfg.Dir, last)); err == nil {
			s.stats.LastBytes = info.Size()
		}
	}
	go s.run(ctx)
	return s, nil
}

// Wait returns when the schedule has ended.
func (s *Schedule) Wait() { <-s.done }

// Stats returns the counters.
func (s *Schedule) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// list has the names of the backups in the folder, the oldest first.
func (s *Schedule) list() []string {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		s.cfg.Log.Warn("the backup folder cannot be read", "error", err)
	}
	var names []string
	for _, e := range entries {
		if _, ok := parseName(e.Name()); ok && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		x, _ := parseName(a)
		y, _ := parseName(b)
		return x.Compare(y)
	})
	return names
}

func (s *Schedule) run(ctx context.Context) {
	defer close(s.done)
	// A clock that was ahead must not keep backups waiting for longer than a period.
	wait := min(s.Stats().Last.Add(s.cfg.Every).Sub(s.cfg.Now()), s.cfg.Every)
	for s.cfg.After(ctx, max(wait, 0)) == nil {
		began := s.cfg.Now()
		wait = s.cfg.Every
		if err := s.once(ctx, began); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.mu.Lock()
			s.stats.Failed++
			s.mu.Unlock()
			wait = min(wait, retryAfter)
			s.cfg.Log.Error("a backup failed", "dir", s.cfg.Dir, "error", err, "next", began.Add(wait).UTC().Format(time.RFC3339))
		}
		wait -= s.cfg.Now().Sub(began)
	}
}

func (s *Schedule) once(ctx context.Context, began time.Time) error {
	path := filepath.Join(s.cfg.Dir, Name(began, s.cfg.Passphrase != ""))
	m, err := s.cfg.Make(ctx, path)
	if err != nil {
		return err
	}
	took := s.cfg.Now().Sub(began)
	size := int64(0)
	if info, err := os.Stat(path); err == nil {
		size = info.Size()
	}
	s.mu.Lock()
	s.stats.Made++
	s.stats.Last, s.stats.LastBytes, s.stats.LastTook = began, size, took
	s.mu.Unlock()
	s.cfg.Log.Info("backup made and verified", "file", path, "bytes", size, "took", took.Round(time.Millisecond), "things", m.Rows["thing"], "certificates", m.Rows["certificate"])
	if len(m.Left) > 0 {
		s.cfg.Log.Warn("the backup leaves out what is neither file nor folder", "names", m.Left)
	}
	if s.cfg.Keep > 0 {
		list := s.list()
		for _, name := range list[:max(len(list)-s.cfg.Keep, 0)] {
			if err := os.Remove(filepath.Join(s.cfg.Dir, name)); err != nil {
				s.cfg.Log.Warn("an old backup cannot be removed", "file", name, "error", err)
			}
		}
	}
	return nil
}
