package jobs

import (
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// change is one transaction: what it reads and writes, and the messages that tell of it.
type change struct {
	*Service
	tx   *store.Tx
	at   time.Time
	jobs map[string]*record
	out  []message
	wake time.Time // when the worker has something to do; zero for nothing new
}

// job returns a job; changes to it are written when the transaction ends.
func (c *change) job(id string) (*record, error) {
	if j := c.jobs[id]; j != nil {
		return j, nil
	}
	j, err := readJob(c.tx, id)
	if err != nil {
		return nil, err
	}
	c.keep(j)
	return j, nil
}

func (c *change) keep(j *record) {
	if c.jobs == nil {
		c.jobs = make(map[string]*record)
	}
	c.jobs[j.id] = j
}

// attend makes the worker look at a job at a time, if it would not do so before.
func (c *change) attend(j *record, at time.Time) {
	if at.IsZero() {
		return
	}
	if !at.After(c.at) {
		at = c.turn()
	}
	if j.attention.IsZero() || at.Before(j.attention) {
		j.attention = at
	}
	c.wakeAt(at)
}

// turn is a time for what has to be done at once, in the order of asking: it has come whatever the clock
// is set to until then.
func (s *Service) turn() time.Time { return instant(s.turns.Add(1)) }

func (c *change) wakeAt(at time.Time) {
	if c.wake.IsZero() || at.Before(c.wake) {
		c.wake = at
	}
}

// settle applies what follows from the counts and writes the jobs.
func (c *change) settle() error {
	for _, j := range c.jobs {
		if j.status == gone {
			continue
		}
		if j.status == JobInProgress {
			if k := j.definition.Abort.Exceeded(j.counts); k != nil {
				if err := c.cancel(j, false, "", "the abort criterion for "+k.FailureType+" was met"); err != nil {
					return err
				}
			}
		}
		if j.status == JobInProgress && j.phase == phaseNone && j.counts.Pending() == 0 && (j.selection == Snapshot || c.ended(j)) {
			j.status, _ = j.status.After(Complete)
			j.completed, j.attention = c.at, time.Time{}
			c.jobEvent(j, "completed", string(j.status))
		}
		j.updated = c.at
		if err := j.save(c.tx); err != nil {
			return err
		}
	}
	return nil
}

// ended reports whether a job's end time has passed.
func (c *change) ended(j *record) bool {
	_, end := j.definition.Schedule.Span()
	return !end.IsZero() && !c.at.Before(end)
}

// pending returns the executions of a thing that have not ended.
func (c *change) pending(thing string) (pending, error) {
	list, err := executions(c.tx, `WHERE thing = ? AND status IN ('QUEUED', 'IN_PROGRESS') ORDER BY position`, thing)
	p := pending(list)
	p.sort()
	return p, err
}

// queue makes an execution and tells the thing. It reports whether there was none of that number.
func (c *change) queue(j *record, thing string, number int64, had Attempts) (bool, error) {
	before, err := c.pending(thing)
	if err != nil {
		return false, err
	}
	e, err := c.insertExecution(j, thing, number, had)
	if err != nil || e == nil {
		return false, err
	}
	c.tell(thing, before, before.with(e))
	return true, nil
}

func (c *change) insertExecution(j *record, thing string, number int64, had Attempts) (*execution, error) {
	e := &execution{thing: thing, job: j.id, number: number, status: Queued, version: 1, position: c.place(c.at), attempts: had, queued: c.at, updated: c.at}
	fresh, err := e.insert(c.tx)
	if err != nil || !fresh {
		return nil, err
	}
	j.counts.Queued++
	return e, nil
}

// step lets an event happen to the latest execution of a job on a thing. update, if not nil, may
// change the execution's details and timers too. It reports whether the event was possible.
func (c *change) step(j *record, e *execution, ev ExecutionEvent, update func(e *execution)) (bool, error) {
	next, effects, ok := e.status.After(ev)
	if !ok {
		return false, nil
	}
	before, err := c.pending(e.thing)
	if err != nil {
		return false, err
	}
	*j.counts.of(e.status)--
	*j.counts.of(next)++
	e.status = next
	e.version++
	e.updated = c.at
	if effects&StartTimer != 0 {
		e.started = c.at
		e.timers = e.timers.Started(j.definition.Timeout, c.at)
	}
	if update != nil {
		update(e)
	}
	if effects&StopTimers != 0 {
		e.timers = Timers{}
	}
	e.forced = ev == ForceCancel
	if err := e.save(c.tx); err != nil {
		return false, err
	}
	if due := e.timers.Due(); !due.IsZero() {
		c.wakeAt(due)
	}
	after := before.with(e)
	if effects&MayRetry != 0 && j.status == JobInProgress {
		if had, again := j.definition.Retry.Allows(next, e.attempts); again && !c.ended(j) {
			*j.counts.of(next)--
			r, err := c.insertExecution(j, e.thing, e.number+1, had)
			if err != nil {
				return false, err
			}
			if r != nil {
				after = after.with(r)
			}
		}
	}
	if effects&Finish != 0 {
		c.executionEvent(e, string(e.status))
	}
	if next == Succeeded && c.cfg.Packages != nil && len(j.definition.Packages) > 0 {
		if err := c.cfg.Packages.InstalledTx(c.tx, e.thing, j.definition.Packages); err != nil {
			return false, err
		}
	}
	c.tell(e.thing, before, after)
	return true, nil
}

// tell notifies a thing of a change of its pending executions.
func (c *change) tell(thing string, before, after pending) {
	notify, notifyNext := differences(before, after)
	if notify {
		c.out = append(c.out, notification(thing, after, c.at))
	}
	if notifyNext {
		m := message{topic: thingsPrefix + thing + "/jobs/notify-next", body: nextNotice{Timestamp: c.at.Unix()}}
		if e := after.next(); e != nil {
			n := nextNotice{Timestamp: c.at.Unix(), Execution: c.describe(e)}
			n.Execution.Thing = ""
			m.body, m.document = n, e.job
		}
		c.out = append(c.out, m)
	}
}

// batch is the number of executions that one transaction makes or ends, so that others need not wait
// long for the writer.
const batch = 250

// cancel cancels a job: the executions that may be canceled, a batch now and the rest by and by.
func (c *change) cancel(j *record, force bool, reason, comment string) error {
	was := j.status
	next, ok := j.status.After(CancelJob)
	if !ok {
		return refuse(ErrTransition, "job %s is %s and cannot be canceled", j.id, j.status)
	}
	j.status, j.phase = next, phaseCanceling
	j.forced = j.forced || force
	if was != JobCanceled || reason != "" {
		j.reason = reason
	}
	if was != JobCanceled || comment != "" {
		j.comment = comment
	}
	if was != JobCanceled {
		j.completed = c.at
		c.jobEvent(j, "cancellation_in_progress", "CANCELLATION_IN_PROGRESS")
	}
	return c.cancelSome(j)
}

// cancelSome cancels one batch of a canceled job's executions.
func (c *change) cancelSome(j *record) error {
	if _, err := c.tx.Exec(`DELETE FROM job_waiting WHERE job_id = ?`, j.id); err != nil {
		return err
	}
	event, statuses := Cancel, []ExecutionStatus{Queued}
	if j.forced {
		event, statuses = ForceCancel, []ExecutionStatus{Queued, InProgress}
	}
	left := batch
	for _, status := range statuses {
		list, err := executions(c.tx, `WHERE job_id = ? AND status = ? ORDER BY thing LIMIT ?`, j.id, status, left)
		if err != nil {
			return err
		}
		for _, e := range list {
			if _, err := c.step(j, e, event, nil); err != nil {
				return err
			}
			left--
		}
	}
	j.attention = time.Time{}
	if left <= 0 {
		c.attend(j, c.at)
		return nil
	}
	j.phase = phaseNone
	c.jobEvent(j, "canceled", string(j.status))
	return nil
}

// remove deletes one batch of what a job in deletion has left, then the job.
func (c *change) remove(j *record) error {
	if _, err := c.tx.Exec(`DELETE FROM job_waiting WHERE job_id = ?`, j.id); err != nil {
		return err
	}
	list, err := executions(c.tx, `WHERE job_id = ? ORDER BY status, thing, number LIMIT ?`, j.id, batch)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := c.drop(j, e); err != nil {
			return err
		}
	}
	j.attention = time.Time{}
	if len(list) == batch {
		c.attend(j, c.at)
		return nil
	}
	j.status, _ = j.status.After(Emptied)
	for _, query := range []string{`DELETE FROM job_target WHERE job_id = ?`, `DELETE FROM job WHERE job_id = ?`} {
		if _, err := c.tx.Exec(query, j.id); err != nil {
			return err
		}
	}
	c.jobEvent(j, "deleted", "DELETED")
	return c.cfg.Registry.DropTags(c.tx, "job/"+j.id)
}

// drop deletes an execution.
func (c *change) drop(j *record, e *execution) error {
	latest, err := readExecution(c.tx, e.thing, e.job, 0)
	if err != nil {
		return err
	}
	if _, err := c.tx.Exec(`DELETE FROM job_execution WHERE thing = ? AND job_id = ? AND number = ?`, e.thing, e.job, e.number); err != nil {
		return err
	}
	if latest.number == e.number {
		*j.counts.of(e.status)--
	}
	c.executionEvent(e, "DELETED")
	if e.status.Terminal() {
		return nil
	}
	after, err := c.pending(e.thing)
	if err != nil {
		return err
	}
	before := append(after[:len(after):len(after)], e)
	before.sort()
	c.tell(e.thing, before, after)
	return nil
}
