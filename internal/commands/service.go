package commands

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/plainjson"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/mqtt"
)

// Bounds of what waits and of what a message may hold.
const (
	maxWaiting = 1 << 14
	maxMessage = 128 << 10
	batch      = 256 // answers or time-outs in one transaction
)

const (
	longest = time.Hour       // between two looks at what is due
	pause   = 5 * time.Second // after a failure
)

const topicPrefix = "$aws/commands/"

// Config is what a Service works with.
type Config struct {
	Store    *store.DB
	Router   *router.Router
	Registry *registry.Registry
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
}

// Service keeps commands and their executions. Its methods may be called concurrently.
type Service struct {
	cfg    Config
	origin *router.Origin
	poke   chan struct{}

	mu      sync.Mutex
	ready   sync.Cond
	queue   []answer
	closed  bool
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// Open prepares the tables and starts the service. It takes no message yet: hand Owner to the router
// for that.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Store.Migrate(ctx, "commands", schema); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, origin: &router.Origin{Protocol: "service"}, poke: make(chan struct{}, 1)}
	s.ready.L = &s.mu
	run, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.workers.Go(s.answerLoop)
	s.workers.Go(func() { s.dueLoop(run) })
	return s, nil
}

// Close finishes what has come in and stops. The store must still be open.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.ready.Signal()
	s.mu.Unlock()
	s.cancel()
	s.workers.Wait()
}

// now has the resolution of the database.
func (s *Service) now() time.Time { return s.cfg.Now().Truncate(time.Millisecond) }

func (s *Service) arn(resource string) string { return s.cfg.Registry.ARN(resource) }

// wake makes the service look at what is due.
func (s *Service) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// answer is a device's message on its way.
type answer struct {
	target, execution string
	format            Format
	suffix            string // of the topics of the answers to it: /json, /cbor or nothing
	payload           []byte
}

// parseTopic tells which execution a topic name is an answer about; ok is false for any other topic.
func parseTopic(name string) (a answer, ok bool) {
	rest, ok := strings.CutPrefix(name, topicPrefix)
	if !ok {
		return a, false
	}
	part := strings.Split(rest, "/")
	if len(part) < 5 || len(part) > 6 || part[0] != "things" && part[0] != "clients" || part[2] != "executions" || part[4] != "response" {
		return a, false
	}
	a.target, a.execution = part[0]+"/"+part[1], part[3]
	if len(part) == 6 {
		switch a.suffix = "/" + part[5]; part[5] {
		case "json":
		case "cbor":
			a.format = CBOR
		default:
			return a, false
		}
	}
	return a, true
}

// Owner returns the handler of a topic that devices answer on, nil for any other. See router.Own. A
// will is an answer like any other.
func (s *Service) Owner(name string) router.Handler {
	a, ok := parseTopic(name)
	if !ok {
		return nil
	}
	return func(p *router.Publication) {
		a := a
		a.payload = append([]byte(nil), p.Payload...)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed || len(s.queue) >= maxWaiting {
			return
		}
		s.queue = append(s.queue, a)
		s.ready.Signal()
	}
}

func (s *Service) answerLoop() {
	publisher := s.cfg.Router.NewPublisher()
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed {
			s.ready.Wait()
		}
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		n := min(batch, len(s.queue))
		list := append([]answer(nil), s.queue[:n]...)
		rest := copy(s.queue, s.queue[n:])
		clear(s.queue[rest:])
		s.queue = s.queue[:rest]
		s.mu.Unlock()
		for _, m := range s.take(list) {
			publisher.Publish(m)
		}
		publisher.Flush()
	}
}

// take carries out what devices have said, in one transaction, and returns what is to be published.
func (s *Service) take(list []answer) []*router.Publication {
	type outcome struct {
		err     error
		changed *Execution
	}
	outcomes := make([]outcome, len(list))
	responses := make([]*Response, len(list))
	for i, a := range list {
		responses[i], outcomes[i].err = ParseResponse(a.format, a.payload)
	}
	err := s.cfg.Store.Write(context.Background(), func(tx *store.Tx) error {
		for i, a := range list {
			if responses[i] == nil {
				continue
			}
			var err error
			outcomes[i].changed, err = s.report(tx, a, responses[i])
			if refusal := (*Error)(nil); err != nil && !errors.As(err, &refusal) {
				return err
			}
			outcomes[i].err = err
		}
		return nil
	})
	if err != nil {
		s.cfg.Log.Error("command responses failed", "responses", len(list), "error", err)
	}
	var out []*router.Publication
	for i, a := range list {
		if responses[i] != nil && err != nil {
			outcomes[i] = outcome{err: err}
		}
		topic := topicPrefix + a.target + "/executions/" + a.execution + "/response/"
		if bad := outcomes[i].err; bad != nil {
			out = append(out, s.publication(topic+"rejected"+a.suffix, a.format.encode(reject(a.execution, bad))))
			continue
		}
		out = append(out, s.publication(topic+"accepted"+a.suffix, a.format.encode(accepted{a.execution})))
		if e := outcomes[i].changed; e != nil {
			out = append(out, s.event(e))
		}
	}
	return out
}

// report applies a device's answer; the execution is returned if its status is another one now.
func (s *Service) report(tx *store.Tx, a answer, r *Response) (*Execution, error) {
	e, err := s.readExecution(tx, a.execution, a.target)
	if err != nil {
		return nil, err
	}
	before := e.State
	if e.State, err = before.After(r.Event); err != nil {
		return nil, err
	}
	e.Updated, e.Reason = s.now(), r.Reason
	if r.Result != nil {
		e.Result = r.Result
	}
	if e.State.Final {
		e.Completed, e.due = e.Updated, time.Time{}
	}
	if err := e.save(tx); err != nil || e.State == before {
		return nil, err
	}
	return e, nil
}

func (s *Service) publication(topic string, payload []byte) *router.Publication {
	return &router.Publication{Topic: topic, Payload: payload, QoS: 1, Origin: s.origin}
}

// event is what is published when the status of an execution changes (AWS IoT developer guide,
// "Command execution events"). The moment is in milliseconds.
func (s *Service) event(e *Execution) *router.Publication {
	body, _ := plainjson.Marshal(struct {
		Execution string  `json:"executionId"`
		Status    Status  `json:"status"`
		Reason    *Reason `json:"statusReason,omitempty"`
		Type      string  `json:"eventType"`
		Command   string  `json:"commandArn"`
		Target    string  `json:"targetArn"`
		Timestamp int64   `json:"timestamp"`
	}{e.ID, e.State.Status, e.Reason, "COMMAND_EXECUTION", e.CommandARN, e.TargetARN, millis(e.Updated)})
	return s.publication("$aws/events/commandExecution/"+e.CommandID+"/"+string(e.State.Status), body)
}

func (s *Service) publishEvent(e *Execution) { s.cfg.Router.Publish(s.event(e), nil) }

// send publishes the request of an execution and waits until it has reached subscribers or queues.
// JSON and CBOR have topics of their own; MQTT 5 tells every content type.
func (s *Service) send(ctx context.Context, e *Execution, payload []byte, contentType string) error {
	suffix := ""
	switch contentType {
	case contentJSON:
		suffix = "/json"
	case contentCBOR:
		suffix = "/cbor"
	}
	p := s.publication(topicPrefix+e.target+"/executions/"+e.ID+"/request"+suffix, payload)
	p.Expires = e.due
	p.Properties = &mqtt.Properties{ContentType: contentType}
	p.Properties.Mark(mqtt.PropContentType)
	done := make(chan error, 1)
	s.cfg.Router.Publish(p, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil // the execution is there, whether or not the caller still listens
	}
}

// Reconsider looks at what is due: another node of the cluster, which would have, is gone.
func (s *Service) Reconsider([]string) error {
	select {
	case s.poke <- struct{}{}:
	default:
	}
	return nil
}

// dueLoop times executions out, and forgets executions and commands whose time is over.
func (s *Service) dueLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	publisher := s.cfg.Router.NewPublisher()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.poke:
		case <-timer.C:
		}
		events, next, err := s.expire(ctx)
		if ctx.Err() != nil {
			return
		}
		for _, m := range events {
			publisher.Publish(m)
		}
		publisher.Flush()
		if err != nil {
			s.cfg.Log.Error("command executions could not time out", "error", err)
			next = s.now().Add(pause)
		}
		timer.Reset(max(0, min(longest, next.Sub(s.now()))))
	}
}

// expire does what is due and returns the events of it and when more will be.
func (s *Service) expire(ctx context.Context) (out []*router.Publication, next time.Time, err error) {
	now := s.now()
	first := func() (int64, error) {
		var due, deletion, expiry int64
		rd := s.reader(ctx)
		for _, q := range []struct {
			query string
			to    *int64
		}{
			{`SELECT coalesce(min(due_at), 0) FROM command_execution WHERE due_at > 0`, &due},
			{`SELECT coalesce(min(deletion_at), 0) FROM command WHERE deletion_at > 0`, &deletion},
			{`SELECT coalesce(min(expires_at), 0) FROM command_execution`, &expiry},
		} {
			if err := rd.QueryRow(q.query, nil, q.to); err != nil {
				return 0, err
			}
		}
		at := millis(now.Add(longest))
		for _, t := range []int64{due, deletion, expiry} {
			if t > 0 {
				at = min(at, t)
			}
		}
		return at, nil
	}
	at, err := first()
	if err != nil || at > millis(now) {
		return nil, instant(at), err
	}
	var list []*Execution
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		list = nil
		err := tx.Query(`SELECT `+executionColumns+` FROM command_execution WHERE due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT ?`,
			[]any{millis(now), batch}, func(row store.Row) error {
				e, err := s.scanExecution(row)
				list = append(list, e)
				return err
			})
		if err != nil {
			return err
		}
		for _, e := range list {
			e.due = time.Time{}
			if after, err := e.State.After(Expire); err == nil {
				e.State, e.Reason, e.Updated = after, &Reason{Code: noResponse}, now
			}
			if err := e.save(tx); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`DELETE FROM command WHERE deletion_at > 0 AND deletion_at <= ?`, millis(now)); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM command_execution WHERE id IN (SELECT id FROM command_execution WHERE expires_at <= ? LIMIT ?)`, millis(now), batch)
		return err
	})
	if err != nil {
		return nil, next, err
	}
	for _, e := range list {
		out = append(out, s.event(e))
	}
	at, err = first()
	return out, instant(at), err
}
