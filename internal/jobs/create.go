package jobs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/registry"
)

// NewJob is what CreateJob needs: targets, and a document, its source or a template.
type NewJob struct {
	ID, Selection string
	Targets       []string // ARNs of things and thing groups
	Document      string
	Tags          []registry.Tag
	Definition
}

// Job is a job as DescribeJob shows it.
type Job struct {
	ID, ARN, Selection string
	Status             Status
	Targets            []string // ARNs
	Definition         Definition
	Counts             Counts
	Processing         []string // ARNs of targets still being rolled out
	ForceCanceled      bool
	ReasonCode         string
	Comment            string
	Concurrent         bool        // being rolled out now
	Windows            []time.Time // the next starts of maintenance windows

	Created, Updated, Completed time.Time
}

// ARN returns a job's Amazon resource name.
func (s *Service) ARN(id string) string { return s.cfg.Registry.ARN("job/" + id) }

func (s *Service) view(j *record) *Job {
	v := &Job{ID: j.id, ARN: s.ARN(j.id), Selection: j.selection, Status: j.status, Definition: j.definition, Counts: j.counts,
		ForceCanceled: j.forced && j.status != DeletionInProgress, ReasonCode: j.reason, Comment: j.comment,
		Concurrent: j.phase == phaseRolling || j.phase == phaseExpanding, Created: j.created, Updated: j.updated, Completed: j.completed}
	for _, t := range j.targets {
		v.Targets = append(v.Targets, s.cfg.Registry.ARN(t))
	}
	if v.Concurrent {
		v.Processing = v.Targets
	}
	return v
}

// resources checks targets and returns them without their ARN's prefix.
func (s *Service) resources(ctx context.Context, targets []string) ([]string, error) {
	if n := len(targets); n < 1 || n > maxTargets {
		return nil, invalid("%d targets are not from 1 to %d", n, maxTargets)
	}
	prefix := s.cfg.Registry.ARN("")
	var out []string
	seen := make(map[string]bool)
	for _, arn := range targets {
		resource, ok := strings.CutPrefix(arn, prefix)
		kind, name, _ := strings.Cut(resource, "/")
		var err error
		switch {
		case ok && kind == "thing":
			_, err = s.cfg.Registry.DescribeThing(ctx, name)
		case ok && kind == "thinggroup":
			_, err = s.cfg.Registry.DescribeThingGroup(ctx, name)
		default:
			err = invalid("target %s is not the ARN of a thing or thing group of this account and region", arn)
		}
		if err != nil {
			return nil, err
		}
		if !seen[resource] {
			seen[resource] = true
			out = append(out, resource)
		}
	}
	return out, nil
}

// CreateJob makes a job. It returns at once, however many things it is for. ErrAlreadyExists for one
// of that name, the registry's ErrNotFound for an unknown target.
func (s *Service) CreateJob(ctx context.Context, in NewJob) (*Job, error) {
	if err := checkID("jobId", in.ID); err != nil {
		return nil, err
	}
	switch in.Selection {
	case "":
		in.Selection = Snapshot
	case Snapshot, Continuous:
	default:
		return nil, invalid("targetSelection %q is not SNAPSHOT or CONTINUOUS", in.Selection)
	}
	if in.TemplateARN != "" {
		if err := s.fromTemplate(ctx, &in); err != nil {
			return nil, err
		}
	} else if len(in.DocumentParameters) > 0 {
		return nil, invalid("documentParameters are for AWS managed templates")
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	if s.cfg.Packages != nil && len(in.Packages) > 0 {
		if err := s.cfg.Packages.Check(ctx, in.Packages); err != nil {
			return nil, invalid("%v", err)
		}
	}
	if err := in.Schedule.Check(in.Selection == Continuous, s.now()); err != nil {
		return nil, err
	}
	document, err := s.document(ctx, in.Document, in.DocumentSource)
	if err != nil {
		return nil, err
	}
	targets, err := s.resources(ctx, in.Targets)
	if err != nil {
		return nil, err
	}
	var j *record
	err = s.write(func(c *change) error {
		if old, err := readJob(c.tx, in.ID); err == nil {
			return &Error{Kind: ErrAlreadyExists, Message: "job " + in.ID + " already exists", ID: old.id, ARN: s.ARN(old.id)}
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		j = &record{id: in.ID, selection: in.Selection, status: JobInProgress, targets: targets, definition: in.Definition,
			phase: phaseExpanding, created: c.at, updated: c.at}
		if start, _ := in.Schedule.Span(); !start.IsZero() {
			j.status, j.phase = Scheduled, phaseNone
			c.attend(j, start)
		} else {
			c.attend(j, c.at)
		}
		if err := c.cfg.Registry.SetTags(c.tx, "job/"+in.ID, in.Tags); err != nil {
			return err
		}
		return j.insert(c.tx, document)
	})
	if err != nil {
		return nil, err
	}
	return s.view(j), nil
}

// document returns the job document, given inline or by its source. That of an S3 source is empty:
// only the address is kept.
func (s *Service) document(ctx context.Context, inline, source string) (string, error) {
	switch {
	case inline != "" && source != "":
		return "", invalid("give a document or a documentSource, not both")
	case inline != "":
		return inline, checkDocument(inline)
	case source == "":
		return "", invalid("a document, a documentSource or a jobTemplateArn is required")
	case s.cfg.Fetch == nil:
		return "", nil
	}
	document, ok, err := s.cfg.Fetch(ctx, source)
	if err != nil {
		return "", invalid("documentSource %s could not be read: %v", source, err)
	}
	if !ok {
		return "", nil
	}
	return document, checkDocument(document)
}

// AssociateTargets adds targets to a continuous job in progress. ErrInvalid for another.
func (s *Service) AssociateTargets(ctx context.Context, id string, targets []string, comment string) (*Job, error) {
	if err := checkText("comment", comment); err != nil {
		return nil, err
	}
	added, err := s.resources(ctx, targets)
	if err != nil {
		return nil, err
	}
	var j *record
	err = s.write(func(c *change) (err error) {
		if j, err = c.job(id); err != nil {
			return err
		}
		if j.selection != Continuous || j.status != JobInProgress {
			return invalid("job %s is %s and %s: targets can be added to continuous jobs in progress", id, j.selection, j.status)
		}
		known := make(map[string]bool)
		for _, t := range j.targets {
			known[t] = true
		}
		for _, t := range added {
			if !known[t] {
				j.targets = append(j.targets, t)
			}
		}
		if len(j.targets) > maxTargets {
			return refuse(ErrLimit, "%d targets are more than the %d of a job", len(j.targets), maxTargets)
		}
		if comment != "" {
			j.comment = comment
		}
		// Expansion begins anew: those that have the job already are passed over.
		j.phase, j.cursor = phaseExpanding, cursor{}
		c.attend(j, c.at)
		if _, err := c.tx.Exec(`UPDATE job SET targets = ? WHERE job_id = ?`, encode(j.targets), id); err != nil {
			return err
		}
		return j.aim(c.tx)
	})
	if err != nil {
		return nil, err
	}
	return s.view(j), nil
}

// Changes are what UpdateJob may change; nil fields change nothing.
type Changes struct {
	Description *string
	Presigned   *PresignedURL
	Rollout     *Rollout
	Abort       *Abort
	Timeout     *Timeout
	Retry       *Retry
}

// UpdateJob changes a job that is scheduled or in progress. A new time-out holds for executions that
// start later; retries can only be given up.
func (s *Service) UpdateJob(_ context.Context, id string, in Changes) error {
	return s.write(func(c *change) error {
		j, err := c.job(id)
		if err != nil {
			return err
		}
		if j.status != Scheduled && j.status != JobInProgress {
			return invalid("job %s is %s and cannot be updated", id, j.status)
		}
		d := &j.definition
		if in.Description != nil {
			d.Description = *in.Description
		}
		if in.Presigned != nil {
			d.Presigned = in.Presigned
		}
		if in.Rollout != nil {
			d.Rollout = in.Rollout
		}
		if in.Abort != nil {
			d.Abort = in.Abort
		}
		if in.Timeout != nil {
			d.Timeout = in.Timeout
		}
		if in.Retry != nil {
			for _, k := range in.Retry.Criteria {
				if k.NumberOfRetries != 0 {
					return invalid("the retries of a job can only be set to 0 after its creation")
				}
			}
			d.Retry = in.Retry
		}
		if err := d.check(); err != nil {
			return err
		}
		if j.phase == phaseRolling {
			c.attend(j, c.at)
		}
		_, err = c.tx.Exec(`UPDATE job SET definition = ? WHERE job_id = ?`, encode(j.definition), id)
		return err
	})
}

// CancelJob cancels a job and its queued executions, with force those in progress too. ErrInvalid
// when it has completed.
func (s *Service) CancelJob(_ context.Context, id string, force bool, reason, comment string) (*Job, error) {
	if err := checkReason(reason, comment); err != nil {
		return nil, err
	}
	var j *record
	err := s.write(func(c *change) (err error) {
		if j, err = c.job(id); err != nil {
			return err
		}
		if err := c.cancel(j, force, reason, comment); err != nil {
			return invalid("%v", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.view(j), nil
}

// maxDeleting is the number of jobs that may be in deletion.
const maxDeleting = 10

// DeleteJob deletes a job and its executions. Without force it must have ended: ErrTransition.
func (s *Service) DeleteJob(_ context.Context, id string, force bool) error {
	return s.write(func(c *change) error {
		j, err := c.job(id)
		if err != nil {
			return err
		}
		event := Delete
		if force {
			event = ForceDelete
		}
		next, ok := j.status.After(event)
		if !ok || !force && (j.counts.Pending() > 0 || j.phase == phaseCanceling) {
			return refuse(ErrTransition, "job %s is %s with %d executions pending and can only be deleted with force", id, j.status, j.counts.Pending())
		}
		if j.status == DeletionInProgress {
			return nil
		}
		var n int
		if err := c.tx.QueryRow(`SELECT count(*) FROM job WHERE phase = ?`, []any{phaseDeleting}, &n); err != nil {
			return err
		}
		if n >= maxDeleting {
			return refuse(ErrLimit, "%d jobs are being deleted already", n)
		}
		j.status, j.phase = next, phaseDeleting
		c.jobEvent(j, "deletion_in_progress", string(j.status))
		return c.remove(j)
	})
}

// CancelJobExecution cancels a queued execution, with force one in progress. ErrTransition otherwise.
func (s *Service) CancelJobExecution(_ context.Context, thing, id string, force bool, expected *int64, details map[string]string) error {
	if err := checkDetails(details); err != nil {
		return err
	}
	return s.write(func(c *change) error {
		e, err := readExecution(c.tx, thing, id, 0)
		if err != nil {
			return err
		}
		if expected != nil && *expected != e.version {
			return refuse(ErrVersionMismatch, "the expected version %d is not the execution's version %d", *expected, e.version)
		}
		j, err := c.job(id)
		if err != nil {
			return err
		}
		event := Cancel
		if force {
			event = ForceCancel
		}
		ok, err := c.step(j, e, event, func(e *execution) { e.apply(details, nil, c.at) })
		if err == nil && !ok {
			err = refuse(ErrTransition, "the execution of job %s on thing %s is %s and cannot be canceled%s", id, thing, e.status, map[bool]string{false: " without force"}[force])
		}
		return err
	})
}

// DeleteJobExecution deletes an execution that has ended, with force any. ErrTransition otherwise.
func (s *Service) DeleteJobExecution(_ context.Context, thing, id string, number int64, force bool) error {
	if number < 1 {
		return invalid("executionNumber is %d, not at least 1", number)
	}
	return s.write(func(c *change) error {
		e, err := readExecution(c.tx, thing, id, number)
		if err != nil {
			return err
		}
		if !e.status.Terminal() && !force {
			return refuse(ErrTransition, "the execution of job %s on thing %s is %s and can only be deleted with force", id, thing, e.status)
		}
		j, err := c.job(id)
		if err != nil {
			return err
		}
		return c.drop(j, e)
	})
}

// CheckTargets returns what is wrong with the targets of a job: ErrInvalid, the registry's ErrNotFound.
func (s *Service) CheckTargets(ctx context.Context, targets []string) error {
	_, err := s.resources(ctx, targets)
	return err
}
