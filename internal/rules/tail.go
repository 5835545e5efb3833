package rules

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Bounds of looking on.
const (
	maxTails    = 16   // of a rule
	tailRoom    = 512  // events that wait for one who looks on
	tailPayload = 4096 // bytes of a payload or result that are shown
)

// Event is something that happened to a message in a rule: what its statement made of it, or what
// became of one of its actions.
type Event struct {
	Time     time.Time `json:"time"`
	Rule     string    `json:"ruleName"`
	Topic    string    `json:"topic,omitempty"`
	ClientID string    `json:"clientId,omitempty"`
	// Outcome is matched, whereFalse or error for a message; delivered, retried, failed or dropped for an
	// action.
	Outcome string `json:"outcome"`
	Message *Text  `json:"message,omitempty"` // the payload; of a message only
	Result  *Text  `json:"result,omitempty"`
	Action  string `json:"action,omitempty"`
	// Destination is what the action delivers to; ID is the same in all events of a delivery.
	Destination string  `json:"destination,omitempty"`
	ID          string  `json:"deliveryId,omitempty"`
	Error       string  `json:"error,omitempty"`
	Seconds     float64 `json:"seconds,omitempty"` // since the evaluation; of an action only
	// Missed counts events before this one that found no room.
	Missed uint64 `json:"missed,omitempty"`
}

// Text is a payload: JSON as it is, other text as a string, bytes in base64.
type Text struct {
	bytes []byte
	cut   bool
}

func textOf(b []byte) *Text {
	if len(b) > tailPayload {
		return &Text{slices.Clone(b[:tailPayload]), true}
	}
	return &Text{slices.Clone(b), false}
}

// MarshalJSON implements json.Marshaler.
func (t *Text) MarshalJSON() ([]byte, error) {
	switch {
	case !t.cut && json.Valid(t.bytes):
		return t.bytes, nil
	case t.cut:
		return json.Marshal(map[string]any{"cut": true, "text": string(t.bytes)}) // what is no UTF-8 is replaced
	case utf8.Valid(t.bytes):
		return json.Marshal(string(t.bytes))
	}
	return json.Marshal(map[string][]byte{"base64": t.bytes})
}

// Tail looks on at a rule.
type Tail struct {
	Events <-chan Event
	Done   <-chan struct{} // closed when the server stops
	events chan Event
	missed atomic.Uint64
	once   sync.Once
	close  func()
}

// Close ends it. It may be called again.
func (t *Tail) Close() { t.once.Do(t.close) }

// Tail returns what happens in a rule from now on, until it is closed. ErrNotFound, ErrLimit.
func (s *Service) Tail(name string) (*Tail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rules.Load().byName[name]
	if r == nil {
		return nil, s.notFound(name)
	}
	c := r.stats
	now := c.watched.Load()
	if now != nil && len(*now) >= maxTails {
		return nil, &Error{Kind: ErrLimit, Message: "too many look on at this rule"}
	}
	t := &Tail{events: make(chan Event, tailRoom)}
	t.Events, t.Done = t.events, s.watching
	var next []*Tail
	if now != nil {
		next = slices.Clone(*now)
	}
	next = append(next, t)
	c.watched.Store(&next)
	t.close = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		left := slices.DeleteFunc(slices.Clone(*c.watched.Load()), func(x *Tail) bool { return x == t })
		if len(left) == 0 {
			c.watched.Store(nil)
			return
		}
		c.watched.Store(&left)
	}
	return t, nil
}

// EndTails ends all looking on, because the server stops.
func (s *Service) EndTails() { s.endTails() }

// show hands an event to all who look on; it never waits for them.
func show(list *[]*Tail, e Event) {
	for _, t := range *list {
		e.Missed = t.missed.Swap(0)
		select {
		case t.events <- e:
		default:
			t.missed.Add(e.Missed + 1)
		}
	}
}

// watchMessage tells what a statement made of a message, if somebody looks on.
func (s *Service) watchMessage(r *rule, src *source, outcome string, result []byte, err error) {
	list := r.stats.watched.Load()
	if list == nil {
		return
	}
	e := Event{Time: s.now(), Rule: r.Name, Topic: src.Topic, ClientID: src.ClientID, Outcome: outcome, Message: textOf(src.Payload)}
	if err != nil {
		e.Error = err.Error()
	}
	if outcome == "matched" {
		e.Result = textOf(result)
	}
	show(list, e)
}

// watchAction tells what became of an action, if somebody looks on.
func (s *Service) watchAction(c *counters, d *delivery, outcome string, err error, now time.Time) {
	list := c.watched.Load()
	if list == nil {
		return
	}
	e := Event{Time: now, Rule: d.Rule, Topic: d.Topic, Outcome: outcome, Result: textOf(d.Payload), Action: d.Kind, ID: d.ID, Seconds: now.Sub(d.created).Seconds()}
	if d.action != nil {
		e.Destination = d.action.Destination()
	}
	if err != nil {
		e.Error = err.Error()
	}
	show(list, e)
}
