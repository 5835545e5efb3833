package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

type billingGroupProperties struct {
	Description *string `json:"billingGroupDescription,omitempty"`
}

func (p *plane) createBillingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Properties billingGroupProperties `json:"billingGroupProperties"`
		Tags       tags                   `json:"tags"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	description := ""
	if in.Properties.Description != nil {
		description = *in.Properties.Description
	}
	g, err := p.registry.CreateBillingGroup(ctx, req.Path("billingGroupName"), description, in.Tags.domain())
	if err != nil {
		return nil, err
	}
	return struct {
		Name string `json:"billingGroupName"`
		ARN  string `json:"billingGroupArn"`
		ID   string `json:"billingGroupId"`
	}{g.Name, g.ARN, g.ID}, nil
}

func (p *plane) describeBillingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	g, err := p.registry.DescribeBillingGroup(ctx, req.Path("billingGroupName"))
	if err != nil {
		return nil, err
	}
	var properties billingGroupProperties
	if g.Description != "" {
		properties.Description = &g.Description
	}
	type metadata struct {
		CreationDate awsapi.Time `json:"creationDate"`
	}
	return struct {
		Name       string                 `json:"billingGroupName"`
		ID         string                 `json:"billingGroupId"`
		ARN        string                 `json:"billingGroupArn"`
		Version    int64                  `json:"version"`
		Properties billingGroupProperties `json:"billingGroupProperties"`
		Metadata   metadata               `json:"billingGroupMetadata"`
	}{g.Name, g.ID, g.ARN, g.Version, properties, metadata{awsapi.Time(g.Created)}}, nil
}

func (p *plane) updateBillingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Properties      *billingGroupProperties `json:"billingGroupProperties"`
		ExpectedVersion *int64                  `json:"expectedVersion"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Properties == nil {
		return nil, awsapi.Missing("billingGroupProperties")
	}
	version, err := p.registry.UpdateBillingGroup(ctx, req.Path("billingGroupName"), registry.GroupUpdate{Description: in.Properties.Description, ExpectedVersion: in.ExpectedVersion})
	return versionOnly{version}, err
}

func (p *plane) deleteBillingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	expected, err := req.Int("expectedVersion")
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.DeleteBillingGroup(ctx, req.Path("billingGroupName"), expected)
}

func (p *plane) listBillingGroups(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	groups, next, err := p.registry.ListBillingGroups(ctx, req.Query("namePrefixFilter"), page)
	return struct {
		BillingGroups []nameAndARN `json:"billingGroups"`
		NextToken     string       `json:"nextToken,omitempty"`
	}{namesAndARNs(groups), next}, err
}

func (p *plane) thingAndBillingGroup(req *awsapi.Request) (thing, group string, err error) {
	var in membership
	if err := req.Decode(&in); err != nil {
		return "", "", err
	}
	if group, err = p.registry.BillingGroupNameOf(in.BillingGroupName, in.BillingGroupARN); err != nil {
		return "", "", err
	}
	thing, err = p.registry.ThingNameOf(in.ThingName, in.ThingARN)
	return thing, group, err
}

func (p *plane) addThingToBillingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	thing, group, err := p.thingAndBillingGroup(req)
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.AddThingToBillingGroup(ctx, group, thing)
}

func (p *plane) removeThingFromBillingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	thing, group, err := p.thingAndBillingGroup(req)
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.RemoveThingFromBillingGroup(ctx, group, thing)
}

func (p *plane) listThingsInBillingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	things, next, err := p.registry.ListThingsInBillingGroup(ctx, req.Path("billingGroupName"), page)
	return thingNames{things, next}, err
}
