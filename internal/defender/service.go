package defender

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/internal/plainjson"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/topic"
)

// Bounds of the reports that wait and of their size.
const (
	maxWaiting = 1 << 12
	maxReport  = 128 << 10
)

// slack is how much earlier than the interval a report may come: clocks differ.
const slack = 10 * time.Second

var errThrottled = errors.New("throttled")

// message is a report on its way.
type message struct {
	topic, thing string
	format       Format
	payload      []byte
}

// parseTopic tells whose report a topic is for; ok is false for any other topic.
func parseTopic(name string) (m message, ok bool) {
	thing, rest, ok := topic.Thing(name)
	if !ok || !namePattern.MatchString(thing) {
		return m, false
	}
	switch rest {
	case "defender/metrics/json":
		return message{topic: name, thing: thing}, true
	case "defender/metrics/cbor":
		return message{topic: name, thing: thing, format: CBOR}, true
	}
	return m, false
}

// Owner returns the handler of a topic that devices report on, nil for any other. See router.Own.
func (s *Service) Owner(name string) router.Handler {
	m, ok := parseTopic(name)
	if !ok {
		return nil
	}
	return func(p *router.Publication) {
		if p.Will || len(p.Payload) > maxReport {
			return
		}
		m := m
		m.payload = append([]byte(nil), p.Payload...)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed || len(s.queue) >= maxWaiting {
			return
		}
		s.queue = append(s.queue, m)
		s.ready.Signal()
	}
}

func (s *Service) reportLoop() {
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed {
			s.ready.Wait()
		}
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		m := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		id, err := s.report(context.Background(), m)
		if err != nil && statusCode(err) == "InternalError" {
			s.cfg.Log.Error("metric report failed", "thing", m.thing, "error", err)
		}
		s.answer(m, id, err)
	}
}

type statusDetails struct {
	Code    string `json:"ErrorCode"`
	Message string `json:"ErrorMessage"`
}

func statusCode(err error) string {
	switch {
	case errors.Is(err, errJSON):
		return "InvalidJson"
	case errors.Is(err, errPayload), errors.Is(err, ErrInvalid):
		return "InvalidPayload"
	case errors.Is(err, errThrottled):
		return "Throttled"
	}
	return "InternalError"
}

// answer tells the device whether its report was taken.
func (s *Service) answer(m message, id int64, err error) {
	body := struct {
		Thing     string         `json:"thingName"`
		Report    int64          `json:"reportId,omitempty"`
		Status    string         `json:"status"`
		Details   *statusDetails `json:"statusDetails,omitempty"`
		Timestamp int64          `json:"timestamp"`
	}{m.thing, id, "ACCEPTED", nil, s.now().UnixMilli()}
	verdict := "/accepted"
	if err != nil {
		verdict, body.Status, body.Details = "/rejected", "REJECTED", &statusDetails{statusCode(err), err.Error()}
		if body.Details.Code == "InternalError" {
			body.Details.Message = "an internal error occurred"
		}
	}
	marshal := plainjson.Marshal
	if m.format == CBOR {
		marshal = cbor.Marshal
	}
	payload, _ := marshal(body)
	s.cfg.Router.Publish(&router.Publication{Topic: m.topic + verdict, Payload: payload, QoS: 1, Origin: s.origin}, nil)
}

// stored is a report of the past.
type stored struct {
	at     time.Time
	values map[string]Value
}

// report takes a report: it is stored and held against the profiles of the thing.
func (s *Service) report(ctx context.Context, m message) (id int64, err error) {
	r, err := ParseReport(m.format, m.payload)
	if err != nil {
		return 0, err
	}
	if err := s.checkCustom(ctx, r); err != nil {
		return r.ID, err
	}
	profiles, err := s.profilesOf(ctx, m.thing)
	if err != nil {
		return r.ID, err
	}
	return r.ID, s.change(ctx, func(c *change) error {
		var last, lastID int64
		err := c.tx.QueryRow(`SELECT at, report_id FROM defender_report WHERE thing = ? ORDER BY at DESC LIMIT 1`, []any{m.thing}, &last, &lastID)
		switch {
		case errors.Is(err, store.ErrNoRows):
		case err != nil:
			return err
		case c.at.Sub(time.UnixMilli(last)) < s.cfg.Interval-slack:
			return refuse(errThrottled, "a thing reports at most once in %d s", int(s.cfg.Interval/time.Second))
		case r.ID <= lastID:
			return refuse(errPayload, "report_id %d is not larger than the last one, %d", r.ID, lastID)
		}
		earlier, err := stores(c.tx, `thing = ? AND at > ?`, m.thing, c.at.Add(-time.Hour).UnixMilli())
		if err != nil {
			return err
		}
		if _, err := c.tx.Exec(`INSERT INTO defender_report (thing, at, report_id, body) VALUES (?, ?, ?, ?)`, m.thing, c.at.UnixMilli(), r.ID, encode(r.Values)); err != nil {
			return err
		}
		if _, err := c.tx.Exec(`DELETE FROM defender_report WHERE thing = ? AND at <= (SELECT at FROM defender_report WHERE thing = ? ORDER BY at DESC LIMIT 1 OFFSET ?)`,
			m.thing, m.thing, MaxReports); err != nil {
			return err
		}
		return c.judge(m.thing, profiles, r, earlier)
	})
}

// checkCustom refuses custom metrics of another type than they were created with. Those that were not
// created are left out.
func (s *Service) checkCustom(ctx context.Context, r *Report) error {
	for name, v := range r.Values {
		if strings.HasPrefix(name, "aws:") {
			continue
		}
		m, err := s.DescribeCustomMetric(ctx, name)
		if errors.Is(err, ErrNotFound) {
			delete(r.Values, name)
			continue
		}
		if err != nil {
			return err
		}
		fits := map[string]bool{"number": v.Number != nil, "number-list": v.Numbers != nil, "string-list": v.Strings != nil, "ip-address-list": v.CIDRs != nil}[m.Type]
		if !fits {
			return refuse(errPayload, "custom metric %s is of type %s", name, m.Type)
		}
	}
	return nil
}

func stores(rd reader, where string, args ...any) (list []stored, err error) {
	err = rd.Query(`SELECT at, body FROM defender_report WHERE `+where+` ORDER BY at DESC`, args, func(row store.Row) error {
		var at int64
		var body string
		if err := row.Scan(&at, &body); err != nil {
			return err
		}
		e := stored{at: time.UnixMilli(at)}
		err := json.Unmarshal([]byte(body), &e.values)
		list = append(list, e)
		return err
	})
	return list, err
}

// Datum is one value of a metric.
type Datum struct {
	At    Moment `json:"timestamp"`
	Value Value  `json:"value"`
}

// ListMetricValues lists what a thing has reported of a metric between two times, the latest first.
// ErrNotFound for a thing that is not there, ErrInvalid.
func (s *Service) ListMetricValues(ctx context.Context, thing, metric string, start, end time.Time, page Page) ([]Datum, string, error) {
	if !start.Before(end) {
		return nil, "", invalid("startTime is not before endTime")
	}
	if _, err := s.cfg.Registry.DescribeThing(ctx, thing); errors.Is(err, registry.ErrNotFound) {
		return nil, "", refuse(ErrNotFound, "thing %s cannot be found", thing)
	} else if err != nil {
		return nil, "", err
	}
	reports, err := stores(s.reader(ctx), `thing = ? AND at >= ? AND at <= ?`, thing, start.UnixMilli(), end.UnixMilli())
	if err != nil {
		return nil, "", err
	}
	var list []Datum
	for _, r := range reports {
		if v, ok := r.values[metric]; ok {
			list = append(list, Datum{Moment{r.at}, v})
		}
	}
	return cut(list, page)
}
