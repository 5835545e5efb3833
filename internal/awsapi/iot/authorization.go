package iot

import (
	"context"
	"slices"
	"strings"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/policy"
)

func (p *plane) getEffectivePolicies(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Principal string `json:"principal"`
		Cognito   string `json:"cognitoIdentityPoolId"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Principal == "" && req.Query("thingName") == "" {
		return nil, awsapi.Invalid("a principal or a thing name is required")
	}
	documents, err := p.registry.EffectivePolicies(ctx, in.Principal, req.Query("thingName"))
	if err != nil {
		return nil, err
	}
	type effective struct {
		Name     string `json:"policyName"`
		ARN      string `json:"policyArn"`
		Document string `json:"policyDocument"`
	}
	out := struct {
		Policies []effective `json:"effectivePolicies"`
	}{make([]effective, len(documents))}
	for i, d := range documents {
		out.Policies[i] = effective{d.Name, p.registry.ARN("policy/" + d.Name), string(d.Body)}
	}
	return out, nil
}

type authInfo struct {
	Action    string   `json:"actionType"`
	Resources []string `json:"resources"`
}

type authResult struct {
	AuthInfo authInfo `json:"authInfo"`
	Allowed  struct {
		Policies []policyRef `json:"policies"`
	} `json:"allowed"`
	Denied struct {
		Implicit struct {
			Policies []policyRef `json:"policies"`
		} `json:"implicitDeny"`
		Explicit struct {
			Policies []policyRef `json:"policies"`
		} `json:"explicitDeny"`
	} `json:"denied"`
	Decision string   `json:"authDecision"`
	Missing  []string `json:"missingContextValues"`
}

// testAuthorization asks the policies in force for a principal what they would say. An
// authInfo with several resources is allowed if each of them is.
func (p *plane) testAuthorization(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Principal string     `json:"principal"`
		Cognito   string     `json:"cognitoIdentityPoolId"`
		AuthInfos []authInfo `json:"authInfos"`
		Add       []string   `json:"policyNamesToAdd"`
		Skip      []string   `json:"policyNamesToSkip"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if n := len(in.AuthInfos); n == 0 {
		return nil, awsapi.Missing("authInfos")
	} else if n > 10 {
		return nil, awsapi.Invalid("1 validation error detected: Value at 'authInfos' failed to satisfy constraint: Member must have length less than or equal to 10")
	}
	set, err := p.policiesFor(ctx, in.Principal, req.Query("clientId"), in.Add, in.Skip)
	if err != nil {
		return nil, err
	}
	out := struct {
		Results []authResult `json:"authResults"`
	}{[]authResult{}}
	for _, info := range in.AuthInfos {
		result, err := p.judge(set, info)
		if err != nil {
			return nil, err
		}
		out.Results = append(out.Results, result)
	}
	return out, nil
}

// policiesFor compiles what a connection of that principal and client identifier would be held to.
func (p *plane) policiesFor(ctx context.Context, principal, clientID string, add, skip []string) (*policy.Set, error) {
	pc := policy.Context{ARNPrefix: p.registry.ARN(""), ClientID: clientID}
	var documents []registry.PolicyDocument
	if id, ok := strings.CutPrefix(principal, p.registry.ARN("cert/")); ok {
		identity, err := p.registry.Identity(ctx, id, clientID)
		if err != nil {
			return nil, err
		}
		pc.CertificateID, pc.ThingAttached = id, identity.ThingAttached
		if t := identity.Thing; t != nil {
			pc.Thing = &policy.Thing{Name: t.Name, Type: t.Type, Attributes: t.Attributes}
		}
		cert, err := p.registry.DescribeCertificate(ctx, id)
		if err != nil {
			return nil, err
		}
		if pc.Certificate, err = registry.ParseCertificate(cert.PEM); err != nil {
			return nil, err
		}
		documents = slices.Clone(identity.Policies)
	} else if principal != "" {
		var err error
		if documents, err = p.registry.EffectivePolicies(ctx, principal, ""); err != nil {
			return nil, err
		}
	}
	for _, name := range add {
		d, err := p.registry.PolicyByName(ctx, name)
		if err != nil {
			return nil, err
		}
		documents = append(documents, d)
	}
	var named []policy.Named
	for _, d := range documents {
		if slices.Contains(skip, d.Name) {
			continue
		}
		doc, err := policy.Parse(d.Body)
		if err != nil {
			return nil, err
		}
		named = append(named, policy.Named{Name: d.Name, Version: d.Version, Target: d.Target, Doc: doc})
	}
	return policy.Compile(named, &pc), nil
}

func (p *plane) judge(set *policy.Set, info authInfo) (result authResult, err error) {
	actions := map[string]policy.Action{"PUBLISH": policy.Publish, "SUBSCRIBE": policy.Subscribe, "RECEIVE": policy.Receive, "CONNECT": policy.Connect}
	action, ok := actions[info.Action]
	if !ok {
		return result, awsapi.Invalid("1 validation error detected: Value '%s' at 'authInfos.actionType' failed to satisfy constraint: Member must satisfy enum value set: [PUBLISH, SUBSCRIBE, RECEIVE, CONNECT]", info.Action)
	}
	if len(info.Resources) == 0 {
		return result, awsapi.Missing("authInfos.resources")
	}
	allowed, denied, silent, missing := []string{}, []string{}, []string{}, []string{}
	result.Decision = "ALLOWED"
	for _, arn := range info.Resources {
		prefix, kind, name, ok := policy.ParseResource(arn)
		if !ok || prefix != p.registry.ARN("") {
			return result, awsapi.Invalid("resource %q is not the ARN of a topic, topic filter or client of this account and region", arn)
		}
		d := set.Explain(action, kind, name)
		allowed, denied = addPolicies(allowed, d.AllowedBy), addPolicies(denied, d.DeniedBy)
		missing = append(missing, d.MissingContextValues...)
		switch {
		case d.Explicit:
			result.Decision = "EXPLICIT_DENY"
		case !d.Allowed:
			silent = append(silent, d.Policies...)
			if result.Decision == "ALLOWED" {
				result.Decision = "IMPLICIT_DENY"
			}
		}
	}
	slices.Sort(silent)
	slices.Sort(missing)
	result.AuthInfo, result.Missing = info, slices.Compact(missing)
	result.Allowed.Policies = p.policyRefs(allowed)
	result.Denied.Explicit.Policies = p.policyRefs(denied)
	result.Denied.Implicit.Policies = p.policyRefs(slices.Compact(silent))
	return result, nil
}

func addPolicies(names []string, matches []policy.Match) []string {
	for _, m := range matches {
		if !slices.Contains(names, m.Policy) {
			names = append(names, m.Policy)
		}
	}
	return names
}
