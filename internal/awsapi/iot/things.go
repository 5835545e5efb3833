package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

type attributePayload struct {
	Attributes map[string]string `json:"attributes"`
	Merge      bool              `json:"merge,omitempty"`
}

// given returns the attributes of an update: nil if the request did not speak of them.
func (a *attributePayload) given() (attributes map[string]string, merge bool) {
	if a == nil {
		return nil, false
	}
	if a.Attributes == nil && !a.Merge {
		return map[string]string{}, false
	}
	return a.Attributes, a.Merge
}

func (p *plane) createThing(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		ThingTypeName    string            `json:"thingTypeName"`
		AttributePayload *attributePayload `json:"attributePayload"`
		BillingGroupName string            `json:"billingGroupName"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	attributes, _ := in.AttributePayload.given()
	t, err := p.registry.CreateThing(ctx, registry.NewThing{Name: req.Path("thingName"), Type: in.ThingTypeName, BillingGroup: in.BillingGroupName, Attributes: attributes})
	if err != nil {
		return nil, err
	}
	return struct {
		ThingName string `json:"thingName"`
		ThingARN  string `json:"thingArn"`
		ThingID   string `json:"thingId"`
	}{t.Name, t.ARN, t.ID}, nil
}

func (p *plane) describeThing(ctx context.Context, req *awsapi.Request) (any, error) {
	t, err := p.registry.DescribeThing(ctx, req.Path("thingName"))
	if err != nil {
		return nil, err
	}
	return struct {
		DefaultClientID  string            `json:"defaultClientId"`
		ThingName        string            `json:"thingName"`
		ThingID          string            `json:"thingId"`
		ThingARN         string            `json:"thingArn"`
		ThingTypeName    string            `json:"thingTypeName,omitempty"`
		Attributes       map[string]string `json:"attributes"`
		Version          int64             `json:"version"`
		BillingGroupName string            `json:"billingGroupName,omitempty"`
	}{t.Name, t.Name, t.ID, t.ARN, t.Type, t.Attributes, t.Version, t.BillingGroup}, nil
}

func (p *plane) updateThing(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		ThingTypeName    string            `json:"thingTypeName"`
		AttributePayload *attributePayload `json:"attributePayload"`
		ExpectedVersion  *int64            `json:"expectedVersion"`
		RemoveThingType  bool              `json:"removeThingType"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	up := registry.ThingUpdate{Type: in.ThingTypeName, RemoveType: in.RemoveThingType, ExpectedVersion: in.ExpectedVersion}
	up.Attributes, up.Merge = in.AttributePayload.given()
	return empty{}, p.registry.UpdateThing(ctx, req.Path("thingName"), up)
}

// empty is the answer of an operation that has nothing to say.
type empty struct{}

func (p *plane) deleteThing(ctx context.Context, req *awsapi.Request) (any, error) {
	expected, err := req.Int("expectedVersion")
	if err != nil {
		return nil, err
	}
	return empty{}, p.registry.DeleteThing(ctx, req.Path("thingName"), expected)
}

func (p *plane) listThings(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	prefix, err := req.Bool("usePrefixAttributeValue", false)
	if err != nil {
		return nil, err
	}
	things, next, err := p.registry.ListThings(ctx, registry.ThingFilter{
		Type: req.Query("thingTypeName"), AttributeName: req.Query("attributeName"), AttributeValue: req.Query("attributeValue"), Prefix: prefix,
	}, page)
	if err != nil {
		return nil, err
	}
	type thing struct {
		ThingName     string            `json:"thingName"`
		ThingTypeName string            `json:"thingTypeName,omitempty"`
		ThingARN      string            `json:"thingArn"`
		Attributes    map[string]string `json:"attributes"`
		Version       int64             `json:"version"`
	}
	out := struct {
		Things    []thing `json:"things"`
		NextToken string  `json:"nextToken,omitempty"`
	}{make([]thing, len(things)), next}
	for i, t := range things {
		out.Things[i] = thing{t.Name, t.Type, t.ARN, t.Attributes, t.Version}
	}
	return out, nil
}
