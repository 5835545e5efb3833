package fleetindex

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/registry"
)

type properties struct {
	Description *string `json:"thingGroupDescription"`
	Attributes  *struct {
		Attributes map[string]string `json:"attributes"`
		Merge      bool              `json:"merge"`
	} `json:"attributePayload"`
}

// given returns the attributes, nil if there are none.
func (p *properties) given() (attributes map[string]string, merge bool) {
	if p.Attributes == nil {
		return nil, false
	}
	if p.Attributes.Attributes == nil {
		return map[string]string{}, p.Attributes.Merge
	}
	return p.Attributes.Attributes, p.Attributes.Merge
}

type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

func tagsOf(list []tag) (tags []registry.Tag) {
	for _, t := range list {
		tags = append(tags, registry.Tag(t))
	}
	return tags
}

// dynamic is what a request says of a group's query.
type dynamic struct {
	Index   string `json:"indexName"`
	Query   string `json:"queryString"`
	Version string `json:"queryVersion"`
}

func (p *plane) createDynamicGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	in := struct {
		dynamic
		Properties properties `json:"thingGroupProperties"`
		Tags       []tag      `json:"tags"`
	}{dynamic: dynamic{Index: fleetindex.Things, Version: fleetindex.QueryVersion}}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Query == "" {
		return nil, awsapi.Missing("queryString")
	}
	if err := checkVersion(in.Version); err != nil {
		return nil, err
	}
	if err := p.Index.CheckDynamic(in.Index, in.Query); err != nil {
		return nil, err
	}
	group := registry.NewThingGroup{Name: req.Path("thingGroupName"), Tags: tagsOf(in.Tags)}
	group.Attributes, _ = in.Properties.given()
	if in.Properties.Description != nil {
		group.Description = *in.Properties.Description
	}
	g, err := p.Registry.CreateDynamicThingGroup(ctx, group, registry.DynamicGroup{Query: in.Query, QueryVersion: in.Version, IndexName: in.Index})
	if err != nil {
		return nil, err
	}
	return struct {
		Name    string `json:"thingGroupName"`
		ARN     string `json:"thingGroupArn"`
		ID      string `json:"thingGroupId"`
		Index   string `json:"indexName"`
		Query   string `json:"queryString"`
		Version string `json:"queryVersion"`
	}{g.Name, g.ARN, g.ID, in.Index, in.Query, in.Version}, nil
}

func (p *plane) updateDynamicGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		dynamic
		Properties      *properties `json:"thingGroupProperties"`
		ExpectedVersion *int64      `json:"expectedVersion"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Properties == nil {
		return nil, awsapi.Missing("thingGroupProperties")
	}
	if err := checkVersion(in.Version); err != nil {
		return nil, err
	}
	index, query := in.Index, in.Query
	if index == "" {
		index = fleetindex.Things
	}
	if query == "" {
		query = "*"
	}
	if err := p.Index.CheckDynamic(index, query); err != nil {
		return nil, err
	}
	up := registry.GroupUpdate{Description: in.Properties.Description, ExpectedVersion: in.ExpectedVersion}
	up.Attributes, up.Merge = in.Properties.given()
	version, err := p.Registry.UpdateDynamicThingGroup(ctx, req.Path("thingGroupName"), up,
		registry.DynamicGroup{Query: in.Query, QueryVersion: in.Version, IndexName: in.Index})
	return struct {
		Version int64 `json:"version"`
	}{version}, err
}

func (p *plane) deleteDynamicGroup(ctx context.Context, req *awsapi.Request) (any, error) {
	expected, err := req.Int("expectedVersion")
	if err != nil {
		return nil, err
	}
	return empty{}, p.Registry.DeleteDynamicThingGroup(ctx, req.Path("thingGroupName"), expected)
}
