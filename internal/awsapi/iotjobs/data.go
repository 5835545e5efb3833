package iotjobs

import (
	"context"
	"net/netip"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/policy"
)

// allow asks the policies of a client certificate, or those that the caller brought; access keys
// have been judged by their role.
func (p *plane) allow(ctx context.Context, req *awsapi.Request, action policy.Action) (thing string, err error) {
	thing = req.Path("thingName")
	if req.Caller.AccessKeyID != "" {
		return thing, nil
	}
	addr, _ := netip.ParseAddrPort(req.HTTP.RemoteAddr)
	source := addr.Addr().Unmap()
	set := req.Caller.Access
	if set == nil {
		if set, err = p.Access.HTTPAccess(ctx, req.Caller.CertificateID, source); err != nil {
			return thing, &awsapi.Error{Type: "ForbiddenException", Status: 403, Message: err.Error()}
		}
	}
	if set.Allows(action, policy.KindThing, thing) {
		return thing, nil
	}
	reason := p.Sessions.Denied(session.Request{Principal: session.Principal{ID: req.Caller.Name()}, SourceIP: source},
		set, action, policy.KindThing, thing)
	return thing, &awsapi.Error{Type: "ForbiddenException", Status: 403, Message: reason}
}

// execution is an execution with its document as a string.
type execution struct {
	*jobs.DeviceExecution
	Document string `json:"jobDocument,omitempty"`
}

func answer(e *jobs.DeviceExecution, err error) (any, error) {
	out := struct {
		Execution *execution `json:"execution,omitempty"`
	}{}
	if e != nil {
		out.Execution = &execution{e, e.Document}
	}
	return out, err
}

func (p *plane) getPending(ctx context.Context, req *awsapi.Request) (any, error) {
	thing, err := p.allow(ctx, req, policy.GetPendingJobExecutions)
	if err != nil {
		return nil, err
	}
	return p.Jobs.GetPendingJobExecutions(ctx, thing)
}

func (p *plane) startNext(ctx context.Context, req *awsapi.Request) (any, error) {
	thing, err := p.allow(ctx, req, policy.StartNextPendingJobExecution)
	if err != nil {
		return nil, err
	}
	var in struct {
		Details map[string]string `json:"statusDetails"`
		Step    *int64            `json:"stepTimeoutInMinutes"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return answer(p.Jobs.StartNextPendingJobExecution(ctx, thing, jobs.StartRequest{Details: in.Details, Step: in.Step}))
}

func (p *plane) describeDevice(ctx context.Context, req *awsapi.Request) (any, error) {
	thing, err := p.allow(ctx, req, policy.DescribeJobExecution)
	if err != nil {
		return nil, err
	}
	with, err := req.Bool("includeJobDocument", true)
	if err != nil {
		return nil, err
	}
	n, err := executionNumber(req)
	if err != nil {
		return nil, err
	}
	return answer(p.Jobs.DescribeDeviceExecution(ctx, thing, jobs.DescribeRequest{Job: req.Path("jobId"), Number: n, WithoutDocument: !with}))
}

func (p *plane) update(ctx context.Context, req *awsapi.Request) (any, error) {
	thing, err := p.allow(ctx, req, policy.UpdateJobExecution)
	if err != nil {
		return nil, err
	}
	var in struct {
		Status   *jobs.ExecutionStatus `json:"status"`
		Details  map[string]string     `json:"statusDetails"`
		Step     *int64                `json:"stepTimeoutInMinutes"`
		Expected *int64                `json:"expectedVersion"`
		Number   int64                 `json:"executionNumber"`
		State    bool                  `json:"includeJobExecutionState"`
		Document bool                  `json:"includeJobDocument"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Status == nil {
		return nil, awsapi.Missing("status")
	}
	u, err := p.Jobs.UpdateJobExecution(ctx, thing, jobs.UpdateRequest{Job: req.Path("jobId"), Status: *in.Status, Details: in.Details,
		Expected: in.Expected, Number: in.Number, Step: in.Step, State: in.State, Document: in.Document})
	if err != nil {
		return nil, err
	}
	return struct {
		State    *jobs.ExecutionState `json:"executionState,omitempty"`
		Document string               `json:"jobDocument,omitempty"`
	}{u.State, u.Document}, nil
}
