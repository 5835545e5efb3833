package fleetindex

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/fleetindex"
)

func (p *plane) createMetric(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		fleetindex.MetricDefinition
		Tags []tag `json:"tags"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Query == "":
		return nil, awsapi.Missing("queryString")
	case in.Aggregation.Name == "":
		return nil, awsapi.Missing("aggregationType")
	case in.Period == 0:
		return nil, awsapi.Missing("period")
	}
	m, err := p.Index.CreateMetric(ctx, req.Path("metricName"), in.MetricDefinition, tagsOf(in.Tags))
	if err != nil {
		return nil, err
	}
	return struct {
		Name string `json:"metricName"`
		ARN  string `json:"metricArn"`
	}{m.Name, m.ARN}, nil
}

func (p *plane) updateMetric(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		fleetindex.MetricDefinition
		ExpectedVersion *int64 `json:"expectedVersion"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Index == "" {
		return nil, awsapi.Missing("indexName")
	}
	return empty{}, p.Index.UpdateMetric(ctx, req.Path("metricName"), fleetindex.MetricUpdate{MetricDefinition: in.MetricDefinition, ExpectedVersion: in.ExpectedVersion})
}

func (p *plane) describeMetric(_ context.Context, req *awsapi.Request) (any, error) {
	m, err := p.Index.DescribeMetric(req.Path("metricName"))
	if err != nil {
		return nil, err
	}
	return struct {
		Name string `json:"metricName"`
		ARN  string `json:"metricArn"`
		fleetindex.MetricDefinition
		Version  int64       `json:"version"`
		Created  awsapi.Time `json:"creationDate"`
		Modified awsapi.Time `json:"lastModifiedDate"`
	}{m.Name, m.ARN, m.MetricDefinition, m.Version, awsapi.Time(m.Created), awsapi.Time(m.Modified)}, nil
}

func (p *plane) deleteMetric(ctx context.Context, req *awsapi.Request) (any, error) {
	expected, err := req.Int("expectedVersion")
	if err != nil {
		return nil, err
	}
	return empty{}, p.Index.DeleteMetric(ctx, req.Path("metricName"), expected)
}
