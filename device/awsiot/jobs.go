package awsiot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/link"
)

// JobsConfig is what the execution of jobs is made from.
type JobsConfig struct {
	Link  *link.Link
	Thing string
	// Handle does a job, on a goroutine of its own, one job at a time. nil means it succeeded;
	// ErrRejected that the device does not do this; ErrRestart that a restart belongs to the job,
	// which stays IN_PROGRESS and is handed out again afterwards. Any other error, and a panic,
	// means that it failed. The context ends when the job is cancelled or timed out, or on Close.
	Handle func(ctx context.Context, j *Job) error
	// OnRestart is called when Handle has returned ErrRestart; may be nil.
	OnRestart func()
	// OnError hears of what went wrong; may be nil. It must return at once.
	OnError func(error)

	StepTimeout time.Duration // between two progress reports, whole minutes from 1; 0 means none
	Timeout     time.Duration // of a request; 0 means 10 s
}

var (
	// ErrRejected makes a job REJECTED. Wrap it to say why.
	ErrRejected = errors.New("job rejected")
	// ErrRestart leaves a job IN_PROGRESS over a restart.
	ErrRestart = errors.New("job continues after a restart")
)

// Job is a job execution that the device works on.
type Job struct {
	ID              string
	Document        []byte            // a JSON object
	Details         map[string]string // statusDetails when the device began, or began again
	ExecutionNumber int64
	Resumed         bool // the device had begun it before a restart

	jobs   *Jobs
	cancel context.CancelFunc
	gone   bool // the service has ended the execution

	version int64
	details map[string]string // not sent yet, nil if there are none
	result  string            // status to be sent, "" while the handler works
	asking  bool
	retries int
}

// NewJob returns a job that belongs to no service, for tests of handlers: progress goes nowhere.
func NewJob(id string, document []byte) *Job {
	return &Job{ID: id, Document: document, Details: make(map[string]string)}
}

// Progress reports status details: at most 10, keys of a-z, A-Z, 0-9, ":", "_", "-". It starts the
// step timer anew and returns at once; only the newest report waits while another one is on its way.
// Details stay with the job, so that it finds them when it is resumed.
func (j *Job) Progress(details map[string]string) {
	s := j.jobs
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.details == nil {
		j.details = make(map[string]string)
	}
	for k, v := range details {
		j.details[k] = v
	}
	s.update(j)
}

// Jobs executes a thing's jobs: it asks for the next, has it done, reports the result and asks again
// (AWS IoT developer guide, "Jobs device MQTT API").
type Jobs struct {
	cfg    JobsConfig
	caller *caller
	prefix string
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex
	connected bool
	closed    bool
	asking    bool
	again     bool // something changed while the next job was asked for
	current   *Job
	timer     *time.Timer
	failures  int
}

// NewJobs begins to execute jobs. Call it before the link is started.
func NewJobs(cfg JobsConfig) (*Jobs, error) {
	s := &Jobs{cfg: cfg, prefix: "$aws/things/" + cfg.Thing + "/jobs/", caller: newCaller(cfg.Link, "j-", cfg.Timeout)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	// Answers come to the connection that asks without a subscription.
	if err := cfg.Link.Subscribe(s.prefix+"notify-next", 1, nil); err != nil {
		return nil, fmt.Errorf("follow jobs of %q: %w", cfg.Thing, err)
	}
	cfg.Link.Route(s.prefix+"#", s.message)
	cfg.Link.Watch(link.Watcher{Restored: s.restored, Lost: s.lost})
	return s, nil
}

// Close cancels the job that is being done and waits for its handler. The job stays IN_PROGRESS and
// is handed out again at the next start.
func (s *Jobs) Close() {
	s.mu.Lock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.stop()
	s.caller.cancel(link.ErrClosed)
	s.work.Wait()
}

func (s *Jobs) restored() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected, s.failures = true, 0
	s.proceed()
}

func (s *Jobs) lost(error) {
	s.mu.Lock()
	s.connected = false
	s.mu.Unlock()
	s.caller.cancel(link.ErrOffline)
}

// proceed does whatever is next. The lock is held.
func (s *Jobs) proceed() {
	switch {
	case s.closed || !s.connected:
	case s.current != nil:
		s.update(s.current)
	case s.asking:
		s.again = true
	default:
		s.startNext()
	}
}

func (s *Jobs) stepMinutes() int64 {
	if s.cfg.StepTimeout <= 0 {
		return 0
	}
	return max(1, int64((s.cfg.StepTimeout+time.Minute-1)/time.Minute))
}

func (s *Jobs) startNext() {
	s.asking, s.again = true, false
	body := jsondoc.Object()
	if n := s.stepMinutes(); n > 0 {
		body.Set("stepTimeoutInMinutes", jsondoc.Int(n))
	}
	s.caller.call(s.prefix+"start-next", body, func(answer jsondoc.Value, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking = false
		if err != nil {
			s.retry(fmt.Errorf("start next job of %q: %w", s.cfg.Thing, err))
			return
		}
		s.failures = 0
		if e := answer.Get("execution"); e.IsObject() && !s.closed {
			s.begin(e, answer.Get("timestamp"))
		} else if s.again {
			s.proceed()
		}
	})
}

// retry goes on after a while.
func (s *Jobs) retry(err error) {
	if s.closed || !s.connected {
		return
	}
	if s.cfg.OnError != nil {
		s.cfg.OnError(err)
	}
	s.failures++
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(min(time.Second<<min(s.failures, 6), time.Minute), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.proceed()
	})
}

// begin starts a job's handler.
func (s *Jobs) begin(e, now jsondoc.Value) {
	j := &Job{ID: e.Get("jobId").Text(), Document: e.Get("jobDocument").Append(nil), Details: make(map[string]string), jobs: s}
	j.ExecutionNumber, _ = e.Get("executionNumber").Int()
	j.version, _ = e.Get("versionNumber").Int()
	for _, d := range e.Get("statusDetails").Members() {
		j.Details[d.Key] = d.Value.Text()
	}
	// The first start raises the version to 2 and happens now.
	started, _ := e.Get("startedAt").Int()
	at, _ := now.Int()
	j.Resumed = j.version > 2 || len(j.Details) > 0 || at > started+1
	if j.ID == "" || strings.ContainsAny(j.ID, "/+#") {
		s.retry(fmt.Errorf("job of %q has no identifier", s.cfg.Thing))
		return
	}
	var ctx context.Context
	ctx, j.cancel = context.WithCancel(s.ctx)
	s.current = j
	s.work.Go(func() {
		defer j.cancel()
		var err error
		if crash := event.Contain("job", func() { err = s.cfg.Handle(ctx, j) }); crash != nil {
			err = crash
		}
		s.ended(j, err)
	})
}

// ended reports what a handler has returned.
func (s *Jobs) ended(j *Job, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, ErrRestart):
		// Nothing more is done before the restart; the job stays.
		if s.cfg.OnRestart != nil {
			defer s.cfg.OnRestart()
		}
		return
	case j.gone:
		s.current = nil
		s.proceed()
		return
	case s.ctx.Err() != nil:
		return // the device stops: the job is handed out again
	case err == nil:
		j.result = "SUCCEEDED"
	case errors.Is(err, ErrRejected):
		j.result = "REJECTED"
	default:
		j.result = "FAILED"
	}
	if err != nil {
		if j.details == nil {
			j.details = make(map[string]string)
		}
		j.details["reason"] = clip(err.Error(), 1024)
	}
	s.proceed()
}

// update sends details or the result of a job, one request at a time.
func (s *Jobs) update(j *Job) {
	if s.current != j || j.asking || j.gone || s.closed || !s.connected || j.result == "" && j.details == nil {
		return
	}
	j.asking = true
	status, details := j.result, j.details
	j.details = nil
	body := jsondoc.Object()
	if status == "" {
		body.Set("status", jsondoc.String("IN_PROGRESS"))
		if n := s.stepMinutes(); n > 0 {
			body.Set("stepTimeoutInMinutes", jsondoc.Int(n))
		}
	} else {
		body.Set("status", jsondoc.String(status))
	}
	if details != nil {
		all := jsondoc.Object()
		// An update replaces the details: all that are known go along.
		for k, v := range details {
			j.Details[k] = v
		}
		for k, v := range j.Details {
			all.Set(k, jsondoc.String(clip(v, 1024)))
		}
		body.Set("statusDetails", all)
	}
	body.Set("expectedVersion", jsondoc.Int(j.version))
	body.Set("executionNumber", jsondoc.Int(j.ExecutionNumber))
	body.Set("includeJobExecutionState", boolean(true))
	s.caller.call(s.prefix+j.ID+"/update", body, func(answer jsondoc.Value, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		j.asking = false
		s.updated(j, status, details, answer, err)
	})
}

func (s *Jobs) updated(j *Job, status string, details map[string]string, answer jsondoc.Value, err error) {
	var r *Rejection
	switch {
	case err == nil:
		s.failures, j.retries = 0, 0
		if n, ok := answer.Get("executionState", "versionNumber").Int(); ok {
			j.version = n
		} else {
			j.version++
		}
		if status != "" {
			s.current = nil
		}
		s.proceed()
		return
	case errors.As(err, &r) && r.Code == "VersionMismatch" && r.state.Get("status").Text() == "IN_PROGRESS" && j.retries < 3:
		// An update whose answer got lost was accepted, or somebody else changed the job.
		j.retries++
		j.version, _ = r.state.Get("versionNumber").Int()
	case errors.As(err, &r) && (r.Code == "VersionMismatch" || r.Code == "InvalidStateTransition" || r.Code == "TerminalStateReached" || r.Code == "ResourceNotFound"):
		// The same status means that our own update came through.
		if got := r.state.Get("status").Text(); got != status || status == "" {
			s.tell(fmt.Errorf("job %q was ended by the service: %w", j.ID, err))
		}
		s.drop(j)
		return
	case errors.As(err, &r) && r.Code == "InvalidRequest":
		// Sending it again cannot help. The result goes without details, progress not at all.
		s.tell(fmt.Errorf("update job %q: %w", j.ID, err))
		if status != "" && details == nil {
			s.drop(j)
			return
		}
		clear(j.Details)
		s.proceed()
		return
	default:
		s.keep(j, details)
		s.retry(fmt.Errorf("update job %q: %w", j.ID, err))
		return
	}
	s.keep(j, details)
	s.proceed()
}

// keep puts details back that were not taken; newer ones stay.
func (s *Jobs) keep(j *Job, details map[string]string) {
	for k, v := range details {
		if j.details == nil {
			j.details = make(map[string]string)
		}
		if _, newer := j.details[k]; !newer {
			j.details[k] = v
		}
	}
}

// drop gives a job up that the service has ended.
func (s *Jobs) drop(j *Job) {
	j.gone = true
	j.cancel()
	if j.result != "" { // its handler has returned
		s.current = nil
		s.proceed()
	}
}

func (s *Jobs) tell(err error) {
	if s.cfg.OnError != nil {
		s.cfg.OnError(err)
	}
}

// message takes answers and notifications on the network's goroutine.
func (s *Jobs) message(m link.Message) {
	if !strings.HasSuffix(m.Topic, "/notify-next") {
		s.caller.answer(m)
		return
	}
	v, err := jsondoc.Parse(m.Payload)
	if err != nil {
		return
	}
	next := v.Get("execution", "jobId").Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch j := s.current; {
	case j == nil && next != "":
		s.proceed()
	case j != nil && next != j.ID && j.result == "" && !j.gone && s.connected:
		s.check(j)
	}
}

// check asks whether a job that is not the next one any more was ended by the service.
func (s *Jobs) check(j *Job) {
	body := jsondoc.Object()
	body.Set("executionNumber", jsondoc.Int(j.ExecutionNumber))
	body.Set("includeJobDocument", boolean(false))
	s.caller.call(s.prefix+j.ID+"/get", body, func(answer jsondoc.Value, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var r *Rejection
		status := answer.Get("execution", "status").Text()
		refused := errors.As(err, &r) && (r.Code == "TerminalStateReached" || r.Code == "ResourceNotFound")
		if s.current == j && !j.gone && j.result == "" && (refused || err == nil && status != "IN_PROGRESS" && status != "QUEUED") {
			s.tell(fmt.Errorf("job %q was ended by the service: it is %s", j.ID, strings.ToLower(status)))
			s.drop(j)
		}
	})
}

func boolean(b bool) jsondoc.Value {
	v, _ := jsondoc.Parse(fmt.Appendf(nil, "%t", b))
	return v
}

// clip shortens text to a number of characters, without control characters.
func clip(s string, n int) string {
	out := make([]byte, 0, min(len(s), n))
	for _, r := range s {
		if n--; n < 0 {
			break
		}
		if r < ' ' || r == 0x7F {
			r = ' '
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}
