package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

type thingTypeProperties struct {
	Description *string             `json:"thingTypeDescription,omitempty"`
	Searchable  []string            `json:"searchableAttributes,omitempty"`
	MQTT5       *mqtt5Configuration `json:"mqtt5Configuration,omitempty"`
}

type mqtt5Configuration struct {
	PropagatingAttributes []registry.PropagatingAttribute `json:"propagatingAttributes"`
}

func (t *thingTypeProperties) update() registry.ThingTypeUpdate {
	up := registry.ThingTypeUpdate{}
	if t != nil {
		up.Description, up.Searchable = t.Description, t.Searchable
		if t.MQTT5 != nil {
			up.Propagating = t.MQTT5.PropagatingAttributes
			if up.Propagating == nil {
				up.Propagating = []registry.PropagatingAttribute{}
			}
		}
	}
	return up
}

func describeProperties(p registry.ThingTypeProperties) thingTypeProperties {
	out := thingTypeProperties{Searchable: p.Searchable}
	if p.Description != "" {
		out.Description = &p.Description
	}
	if len(p.Propagating) > 0 {
		out.MQTT5 = &mqtt5Configuration{p.Propagating}
	}
	return out
}

type thingTypeMetadata struct {
	Deprecated      bool        `json:"deprecated"`
	DeprecationDate awsapi.Time `json:"deprecationDate,omitzero"`
	CreationDate    awsapi.Time `json:"creationDate"`
}

func describeType(t *registry.ThingType) thingTypeMetadata {
	return thingTypeMetadata{!t.Deprecated.IsZero(), awsapi.Time(t.Deprecated), awsapi.Time(t.Created)}
}

func (p *plane) createThingType(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Properties *thingTypeProperties `json:"thingTypeProperties"`
		Tags       tags                 `json:"tags"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	up := in.Properties.update()
	properties := registry.ThingTypeProperties{Searchable: up.Searchable, Propagating: up.Propagating}
	if up.Description != nil {
		properties.Description = *up.Description
	}
	t, err := p.registry.CreateThingType(ctx, req.Path("thingTypeName"), properties, in.Tags.domain())
	if err != nil {
		return nil, err
	}
	return struct {
		ThingTypeName string `json:"thingTypeName"`
		ThingTypeARN  string `json:"thingTypeArn"`
		ThingTypeID   string `json:"thingTypeId"`
	}{t.Name, t.ARN, t.ID}, nil
}

func (p *plane) describeThingType(ctx context.Context, req *awsapi.Request) (any, error) {
	t, err := p.registry.DescribeThingType(ctx, req.Path("thingTypeName"))
	if err != nil {
		return nil, err
	}
	return struct {
		ThingTypeName string              `json:"thingTypeName"`
		ThingTypeID   string              `json:"thingTypeId"`
		ThingTypeARN  string              `json:"thingTypeArn"`
		Properties    thingTypeProperties `json:"thingTypeProperties"`
		Metadata      thingTypeMetadata   `json:"thingTypeMetadata"`
	}{t.Name, t.ID, t.ARN, describeProperties(t.ThingTypeProperties), describeType(t)}, nil
}

func (p *plane) updateThingType(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Properties *thingTypeProperties `json:"thingTypeProperties"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.registry.UpdateThingType(ctx, req.Path("thingTypeName"), in.Properties.update())
}

func (p *plane) deprecateThingType(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		UndoDeprecate bool `json:"undoDeprecate"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.registry.DeprecateThingType(ctx, req.Path("thingTypeName"), in.UndoDeprecate)
}

func (p *plane) deleteThingType(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.registry.DeleteThingType(ctx, req.Path("thingTypeName"))
}

func (p *plane) listThingTypes(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	types, next, err := p.registry.ListThingTypes(ctx, req.Query("thingTypeName"), page)
	if err != nil {
		return nil, err
	}
	type thingType struct {
		ThingTypeName string              `json:"thingTypeName"`
		ThingTypeARN  string              `json:"thingTypeArn"`
		Properties    thingTypeProperties `json:"thingTypeProperties"`
		Metadata      thingTypeMetadata   `json:"thingTypeMetadata"`
	}
	out := struct {
		ThingTypes []thingType `json:"thingTypes"`
		NextToken  string      `json:"nextToken,omitempty"`
	}{make([]thingType, len(types)), next}
	for i, t := range types {
		out.ThingTypes[i] = thingType{t.Name, t.ARN, describeProperties(t.ThingTypeProperties), describeType(t)}
	}
	return out, nil
}
