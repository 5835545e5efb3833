package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

type tags []tag

func (t tags) domain() []registry.Tag {
	out := make([]registry.Tag, len(t))
	for i, v := range t {
		out[i] = registry.Tag(v)
	}
	return out
}

func (p *plane) tagResource(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		ResourceARN string `json:"resourceArn"`
		Tags        tags   `json:"tags"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.ResourceARN == "" {
		return nil, awsapi.Missing("resourceArn")
	}
	if in.Tags == nil {
		return nil, awsapi.Missing("tags")
	}
	return empty{}, p.registry.TagResource(ctx, in.ResourceARN, in.Tags.domain())
}

func (p *plane) untagResource(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		ResourceARN string   `json:"resourceArn"`
		Keys        []string `json:"tagKeys"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.ResourceARN == "" {
		return nil, awsapi.Missing("resourceArn")
	}
	if in.Keys == nil {
		return nil, awsapi.Missing("tagKeys")
	}
	return empty{}, p.registry.UntagResource(ctx, in.ResourceARN, in.Keys)
}

func (p *plane) listTagsForResource(ctx context.Context, req *awsapi.Request) (any, error) {
	arn := req.Query("resourceArn")
	if arn == "" {
		return nil, awsapi.Missing("resourceArn")
	}
	found, next, err := p.registry.ListTagsForResource(ctx, arn, registry.Page{Token: req.Query("nextToken")})
	if err != nil {
		return nil, err
	}
	out := struct {
		Tags      []tag  `json:"tags"`
		NextToken string `json:"nextToken,omitempty"`
	}{make([]tag, len(found)), next}
	for i, t := range found {
		out.Tags[i] = tag(t)
	}
	return out, nil
}
