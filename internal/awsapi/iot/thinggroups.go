package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

type thingGroupProperties struct {
	Description *string           `json:"thingGroupDescription,omitempty"`
	Attributes  *attributePayload `json:"attributePayload,omitempty"`
}

type nameAndARN struct {
	Name string `json:"groupName"`
	ARN  string `json:"groupArn"`
}

func namesAndARNs(refs []registry.GroupRef) []nameAndARN {
	out := make([]nameAndARN, len(refs))
	for i, ref := range refs {
		out[i] = nameAndARN(ref)
	}
	return out
}

func (p *plane) createThingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		ParentGroupName string               `json:"parentGroupName"`
		Properties      thingGroupProperties `json:"thingGroupProperties"`
		Tags            tags                 `json:"tags"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	group := registry.NewThingGroup{Name: req.Path("thingGroupName"), Parent: in.ParentGroupName, Tags: in.Tags.domain()}
	group.Attributes, _ = in.Properties.Attributes.given()
	if in.Properties.Description != nil {
		group.Description = *in.Properties.Description
	}
	g, err := p.registry.CreateThingGroup(ctx, group)
	if err != nil {
		return nil, err
	}
	return struct {
		ThingGroupName string `json:"thingGroupName"`
		ThingGroupARN  string `json:"thingGroupArn"`
		ThingGroupID   string `json:"thingGroupId"`
	}{g.Name, g.ARN, g.ID}, nil
}

func (p *plane) describeThingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	g, err := p.registry.DescribeThingGroup(ctx, req.Path("thingGroupName"))
	if err != nil {
		return nil, err
	}
	properties := thingGroupProperties{Attributes: &attributePayload{Attributes: g.Attributes}}
	if g.Description != "" {
		properties.Description = &g.Description
	}
	status := ""
	if g.Dynamic != nil {
		if status = g.Dynamic.Status; status != registry.GroupActive && status != registry.GroupBuilding {
			status = registry.GroupRebuilding
		}
	} else {
		g.Dynamic = new(registry.DynamicGroup)
	}
	type metadata struct {
		ParentGroupName        string       `json:"parentGroupName,omitempty"`
		RootToParentThingGroup []nameAndARN `json:"rootToParentThingGroups,omitempty"`
		CreationDate           awsapi.Time  `json:"creationDate"`
	}
	return struct {
		ThingGroupName string               `json:"thingGroupName"`
		ThingGroupID   string               `json:"thingGroupId"`
		ThingGroupARN  string               `json:"thingGroupArn"`
		Version        int64                `json:"version"`
		Properties     thingGroupProperties `json:"thingGroupProperties"`
		Metadata       metadata             `json:"thingGroupMetadata"`
		IndexName      string               `json:"indexName,omitempty"`
		QueryString    string               `json:"queryString,omitempty"`
		QueryVersion   string               `json:"queryVersion,omitempty"`
		Status         string               `json:"status,omitempty"`
	}{g.Name, g.ID, g.ARN, g.Version, properties, metadata{g.Parent, namesAndARNs(g.RootToParent), awsapi.Time(g.Created)},
		g.Dynamic.IndexName, g.Dynamic.Query, g.Dynamic.QueryVersion, status}, nil
}

func (p *plane) updateThingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Properties      *thingGroupProperties `json:"thingGroupProperties"`
		ExpectedVersion *int64                `json:"expectedVersion"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Properties == nil {
		return nil, awsapi.Missing("thingGroupProperties")
	}
	up := registry.GroupUpdate{Description: in.Properties.Description, ExpectedVersion: in.ExpectedVersion}
	up.Attributes, up.Merge = in.Properties.Attributes.given()
	version, err := p.registry.UpdateThingGroup(ctx, req.Path("thingGroupName"), up)
	return versionOnly{version}, err
}

type versionOnly struct {
	Version int64 `json:"version"`
}

func (p *plane) deleteThingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	expected, err := req.Int("expectedVersion")
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.DeleteThingGroup(ctx, req.Path("thingGroupName"), expected)
}

type groupList struct {
	ThingGroups []nameAndARN `json:"thingGroups"`
	NextToken   string       `json:"nextToken,omitempty"`
}

func (p *plane) listThingGroups(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	recursive, err := req.Bool("recursive", true)
	if err != nil {
		return nil, err
	}
	groups, next, err := p.registry.ListThingGroups(ctx, registry.GroupFilter{Parent: req.Query("parentGroup"), Prefix: req.Query("namePrefixFilter"), Recursive: recursive}, page)
	return groupList{namesAndARNs(groups), next}, err
}

// membership names one thing and one group, each by name or ARN.
type membership struct {
	ThingGroupName   string `json:"thingGroupName"`
	ThingGroupARN    string `json:"thingGroupArn"`
	BillingGroupName string `json:"billingGroupName"`
	BillingGroupARN  string `json:"billingGroupArn"`
	ThingName        string `json:"thingName"`
	ThingARN         string `json:"thingArn"`

	OverrideDynamicGroups bool `json:"overrideDynamicGroups"`
}

func (p *plane) thingAndGroup(req *awsapi.Request) (thing, group string, override bool, err error) {
	var in membership
	if err := req.Decode(&in); err != nil {
		return "", "", false, err
	}
	if group, err = p.registry.GroupNameOf(in.ThingGroupName, in.ThingGroupARN); err != nil {
		return "", "", false, err
	}
	thing, err = p.registry.ThingNameOf(in.ThingName, in.ThingARN)
	return thing, group, in.OverrideDynamicGroups, err
}

func (p *plane) addThingToThingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	thing, group, override, err := p.thingAndGroup(req)
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.UpdateMembership(ctx, thing, registry.MembershipUpdate{Add: []string{group}, OverrideDynamic: override})
}

func (p *plane) removeThingFromThingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	thing, group, _, err := p.thingAndGroup(req)
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.RemoveThingFromThingGroup(ctx, group, thing)
}

func (p *plane) updateThingGroupsForThing(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		ThingName string   `json:"thingName"`
		Add       []string `json:"thingGroupsToAdd"`
		Remove    []string `json:"thingGroupsToRemove"`
		Override  bool     `json:"overrideDynamicGroups"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.ThingName == "" {
		return nil, awsapi.Missing("thingName")
	}
	return empty{}, p.registry.UpdateMembership(ctx, in.ThingName, registry.MembershipUpdate{Add: in.Add, Remove: in.Remove, OverrideDynamic: in.Override})
}

func (p *plane) listThingGroupsForThing(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	groups, next, err := p.registry.ListThingGroupsForThing(ctx, req.Path("thingName"), page)
	return groupList{namesAndARNs(groups), next}, err
}

// thingNames is a listing of names.
type thingNames struct {
	Things    []string `json:"things"`
	NextToken string   `json:"nextToken,omitempty"`
}

func (p *plane) listThingsInThingGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	recursive, err := req.Bool("recursive", false)
	if err != nil {
		return nil, err
	}
	things, next, err := p.registry.ListThingsInThingGroup(ctx, req.Path("thingGroupName"), recursive, page)
	return thingNames{things, next}, err
}
