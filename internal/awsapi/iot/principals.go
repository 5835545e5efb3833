package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

const thingPrincipalHeader = "x-amzn-principal"

func (p *plane) attachThingPrincipal(ctx context.Context, req *awsapi.Request) (any, error) {
	principal, err := req.RequiredHeader(thingPrincipalHeader, "principal")
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.AttachThingPrincipal(ctx, req.Path("thingName"), principal, req.Query("thingPrincipalType"))
}

func (p *plane) detachThingPrincipal(ctx context.Context, req *awsapi.Request) (any, error) {
	principal, err := req.RequiredHeader(thingPrincipalHeader, "principal")
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.DetachThingPrincipal(ctx, req.Path("thingName"), principal)
}

func (p *plane) principalsOf(ctx context.Context, req *awsapi.Request) ([]registry.Attachment, string, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, "", err
	}
	return p.registry.ListThingPrincipals(ctx, req.Path("thingName"), req.Query("thingPrincipalType"), page)
}

func names(attachments []registry.Attachment) []string {
	out := make([]string, len(attachments))
	for i, a := range attachments {
		out[i] = a.Name
	}
	return out
}

func (p *plane) listThingPrincipals(ctx context.Context, req *awsapi.Request) (any, error) {
	principals, next, err := p.principalsOf(ctx, req)
	return struct {
		Principals []string `json:"principals"`
		NextToken  string   `json:"nextToken,omitempty"`
	}{names(principals), next}, err
}

func (p *plane) listThingPrincipalsV2(ctx context.Context, req *awsapi.Request) (any, error) {
	principals, next, err := p.principalsOf(ctx, req)
	type object struct {
		Principal string `json:"principal"`
		Type      string `json:"thingPrincipalType"`
	}
	out := struct {
		Objects   []object `json:"thingPrincipalObjects"`
		NextToken string   `json:"nextToken,omitempty"`
	}{make([]object, len(principals)), next}
	for i, a := range principals {
		out.Objects[i] = object{a.Name, a.Type()}
	}
	return out, err
}

func (p *plane) thingsOf(ctx context.Context, req *awsapi.Request) ([]registry.Attachment, string, error) {
	principal, err := req.RequiredHeader(thingPrincipalHeader, "principal")
	if err != nil {
		return nil, "", err
	}
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, "", err
	}
	return p.registry.ListPrincipalThings(ctx, principal, req.Query("thingPrincipalType"), page)
}

func (p *plane) listPrincipalThings(ctx context.Context, req *awsapi.Request) (any, error) {
	things, next, err := p.thingsOf(ctx, req)
	return thingNames{names(things), next}, err
}

func (p *plane) listPrincipalThingsV2(ctx context.Context, req *awsapi.Request) (any, error) {
	things, next, err := p.thingsOf(ctx, req)
	type object struct {
		ThingName string `json:"thingName"`
		Type      string `json:"thingPrincipalType"`
	}
	out := struct {
		Objects   []object `json:"principalThingObjects"`
		NextToken string   `json:"nextToken,omitempty"`
	}{make([]object, len(things)), next}
	for i, a := range things {
		out.Objects[i] = object{a.Name, a.Type()}
	}
	return out, err
}
