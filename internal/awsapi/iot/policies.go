package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
)

// policyDocument reads a request with a policy document, which is a string that holds JSON.
type policyDocument struct {
	Document *string `json:"policyDocument"`
	Tags     tags    `json:"tags"`
}

func (p *plane) createPolicy(ctx context.Context, req *awsapi.Request) (any, error) {
	var in policyDocument
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Document == nil {
		return nil, awsapi.Missing("policyDocument")
	}
	pol, err := p.registry.CreatePolicy(ctx, req.Path("policyName"), []byte(*in.Document), in.Tags.domain())
	if err != nil {
		return nil, err
	}
	return struct {
		Name     string `json:"policyName"`
		ARN      string `json:"policyArn"`
		Document string `json:"policyDocument"`
		Version  string `json:"policyVersionId"`
	}{pol.Name, pol.ARN, string(pol.Document), pol.DefaultVersion}, nil
}

func (p *plane) getPolicy(ctx context.Context, req *awsapi.Request) (any, error) {
	pol, err := p.registry.GetPolicy(ctx, req.Path("policyName"))
	if err != nil {
		return nil, err
	}
	return struct {
		Name             string      `json:"policyName"`
		ARN              string      `json:"policyArn"`
		Document         string      `json:"policyDocument"`
		DefaultVersion   string      `json:"defaultVersionId"`
		CreationDate     awsapi.Time `json:"creationDate"`
		LastModifiedDate awsapi.Time `json:"lastModifiedDate"`
		GenerationID     string      `json:"generationId"`
	}{pol.Name, pol.ARN, string(pol.Document), pol.DefaultVersion, awsapi.Time(pol.Created), awsapi.Time(pol.Modified), pol.GenerationID}, nil
}

func (p *plane) deletePolicy(ctx context.Context, req *awsapi.Request) (any, error) {
	return nil, p.registry.DeletePolicy(ctx, req.Path("policyName"))
}

type policyRef struct {
	Name string `json:"policyName"`
	ARN  string `json:"policyArn"`
}

type policyList struct {
	Policies   []policyRef `json:"policies"`
	NextMarker string      `json:"nextMarker,omitempty"`
}

func (p *plane) policyRefs(names []string) []policyRef {
	out := make([]policyRef, len(names))
	for i, name := range names {
		out[i] = policyRef{name, p.registry.ARN("policy/" + name)}
	}
	return out
}

func (p *plane) listPolicies(ctx context.Context, req *awsapi.Request) (any, error) {
	ascending, page, err := byTime(req)
	if err != nil {
		return nil, err
	}
	policies, next, err := p.registry.ListPolicies(ctx, ascending, page)
	if err != nil {
		return nil, err
	}
	out := policyList{make([]policyRef, len(policies)), next}
	for i, pol := range policies {
		out.Policies[i] = policyRef{pol.Name, pol.ARN}
	}
	return out, nil
}

func (p *plane) createPolicyVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	var in policyDocument
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Document == nil {
		return nil, awsapi.Missing("policyDocument")
	}
	setAsDefault, err := req.Bool("setAsDefault", false)
	if err != nil {
		return nil, err
	}
	v, err := p.registry.CreatePolicyVersion(ctx, req.Path("policyName"), []byte(*in.Document), setAsDefault)
	if err != nil {
		return nil, err
	}
	return struct {
		ARN      string `json:"policyArn"`
		Document string `json:"policyDocument"`
		Version  string `json:"policyVersionId"`
		Default  bool   `json:"isDefaultVersion"`
	}{v.ARN, string(v.Document), v.Version, v.Default}, nil
}

func (p *plane) getPolicyVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	v, err := p.registry.GetPolicyVersion(ctx, req.Path("policyName"), req.Path("policyVersionId"))
	if err != nil {
		return nil, err
	}
	return struct {
		ARN              string      `json:"policyArn"`
		Name             string      `json:"policyName"`
		Document         string      `json:"policyDocument"`
		Version          string      `json:"policyVersionId"`
		Default          bool        `json:"isDefaultVersion"`
		CreationDate     awsapi.Time `json:"creationDate"`
		LastModifiedDate awsapi.Time `json:"lastModifiedDate"`
		GenerationID     string      `json:"generationId"`
	}{v.ARN, v.Policy, string(v.Document), v.Version, v.Default, awsapi.Time(v.Created), awsapi.Time(v.Created), v.GenerationID}, nil
}

func (p *plane) deletePolicyVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	return nil, p.registry.DeletePolicyVersion(ctx, req.Path("policyName"), req.Path("policyVersionId"))
}

func (p *plane) setDefaultPolicyVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	return nil, p.registry.SetDefaultPolicyVersion(ctx, req.Path("policyName"), req.Path("policyVersionId"))
}

func (p *plane) listPolicyVersions(ctx context.Context, req *awsapi.Request) (any, error) {
	versions, err := p.registry.ListPolicyVersions(ctx, req.Path("policyName"))
	if err != nil {
		return nil, err
	}
	type version struct {
		ID         string      `json:"versionId"`
		Default    bool        `json:"isDefaultVersion"`
		CreateDate awsapi.Time `json:"createDate"`
	}
	out := struct {
		Versions []version `json:"policyVersions"`
	}{make([]version, len(versions))}
	for i, v := range versions {
		out.Versions[i] = version{v.Version, v.Default, awsapi.Time(v.Created)}
	}
	return out, nil
}
