package jobs

import (
	"context"
	"time"
)

// Summary is an execution in a list, with times in epoch seconds.
type Summary struct {
	Job       string `json:"jobId"`
	Queued    int64  `json:"queuedAt"`
	Started   int64  `json:"startedAt,omitempty"`
	Updated   int64  `json:"lastUpdatedAt"`
	Version   int64  `json:"versionNumber"`
	Execution int64  `json:"executionNumber"`
}

// Pending are the executions of a thing that have not ended.
type Pending struct {
	InProgress []Summary `json:"inProgressJobs"`
	Queued     []Summary `json:"queuedJobs"`
}

// DeviceExecution is an execution as a device sees it, with times in epoch seconds.
type DeviceExecution struct {
	Job       string            `json:"jobId"`
	Thing     string            `json:"thingName,omitempty"`
	Status    ExecutionStatus   `json:"status"`
	Details   map[string]string `json:"statusDetails,omitempty"`
	Queued    int64             `json:"queuedAt"`
	Started   int64             `json:"startedAt,omitempty"`
	Updated   int64             `json:"lastUpdatedAt"`
	Version   int64             `json:"versionNumber"`
	Number    int64             `json:"executionNumber"`
	Remaining *int64            `json:"approximateSecondsBeforeTimedOut,omitempty"`
	// Document is the job document with its addresses filled in; "" when it was not asked for.
	Document string `json:"-"`
}

// Next is the job name that stands for the next pending execution.
const Next = "$next"

// StartRequest is what a device may say when it starts the next execution.
type StartRequest struct {
	Details map[string]string // nil leaves them
	Step    *int64            // minutes
}

// DescribeRequest asks for an execution: of a job or of Next, the latest unless Number is given.
type DescribeRequest struct {
	Job             string
	Number          int64
	WithoutDocument bool
}

// UpdateRequest is what a device says of an execution.
type UpdateRequest struct {
	Job      string
	Status   ExecutionStatus
	Details  map[string]string // nil leaves them
	Expected *int64
	Number   int64 // 0 for the latest
	Step     *int64
	State    bool // answer with the state
	Document bool // answer with the document
}

// Updated is the answer to an UpdateRequest; the parts that were not asked for are zero.
type Updated struct {
	State    *ExecutionState
	Document string
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func (e *execution) summary() Summary {
	return Summary{e.job, seconds(e.queued), seconds(e.started), seconds(e.updated), e.version, e.number}
}

// describe returns an execution without its document.
func (c *change) describe(e *execution) *DeviceExecution { return describe(e, c.at) }

func describe(e *execution, now time.Time) *DeviceExecution {
	d := &DeviceExecution{Job: e.job, Thing: e.thing, Status: e.status, Queued: seconds(e.queued), Started: seconds(e.started),
		Updated: seconds(e.updated), Version: e.version, Number: e.number}
	_ = decode(e.details, &d.Details)
	if due := e.timers.Due(); !due.IsZero() {
		left := max(0, int64(due.Sub(now)/time.Second))
		d.Remaining = &left
	}
	return d
}

// list answers GetPendingJobExecutions.
func (c *change) list(thing string) (Pending, error) {
	p, err := c.pending(thing)
	out := Pending{InProgress: []Summary{}, Queued: []Summary{}}
	for _, e := range p {
		if e.status == InProgress {
			out.InProgress = append(out.InProgress, e.summary())
		} else {
			out.Queued = append(out.Queued, e.summary())
		}
	}
	return out, err
}

// start answers StartNextPendingJobExecution; nil when nothing is pending.
func (c *change) start(thing string, r StartRequest) (*DeviceExecution, error) {
	if err := checkDetails(r.Details); err != nil {
		return nil, err
	}
	if err := checkStep(r.Step, false); err != nil {
		return nil, err
	}
	p, err := c.pending(thing)
	if err != nil || len(p) == 0 {
		return nil, err
	}
	e := p.next()
	if e.status == Queued {
		j, err := c.job(e.job)
		if err != nil {
			return nil, err
		}
		if _, err := c.step(j, e, Start, func(e *execution) { e.apply(r.Details, r.Step, c.at) }); err != nil {
			return nil, err
		}
	}
	return c.describe(e), nil
}

// apply takes what a device says beside the status.
func (e *execution) apply(details map[string]string, step *int64, now time.Time) {
	if details != nil {
		e.details = encode(details)
	}
	e.timers = e.timers.Stepped(step, now)
}

// look answers DescribeJobExecution; nil when Next stands for nothing.
func (c *change) look(thing string, r DescribeRequest) (*DeviceExecution, error) {
	if r.Job == Next {
		p, err := c.pending(thing)
		if err != nil || len(p) == 0 {
			return nil, err
		}
		return c.describe(p.next()), nil
	}
	if err := checkID("jobId", r.Job); err != nil {
		return nil, err
	}
	if r.Number < 0 {
		return nil, invalid("executionNumber is %d, not at least 1", r.Number)
	}
	e, err := readExecution(c.tx, thing, r.Job, r.Number)
	if err != nil {
		return nil, err
	}
	if e.status.Terminal() {
		return nil, refuse(ErrTerminal, "the execution of job %s on thing %s is %s", r.Job, thing, e.status)
	}
	return c.describe(e), nil
}

// update answers UpdateJobExecution.
func (c *change) update(thing string, r UpdateRequest) (*execution, error) {
	if err := checkID("jobId", r.Job); err != nil {
		return nil, err
	}
	event, ok := deviceEvent(r.Status)
	if !ok {
		return nil, invalid("status %q is not IN_PROGRESS, SUCCEEDED, FAILED or REJECTED", r.Status)
	}
	if err := checkDetails(r.Details); err != nil {
		return nil, err
	}
	if err := checkStep(r.Step, true); err != nil {
		return nil, err
	}
	e, err := readExecution(c.tx, thing, r.Job, max(0, r.Number))
	if err != nil {
		return nil, err
	}
	if e.status.Terminal() {
		return nil, &Error{Kind: ErrTransition, Message: "the execution is " + string(e.status) + " and cannot become " + string(r.Status), State: e.state()}
	}
	if r.Expected != nil && *r.Expected != e.version {
		return nil, &Error{Kind: ErrVersionMismatch, Message: "the expected version is not the execution's version", State: e.state()}
	}
	j, err := c.job(r.Job)
	if err != nil {
		return nil, err
	}
	_, err = c.step(j, e, event, func(e *execution) { e.apply(r.Details, r.Step, c.at) })
	return e, err
}

// ask runs a device's request that came over REST.
func ask[T any](s *Service, ctx context.Context, thing string, do func(c *change) (T, error)) (T, error) {
	var out T
	if err := s.known(ctx, thing); err != nil {
		return out, err
	}
	err := s.write(func(c *change) (err error) {
		out, err = do(c)
		return err
	})
	return out, err
}

// known returns ErrNotFound for a thing that the registry does not have.
func (s *Service) known(ctx context.Context, thing string) error {
	if !thingPattern.MatchString(thing) {
		return invalid("thing name %q is not 1 to 128 of a-z, A-Z, 0-9, :, _ and -", thing)
	}
	_, err := s.cfg.Registry.DescribeThing(ctx, thing)
	return err
}

// GetPendingJobExecutions lists what a thing has to do.
func (s *Service) GetPendingJobExecutions(ctx context.Context, thing string) (Pending, error) {
	return ask(s, ctx, thing, func(c *change) (Pending, error) { return c.list(thing) })
}

// StartNextPendingJobExecution returns the next execution with its document, in progress; nil when
// nothing is pending.
func (s *Service) StartNextPendingJobExecution(ctx context.Context, thing string, r StartRequest) (*DeviceExecution, error) {
	e, err := ask(s, ctx, thing, func(c *change) (*DeviceExecution, error) { return c.start(thing, r) })
	return s.documented(e, err, true)
}

// DescribeDeviceExecution returns an execution that has not ended: ErrTerminal if it has, nil if Next
// stands for nothing. It is DescribeJobExecution of the jobs data plane.
func (s *Service) DescribeDeviceExecution(ctx context.Context, thing string, r DescribeRequest) (*DeviceExecution, error) {
	e, err := ask(s, ctx, thing, func(c *change) (*DeviceExecution, error) { return c.look(thing, r) })
	return s.documented(e, err, !r.WithoutDocument)
}

func (s *Service) documented(e *DeviceExecution, err error, wanted bool) (*DeviceExecution, error) {
	if err != nil || e == nil || !wanted {
		return e, err
	}
	text, expiry, err := s.raw(e.Job)
	e.Document = resolve(text, expiry, s.cfg.Sign)
	return e, err
}

// UpdateJobExecution records what a device says. ErrTransition and ErrVersionMismatch carry the
// execution's state.
func (s *Service) UpdateJobExecution(ctx context.Context, thing string, r UpdateRequest) (Updated, error) {
	e, err := ask(s, ctx, thing, func(c *change) (*execution, error) { return c.update(thing, r) })
	if err != nil {
		return Updated{}, err
	}
	var out Updated
	if r.State {
		out.State = e.state()
	}
	if r.Document {
		text, expiry, err := s.raw(r.Job)
		if err != nil {
			return out, err
		}
		out.Document = resolve(text, expiry, s.cfg.Sign)
	}
	return out, nil
}

// raw returns a job's document and for how long its addresses are good.
func (s *Service) raw(id string) (document string, expiry time.Duration, err error) {
	rd := s.reader(context.Background())
	j, err := readJob(rd, id)
	if err != nil {
		return "", 0, err
	}
	document, err = readDocument(rd, id)
	return document, j.definition.Presigned.Expiry(), err
}
