package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
)

func target(req *awsapi.Request) (string, error) {
	var in struct {
		Target string `json:"target"`
	}
	if err := req.Decode(&in); err != nil {
		return "", err
	}
	if in.Target == "" {
		return "", awsapi.Missing("target")
	}
	return in.Target, nil
}

func (p *plane) attachPolicy(ctx context.Context, req *awsapi.Request) (any, error) {
	arn, err := target(req)
	if err != nil {
		return nil, err
	}
	return nil, p.registry.AttachPolicy(ctx, req.Path("policyName"), arn)
}

func (p *plane) detachPolicy(ctx context.Context, req *awsapi.Request) (any, error) {
	arn, err := target(req)
	if err != nil {
		return nil, err
	}
	return nil, p.registry.DetachPolicy(ctx, req.Path("policyName"), arn)
}

func (p *plane) listAttachedPolicies(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("pageSize", "marker")
	if err != nil {
		return nil, err
	}
	recursive, err := req.Bool("recursive", false)
	if err != nil {
		return nil, err
	}
	names, next, err := p.registry.ListAttachedPolicies(ctx, req.Path("target"), recursive, page)
	return policyList{p.policyRefs(names), next}, err
}

func (p *plane) listTargetsForPolicy(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("pageSize", "marker")
	if err != nil {
		return nil, err
	}
	targets, next, err := p.registry.ListTargetsForPolicy(ctx, req.Path("policyName"), false, page)
	return struct {
		Targets    []string `json:"targets"`
		NextMarker string   `json:"nextMarker,omitempty"`
	}{targets, next}, err
}

// The operations below are AWS's deprecated forms of those above.

const principalHeader = "x-amzn-iot-principal"

func (p *plane) attachPrincipalPolicy(ctx context.Context, req *awsapi.Request) (any, error) {
	principal, err := req.RequiredHeader(principalHeader, "principal")
	if err != nil {
		return nil, err
	}
	return nil, p.registry.AttachPolicy(ctx, req.Path("policyName"), principal)
}

func (p *plane) detachPrincipalPolicy(ctx context.Context, req *awsapi.Request) (any, error) {
	principal, err := req.RequiredHeader(principalHeader, "principal")
	if err != nil {
		return nil, err
	}
	return nil, p.registry.DetachPolicy(ctx, req.Path("policyName"), principal)
}

func (p *plane) listPrincipalPolicies(ctx context.Context, req *awsapi.Request) (any, error) {
	principal, err := req.RequiredHeader(principalHeader, "principal")
	if err != nil {
		return nil, err
	}
	page, err := req.Page("pageSize", "marker")
	if err != nil {
		return nil, err
	}
	names, next, err := p.registry.ListAttachedPolicies(ctx, principal, false, page)
	return policyList{p.policyRefs(names), next}, err
}

func (p *plane) listPolicyPrincipals(ctx context.Context, req *awsapi.Request) (any, error) {
	name, err := req.RequiredHeader("x-amzn-iot-policy", "policyName")
	if err != nil {
		return nil, err
	}
	page, err := req.Page("pageSize", "marker")
	if err != nil {
		return nil, err
	}
	principals, next, err := p.registry.ListTargetsForPolicy(ctx, name, true, page)
	return struct {
		Principals []string `json:"principals"`
		NextMarker string   `json:"nextMarker,omitempty"`
	}{principals, next}, err
}
