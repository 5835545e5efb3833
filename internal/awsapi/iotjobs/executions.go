package iotjobs

import (
	"context"
	"strconv"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/jobs"
)

func executionNumber(req *awsapi.Request) (int64, error) {
	n, err := req.Int("executionNumber")
	if err != nil || n == nil {
		return 0, err
	}
	return *n, nil
}

// dates are the times of an execution on the control plane.
type dates struct {
	Queued  awsapi.Time `json:"queuedAt"`
	Started awsapi.Time `json:"startedAt,omitzero"`
	Updated awsapi.Time `json:"lastUpdatedAt"`
}

func datesOf(e *jobs.Execution) dates {
	return dates{awsapi.Time(e.Queued), awsapi.Time(e.Started), awsapi.Time(e.Updated)}
}

func (p *plane) describeExecution(ctx context.Context, req *awsapi.Request) (any, error) {
	n, err := executionNumber(req)
	if err != nil {
		return nil, err
	}
	e, err := p.Jobs.DescribeJobExecution(ctx, req.Path("thingName"), req.Path("jobId"), n)
	if err != nil {
		return nil, err
	}
	type details struct {
		Map map[string]string `json:"detailsMap"`
	}
	type execution struct {
		Job       string               `json:"jobId"`
		Status    jobs.ExecutionStatus `json:"status"`
		Forced    bool                 `json:"forceCanceled,omitempty"`
		Details   *details             `json:"statusDetails,omitempty"`
		Thing     string               `json:"thingArn"`
		Number    int64                `json:"executionNumber"`
		Version   int64                `json:"versionNumber"`
		Remaining *int64               `json:"approximateSecondsBeforeTimedOut,omitempty"`
		dates
	}
	out := execution{e.Job, e.Status, e.ForceCanceled, nil, e.ThingARN, e.Number, e.Version, e.Remaining, datesOf(e)}
	if e.Details != nil {
		out.Details = &details{e.Details}
	}
	return map[string]execution{"execution": out}, nil
}

type executionSummary struct {
	Status jobs.ExecutionStatus `json:"status"`
	Number int64                `json:"executionNumber"`
	Retry  int64                `json:"retryAttempt,omitempty"`
	dates
}

func summarizeExecution(e *jobs.Execution) executionSummary {
	return executionSummary{e.Status, e.Number, e.RetryAttempt, datesOf(e)}
}

// listing is the answer of both listings; a row names the thing or the job.
type listing struct {
	Executions []listedExecution `json:"executionSummaries"`
	NextToken  string            `json:"nextToken,omitempty"`
}

type listedExecution struct {
	Thing   string           `json:"thingArn,omitempty"`
	Job     string           `json:"jobId,omitempty"`
	Summary executionSummary `json:"jobExecutionSummary"`
}

func (p *plane) listExecutionsForJob(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.Jobs.ListJobExecutionsForJob(ctx, req.Path("jobId"), jobs.ExecutionStatus(req.Query("status")), page)
	if err != nil {
		return nil, err
	}
	out := listing{[]listedExecution{}, next}
	for _, e := range list {
		out.Executions = append(out.Executions, listedExecution{Thing: e.ThingARN, Summary: summarizeExecution(e)})
	}
	return out, nil
}

func (p *plane) listExecutionsForThing(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.Jobs.ListJobExecutionsForThing(ctx, req.Path("thingName"), req.Query("jobId"), jobs.ExecutionStatus(req.Query("status")), page)
	if err != nil {
		return nil, err
	}
	out := listing{[]listedExecution{}, next}
	for _, e := range list {
		out.Executions = append(out.Executions, listedExecution{Job: e.Job, Summary: summarizeExecution(e)})
	}
	return out, nil
}

func (p *plane) cancelExecution(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Expected *int64            `json:"expectedVersion"`
		Details  map[string]string `json:"statusDetails"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	force, err := req.Bool("force", false)
	if err != nil {
		return nil, err
	}
	return nil, p.Jobs.CancelJobExecution(ctx, req.Path("thingName"), req.Path("jobId"), force, in.Expected, in.Details)
}

func (p *plane) deleteExecution(ctx context.Context, req *awsapi.Request) (any, error) {
	n, err := strconv.ParseInt(req.Path("executionNumber"), 10, 64)
	if err != nil {
		return nil, awsapi.Invalid("executionNumber %q is not a number", req.Path("executionNumber"))
	}
	force, err := req.Bool("force", false)
	if err != nil {
		return nil, err
	}
	return nil, p.Jobs.DeleteJobExecution(ctx, req.Path("thingName"), req.Path("jobId"), n, force)
}
