package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Stats counts what a rule has done since it was created. Counts are written to disk now and then: a
// server that is killed forgets those of the last ten seconds.
type Stats struct {
	Rule       string        `json:"ruleName"`
	Matched    uint64        `json:"matched"`    // messages whose topic FROM matches
	WhereFalse uint64        `json:"whereFalse"` // of them, stopped by WHERE
	Failed     uint64        `json:"failed"`     // evaluations and actions that failed for good
	Retried    uint64        `json:"retried"`    // tries that failed and are made again
	Dropped    uint64        `json:"dropped"`    // actions that found no room to wait, or of QoS 0 that failed
	Delivered  uint64        `json:"delivered"`  // actions that were carried out
	Waiting    int64         `json:"waiting"`    // deliveries on disk
	Dead       int64         `json:"dead"`       // dead letters
	LastError  string        `json:"lastError,omitempty"`
	LastFailed *time.Time    `json:"lastErrorAt,omitempty"`
	Actions    []ActionStats `json:"actions"`
}

// ActionStats counts what one kind of action of a rule has done.
type ActionStats struct {
	Action    string  `json:"action"`
	Delivered uint64  `json:"delivered"`
	Failed    uint64  `json:"failed"`
	Latency   Latency `json:"latency"`
}

type counters struct {
	matched, whereFalse, failed, retried, dropped, delivered atomic.Uint64

	mu      sync.Mutex
	last    string
	at      time.Time
	actions map[string]*actionCounters

	watched atomic.Pointer[[]*Tail]
}

type actionCounters struct {
	delivered, failed atomic.Uint64
	latency           latency
}

func (c *counters) action(kind string) *actionCounters {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.actions[kind]
	if a == nil {
		if c.actions == nil {
			c.actions = make(map[string]*actionCounters)
		}
		a = new(actionCounters)
		c.actions[kind] = a
	}
	return a
}

// maxError is the longest text of an error that is kept, in bytes.
const maxError = 2048

func (c *counters) fail(err error, at time.Time) {
	text := err.Error()
	if len(text) > maxError {
		text = text[:maxError]
	}
	c.mu.Lock()
	c.last, c.at = text, at
	c.mu.Unlock()
}

// delivered counts a delivery that was carried out.
func (s *Service) delivered(d *delivery, now time.Time) {
	c := s.counters(d.Rule)
	c.delivered.Add(1)
	a := c.action(d.Kind)
	a.delivered.Add(1)
	a.latency.observe(now.Sub(d.created))
	s.watchAction(c, d, "delivered", nil, now)
}

// retried counts a try that failed and is made again.
func (s *Service) retried(d *delivery, err error, now time.Time) {
	c := s.counters(d.Rule)
	c.retried.Add(1)
	s.watchAction(c, d, "retried", err, now)
}

// counters returns those of a rule, which live as long as its name.
func (s *Service) counters(name string) *counters {
	if c, ok := s.stats.Load(name); ok {
		return c.(*counters)
	}
	c, _ := s.stats.LoadOrStore(name, new(counters))
	return c.(*counters)
}

func (c *counters) read(name string) Stats {
	v := Stats{Rule: name, Matched: c.matched.Load(), WhereFalse: c.whereFalse.Load(), Failed: c.failed.Load(), Retried: c.retried.Load(),
		Dropped: c.dropped.Load(), Delivered: c.delivered.Load(), Actions: []ActionStats{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.LastError = c.last; c.last != "" {
		at := c.at
		v.LastFailed = &at
	}
	for _, kind := range slices.Sorted(maps.Keys(c.actions)) {
		a := c.actions[kind]
		v.Actions = append(v.Actions, ActionStats{kind, a.delivered.Load(), a.failed.Load(), a.latency.read()})
	}
	return v
}

func (c *counters) restore(v Stats) {
	c.matched.Store(v.Matched)
	c.whereFalse.Store(v.WhereFalse)
	c.failed.Store(v.Failed)
	c.retried.Store(v.Retried)
	c.dropped.Store(v.Dropped)
	c.delivered.Store(v.Delivered)
	if c.last = v.LastError; v.LastFailed != nil {
		c.at = *v.LastFailed
	}
	for _, x := range v.Actions {
		a := c.action(x.Action)
		a.delivered.Store(x.Delivered)
		a.failed.Store(x.Failed)
		a.latency.restore(x.Latency)
	}
}

// Stats returns the counters of a rule. Waiting and Dead are left out; see Waiting.
func (s *Service) Stats(name string) (Stats, error) {
	r := s.rules.Load().byName[name]
	if r == nil {
		return Stats{}, s.notFound(name)
	}
	return r.stats.read(name), nil
}

// AllStats returns the counters of every rule, by name.
func (s *Service) AllStats() []Stats {
	var all []Stats
	rules := s.rules.Load().byName
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		all = append(all, rules[name].stats.read(name))
	}
	return all
}

// statsPace is how often counters are written.
const statsPace = 10 * time.Second

func (s *Service) loadStats(ctx context.Context) error {
	err := s.cfg.Store.Query(ctx, `SELECT rule, body FROM rule_stats`, nil, func(row store.Row) error {
		var name string
		var body []byte
		if err := row.Scan(&name, &body); err != nil {
			return err
		}
		var v Stats
		if err := json.Unmarshal(body, &v); err != nil {
			return fmt.Errorf("rule %q: %w", name, err)
		}
		s.counters(name).restore(v)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load counters of rules: %w", err)
	}
	return nil
}

func (s *Service) statsLoop() {
	t := time.NewTicker(statsPace)
	defer t.Stop()
	written := make(map[string]string)
	for {
		select {
		case <-t.C:
			s.saveStats(written)
		case <-s.run.Done():
			return
		}
	}
}

var statsTable = &store.Table{Name: "rule_stats", Key: 1, Columns: []string{"rule", "body"}}

// saveStats writes the counters that differ from what was written. It returns when they are on disk.
func (s *Service) saveStats(written map[string]string) {
	s.mu.Lock() // no rule is deleted meanwhile
	defer s.mu.Unlock()
	var rows [][]any
	for _, v := range s.AllStats() {
		body, err := json.Marshal(v)
		if err != nil || written[v.Rule] == string(body) {
			continue
		}
		written[v.Rule] = string(body)
		rows = append(rows, []any{v.Rule, body})
	}
	if len(rows) == 0 {
		return
	}
	done := make(chan error, 1)
	s.cfg.Store.Put(statsTable, rows, func(err error) { done <- err })
	if err := <-done; err != nil {
		s.cfg.Log.Error("counters of rules cannot be written", "error", err)
	}
}
