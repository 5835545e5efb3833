package iotjobs

import (
	"context"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/registry"
)

// named is the answer of the operations that return a job's name.
type named struct {
	ARN         string `json:"jobArn"`
	ID          string `json:"jobId"`
	Description string `json:"description,omitempty"`
}

func (p *plane) createJob(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Targets   []string       `json:"targets"`
		Document  string         `json:"document"`
		Selection string         `json:"targetSelection"`
		Tags      []registry.Tag `json:"tags"`
		jobs.Definition
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Targets == nil {
		return nil, awsapi.Missing("targets")
	}
	j, err := p.Jobs.CreateJob(ctx, jobs.NewJob{ID: req.Path("jobId"), Selection: in.Selection, Targets: in.Targets, Document: in.Document, Tags: in.Tags, Definition: in.Definition})
	if err != nil {
		return nil, err
	}
	return named{j.ARN, j.ID, j.Definition.Description}, nil
}

// summary is what a listing shows of a job.
type summary struct {
	ARN       string      `json:"jobArn"`
	ID        string      `json:"jobId"`
	Selection string      `json:"targetSelection"`
	Status    jobs.Status `json:"status"`
	Created   awsapi.Time `json:"createdAt"`
	Updated   awsapi.Time `json:"lastUpdatedAt"`
	Completed awsapi.Time `json:"completedAt,omitzero"`
	Current   bool        `json:"isConcurrent"`
}

func summarize(j *jobs.Job) summary {
	return summary{j.ARN, j.ID, j.Selection, j.Status, awsapi.Time(j.Created), awsapi.Time(j.Updated), awsapi.Time(j.Completed), j.Concurrent}
}

func (p *plane) describeJob(ctx context.Context, req *awsapi.Request) (any, error) {
	j, err := p.Jobs.DescribeJob(ctx, req.Path("jobId"))
	if err != nil {
		return nil, err
	}
	type details struct {
		Processing []string `json:"processingTargets,omitempty"`
		jobs.Counts
	}
	type rollout struct {
		StartTime string `json:"startTime"`
	}
	type job struct {
		summary
		Targets []string  `json:"targets"`
		Forced  bool      `json:"forceCanceled,omitempty"`
		Reason  string    `json:"reasonCode,omitempty"`
		Comment string    `json:"comment,omitempty"`
		Details details   `json:"jobProcessDetails"`
		Windows []rollout `json:"scheduledJobRollouts,omitempty"`
		jobs.Definition
	}
	out := struct {
		Source string `json:"documentSource,omitempty"`
		Job    job    `json:"job"`
	}{j.Definition.DocumentSource, job{summarize(j), j.Targets, j.ForceCanceled, j.ReasonCode, j.Comment, details{j.Processing, j.Counts}, nil, j.Definition}}
	out.Job.DocumentSource = ""
	for _, w := range j.Windows {
		out.Job.Windows = append(out.Job.Windows, rollout{w.UTC().Format(time.RFC3339)})
	}
	return out, nil
}

func (p *plane) listJobs(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.Jobs.ListJobs(ctx, jobs.Filter{Status: jobs.Status(req.Query("status")), Selection: req.Query("targetSelection"),
		ThingGroup: req.Query("thingGroupName")}, page)
	if err != nil {
		return nil, err
	}
	out := struct {
		Jobs      []summary `json:"jobs"`
		NextToken string    `json:"nextToken,omitempty"`
	}{[]summary{}, next}
	for _, j := range list {
		out.Jobs = append(out.Jobs, summarize(j))
	}
	return out, nil
}

func (p *plane) updateJob(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Description *string            `json:"description"`
		Presigned   *jobs.PresignedURL `json:"presignedUrlConfig"`
		Rollout     *jobs.Rollout      `json:"jobExecutionsRolloutConfig"`
		Abort       *jobs.Abort        `json:"abortConfig"`
		Timeout     *jobs.Timeout      `json:"timeoutConfig"`
		Retry       *jobs.Retry        `json:"jobExecutionsRetryConfig"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return nil, p.Jobs.UpdateJob(ctx, req.Path("jobId"), jobs.Changes{Description: in.Description, Presigned: in.Presigned, Rollout: in.Rollout, Abort: in.Abort, Timeout: in.Timeout, Retry: in.Retry})
}

func (p *plane) cancelJob(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Reason  string `json:"reasonCode"`
		Comment string `json:"comment"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	force, err := req.Bool("force", false)
	if err != nil {
		return nil, err
	}
	j, err := p.Jobs.CancelJob(ctx, req.Path("jobId"), force, in.Reason, in.Comment)
	if err != nil {
		return nil, err
	}
	return named{j.ARN, j.ID, j.Definition.Description}, nil
}

func (p *plane) deleteJob(ctx context.Context, req *awsapi.Request) (any, error) {
	force, err := req.Bool("force", false)
	if err != nil {
		return nil, err
	}
	return nil, p.Jobs.DeleteJob(ctx, req.Path("jobId"), force)
}

func (p *plane) getJobDocument(ctx context.Context, req *awsapi.Request) (any, error) {
	raw, err := req.Bool("beforeSubstitution", true)
	if err != nil {
		return nil, err
	}
	document, err := p.Jobs.GetJobDocument(ctx, req.Path("jobId"), !raw)
	if err != nil {
		return nil, err
	}
	return struct {
		Document string `json:"document,omitempty"`
	}{document}, nil
}

func (p *plane) associateTargets(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Targets []string `json:"targets"`
		Comment string   `json:"comment"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Targets == nil {
		return nil, awsapi.Missing("targets")
	}
	j, err := p.Jobs.AssociateTargets(ctx, req.Path("jobId"), in.Targets, in.Comment)
	if err != nil {
		return nil, err
	}
	return named{j.ARN, j.ID, j.Definition.Description}, nil
}
