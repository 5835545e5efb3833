// Package simulate runs a fleet: the real device library, by the thousand, against the real server over
// mutual TLS, in virtual time and with faults that a seed decides. An hour of the fleet's takes as long
// as its work, and not longer.
//
// Virtual time is that of testing/synctest: the network is in memory, so that time passes when nobody
// has anything to do. Work takes none of it; a capacity stands for what a server takes in a second.
package simulate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// Config is a fleet and what happens to it. Shares are of the fleet, 0 to 1.
type Config struct {
	Devices int
	Seed    uint64
	Data    string // empty folder of the server
	// Capacity is how many connections the server takes in a second; 0 for all at once.
	Capacity int
	Every    time.Duration // of each device's message of QoS 1
	Scheme   string        // of the back-off: FullJitter or Tutorial

	Outage   time.Duration // the server is down; 0 for no outage
	Cut      float64       // lose their network, without a word
	CutFor   time.Duration
	Clock    float64 // start with a clock that reads 1970
	Slow     float64 // have a wire with 600 ms of latency and 4 KB/s
	Power    float64 // lose power in the middle of a write to flash
	Update   int     // bytes of an update over the air that all of them get; 0 for none
	UpdateBy float64 // of them lose power during the update

	// Tell gets what happens, with the virtual time since the start. May be nil.
	Tell func(at time.Duration, text string) `json:"-"`
}

// Schemes of waiting between attempts to connect.
const (
	FullJitter = "full-jitter"
	// Tutorial is what tutorials have: 2^n seconds and up to 5 more.
	Tutorial = "tutorial"
)

func tutorial(failures int, random func(n int64) int64) time.Duration {
	return time.Second<<min(failures, 8) + time.Duration(random(int64(5*time.Second)))
}

// Storm is how a fleet comes back.
type Storm struct {
	Name string `json:"name"`
	// Attempts and Connects are counted by the second, from the moment that the way is free again.
	Attempts []int `json:"attempts"`
	Connects []int `json:"connects"`
	// Seconds until so many of those that were away were back; -1 if they were not.
	Back50, Back90, Back99, BackAll float64
	Away                            int `json:"away"`
}

// Peak is the highest number of attempts in a second.
func (s Storm) Peak() int {
	if len(s.Attempts) == 0 {
		return 0
	}
	return slices.Max(s.Attempts)
}

// Report is what came of it.
type Report struct {
	Devices   int           `json:"devices"`
	Scheme    string        `json:"scheme"`
	Seed      uint64        `json:"seed"`
	Virtual   time.Duration `json:"virtualNanoseconds"`
	Real      time.Duration `json:"realNanoseconds"`
	Joined    float64       `json:"joinedSeconds"` // until all were connected for the first time
	Storms    []Storm       `json:"storms"`
	Published int           `json:"published"` // messages of QoS 1 that the library took
	Received  int           `json:"received"`  // different ones
	// Lost were acknowledged or should have been, and never came. Dropped did not fit the queue of the
	// device. Unpowered were in memory when the power went.
	Lost      int `json:"lost"`
	Dropped   int `json:"dropped"`
	Unpowered int `json:"lostWithPower"`
	Twice     int `json:"duplicates"`
	Disorder  int `json:"outOfOrder"`
	ClockSet  int `json:"clocksSet"` // by the remedy
	Restarts  int `json:"powerLosses"`
	Updated   int `json:"updated"`
	// RolledBack run the old image because the power went before the new one was confirmed; their job
	// says so.
	RolledBack int `json:"rolledBack"`
	NotBack    int `json:"notConnectedAtTheEnd"`
}

// ErrConfig is wrapped by errors of configurations that cannot be.
var ErrConfig = errors.New("simulate")

func (c *Config) check() error {
	switch {
	case c.Devices < 1 || c.Devices > 100_000:
		return fmt.Errorf("%w: %d devices: want 1 to 100000", ErrConfig, c.Devices)
	case c.Scheme != FullJitter && c.Scheme != Tutorial:
		return fmt.Errorf("%w: scheme %q: want %s or %s", ErrConfig, c.Scheme, FullJitter, Tutorial)
	}
	for _, share := range []float64{c.Cut, c.Clock, c.Slow, c.Power, c.UpdateBy} {
		if share < 0 || share > 1 {
			return fmt.Errorf("%w: a share of %v: want 0 to 1", ErrConfig, share)
		}
	}
	return nil
}

func (c *Config) fill() {
	if c.Every <= 0 {
		c.Every = 30 * time.Second
	}
	if c.Tell == nil {
		c.Tell = func(time.Duration, string) {}
	}
}

// run is the story, in virtual time.
func run(cfg Config, stopped *atomic.Bool) (*Report, error) {
	began := time.Now()
	f, err := newFleet(cfg, began, stopped)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.tell("%d devices join, each with a certificate of the maker's own CA, just in time", cfg.Devices)
	f.start()
	if !f.wait(30*time.Minute, func() bool { return f.away() == 0 }) {
		return nil, fmt.Errorf("simulate: %d of %d devices did not join: %w", f.away(), cfg.Devices, f.lastError())
	}
	f.report.Joined = time.Since(began).Seconds()
	f.tell("all are connected after %.0f s", f.report.Joined)
	f.sleep(2 * cfg.Every)

	if cfg.Outage > 0 {
		f.tell("the server goes down for %v", cfg.Outage)
		f.stopServer()
		f.sleep(cfg.Outage)
		if err := f.startServer(); err != nil {
			return nil, err
		}
		f.storm(fmt.Sprintf("server down for %v", cfg.Outage), f.nodes)
	}
	if cfg.Cut > 0 {
		nodes := f.some(cfg.Cut)
		f.tell("%d devices lose their network for %v; neither side is told", len(nodes), cfg.CutFor)
		for _, n := range nodes {
			n.cut()
		}
		f.sleep(cfg.CutFor)
		for _, n := range nodes {
			n.offline.Store(false)
		}
		f.storm(fmt.Sprintf("network of %d devices cut for %v", len(nodes), cfg.CutFor), nodes)
	}
	if cfg.Power > 0 {
		nodes := f.some(cfg.Power)
		f.tell("%d devices lose their power in the middle of a write to flash", len(nodes))
		for _, n := range nodes {
			n.losePower(1 + int(f.random(6)))
		}
		f.storm(fmt.Sprintf("power of %d devices lost", len(nodes)), nodes)
	}
	if cfg.Update > 0 {
		if err := f.update(); err != nil {
			return nil, err
		}
	}
	f.tell("everybody falls silent; what waits is delivered")
	f.drain()
	f.report.Virtual = time.Since(began)
	f.count()
	return f.report, nil
}

// some chooses a share of the fleet.
func (f *fleet) some(share float64) []*node {
	nodes := slices.Clone(f.nodes)
	f.rngMu.Lock()
	defer f.rngMu.Unlock()
	f.rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	return nodes[:max(1, int(share*float64(len(nodes))))]
}

// random returns a number from 0 to n-1.
func (f *fleet) random(n int64) int64 {
	f.rngMu.Lock()
	defer f.rngMu.Unlock()
	return f.rng.Int64N(n)
}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x6265727468)) }

// sleep ends early only when all is to end.
func (f *fleet) sleep(d time.Duration) {
	for until := time.Now().Add(d); !f.stopped.Load() && time.Now().Before(until); {
		time.Sleep(min(time.Second, time.Until(until)))
	}
}

// wait looks every 100 ms whether something holds.
func (f *fleet) wait(patience time.Duration, ok func() bool) bool {
	until := time.Now().Add(patience)
	for !ok() {
		if f.stopped.Load() || time.Now().After(until) {
			return false
		}
		f.sleep(100 * time.Millisecond)
	}
	return true
}

func (f *fleet) tell(format string, args ...any) {
	f.cfg.Tell(time.Since(f.began), fmt.Sprintf(format, args...))
}

// storm watches a part of the fleet come back.
func (f *fleet) storm(name string, nodes []*node) {
	from := time.Now()
	s := Storm{Name: name, Back50: -1, Back90: -1, Back99: -1, BackAll: -1}
	f.watchDials(from, &s)
	seen := make(map[*node]bool)
	for _, n := range nodes {
		if !n.connectedSince(from) {
			s.Away++
		} else {
			seen[n] = true
		}
	}
	f.wait(45*time.Minute, func() bool {
		now := time.Since(from)
		for _, n := range nodes {
			if seen[n] || !n.connectedSince(from) {
				continue
			}
			seen[n] = true
			second := int(now.Seconds())
			for len(s.Connects) <= second {
				s.Connects = append(s.Connects, 0)
			}
			s.Connects[second]++
		}
		back := len(seen)
		for _, mark := range []struct {
			share float64
			at    *float64
		}{{0.5, &s.Back50}, {0.9, &s.Back90}, {0.99, &s.Back99}, {1, &s.BackAll}} {
			if *mark.at < 0 && float64(back) >= mark.share*float64(len(nodes)) {
				*mark.at = now.Seconds()
			}
		}
		return back == len(nodes)
	})
	f.watchDials(time.Time{}, nil)
	f.report.Storms = append(f.report.Storms, s)
	f.tell("%s: at most %d attempts in a second; half are back after %.1f s, 99 %% after %.1f s, all after %.1f s", name, s.Peak(), s.Back50, s.Back99, s.BackAll)
}
