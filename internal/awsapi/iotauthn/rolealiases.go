package iotauthn

import (
	"context"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/rolealias"
)

type roleAliasInput struct {
	RoleARN *string `json:"roleArn"`
	Seconds *int64  `json:"credentialDurationSeconds"`
}

// duration returns the duration given, or 0. One that is out of range stays so.
func (in *roleAliasInput) duration() time.Duration {
	if in.Seconds == nil {
		return 0
	}
	return time.Duration(max(min(*in.Seconds, 1<<20), 1)) * time.Second
}

type roleAliasAndARN struct {
	Alias string `json:"roleAlias"`
	ARN   string `json:"roleAliasArn"`
}

func aliased(a *rolealias.Alias, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return roleAliasAndARN{a.Name, a.ARN}, nil
}

func (p *plane) createRoleAlias(ctx context.Context, req *awsapi.Request) (any, error) {
	var in roleAliasInput
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.RoleARN == nil {
		return nil, awsapi.Missing("roleArn")
	}
	return aliased(p.Aliases.Create(ctx, rolealias.Alias{Name: req.Path("roleAlias"), RoleARN: *in.RoleARN, Duration: in.duration()}))
}

func (p *plane) updateRoleAlias(ctx context.Context, req *awsapi.Request) (any, error) {
	var in roleAliasInput
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	role := ""
	if in.RoleARN != nil {
		role = *in.RoleARN
	}
	return aliased(p.Aliases.Update(ctx, req.Path("roleAlias"), role, in.duration()))
}

func (p *plane) describeRoleAlias(ctx context.Context, req *awsapi.Request) (any, error) {
	a, err := p.Aliases.Describe(ctx, req.Path("roleAlias"))
	if err != nil {
		return nil, err
	}
	type description struct {
		roleAliasAndARN
		RoleARN  string      `json:"roleArn"`
		Owner    string      `json:"owner"`
		Seconds  int64       `json:"credentialDurationSeconds"`
		Created  awsapi.Time `json:"creationDate"`
		Modified awsapi.Time `json:"lastModifiedDate"`
	}
	return struct {
		Description description `json:"roleAliasDescription"`
	}{description{roleAliasAndARN{a.Name, a.ARN}, a.RoleARN, p.Account, int64(a.Duration / time.Second), awsapi.Time(a.Created), awsapi.Time(a.Modified)}}, nil
}

func (p *plane) deleteRoleAlias(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.Aliases.Delete(ctx, req.Path("roleAlias"))
}

func (p *plane) listRoleAliases(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("pageSize", "marker")
	if err != nil {
		return nil, err
	}
	ascending, err := req.Bool("isAscendingOrder", true)
	if err != nil {
		return nil, err
	}
	names, next, err := p.Aliases.List(ctx, !ascending, page)
	if err != nil {
		return nil, err
	}
	if names == nil {
		names = []string{}
	}
	return struct {
		Aliases    []string `json:"roleAliases"`
		NextMarker string   `json:"nextMarker,omitempty"`
	}{names, next}, nil
}
