package simulate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// TestFleet runs a small fleet through everything and counts.
func TestFleet(t *testing.T) {
	r, err := bubble(t, Config{Devices: 60, Seed: 1, Data: t.TempDir(), Capacity: 50, Scheme: FullJitter, Outage: time.Minute,
		Cut: 0.2, CutFor: 4 * time.Minute, Clock: 0.1, Slow: 0.1, Power: 0.2, Update: 10_000, UpdateBy: 0.2,
		Tell: func(at time.Duration, text string) { t.Log(at, text) }})
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case r.Published < 1000 || r.Received+r.Dropped+r.Unpowered != r.Published || r.Lost != 0 || r.Disorder != 0 || r.NotBack != 0:
		t.Errorf("messages or devices are missing: %+v", r)
	case r.Updated+r.RolledBack != 60 || r.Updated < 48:
		t.Errorf("%d updated, %d rolled back", r.Updated, r.RolledBack)
	case r.ClockSet != 6:
		t.Errorf("%d clocks set, want 6", r.ClockSet)
	case r.Restarts < 60: // by the update alone
		t.Errorf("%d restarts", r.Restarts)
	}
	for _, s := range r.Storms {
		total := 0
		for _, n := range s.Connects {
			total += n
		}
		if total != s.Away || s.BackAll < 0 || s.Back50 > s.Back99 {
			t.Errorf("%s: %d of %d came back: %+v", s.Name, total, s.Away, s)
		}
	}
	if len(r.Storms) != 3 {
		t.Errorf("%d storms", len(r.Storms))
	}
	var svg bytes.Buffer
	if err := Plot(&svg, []*Report{r}); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(&svg); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"0 devices":          {Scheme: FullJitter},
		`scheme "fast"`:      {Devices: 1, Scheme: "fast"},
		"a share of 2":       {Devices: 1, Scheme: Tutorial, Cut: 2},
		"100001 devices: wa": {Devices: 100_001, Scheme: Tutorial},
	} {
		if _, err := Run(t.Context(), cfg); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}
