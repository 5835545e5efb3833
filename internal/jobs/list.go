package jobs

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// maxPage is the largest number of results in one page, and the number when none is asked for.
const maxPage = 250

// Page asks for a part of a listing: up to Limit results (1 to 250; 0 for 250) after those that
// Token, from the page before, stands for.
type Page struct {
	Limit int
	Token string
}

func (p Page) after(n int) (limit int, key []string, err error) {
	limit = p.Limit
	if limit == 0 {
		limit = maxPage
	}
	if limit < 0 || limit > maxPage {
		return 0, nil, invalid("page size %d is not from 1 to %d", limit, maxPage)
	}
	if p.Token == "" {
		return limit, make([]string, n), nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.Token)
	key = strings.Split(string(b), "\x00")
	if err != nil || len(key) != n {
		return 0, nil, invalid("the pagination token is not valid")
	}
	return limit, key, nil
}

func pageToken(key ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(key, "\x00")))
}

// DescribeJob returns a job. ErrNotFound.
func (s *Service) DescribeJob(ctx context.Context, id string) (*Job, error) {
	if err := checkID("jobId", id); err != nil {
		return nil, err
	}
	j, err := readJob(s.reader(ctx), id)
	if err != nil {
		return nil, err
	}
	v := s.view(j)
	if w := j.definition.Schedule; w != nil && (j.status == JobInProgress || j.status == Scheduled) {
		for _, m := range w.Maintenances {
			if c, err := ParseCron(m.StartTime); err == nil {
				if t := c.Next(s.now()); !t.IsZero() {
					v.Windows = append(v.Windows, t)
				}
			}
		}
	}
	return v, nil
}

// GetJobDocument returns a job's document with its placeholders as they are. ErrNotFound.
func (s *Service) GetJobDocument(ctx context.Context, id string, filled bool) (string, error) {
	if err := checkID("jobId", id); err != nil {
		return "", err
	}
	document, expiry, err := s.raw(id)
	if filled {
		document = resolve(document, expiry, s.cfg.Sign)
	}
	return document, err
}

// Filter narrows ListJobs; fields combine.
type Filter struct {
	Status     Status
	Selection  string
	ThingGroup string // a target of the job
	Namespace  string
}

// ListJobs lists jobs, the newest first.
func (s *Service) ListJobs(ctx context.Context, f Filter, page Page) ([]*Job, string, error) {
	if f.Status != "" && !f.Status.Valid() {
		return nil, "", invalid("status %q is not one of jobs", f.Status)
	}
	limit, after, err := page.after(2)
	if err != nil {
		return nil, "", err
	}
	query, args := `SELECT `+jobColumns+` FROM job WHERE 1 = 1`, []any{}
	add := func(condition string, values ...any) {
		query += " AND " + condition
		args = append(args, values...)
	}
	if f.Status != "" {
		add("status = ?", f.Status)
	}
	if f.Selection != "" {
		add("selection = ?", f.Selection)
	}
	if f.ThingGroup != "" {
		add("job_id IN (SELECT job_id FROM job_target WHERE target = ?)", "thinggroup/"+f.ThingGroup)
	}
	if after[0] != "" {
		at, err := time.Parse(time.RFC3339Nano, after[0])
		if err != nil {
			return nil, "", invalid("the pagination token is not valid")
		}
		add("(created_at < ? OR created_at = ? AND job_id > ?)", millis(at), millis(at), after[1])
	}
	jobs, token := []*Job{}, ""
	err = s.reader(ctx).Query(query+` ORDER BY created_at DESC, job_id LIMIT ?`, append(args, limit+1), func(row store.Row) error {
		j, err := scanJob(row)
		if err != nil {
			return err
		}
		if len(jobs) == limit {
			last := jobs[limit-1]
			token = pageToken(last.Created.UTC().Format(time.RFC3339Nano), last.ID)
			return nil
		}
		jobs = append(jobs, s.view(j))
		return nil
	})
	return jobs, token, err
}

// Execution is an execution as the control plane shows it.
type Execution struct {
	Job, Thing, ThingARN string
	Number, Version      int64
	Status               ExecutionStatus
	Details              map[string]string
	ForceCanceled        bool
	RetryAttempt         int64
	Remaining            *int64 // seconds until it times out

	Queued, Started, Updated time.Time
}

func (s *Service) viewExecution(e *execution) *Execution {
	v := &Execution{Job: e.job, Thing: e.thing, ThingARN: s.cfg.Registry.ARN("thing/" + e.thing), Number: e.number, Version: e.version,
		Status: e.status, ForceCanceled: e.forced, RetryAttempt: e.attempts.Failed + e.attempts.TimedOut,
		Queued: e.queued, Started: e.started, Updated: e.updated}
	_ = decode(e.details, &v.Details)
	v.Remaining = describe(e, s.now()).Remaining
	return v
}

// DescribeJobExecution returns an execution, the latest for number 0. ErrNotFound.
func (s *Service) DescribeJobExecution(ctx context.Context, thing, id string, number int64) (*Execution, error) {
	if number < 0 {
		return nil, invalid("executionNumber is %d, not at least 1", number)
	}
	e, err := readExecution(s.reader(ctx), thing, id, number)
	if err != nil {
		return nil, err
	}
	return s.viewExecution(e), nil
}

// ListJobExecutionsForJob lists a job's executions by status, thing and number. ErrNotFound for an
// unknown job.
func (s *Service) ListJobExecutionsForJob(ctx context.Context, id string, status ExecutionStatus, page Page) ([]*Execution, string, error) {
	if _, err := readJob(s.reader(ctx), id); err != nil {
		return nil, "", err
	}
	return s.listExecutions(ctx, "job_id = ?", []any{id}, []string{"status", "thing", "number"}, status, page)
}

// ListJobExecutionsForThing lists a thing's executions by job and number, those of one job if it is
// not "".
func (s *Service) ListJobExecutionsForThing(ctx context.Context, thing, id string, status ExecutionStatus, page Page) ([]*Execution, string, error) {
	if err := s.known(ctx, thing); err != nil {
		return nil, "", err
	}
	where, args := "thing = ?", []any{thing}
	if id != "" {
		where, args = where+" AND job_id = ?", append(args, id)
	}
	return s.listExecutions(ctx, where, args, []string{"job_id", "number"}, status, page)
}

func (s *Service) listExecutions(ctx context.Context, where string, args []any, order []string, status ExecutionStatus, page Page) ([]*Execution, string, error) {
	limit, after, err := page.after(len(order))
	if err != nil {
		return nil, "", err
	}
	if status != "" {
		if !status.Valid() {
			return nil, "", invalid("status %q is not one of executions", status)
		}
		where, args = where+" AND status = ?", append(args, status)
	}
	if page.Token != "" {
		where += " AND (" + strings.Join(order, ", ") + ") > (?" + strings.Repeat(", ?", len(order)-1) + ")"
		for i, v := range after {
			if order[i] != "number" {
				args = append(args, v)
				continue
			}
			n := number(0)
			if n.UnmarshalJSON([]byte(v)) != nil {
				return nil, "", invalid("the pagination token is not valid")
			}
			args = append(args, int64(n))
		}
	}
	list, err := executions(s.reader(ctx), `WHERE `+where+` ORDER BY `+strings.Join(order, ", ")+` LIMIT ?`, append(args, limit+1)...)
	if err != nil {
		return nil, "", err
	}
	token := ""
	if len(list) > limit {
		list = list[:limit]
		token = list[limit-1].token(order)
	}
	out := make([]*Execution, len(list))
	for i, e := range list {
		out[i] = s.viewExecution(e)
	}
	return out, token, nil
}

// token is the execution's place in a listing.
func (e *execution) token(order []string) string {
	key := make([]string, len(order))
	for i, column := range order {
		switch column {
		case "status":
			key[i] = string(e.status)
		case "thing":
			key[i] = e.thing
		case "job_id":
			key[i] = e.job
		default:
			key[i] = strconv.FormatInt(e.number, 10)
		}
	}
	return pageToken(key...)
}
