package rules

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/rules/action"
	"github.com/berth-iot/berth/iotsql"
)

// Bounds of what waits in memory for functions that ask something outside.
const (
	maxSlow     = 1024
	slowWorkers = 4
)

var (
	errNoRoom = errors.New("no room to wait")
	errClosed = errors.New("the server is stopping")
)

// matcher is the subscriber of every rule's filter. The router folds the filters that match a topic
// into one target, whose subscription identifiers tell the rules: a message is read once for all.
type matcher struct{ *Service }

func (m matcher) Online() bool  { return true }
func (m matcher) Durable() bool { return true }

// Deliver implements router.Subscriber.
func (m matcher) Deliver(p *router.Publication, t *router.Target) {
	byFilter := m.rules.Load().byFilter
	if len(t.IDs) == 1 {
		if list := byFilter[t.IDs[0]]; list != nil {
			m.take(p, list)
		}
		return
	}
	var some [16]*rule
	list := some[:0]
	for _, id := range t.IDs {
		list = append(list, byFilter[id]...)
	}
	if len(list) > 0 {
		m.take(p, list)
	}
}

// ingest is the subscriber of Basic Ingest: $aws/rules/NAME/….
type ingest struct{ *Service }

func (i ingest) Online() bool  { return true }
func (i ingest) Durable() bool { return true }

// Deliver implements router.Subscriber. A rule that is missing or disabled is logged, as AWS does.
func (i ingest) Deliver(p *router.Publication, _ *router.Target) {
	name, _, _ := strings.Cut(strings.TrimPrefix(p.Topic, "$aws/rules/"), "/")
	r := i.rules.Load().byName[name]
	if r == nil || r.Disabled {
		i.cfg.Log.Warn("basic ingest: no such rule", "rule", name, "topic", p.Topic)
		return
	}
	i.take(p, []*rule{r})
}

// source is a message that rules are carried out for.
type source struct {
	Topic     string `json:"topic"`
	ClientID  string `json:"clientId,omitempty"`
	Principal string `json:"principal,omitempty"`
	SourceIP  string `json:"sourceIp,omitempty"`
	Thing     string `json:"thing,omitempty"`
	TraceID   string `json:"traceId,omitempty"`
	Payload   []byte `json:"payload"`
	QoS       byte   `json:"qos,omitempty"`
	Depth     uint8  `json:"depth,omitempty"`

	properties *iotsql.Properties
}

// evaluation is the memory of evaluating; it is used again.
type evaluation struct {
	context iotsql.Context
	message *iotsql.Message
	out     []byte
}

// slowJob is a rule that asks something outside, with a message of its own.
type slowJob struct {
	rule    *rule
	source  *source
	receipt *router.Receipt // nil when nobody waits
}

// take carries out rules for a publication. Its payload is copied where it is kept.
func (s *Service) take(p *router.Publication, list []*rule) {
	src := &source{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Depth: p.Depth}
	if o := p.Origin; o != nil {
		src.ClientID, src.Principal, src.SourceIP, src.Thing = o.ClientID, o.Principal, o.SourceIP, o.Thing
		if src.Thing == "" {
			src.Thing = o.ClientID
		}
	}
	if p.Properties != nil {
		src.properties = &iotsql.Properties{UTF8: p.Properties.PayloadFormat == 1, ContentType: p.Properties.ContentType,
			ResponseTopic: p.Properties.ResponseTopic, CorrelationData: p.Properties.CorrelationData}
		for _, u := range p.Properties.User {
			src.properties.User = append(src.properties.User, iotsql.UserProperty{Key: u.Key, Value: u.Value})
		}
	}
	hold := func() *router.Receipt {
		if p.QoS == 0 {
			return nil
		}
		return p.Hold()
	}
	var e *evaluation
	var work []*delivery
	var own *source // a copy that may be kept
	keep := func() *source {
		if own == nil {
			c := *src
			c.Payload = append([]byte{}, src.Payload...)
			if src.properties != nil {
				props := *src.properties
				props.CorrelationData = append([]byte(nil), props.CorrelationData...)
				c.properties = &props
			}
			own = &c
		}
		return own
	}
	for _, r := range list {
		if r.traced && src.TraceID == "" && src.ClientID != "" {
			src.TraceID = uuid.NewString()
			own = nil
		}
		r.stats.matched.Add(1)
		if r.slow {
			job := slowJob{r, keep(), hold()}
			select {
			case s.slow <- job:
			default:
				p.Press()
				s.refuseRoom(r, job.receipt)
			}
			continue
		}
		if e == nil {
			e = s.messages.Get().(*evaluation)
			s.reset(e, src)
		}
		work = s.evaluate(e, r, src, keep, work)
	}
	if e != nil {
		s.messages.Put(e)
	}
	s.dispatch(work, hold, p.Press)
}

func (s *Service) refuseRoom(r *rule, receipt *router.Receipt) {
	r.stats.dropped.Add(1)
	r.stats.fail(errNoRoom, s.now())
	if receipt != nil {
		receipt.Release(errNoRoom)
	}
}

// reset makes an evaluation one of this message.
func (s *Service) reset(e *evaluation, src *source) {
	e.context = s.outside
	e.context.Topic, e.context.ClientID, e.context.Principal, e.context.TraceID, e.context.SourceIP = src.Topic, src.ClientID, src.Principal, src.TraceID, src.SourceIP
	e.context.Time, e.context.Properties = s.now(), src.properties
	e.message.Reset(&e.context, src.Payload)
}

// evaluate adds what a rule wants done to work.
func (s *Service) evaluate(e *evaluation, r *rule, src *source, keep func() *source, work []*delivery) []*delivery {
	result, err := r.query.Eval(e.message, e.out[:0])
	if err != nil {
		r.stats.failed.Add(1)
		r.stats.fail(fmt.Errorf("sql: %w", err), s.now())
		s.watchMessage(r, src, "error", nil, err)
		return work
	}
	if cap(result.JSON) > cap(e.out) && cap(result.JSON) < 1<<20 {
		e.out = result.JSON[:0]
	}
	if !result.Matched {
		r.stats.whereFalse.Add(1)
		s.watchMessage(r, src, "whereFalse", nil, nil)
		return work
	}
	payload := append([]byte{}, result.JSON...)
	s.watchMessage(r, src, "matched", payload, nil)
	now := e.context.Time
	for _, a := range r.actions {
		d := &delivery{record: record{Rule: r.Name, Kind: a.kind.Name, Payload: payload, Binary: result.Binary, Depth: src.Depth,
			ID: s.identity.next(), At: now.UnixMilli(), Topic: src.Topic, Thing: src.Thing}, kind: a.kind, created: now, durable: src.QoS > 0}
		if r.onError != nil {
			d.Source = keep()
		}
		fields, err := a.fields.fill(e.message)
		if err != nil {
			s.fail(d, fmt.Errorf("substitution template: %w", err))
			continue
		}
		d.Fields = fields
		work = append(work, d)
	}
	return work
}

func (s *Service) slowLoop() {
	for {
		select {
		case <-s.run.Done():
			for {
				select {
				case job := <-s.slow:
					if job.receipt != nil {
						job.receipt.Release(errClosed)
					}
				default:
					return
				}
			}
		case job := <-s.slow:
			e := s.messages.Get().(*evaluation)
			s.reset(e, job.source)
			work := s.evaluate(e, job.rule, job.source, func() *source { return job.source }, nil)
			s.messages.Put(e)
			s.dispatch(work, func() *router.Receipt {
				if job.receipt != nil {
					job.receipt.Again()
				}
				return job.receipt
			}, func() {})
			if job.receipt != nil {
				job.receipt.Release(nil)
			}
		}
	}
}

// dispatch hands work on: to the inner queue, to a lane, or to the database and then to a lane.
func (s *Service) dispatch(work []*delivery, hold func() *router.Receipt, press func()) {
	var stored []*delivery
	for _, d := range work {
		a, err := d.kind.Decode(d.Fields)
		if err != nil {
			s.fail(d, action.Permanent(err))
			continue
		}
		d.use(a)
		switch {
		case s.record(d, hold, press):
		case !d.kind.Outside:
			if d.receipt = hold(); s.inner.add(d) > maxInner/2 {
				press()
			}
		case d.durable:
			stored = append(stored, d)
		default:
			s.queue.add(d)
		}
	}
	if len(stored) > 0 {
		s.queue.store(stored, hold())
	}
}
