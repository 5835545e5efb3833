package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// schema: attention_at is when the roll-out goroutine has to look at a job, 0 for never. job_waiting
// holds the things that have not heard of their job yet. position orders the executions of a thing.
var schema = []string{`
	CREATE TABLE job (job_id TEXT PRIMARY KEY, status TEXT NOT NULL, selection TEXT NOT NULL, targets TEXT NOT NULL,
		definition TEXT NOT NULL, document TEXT NOT NULL, phase TEXT NOT NULL, cursor TEXT NOT NULL,
		window_start BIGINT NOT NULL, window_count BIGINT NOT NULL, notified BIGINT NOT NULL, counts TEXT NOT NULL,
		forced BIGINT NOT NULL, reason_code TEXT NOT NULL, comment TEXT NOT NULL, created_at BIGINT NOT NULL,
		updated_at BIGINT NOT NULL, completed_at BIGINT NOT NULL, attention_at BIGINT NOT NULL);
	CREATE INDEX job_attention ON job (attention_at) WHERE attention_at > 0;
	CREATE TABLE job_target (target TEXT NOT NULL, job_id TEXT NOT NULL, PRIMARY KEY (target, job_id)) /*sqlite WITHOUT ROWID*/;
	CREATE INDEX job_target_by_job ON job_target (job_id);
	CREATE TABLE job_waiting (job_id TEXT NOT NULL, thing TEXT NOT NULL, PRIMARY KEY (job_id, thing)) /*sqlite WITHOUT ROWID*/;
	CREATE INDEX job_waiting_by_thing ON job_waiting (thing);
	CREATE TABLE job_execution (thing TEXT NOT NULL, job_id TEXT NOT NULL, number BIGINT NOT NULL, status TEXT NOT NULL,
		details TEXT NOT NULL, version BIGINT NOT NULL, position BIGINT NOT NULL, queued_at BIGINT NOT NULL,
		started_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, in_progress_until BIGINT NOT NULL, step_until BIGINT NOT NULL,
		due BIGINT NOT NULL, forced BIGINT NOT NULL, retries_failed BIGINT NOT NULL, retries_timed_out BIGINT NOT NULL,
		PRIMARY KEY (thing, job_id, number)) /*sqlite WITHOUT ROWID*/;
	CREATE INDEX job_execution_pending ON job_execution (thing, position) WHERE status IN ('QUEUED', 'IN_PROGRESS');
	CREATE INDEX job_execution_by_job ON job_execution (job_id, status, thing, number);
	CREATE INDEX job_execution_due ON job_execution (due) WHERE due > 0;
	CREATE TABLE job_template (template_id TEXT PRIMARY KEY, definition TEXT NOT NULL, document TEXT NOT NULL, created_at BIGINT NOT NULL)`, `
	CREATE INDEX job_completed ON job (completed_at) WHERE completed_at > 0`}

// reader is a transaction, or the database outside one.
type reader interface {
	QueryRow(query string, args []any, dest ...any) error
	Query(query string, args []any, scan func(row store.Row) error) error
}

// phase is what the service has still to do for a job.
const (
	phaseNone      = ""
	phaseExpanding = "expanding" // targets into things
	phaseRolling   = "rolling"   // things into executions
	phaseCanceling = "canceling"
	phaseDeleting  = "deleting"
)

// record is a job as it is kept.
type record struct {
	id, selection string
	status        Status
	targets       []string
	definition    Definition
	phase         string
	cursor        cursor
	window        Window
	notified      int64
	counts        Counts
	forced        bool
	reason        string
	comment       string

	created, updated, completed, attention time.Time
}

// cursor is how far the targets of a job have been expanded.
type cursor struct {
	Target int    `json:"target,omitempty"`
	Page   string `json:"page,omitempty"`
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// instant is the reverse of millis.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// encode is for values that cannot fail.
func encode(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func decode(text string, v any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}

const jobColumns = `job_id, status, selection, targets, definition, phase, cursor, window_start, window_count, notified, counts,
	forced, reason_code, comment, created_at, updated_at, completed_at, attention_at`

func scanJob(row store.Row) (*record, error) {
	j := &record{}
	var targets, definition, cursor, counts string
	var start, created, updated, completed, attention int64
	if err := row.Scan(&j.id, &j.status, &j.selection, &targets, &definition, &j.phase, &cursor, &start, &j.window.Count,
		&j.notified, &counts, &j.forced, &j.reason, &j.comment, &created, &updated, &completed, &attention); err != nil {
		return nil, err
	}
	j.window.Start, j.created, j.updated = instant(start), instant(created), instant(updated)
	j.completed, j.attention = instant(completed), instant(attention)
	return j, errors.Join(decode(targets, &j.targets), decode(definition, &j.definition), decode(cursor, &j.cursor), decode(counts, &j.counts))
}

type rowFunc func(dest ...any) error

func (f rowFunc) Scan(dest ...any) error { return f(dest...) }

func readJob(rd reader, id string) (*record, error) {
	j, err := scanJob(rowFunc(func(dest ...any) error {
		return rd.QueryRow(`SELECT `+jobColumns+` FROM job WHERE job_id = ?`, []any{id}, dest...)
	}))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "job %s cannot be found", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read job %q: %w", id, err)
	}
	return j, nil
}

func readDocument(rd reader, id string) (document string, err error) {
	err = rd.QueryRow(`SELECT document FROM job WHERE job_id = ?`, []any{id}, &document)
	if errors.Is(err, store.ErrNoRows) {
		return "", refuse(ErrNotFound, "job %s cannot be found", id)
	}
	return document, err
}

func (j *record) insert(tx *store.Tx, document string) error {
	if _, err := tx.Exec(`INSERT INTO job (`+jobColumns+`, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		j.id, j.status, j.selection, encode(j.targets), encode(j.definition), j.phase, encode(j.cursor), millis(j.window.Start), j.window.Count,
		j.notified, encode(j.counts), j.forced, j.reason, j.comment, millis(j.created), millis(j.updated), millis(j.completed),
		millis(j.attention), document); err != nil {
		return err
	}
	return j.aim(tx)
}

// aim notes the targets where a change of membership looks for them.
func (j *record) aim(tx *store.Tx) error {
	for _, target := range j.targets {
		if _, err := tx.Exec(`INSERT INTO job_target (target, job_id) VALUES (?, ?) ON CONFLICT (target, job_id) DO NOTHING`, target, j.id); err != nil {
			return err
		}
	}
	return nil
}

// save writes what changes in a job's life, without its definition and targets.
func (j *record) save(tx *store.Tx) error {
	_, err := tx.Exec(`UPDATE job SET status = ?, phase = ?, cursor = ?, window_start = ?, window_count = ?, notified = ?, counts = ?,
		forced = ?, reason_code = ?, comment = ?, updated_at = ?, completed_at = ?, attention_at = ? WHERE job_id = ?`,
		j.status, j.phase, encode(j.cursor), millis(j.window.Start), j.window.Count, j.notified, encode(j.counts),
		j.forced, j.reason, j.comment, millis(j.updated), millis(j.completed), millis(j.attention), j.id)
	return err
}

// execution is a job on one thing, as it is kept.
type execution struct {
	thing, job string
	number     int64
	status     ExecutionStatus
	details    string // JSON object, or ""
	version    int64
	position   int64
	timers     Timers
	forced     bool
	attempts   Attempts

	queued, started, updated time.Time
}

const executionColumns = `thing, job_id, number, status, details, version, position, queued_at, started_at, updated_at,
	in_progress_until, step_until, forced, retries_failed, retries_timed_out`

func scanExecution(row store.Row) (*execution, error) {
	e := &execution{}
	var queued, started, updated, progress, step int64
	err := row.Scan(&e.thing, &e.job, &e.number, &e.status, &e.details, &e.version, &e.position, &queued, &started, &updated,
		&progress, &step, &e.forced, &e.attempts.Failed, &e.attempts.TimedOut)
	e.queued, e.started, e.updated = instant(queued), instant(started), instant(updated)
	e.timers = Timers{instant(progress), instant(step)}
	return e, err
}

// readExecution returns an execution, the latest for number 0.
func readExecution(rd reader, thing, job string, number int64) (*execution, error) {
	query, args := `SELECT `+executionColumns+` FROM job_execution WHERE thing = ? AND job_id = ? ORDER BY number DESC LIMIT 1`, []any{thing, job}
	if number > 0 {
		query, args = `SELECT `+executionColumns+` FROM job_execution WHERE thing = ? AND job_id = ? AND number = ?`, append(args, number)
	}
	e, err := scanExecution(rowFunc(func(dest ...any) error { return rd.QueryRow(query, args, dest...) }))
	if errors.Is(err, store.ErrNoRows) {
		if number > 0 {
			return nil, refuse(ErrNotFound, "no execution %d of job %s on thing %s", number, job, thing)
		}
		return nil, refuse(ErrNotFound, "no execution of job %s on thing %s", job, thing)
	}
	return e, err
}

// insert reports whether the execution is new.
func (e *execution) insert(tx *store.Tx) (bool, error) {
	n, err := tx.Exec(`INSERT INTO job_execution (`+executionColumns+`, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (thing, job_id, number) DO NOTHING`,
		e.thing, e.job, e.number, e.status, e.details, e.version, e.position, millis(e.queued), millis(e.started), millis(e.updated),
		millis(e.timers.InProgress), millis(e.timers.Step), e.forced, e.attempts.Failed, e.attempts.TimedOut, millis(e.timers.Due()))
	return n > 0, err
}

func (e *execution) save(tx *store.Tx) error {
	_, err := tx.Exec(`UPDATE job_execution SET status = ?, details = ?, version = ?, started_at = ?, updated_at = ?, in_progress_until = ?,
		step_until = ?, due = ?, forced = ? WHERE thing = ? AND job_id = ? AND number = ?`,
		e.status, e.details, e.version, millis(e.started), millis(e.updated), millis(e.timers.InProgress), millis(e.timers.Step),
		millis(e.timers.Due()), e.forced, e.thing, e.job, e.number)
	return err
}

func (e *execution) state() *ExecutionState {
	s := &ExecutionState{Status: e.status, Version: e.version, Details: map[string]string{}}
	_ = decode(e.details, &s.Details)
	return s
}

func executions(rd reader, query string, args ...any) ([]*execution, error) {
	var list []*execution
	err := rd.Query(`SELECT `+executionColumns+` FROM job_execution `+query, args, func(row store.Row) error {
		e, err := scanExecution(row)
		list = append(list, e)
		return err
	})
	return list, err
}
