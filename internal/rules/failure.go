package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// failure is what an error action gets (developer guide, "Error handling (error action)"). AWS sends one
// message for all actions of a rule that failed; here each has its own, because each fails in its time.
type failure struct {
	Rule     string         `json:"ruleName"`
	Topic    string         `json:"topic"`
	TraceID  string         `json:"cloudwatchTraceId"`
	ClientID string         `json:"clientId"`
	Payload  []byte         `json:"base64OriginalPayload"`
	Failures []failedAction `json:"failures"`
}

type failedAction struct {
	Action   string `json:"failedAction"`
	Resource string `json:"failedResource"`
	Message  string `json:"errorMessage"`
}

// fail counts an action that failed for good and starts the error action of its rule.
func (s *Service) fail(d *delivery, err error) {
	c := s.counters(d.Rule)
	c.failed.Add(1)
	c.action(d.Kind).failed.Add(1)
	c.fail(err, s.now())
	s.watchAction(c, d, "failed", err, s.now())
	s.cfg.Log.Debug("rule action failed", "rule", d.Rule, "action", d.Kind, "error", err)
	r := s.rules.Load().byName[d.Rule]
	if d.OnError || d.Source == nil || r == nil || r.onError == nil {
		return
	}
	f := failure{Rule: d.Rule, Topic: d.Source.Topic, TraceID: d.Source.TraceID, ClientID: d.Source.ClientID, Payload: d.Source.Payload,
		Failures: []failedAction{{d.kind.Failed, "", err.Error()}}}
	if d.action != nil {
		f.Failures[0].Resource = d.action.Destination()
	}
	payload, err := json.Marshal(f)
	if err != nil {
		return
	}
	e := s.messages.Get().(*evaluation)
	s.reset(e, d.Source)
	e.context.ThingShadow, e.context.RegistryData, e.context.Lambda, e.context.DynamoDB, e.context.Secret = nil, nil, nil, nil, nil // not in error actions
	fields, err := r.onError.fields.fill(e.message)
	s.messages.Put(e)
	on := &delivery{record: record{Rule: d.Rule, Kind: r.onError.kind.Name, OnError: true, Fields: fields, Payload: payload, Depth: d.Depth,
		ID: s.identity.next(), At: s.now().UnixMilli(), Topic: d.Topic, Thing: d.Thing},
		kind: r.onError.kind, created: s.now(), durable: d.durable}
	if err != nil {
		s.fail(on, fmt.Errorf("error action: substitution template: %w", err))
		return
	}
	s.dispatch([]*delivery{on}, func() *router.Receipt { return nil }, func() {})
}

// DeadLetter is a delivery that failed for good.
type DeadLetter struct {
	ID      int64     `json:"id"`
	Rule    string    `json:"ruleName"`
	Action  string    `json:"action"`
	Error   string    `json:"error"`
	Created time.Time `json:"createdAt"`
	Died    time.Time `json:"diedAt"`
	Payload []byte    `json:"payload"`
}

// DeadLetters lists the first n dead letters of a rule, or of all if it is "".
func (s *Service) DeadLetters(ctx context.Context, rule string, n int) ([]DeadLetter, error) {
	list := []DeadLetter{}
	err := s.cfg.Store.Query(ctx, `SELECT id, rule, body, created_at, dead_at, error FROM rule_delivery WHERE dead_at > 0 AND (? = '' OR rule = ?)
		ORDER BY id LIMIT ?`, []any{rule, rule, n}, func(row store.Row) error {
		var d DeadLetter
		var body []byte
		var created, died int64
		if err := row.Scan(&d.ID, &d.Rule, &body, &created, &died, &d.Error); err != nil {
			return err
		}
		var r record
		body, _, err := s.unseal(deliveryLabel, body)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(body, &r); err != nil {
			return err
		}
		d.Action, d.Payload, d.Created, d.Died = r.Kind, r.Payload, time.UnixMilli(created), time.UnixMilli(died)
		list = append(list, d)
		return nil
	})
	return list, err
}

// maxReplay is how many dead letters are delivered again at once.
const maxReplay = 10000

// Replay delivers the dead letters of a rule again and returns how many, at most 10000.
func (s *Service) Replay(ctx context.Context, rule string) (int, error) {
	var list []*delivery
	var dead []int64
	now := s.now()
	err := s.cfg.Store.Query(ctx, `SELECT id, body FROM rule_delivery WHERE dead_at > 0 AND rule = ? ORDER BY id LIMIT ?`, []any{rule, maxReplay}, func(row store.Row) error {
		var id int64
		var body []byte
		if err := row.Scan(&id, &body); err != nil {
			return err
		}
		d, err := s.restore(id, body, now)
		list, dead = append(list, d), append(dead, id)
		return err
	})
	if err != nil || len(list) == 0 {
		return 0, err
	}
	rows, names := s.queue.rows(list)
	done := make(chan error, 1)
	s.queue.order.Lock()
	s.queue.number(list, rows) // new numbers put them behind what waits
	s.cfg.Store.Submit(func(tx *store.Tx) error {
		for i, row := range rows {
			n, err := tx.Exec(`DELETE FROM rule_delivery WHERE id = ? AND dead_at > 0`, dead[i])
			if err == nil && n == 0 {
				err = fmt.Errorf("dead letter %d was replayed meanwhile", dead[i])
			}
			if err == nil {
				_, err = tx.Exec(`INSERT INTO rule_delivery (id, lane, rule, body, created_at, dead_at, error) VALUES (?, ?, ?, ?, ?, ?, ?)`, row...)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, func(err error) {
		if err == nil {
			s.queue.stored(list, names, nil)
		}
		done <- err
	})
	s.queue.order.Unlock()
	if err := <-done; err != nil {
		return 0, fmt.Errorf("replay rule %q: %w", rule, err)
	}
	return len(list), nil
}

// Waiting counts the deliveries of a rule on disk that wait, and its dead letters.
func (s *Service) Waiting(ctx context.Context, rule string) (waiting, dead int64, err error) {
	err = s.cfg.Store.QueryRow(ctx, `SELECT count(*), coalesce(sum(CASE WHEN dead_at > 0 THEN 1 ELSE 0 END), 0) FROM rule_delivery WHERE rule = ?`,
		[]any{rule}, &waiting, &dead)
	return waiting - dead, dead, err
}
