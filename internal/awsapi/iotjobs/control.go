// Package iotjobs is the REST face of jobs: their operations on the control plane `iot`, and the jobs
// data plane `iot-jobs-data` that devices and applications use, as the AWS IoT API references
// describe them. Handlers translate between JSON and package jobs.
package iotjobs

import (
	"context"
	"errors"
	"net/netip"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/eventconfig"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/policy"
)

// Access compiles what a client certificate may do over HTTP.
type Access interface {
	HTTPAccess(ctx context.Context, certificateID string, source netip.Addr) (*policy.Set, error)
}

// Config is what the operations work on. Sessions and Access are for the data plane.
type Config struct {
	Jobs     *jobs.Service
	Events   *eventconfig.Configuration
	Region   string
	Sessions *session.Sessions
	Access   Access
}

type plane struct{ Config }

// ControlOperations returns the handlers of the control plane that concern jobs and the configuration
// of events.
func ControlOperations(cfg Config) awsapi.Set {
	p := &plane{cfg}
	handlers := map[string]awsapi.Handler{
		"CreateJob":               p.createJob,
		"DescribeJob":             p.describeJob,
		"ListJobs":                p.listJobs,
		"UpdateJob":               p.updateJob,
		"CancelJob":               p.cancelJob,
		"DeleteJob":               p.deleteJob,
		"GetJobDocument":          p.getJobDocument,
		"AssociateTargetsWithJob": p.associateTargets,

		"DescribeJobExecution":      p.describeExecution,
		"ListJobExecutionsForJob":   p.listExecutionsForJob,
		"ListJobExecutionsForThing": p.listExecutionsForThing,
		"CancelJobExecution":        p.cancelExecution,
		"DeleteJobExecution":        p.deleteExecution,

		"CreateJobTemplate":          p.createTemplate,
		"DescribeJobTemplate":        p.describeTemplate,
		"DeleteJobTemplate":          p.deleteTemplate,
		"ListJobTemplates":           p.listTemplates,
		"ListManagedJobTemplates":    p.listManaged,
		"DescribeManagedJobTemplate": p.describeManaged,

		"UpdateEventConfigurations":   p.updateEvents,
		"DescribeEventConfigurations": p.describeEvents,
	}
	return awsapi.Set{Service: awsapi.IoT, Handlers: handlers}.Exceptions(func(err error) error { return exception(err, false) })
}

// DataOperations returns the handlers of the jobs data plane.
func DataOperations(cfg Config) awsapi.Set {
	p := &plane{cfg}
	handlers := map[string]awsapi.Handler{
		"GetPendingJobExecutions":      p.getPending,
		"StartNextPendingJobExecution": p.startNext,
		"DescribeJobExecution":         p.describeDevice,
		"UpdateJobExecution":           p.update,
	}
	return awsapi.Set{Service: awsapi.IoTJobsData, Handlers: handlers}.Exceptions(func(err error) error { return exception(err, true) })
}

// exception turns refusals of package jobs into AWS exceptions.
func exception(err error, data bool) error {
	throttling := 400
	if data {
		throttling = 429
	}
	for _, x := range []struct {
		kind   error
		name   string
		status int
	}{
		{jobs.ErrNotFound, "ResourceNotFoundException", 404},
		{jobs.ErrAlreadyExists, "ResourceAlreadyExistsException", 409},
		{jobs.ErrConflict, "ConflictException", 409},
		{jobs.ErrInvalid, "InvalidRequestException", 400},
		{jobs.ErrTransition, "InvalidStateTransitionException", 409},
		{jobs.ErrVersionMismatch, "VersionConflictException", 409},
		{jobs.ErrTerminal, "TerminalStateException", 410},
		{jobs.ErrLimit, "LimitExceededException", 410},
		{jobs.ErrThrottled, "ThrottlingException", throttling},
		{eventconfig.ErrUnknown, "InvalidRequestException", 400},
	} {
		if errors.Is(err, x.kind) {
			e := &awsapi.Error{Type: x.name, Status: x.status, Message: err.Error()}
			if refusal := (*jobs.Error)(nil); errors.As(err, &refusal) {
				e.ResourceID, e.ResourceARN = refusal.ID, refusal.ARN
			}
			return e
		}
	}
	return err
}

type empty struct{}

// page reads the page that a listing asks for.
func page(req *awsapi.Request) (jobs.Page, error) {
	p, err := req.Page("maxResults", "nextToken")
	return jobs.Page{Limit: p.Limit, Token: p.Token}, err
}

func (p *plane) updateEvents(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Configurations map[string]struct {
			Enabled bool `json:"Enabled"`
		} `json:"eventConfigurations"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	kinds := make(map[string]bool)
	for kind, c := range in.Configurations {
		kinds[kind] = c.Enabled
	}
	return empty{}, p.Events.Update(ctx, kinds)
}

func (p *plane) describeEvents(context.Context, *awsapi.Request) (any, error) {
	type enabled struct {
		Enabled bool `json:"Enabled"`
	}
	s := p.Events.State()
	out := struct {
		Configurations map[string]enabled `json:"eventConfigurations"`
		Created        awsapi.Time        `json:"creationDate,omitzero"`
		Modified       awsapi.Time        `json:"lastModifiedDate,omitzero"`
	}{make(map[string]enabled), awsapi.Time(s.Created), awsapi.Time(s.Modified)}
	for kind, on := range s.Enabled {
		out.Configurations[kind] = enabled{on}
	}
	return out, nil
}
