package iotdefender

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/defender"
)

func (p *plane) createMetric(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Type    string `json:"metricType"`
		Display string `json:"displayName"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	arn, err := p.defender.CreateCustomMetric(ctx, defender.CustomMetric{Name: req.Path("metricName"), Type: in.Type, DisplayName: in.Display})
	return struct {
		Name string `json:"metricName"`
		ARN  string `json:"metricArn"`
	}{req.Path("metricName"), arn}, err
}

func (p *plane) describeMetric(ctx context.Context, req *awsapi.Request) (any, error) {
	m, err := p.defender.DescribeCustomMetric(ctx, req.Path("metricName"))
	return struct {
		ARN      string          `json:"metricArn"`
		Created  defender.Moment `json:"creationDate"`
		Modified defender.Moment `json:"lastModifiedDate"`
		defender.CustomMetric
	}{p.defender.CustomMetricARN(m.Name), m.Meta.Created, m.Meta.Modified, m}, err
}

func (p *plane) updateMetric(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Display *string `json:"displayName"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Display == nil {
		return nil, awsapi.Missing("displayName")
	}
	if err := p.defender.UpdateCustomMetric(ctx, req.Path("metricName"), *in.Display); err != nil {
		return nil, err
	}
	return p.describeMetric(ctx, req)
}

func (p *plane) deleteMetric(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.defender.DeleteCustomMetric(ctx, req.Path("metricName"))
}

func (p *plane) listMetrics(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListCustomMetrics(ctx, page)
	return struct {
		Names []string `json:"metricNames"`
		Next  string   `json:"nextToken,omitempty"`
	}{append([]string{}, list...), next}, err
}

func (p *plane) createDimension(ctx context.Context, req *awsapi.Request) (any, error) {
	in := defender.Dimension{}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	in.Name = req.Path("name")
	return identifier{in.Name, p.defender.DimensionARN(in.Name)}, p.defender.CreateDimension(ctx, in)
}

func (p *plane) describeDimension(ctx context.Context, req *awsapi.Request) (any, error) {
	d, err := p.defender.DescribeDimension(ctx, req.Path("name"))
	return struct {
		ARN      string          `json:"arn"`
		Created  defender.Moment `json:"creationDate"`
		Modified defender.Moment `json:"lastModifiedDate"`
		defender.Dimension
	}{p.defender.DimensionARN(d.Name), d.Meta.Created, d.Meta.Modified, d}, err
}

func (p *plane) updateDimension(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Values []string `json:"stringValues"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if err := p.defender.UpdateDimension(ctx, req.Path("name"), in.Values); err != nil {
		return nil, err
	}
	return p.describeDimension(ctx, req)
}

func (p *plane) deleteDimension(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.defender.DeleteDimension(ctx, req.Path("name"))
}

func (p *plane) listDimensions(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListDimensions(ctx, page)
	return struct {
		Names []string `json:"dimensionNames"`
		Next  string   `json:"nextToken,omitempty"`
	}{append([]string{}, list...), next}, err
}
