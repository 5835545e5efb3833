package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/topic"
)

var (
	errTopic = errors.New("invalid topic")
	errJSON  = errors.New("invalid JSON")
)

func notFound(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, registry.ErrNotFound)
}

// operation is what a message asks for.
type operation uint8

const (
	opGet operation = iota
	opStart
	opDescribe
	opUpdate
)

// parseTopic tells which request a topic name is for. ok is false for a topic outside the jobs
// namespace of a thing, or for one that the service itself publishes to.
func parseTopic(name string) (thing, job string, op operation, ok bool) {
	thing, rest, ok := topic.Thing(name)
	if !ok {
		return "", "", 0, false
	}
	if rest, ok = strings.CutPrefix(rest, "jobs/"); !ok {
		return "", "", 0, false
	}
	switch rest {
	case "get":
		return thing, "", opGet, true
	case "start-next":
		return thing, "", opStart, true
	}
	job, verb, ok := strings.Cut(rest, "/")
	switch {
	case !ok:
	case verb == "get":
		return thing, job, opDescribe, true
	case verb == "update":
		return thing, job, opUpdate, true
	}
	return "", "", 0, false
}

// request is a device's message.
type request struct {
	topic, thing, job string
	op                operation
	body              string
	qos               byte
	asker             router.Subscriber
	origin            *router.Origin
	throttled         bool
}

// Bounds of the requests that wait.
const (
	maxWaiting  = 1 << 14
	maxInflight = 64 // of one thing
	maxBody     = 128 << 10
)

// inbox takes devices' requests from publishers, which must not block, to the store, which may.
type inbox struct {
	service *Service

	mu       sync.Mutex
	ready    sync.Cond
	queue    []*request
	inflight map[string]int
	closed   bool
	stopped  chan struct{}
}

func newInbox(s *Service) *inbox {
	in := &inbox{service: s, inflight: make(map[string]int), stopped: make(chan struct{})}
	in.ready.L = &in.mu
	return in
}

// Owner returns the handler of a topic that devices ask on, nil for any other. See router.Own.
func (s *Service) Owner(name string) router.Handler {
	thing, job, op, ok := parseTopic(name)
	if !ok {
		return nil
	}
	return func(p *router.Publication) {
		if p.Will {
			return // there is nobody to answer to
		}
		r := &request{topic: name, thing: thing, job: job, op: op, qos: p.QoS, asker: p.NoLocal, origin: p.Origin}
		if len(p.Payload) <= maxBody {
			r.body = strings.TrimRight(string(p.Payload), "\x00") // firmware in C sends the end of its string along
		}
		s.inbox.submit(r)
	}
}

func (in *inbox) submit(r *request) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || len(in.queue) >= maxWaiting {
		return
	}
	if in.inflight[r.thing] >= maxInflight {
		r.throttled = true
	} else {
		in.inflight[r.thing]++
	}
	in.queue = append(in.queue, r)
	in.ready.Signal()
}

// done makes room for the thing's next request.
func (in *inbox) done(r *request) {
	if r.throttled {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if n := in.inflight[r.thing]; n > 1 {
		in.inflight[r.thing] = n - 1
	} else {
		delete(in.inflight, r.thing)
	}
}

func (in *inbox) close() {
	in.mu.Lock()
	in.closed = true
	in.ready.Signal()
	in.mu.Unlock()
	<-in.stopped
}

func (in *inbox) run() {
	defer close(in.stopped)
	var list []*request
	for {
		in.mu.Lock()
		for len(in.queue) == 0 && !in.closed {
			in.ready.Wait()
		}
		if len(in.queue) == 0 {
			in.mu.Unlock()
			return
		}
		list, in.queue = in.queue, list[:0]
		in.mu.Unlock()
		for i, r := range list {
			list[i] = nil
			in.service.handle(r)
		}
	}
}

// number is a JSON number, or one in quotes as the developer guide shows it.
type number int64

func (n *number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	v, err := strconv.ParseInt(string(bytes.Trim(b, `"`)), 10, 64)
	if err != nil {
		return &json.UnmarshalTypeError{Value: "value " + string(b)}
	}
	*n = number(v)
	return nil
}

// deviceBody is every member that a request can have.
type deviceBody struct {
	Details  map[string]string `json:"statusDetails"`
	Step     *number           `json:"stepTimeoutInMinutes"`
	Number   *number           `json:"executionNumber"`
	Include  *bool             `json:"includeJobDocument"`
	Status   ExecutionStatus   `json:"status"`
	Expected *number           `json:"expectedVersion"`
	State    bool              `json:"includeJobExecutionState"`
}

// parseBody reads a request's payload; the client token is returned even if another member is wrong.
func parseBody(payload string) (b deviceBody, clientToken string, err error) {
	if strings.TrimSpace(payload) == "" {
		payload = "{}"
	}
	raw := []byte(payload)
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return b, "", refuse(errJSON, "the payload is not JSON in UTF-8")
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return b, "", invalid("the payload is not a JSON object")
	}
	if t, ok := members["clientToken"]; ok && json.Unmarshal(t, &clientToken) != nil {
		return b, "", invalid("clientToken is not a string")
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) && kind.Field != "" {
			return b, clientToken, invalid("%s cannot be a JSON %s", kind.Field, kind.Value)
		}
		return b, clientToken, invalid("the payload has a member of the wrong type")
	}
	return b, clientToken, nil
}

// handle carries one request out and answers it after the commit.
func (s *Service) handle(r *request) {
	body, clientToken, err := parseBody(r.body)
	if err == nil && r.throttled {
		err = refuse(ErrThrottled, "thing %s has %d requests waiting", r.thing, maxInflight)
	}
	if err == nil {
		err = s.known(context.Background(), r.thing)
	}
	if err != nil {
		s.inbox.done(r)
		s.outbox.add([]message{s.answer(r, message{}, err, clientToken)})
		return
	}
	var m message
	s.submit(func(c *change) (err error) {
		m, err = c.handle(r, &body, token{clientToken, c.at.Unix()})
		return err
	}, func(err error) []message {
		s.inbox.done(r)
		if err != nil && !isRefusal(err) {
			s.cfg.Log.Error("jobs request failed", "topic", r.topic, "error", err)
		}
		return []message{s.answer(r, m, err, clientToken)}
	})
}

func isRefusal(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) || notFound(err)
}

// answer completes the message that goes to the asking connection alone. A request without one, over
// HTTPS, has no answer.
func (s *Service) answer(r *request, m message, err error, clientToken string) message {
	m.topic = r.topic + "/accepted"
	if err != nil {
		m = message{topic: r.topic + "/rejected", body: reject(err, token{clientToken, s.now().Unix()})}
	}
	m.asker, m.origin, m.qos = r.asker, r.origin, r.qos
	if m.asker == nil {
		m.asker = nobody{}
	}
	return m
}

// nobody takes answers that nobody waits for.
type nobody struct{}

func (nobody) Deliver(*router.Publication, *router.Target) {}
func (nobody) Online() bool                                { return false }
func (nobody) Durable() bool                               { return false }

func (c *change) handle(r *request, b *deviceBody, t token) (m message, err error) {
	switch r.op {
	case opGet:
		p, err := c.list(r.thing)
		return message{body: pendingAnswer{p, t}}, err
	case opStart:
		e, err := c.start(r.thing, StartRequest{Details: b.Details, Step: (*int64)(b.Step)})
		if e != nil {
			m.document = e.Job
		}
		m.body = executionAnswer{e, t}
		return m, err
	case opDescribe:
		d := DescribeRequest{Job: r.job, WithoutDocument: b.Include != nil && !*b.Include}
		if b.Number != nil {
			d.Number = int64(*b.Number)
		}
		e, err := c.look(r.thing, d)
		if e != nil && !d.WithoutDocument {
			m.document = e.Job
		}
		m.body = executionAnswer{e, t}
		return m, err
	}
	u := UpdateRequest{Job: r.job, Status: b.Status, Details: b.Details, Expected: (*int64)(b.Expected), Step: (*int64)(b.Step)}
	if b.Number != nil {
		u.Number = int64(*b.Number)
	}
	e, err := c.update(r.thing, u)
	if err != nil {
		return m, err
	}
	a := updateAnswer{token: t}
	if b.State {
		a.State = e.state()
	}
	if b.Include != nil && *b.Include {
		m.document = r.job
	}
	m.body = a
	return m, nil
}
