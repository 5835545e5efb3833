package iotota

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/ota"
)

func (p *plane) createUpdate(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		ota.Update
		RoleARN *string `json:"roleArn"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Targets == nil:
		return nil, awsapi.Missing("targets")
	case in.Files == nil:
		return nil, awsapi.Missing("files")
	case in.RoleARN == nil:
		return nil, awsapi.Missing("roleArn")
	}
	u := in.Update
	u.ID, u.RoleARN = req.Path("otaUpdateId"), *in.RoleARN
	v, err := p.Updates.CreateUpdate(ctx, u)
	if err != nil {
		return nil, err
	}
	return struct {
		ID     string     `json:"otaUpdateId"`
		ARN    string     `json:"otaUpdateArn"`
		JobID  string     `json:"awsIotJobId"`
		JobARN string     `json:"awsIotJobArn"`
		Status ota.Status `json:"otaUpdateStatus"`
	}{v.ID, p.Updates.ARN(v.ID), v.JobID(), p.Updates.JobARN(v.ID), v.Status}, nil
}

func (p *plane) getUpdate(ctx context.Context, req *awsapi.Request) (any, error) {
	v, err := p.Updates.GetUpdate(ctx, req.Path("otaUpdateId"))
	if err != nil {
		return nil, err
	}
	type info struct {
		ota.Update
		Files    []ota.File   `json:"otaUpdateFiles"`
		Request  any          `json:"files,omitempty"`   // of the request only
		Role     any          `json:"roleArn,omitempty"` // likewise
		Abort    any          `json:"awsJobAbortConfig,omitempty"`
		Timeout  any          `json:"awsJobTimeoutConfig,omitempty"`
		ARN      string       `json:"otaUpdateArn"`
		Created  awsapi.Time  `json:"creationDate"`
		Modified awsapi.Time  `json:"lastModifiedDate"`
		Status   ota.Status   `json:"otaUpdateStatus"`
		JobID    string       `json:"awsIotJobId"`
		JobARN   string       `json:"awsIotJobArn"`
		Failure  *ota.Failure `json:"errorInfo,omitempty"`
	}
	return struct {
		Info info `json:"otaUpdateInfo"`
	}{info{Update: *v, Files: v.Files, ARN: p.Updates.ARN(v.ID), Created: awsapi.Time(v.Created), Modified: awsapi.Time(v.Modified),
		Status: v.Status, JobID: v.JobID(), JobARN: p.Updates.JobARN(v.ID), Failure: v.Failure}}, nil
}

func (p *plane) listUpdates(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	list, next, err := p.Updates.ListUpdates(ctx, ota.Status(req.Query("otaUpdateStatus")), page.Limit, page.Token)
	if err != nil {
		return nil, err
	}
	type summary struct {
		ID      string      `json:"otaUpdateId"`
		ARN     string      `json:"otaUpdateArn"`
		Created awsapi.Time `json:"creationDate"`
	}
	out := struct {
		Updates   []summary `json:"otaUpdates"`
		NextToken string    `json:"nextToken,omitempty"`
	}{[]summary{}, next}
	for _, v := range list {
		out.Updates = append(out.Updates, summary{v.ID, p.Updates.ARN(v.ID), awsapi.Time(v.Created)})
	}
	return out, nil
}

func (p *plane) deleteUpdate(ctx context.Context, req *awsapi.Request) (any, error) {
	stream, err := req.Bool("deleteStream", false)
	if err != nil {
		return nil, err
	}
	force, err := req.Bool("forceDeleteAWSJob", false)
	if err != nil {
		return nil, err
	}
	return empty{}, p.Updates.DeleteUpdate(ctx, req.Path("otaUpdateId"), stream, force)
}
