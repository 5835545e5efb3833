package defender

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

// States and types of tasks.
const (
	TaskInProgress = "IN_PROGRESS"
	TaskCompleted  = "COMPLETED"
	TaskFailed     = "FAILED"
	TaskCanceled   = "CANCELED"
	onDemand       = "ON_DEMAND_AUDIT_TASK"
	scheduled      = "SCHEDULED_AUDIT_TASK"
)

// CheckDetails is how far a check of a task is.
type CheckDetails struct {
	Status       string `json:"checkRunStatus"` // IN_PROGRESS, CANCELED, COMPLETED_COMPLIANT, COMPLETED_NON_COMPLIANT or FAILED
	Compliant    bool   `json:"checkCompliant"`
	Total        int64  `json:"totalResourcesCount"`
	NonCompliant int64  `json:"nonCompliantResourcesCount"`
	Suppressed   int64  `json:"suppressedNonCompliantResourcesCount"`
	ErrorCode    string `json:"errorCode,omitempty"`
	Message      string `json:"message,omitempty"`
}

// Task is one run of an audit.
type Task struct {
	ID       string                   `json:"-"`
	Status   string                   `json:"taskStatus"`
	Type     string                   `json:"taskType"`
	Start    Moment                   `json:"taskStartTime"`
	Schedule string                   `json:"scheduledAuditName,omitempty"`
	Details  map[string]*CheckDetails `json:"auditDetails"`
}

// Statistics counts the checks of a task.
type Statistics struct {
	Total        int `json:"totalChecks"`
	InProgress   int `json:"inProgressChecks"`
	Waiting      int `json:"waitingForDataCollectionChecks"`
	Compliant    int `json:"compliantChecks"`
	NonCompliant int `json:"nonCompliantChecks"`
	Failed       int `json:"failedChecks"`
	Canceled     int `json:"canceledChecks"`
}

// Statistics counts the checks of a task.
func (t *Task) Statistics() (n Statistics) {
	for _, d := range t.Details {
		n.Total++
		switch d.Status {
		case "IN_PROGRESS":
			n.InProgress++
		case "COMPLETED_COMPLIANT":
			n.Compliant++
		case "COMPLETED_NON_COMPLIANT":
			n.NonCompliant++
		case "FAILED":
			n.Failed++
		case "CANCELED":
			n.Canceled++
		}
	}
	return n
}

func (t *Task) save(tx *store.Tx) error {
	_, err := tx.Exec(`INSERT INTO defender_task (id, status, body, started_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET status = excluded.status, body = excluded.body`, t.ID, t.Status, encode(t), t.Start.UnixMilli())
	return err
}

func tasks(rd reader, where string, args ...any) (list []*Task, err error) {
	err = rd.Query(`SELECT id, body FROM defender_task WHERE `+where, args, func(row store.Row) error {
		t := &Task{}
		var body string
		if err := row.Scan(&t.ID, &body); err != nil {
			return err
		}
		list = append(list, t)
		return json.Unmarshal([]byte(body), t)
	})
	return list, err
}

func newTask(kind, schedule string, checks []string, now time.Time) *Task {
	t := &Task{ID: uuid.NewString(), Status: TaskInProgress, Type: kind, Start: Moment{now}, Schedule: schedule, Details: make(map[string]*CheckDetails)}
	for _, name := range checks {
		t.Details[name] = &CheckDetails{Status: "IN_PROGRESS"}
	}
	return t
}

// StartOnDemandAuditTask begins an audit and returns its identifier. ErrInvalid for checks that are not
// enabled.
func (s *Service) StartOnDemandAuditTask(ctx context.Context, checks []string) (string, error) {
	if err := s.enabled(ctx, checks); err != nil {
		return "", err
	}
	t := newTask(onDemand, "", checks, s.now())
	err := s.cfg.Store.Write(ctx, t.save)
	s.wake()
	return t.ID, err
}

// DescribeAuditTask returns a task. ErrNotFound.
func (s *Service) DescribeAuditTask(ctx context.Context, id string) (*Task, error) {
	return readTask(s.reader(ctx), id)
}

func readTask(rd reader, id string) (*Task, error) {
	list, err := tasks(rd, `id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, refuse(ErrNotFound, "audit task %s cannot be found", id)
	}
	return list[0], nil
}

// CancelAuditTask ends a task before its time; what it has found stays. ErrNotFound, and ErrInvalid for
// one that has ended.
func (s *Service) CancelAuditTask(ctx context.Context, id string) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		t, err := readTask(tx, id)
		if err != nil {
			return err
		}
		if t.Status != TaskInProgress {
			return invalid("audit task %s is %s", id, t.Status)
		}
		t.Status = TaskCanceled
		for _, d := range t.Details {
			if d.Status == "IN_PROGRESS" {
				d.Status = "CANCELED"
			}
		}
		return t.save(tx)
	})
}

// ListAuditTasks lists tasks that began between two times, the latest first; "" is for all types and
// states.
func (s *Service) ListAuditTasks(ctx context.Context, start, end time.Time, kind, status string, page Page) ([]*Task, string, error) {
	if !start.Before(end) {
		return nil, "", invalid("startTime is not before endTime")
	}
	list, err := tasks(s.reader(ctx), `started_at >= ? AND started_at <= ? ORDER BY started_at DESC, id`, start.UnixMilli(), end.UnixMilli())
	if err != nil {
		return nil, "", err
	}
	list = slices.DeleteFunc(list, func(t *Task) bool { return kind != "" && t.Type != kind || status != "" && t.Status != status })
	return cut(list, page)
}

// wake makes the auditor look at what there is to do.
func (s *Service) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

const (
	longest = time.Hour
	pause   = 5 * time.Second
)

// auditLoop runs audits one after the other, begins scheduled ones, and forgets what is old.
// lookAgain is how often a node of a cluster looks whether there is an audit to do, and whether it is to
// do them.
const lookAgain = 5 * time.Second

func (s *Service) auditLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.poke:
		case <-timer.C:
		}
		if leads := s.cfg.Leads; leads != nil && !leads() {
			timer.Reset(lookAgain)
			continue
		}
		next, err := s.audits(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.cfg.Log.Error("audits could not go on", "error", err)
			next = s.now().Add(pause)
		}
		wait := longest
		if s.cfg.Leads != nil {
			wait = lookAgain // another node may have been asked for an audit
		}
		timer.Reset(max(0, min(wait, next.Sub(s.now()))))
	}
}

func (s *Service) audits(ctx context.Context) (next time.Time, err error) {
	now := s.now()
	if err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		for query, age := range map[string]time.Duration{
			`DELETE FROM defender_report WHERE at < ?`: reportsKept, `DELETE FROM defender_event WHERE at < ?`: violationsKept,
			`DELETE FROM defender_task WHERE started_at < ?`: auditsKept, `DELETE FROM defender_finding WHERE at < ?`: auditsKept,
			`DELETE FROM defender_link WHERE at < ?`: linksKept,
		} {
			if _, err := tx.Exec(query, now.Add(-age).UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return next, err
	}
	schedules, _, err := listObjects[Schedule](s.reader(ctx), kindSchedule)
	if err != nil {
		return next, err
	}
	first := int64(math.MaxInt64)
	for _, c := range schedules {
		if !c.Due.After(now) {
			if err := s.begin(ctx, c.Name, now); err != nil && !errors.Is(err, ErrNotFound) {
				return next, err
			}
			c.Due = Moment{c.Next(now)}
		}
		first = min(first, c.Due.UnixMilli())
	}
	list, err := tasks(s.reader(ctx), `status = ? ORDER BY started_at, id`, TaskInProgress)
	if err != nil {
		return next, err
	}
	for _, t := range list {
		if err := s.perform(ctx, t); err != nil {
			return next, err
		}
	}
	if first == math.MaxInt64 {
		return now.Add(longest), nil
	}
	return time.UnixMilli(first), nil
}

// begin makes the task of a scheduled audit and notes when the next is due, in one transaction.
func (s *Service) begin(ctx context.Context, name string, now time.Time) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		var c Schedule
		if _, err := readObject(tx, kindSchedule, name, &c); err != nil || c.Due.After(now) {
			return err
		}
		c.Due = Moment{c.Next(now)}
		if err := newTask(scheduled, c.Name, c.Checks, now).save(tx); err != nil {
			return err
		}
		return s.saveObject(tx, kindSchedule, name, c)
	})
}

// perform makes the checks of a task that have not been made.
func (s *Service) perform(ctx context.Context, t *Task) error {
	for _, check := range Checks() {
		if d := t.Details[check.Name]; d == nil || d.Status != "IN_PROGRESS" {
			continue
		}
		var found result
		var failure error
		if check.Here {
			found, failure = s.run(ctx, check.Name)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		canceled := false
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			now, err := readTask(tx, t.ID)
			if err != nil {
				return err
			}
			if canceled = now.Status != TaskInProgress; canceled {
				return nil
			}
			*t = *now
			d := t.Details[check.Name]
			switch {
			case !check.Here:
				d.Status, d.ErrorCode, d.Message = "FAILED", "NOT_SUPPORTED", "berth does not make this check"
			case failure != nil:
				d.Status, d.ErrorCode, d.Message = "FAILED", "INTERNAL_ERROR", "an internal error occurred"
			default:
				return s.conclude(tx, t, check, found)
			}
			return t.save(tx)
		})
		if failure != nil {
			s.cfg.Log.Error("audit check failed", "check", check.Name, "error", failure)
		}
		if errors.Is(err, ErrNotFound) || canceled {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		now, err := readTask(tx, t.ID)
		if err != nil || now.Status != TaskInProgress {
			return err
		}
		now.Status = TaskCompleted
		if n := now.Statistics(); n.Failed == n.Total {
			now.Status = TaskFailed
		}
		return now.save(tx)
	})
}

// conclude stores what a check has found.
func (s *Service) conclude(tx *store.Tx, t *Task, check Check, found result) error {
	known, _, err := listObjects[Suppression](tx, kindSuppression)
	if err != nil {
		return err
	}
	now := s.now()
	d := t.Details[check.Name]
	d.Total, d.Message = found.total, found.message
	for _, f := range found.findings {
		f.ID, f.Task, f.Check, f.TaskStart, f.At, f.Severity = uuid.NewString(), t.ID, check.Name, t.Start, Moment{now}, check.Severity
		f.Suppressed = slices.ContainsFunc(known, func(x Suppression) bool {
			return x.Check == check.Name && x.Resource.key() == f.Resource.Resource.key() && x.holds(now)
		})
		if f.Suppressed {
			d.Suppressed++
		} else {
			d.NonCompliant++
		}
		if _, err := tx.Exec(`INSERT INTO defender_finding (id, task, check_name, body, at) VALUES (?, ?, ?, ?, ?)`, f.ID, t.ID, check.Name, encode(f), now.UnixMilli()); err != nil {
			return err
		}
	}
	d.Compliant = d.NonCompliant == 0
	if d.Status = "COMPLETED_COMPLIANT"; !d.Compliant {
		d.Status = "COMPLETED_NON_COMPLIANT"
	}
	return t.save(tx)
}

// FindingFilter narrows ListAuditFindings; "", the zero resource and zero times are for all.
type FindingFilter struct {
	Task, Check string
	Resource    Resource
	Start, End  time.Time
	Suppressed  bool // the suppressed ones instead of the others
}

// ListAuditFindings lists findings, the latest first. ErrInvalid unless there is a task or a time, as
// AWS wants it.
func (s *Service) ListAuditFindings(ctx context.Context, f FindingFilter, page Page) ([]*Finding, string, error) {
	where, args := "1 = 1", []any{}
	switch {
	case f.Task != "" && !(f.Start.IsZero() && f.End.IsZero()):
		return nil, "", invalid("give taskId or startTime and endTime, not both")
	case f.Task != "":
		where, args = where+" AND task = ?", append(args, f.Task)
	case f.Start.IsZero() != f.End.IsZero():
		return nil, "", invalid("startTime and endTime belong together")
	case !f.Start.IsZero():
		where, args = where+" AND at >= ? AND at <= ?", append(args, f.Start.UnixMilli(), f.End.UnixMilli())
	}
	if f.Check != "" {
		where, args = where+" AND check_name = ?", append(args, f.Check)
	}
	list, err := findings(s.reader(ctx), where+" ORDER BY at DESC, id", args...)
	if err != nil {
		return nil, "", err
	}
	list = slices.DeleteFunc(list, func(x *Finding) bool {
		return x.Suppressed != f.Suppressed || !f.Resource.empty() && x.Resource.Resource.key() != f.Resource.key()
	})
	return cut(list, page)
}

func findings(rd reader, where string, args ...any) (list []*Finding, err error) {
	err = rd.Query(`SELECT body FROM defender_finding WHERE `+where, args, func(row store.Row) error {
		var body string
		if err := row.Scan(&body); err != nil {
			return err
		}
		f := &Finding{}
		list = append(list, f)
		return json.Unmarshal([]byte(body), f)
	})
	return list, err
}

// DescribeAuditFinding returns a finding. ErrNotFound.
func (s *Service) DescribeAuditFinding(ctx context.Context, id string) (*Finding, error) {
	list, err := findings(s.reader(ctx), `id = ?`, id)
	if err == nil && len(list) == 0 {
		return nil, refuse(ErrNotFound, "audit finding %s cannot be found", id)
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}
