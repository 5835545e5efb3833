package defender

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

// Violation is a behaviour that a thing does not show now.
type Violation struct {
	ID          string   `json:"violationId"`
	Thing       string   `json:"thingName"`
	Profile     string   `json:"securityProfileName"`
	Behavior    Behavior `json:"behavior"`
	Value       Value    `json:"lastViolationValue"`
	State       string   `json:"verificationState,omitempty"`
	Description string   `json:"verificationStateDescription,omitempty"`
	Last        Moment   `json:"lastViolationTime"`
	Start       Moment   `json:"violationStartTime"`
}

// Types of events.
const (
	eventInAlarm     = "in-alarm"
	eventCleared     = "alarm-cleared"
	eventInvalidated = "alarm-invalidated"
)

// ViolationEvent is the beginning or the end of a violation.
type ViolationEvent struct {
	ID          string   `json:"violationId"`
	Thing       string   `json:"thingName"`
	Profile     string   `json:"securityProfileName"`
	Behavior    Behavior `json:"behavior"`
	Value       *Value   `json:"metricValue,omitempty"`
	Type        string   `json:"violationEventType"`
	State       string   `json:"verificationState,omitempty"`
	Description string   `json:"verificationStateDescription,omitempty"`
	At          Moment   `json:"violationEventTime"`
}

// change is one transaction that may begin and end violations.
type change struct {
	*Service
	tx     *store.Tx
	at     time.Time
	counts map[string]int // of things whose violations have changed
}

// change runs fn in a transaction and tells the observers after it.
func (s *Service) change(ctx context.Context, fn func(c *change) error) error {
	var c change
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		c = change{Service: s, tx: tx, at: s.now(), counts: make(map[string]int)}
		if err := fn(&c); err != nil {
			return err
		}
		for thing := range c.counts {
			n := 0
			if err := tx.QueryRow(`SELECT count(*) FROM defender_violation WHERE thing = ?`, []any{thing}, &n); err != nil {
				return err
			}
			c.counts[thing] = n
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	for thing, n := range c.counts {
		if n == 0 {
			delete(s.counts, thing)
		} else {
			s.counts[thing] = n
		}
	}
	observers := slices.Clone(s.observers)
	s.mu.Unlock()
	for thing, n := range c.counts {
		for _, observe := range observers {
			observe(thing, n)
		}
	}
	return nil
}

func (c *change) event(v *Violation, kind string, value *Value) error {
	e := ViolationEvent{v.ID, v.Thing, v.Profile, v.Behavior, value, kind, v.State, v.Description, Moment{c.at}}
	_, err := c.tx.Exec(`INSERT INTO defender_event (seq, thing, profile, body, at) VALUES (?, ?, ?, ?, ?)`, uuid.NewString(), v.Thing, v.Profile, encode(e), c.at.UnixMilli())
	c.counts[v.Thing] = 0 // counted at the end
	return err
}

func (c *change) save(v *Violation) error {
	_, err := c.tx.Exec(`INSERT INTO defender_violation (id, thing, profile, behavior, body, at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET body = excluded.body, at = excluded.at`, v.ID, v.Thing, v.Profile, v.Behavior.Name, encode(v), v.Last.UnixMilli())
	return err
}

func (c *change) end(v *Violation, kind string, value *Value) error {
	if _, err := c.tx.Exec(`DELETE FROM defender_violation WHERE id = ?`, v.ID); err != nil {
		return err
	}
	return c.event(v, kind, value)
}

// invalidate ends violations that nobody looks for any more: all, or those that gone says.
func (c *change) invalidate(where string, args []any, gone func(v *Violation) bool) error {
	list, err := violations(c.tx, where, args...)
	if err != nil {
		return err
	}
	for _, v := range list {
		if gone != nil && !gone(v) {
			continue
		}
		if err := c.end(v, eventInvalidated, nil); err != nil {
			return err
		}
	}
	return nil
}

func violations(rd reader, where string, args ...any) (list []*Violation, err error) {
	err = rd.Query(`SELECT body FROM defender_violation WHERE `+where+` ORDER BY at DESC, id`, args, func(row store.Row) error {
		var body string
		if err := row.Scan(&body); err != nil {
			return err
		}
		v := &Violation{}
		list = append(list, v)
		return json.Unmarshal([]byte(body), v)
	})
	return list, err
}

// judge holds a report against the profiles of its thing. earlier is what the thing has reported in
// the last hour.
func (c *change) judge(thing string, profiles map[string]Profile, r *Report, earlier []stored) error {
	active, err := violations(c.tx, `thing = ?`, thing)
	if err != nil {
		return err
	}
	find := func(profile, behavior string) *Violation {
		for _, v := range active {
			if v.Profile == profile && v.Behavior.Name == behavior {
				return v
			}
		}
		return nil
	}
	for _, v := range active {
		if p, ok := profiles[v.Profile]; !ok || !slices.ContainsFunc(p.Behaviors, func(b Behavior) bool { return b.Name == v.Behavior.Name }) {
			if err := c.end(v, eventInvalidated, nil); err != nil {
				return err
			}
		}
	}
	for name, p := range profiles {
		for _, b := range p.Behaviors {
			value, ok := r.Values[b.Metric]
			if !ok || b.Criteria == nil {
				continue
			}
			if value.Count != nil && slices.Contains(deltas, b.Metric) {
				value.Count = total(b, *value.Count, earlier, c.at)
			}
			holds, judged := b.Criteria.Holds(value)
			if !judged {
				continue
			}
			if err := c.datapoint(thing, name, b, value, holds, find(name, b.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// total adds to a delta what was reported within the behaviour's duration.
func total(b Behavior, sum int64, earlier []stored, now time.Time) *int64 {
	since := now.Add(-time.Duration(b.Criteria.Duration) * time.Second)
	for _, e := range earlier {
		if v := e.values[b.Metric]; e.at.After(since) && v.Count != nil {
			sum += *v.Count
		}
	}
	return &sum
}

// datapoint counts a judged value and begins or ends the violation v, nil for none.
func (c *change) datapoint(thing, profile string, b Behavior, value Value, holds bool, v *Violation) error {
	var streak Streak
	err := c.tx.QueryRow(`SELECT bad, good FROM defender_streak WHERE thing = ? AND profile = ? AND behavior = ?`, []any{thing, profile, b.Name}, &streak.Bad, &streak.Good)
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	streak, outcome := streak.After(holds, v != nil, b.Criteria)
	if _, err := c.tx.Exec(`INSERT INTO defender_streak (thing, profile, behavior, bad, good) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (thing, profile, behavior) DO UPDATE SET bad = excluded.bad, good = excluded.good`, thing, profile, b.Name, streak.Bad, streak.Good); err != nil {
		return err
	}
	switch outcome {
	case InAlarm:
		v = &Violation{ID: uuid.NewString(), Thing: thing, Profile: profile, Behavior: b, Value: value, Last: Moment{c.at}, Start: Moment{c.at}}
		if err := c.save(v); err != nil {
			return err
		}
		return c.event(v, eventInAlarm, &value)
	case Still:
		v.Value, v.Last = value, Moment{c.at}
		return c.save(v)
	case Cleared:
		return c.end(v, eventCleared, &value)
	}
	return nil
}

// ViolationFilter narrows listings of violations; "" and nil are for all.
type ViolationFilter struct {
	Thing, Profile, Kind, State string
	Suppressed                  bool // also behaviours whose alerts are suppressed
	Start, End                  time.Time
}

func (f *ViolationFilter) passes(thing, profile, state string, b *Behavior) bool {
	return (f.Thing == "" || f.Thing == thing) && (f.Profile == "" || f.Profile == profile) && (f.State == "" || f.State == state) &&
		(f.Kind == "" || f.Kind == b.Criteria.Kind()) && (f.Suppressed || b.Suppress == nil || !*b.Suppress)
}

// ListActiveViolations lists what is violated now, the latest first.
func (s *Service) ListActiveViolations(ctx context.Context, f ViolationFilter, page Page) ([]*Violation, string, error) {
	list, err := violations(s.reader(ctx), `1 = 1`)
	if err != nil {
		return nil, "", err
	}
	list = slices.DeleteFunc(list, func(v *Violation) bool { return !f.passes(v.Thing, v.Profile, v.State, &v.Behavior) })
	return cut(list, page)
}

// ListViolationEvents lists beginnings and ends of violations between two times, the latest first.
func (s *Service) ListViolationEvents(ctx context.Context, f ViolationFilter, page Page) ([]*ViolationEvent, string, error) {
	if !f.Start.Before(f.End) {
		return nil, "", invalid("startTime is not before endTime")
	}
	var list []*ViolationEvent
	err := s.reader(ctx).Query(`SELECT body FROM defender_event WHERE at >= ? AND at <= ? ORDER BY at DESC, seq`, []any{f.Start.UnixMilli(), f.End.UnixMilli()}, func(row store.Row) error {
		var body string
		if err := row.Scan(&body); err != nil {
			return err
		}
		e := &ViolationEvent{}
		if err := json.Unmarshal([]byte(body), e); err != nil {
			return err
		}
		if f.passes(e.Thing, e.Profile, e.State, &e.Behavior) {
			list = append(list, e)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return cut(list, page)
}

// PutVerificationState notes what somebody has found out about a violation that is active. ErrInvalid.
func (s *Service) PutVerificationState(ctx context.Context, id, state, description string) error {
	if !slices.Contains([]string{"FALSE_POSITIVE", "BENIGN_POSITIVE", "TRUE_POSITIVE", "UNKNOWN"}, state) {
		return invalid("there is no verificationState %q", state)
	}
	if len(description) > maxDescription {
		return invalid("verificationStateDescription has more than %d characters", maxDescription)
	}
	return s.change(ctx, func(c *change) error {
		list, err := violations(c.tx, `id = ?`, id)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return invalid("violation %s cannot be found", id)
		}
		list[0].State, list[0].Description = state, description
		return c.save(list[0])
	})
}
