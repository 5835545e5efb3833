package rules

import (
	"sync"
	"sync/atomic"
	"time"
)

// Stats counts what a rule has done since the server started.
type Stats struct {
	Rule       string     `json:"ruleName"`
	Matched    uint64     `json:"matched"`    // messages whose topic FROM matches
	WhereFalse uint64     `json:"whereFalse"` // of them, stopped by WHERE
	Failed     uint64     `json:"failed"`     // evaluations and actions that failed for good
	Retried    uint64     `json:"retried"`    // tries that failed and are made again
	Dropped    uint64     `json:"dropped"`    // actions that found no room to wait, or of QoS 0 that failed
	Delivered  uint64     `json:"delivered"`  // actions that were carried out
	Waiting    int64      `json:"waiting"`    // deliveries on disk
	Dead       int64      `json:"dead"`       // dead letters
	LastError  string     `json:"lastError,omitempty"`
	LastFailed *time.Time `json:"lastErrorAt,omitempty"`
}

type counters struct {
	matched, whereFalse, failed, retried, dropped, delivered atomic.Uint64

	mu   sync.Mutex
	last string
	at   time.Time
}

func (c *counters) fail(err error, at time.Time) {
	c.mu.Lock()
	c.last, c.at = err.Error(), at
	c.mu.Unlock()
}

// counters returns those of a rule, which live as long as its name.
func (s *Service) counters(name string) *counters {
	c, _ := s.stats.LoadOrStore(name, new(counters))
	return c.(*counters)
}

// Stats returns the counters of a rule. Waiting and Dead are left out; see DeadLetters.
func (s *Service) Stats(name string) (Stats, error) {
	r := s.rules.Load().byName[name]
	if r == nil {
		return Stats{}, s.notFound(name)
	}
	c := r.stats
	v := Stats{Rule: name, Matched: c.matched.Load(), WhereFalse: c.whereFalse.Load(), Failed: c.failed.Load(), Retried: c.retried.Load(),
		Dropped: c.dropped.Load(), Delivered: c.delivered.Load()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.LastError = c.last; c.last != "" {
		at := c.at
		v.LastFailed = &at
	}
	return v, nil
}

// AllStats returns the counters of every rule, by name.
func (s *Service) AllStats() []Stats {
	var all []Stats
	list, _ := s.ListTopicRules(RuleFilter{}, "", MaxRules)
	for _, r := range list {
		if v, err := s.Stats(r.Name); err == nil {
			all = append(all, v)
		}
	}
	return all
}
