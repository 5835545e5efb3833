// Package fleetindex is the REST face of fleet indexing on the control plane `iot`: searches,
// aggregations, dynamic thing groups and fleet metrics, as the AWS IoT API reference describes them.
// Handlers translate between JSON and package fleetindex.
package fleetindex

import (
	"context"
	"errors"
	"strconv"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/registry"
)

// Config is what the operations work on.
type Config struct {
	Index    *fleetindex.Service
	Registry *registry.Registry
}

type plane struct{ Config }

// Operations returns the handlers of fleet indexing.
func Operations(cfg Config) awsapi.Set {
	p := &plane{cfg}
	handlers := map[string]awsapi.Handler{
		"UpdateIndexingConfiguration": p.updateConfiguration,
		"GetIndexingConfiguration":    p.getConfiguration,
		"SearchIndex":                 p.search,
		"DescribeIndex":               p.describeIndex,
		"ListIndices":                 p.listIndices,
		"GetStatistics":               p.statistics,
		"GetCardinality":              p.cardinality,
		"GetPercentiles":              p.percentiles,
		"GetBucketsAggregation":       p.buckets,
		"GetThingConnectivityData":    p.connectivity,

		"CreateDynamicThingGroup": p.createDynamicGroup,
		"UpdateDynamicThingGroup": p.updateDynamicGroup,
		"DeleteDynamicThingGroup": p.deleteDynamicGroup,

		"CreateFleetMetric":   p.createMetric,
		"UpdateFleetMetric":   p.updateMetric,
		"DescribeFleetMetric": p.describeMetric,
		"ListFleetMetrics":    p.listMetrics,
		"DeleteFleetMetric":   p.deleteMetric,
	}
	return awsapi.Set{Service: awsapi.IoT, Handlers: handlers}.Exceptions(exception)
}

// exception turns refusals of package fleetindex into AWS exceptions.
func exception(err error) error {
	if q := (*fleetindex.QueryError)(nil); errors.As(err, &q) {
		return &awsapi.Error{Type: "InvalidQueryException", Status: 400, Message: q.Error()}
	}
	for _, x := range []struct {
		kind   error
		name   string
		status int
	}{
		{fleetindex.ErrNotFound, "ResourceNotFoundException", 404},
		{fleetindex.ErrAlreadyExists, "ResourceAlreadyExistsException", 409},
		{fleetindex.ErrInvalid, "InvalidRequestException", 400},
		{fleetindex.ErrNotReady, "IndexNotReadyException", 400},
		{fleetindex.ErrAggregation, "InvalidAggregationException", 400},
		{fleetindex.ErrVersionConflict, "VersionConflictException", 409},
		{fleetindex.ErrLimit, "LimitExceededException", 410},
	} {
		if errors.Is(err, x.kind) {
			e := &awsapi.Error{Type: x.name, Status: x.status, Message: err.Error()}
			if refusal := (*fleetindex.Error)(nil); errors.As(err, &refusal) {
				e.ResourceID, e.ResourceARN = refusal.ID, refusal.ARN
			}
			return e
		}
	}
	return err
}

type empty struct{}

// checkVersion refuses other versions of the query language.
func checkVersion(version string) error {
	if version != "" && version != fleetindex.QueryVersion {
		return awsapi.Invalid("query version %s is not supported; the version is %s", version, fleetindex.QueryVersion)
	}
	return nil
}

func (p *plane) describeIndex(_ context.Context, req *awsapi.Request) (any, error) {
	i, err := p.Index.DescribeIndex(req.Path("indexName"))
	return struct {
		Name   string `json:"indexName"`
		Status string `json:"indexStatus"`
		Schema string `json:"schema"`
	}{i.Name, i.Status, i.Schema}, err
}

func (p *plane) listIndices(_ context.Context, req *awsapi.Request) (any, error) {
	if n, err := req.Int("maxResults"); err != nil {
		return nil, err
	} else if n != nil && (*n < 1 || *n > 500) {
		return nil, awsapi.Invalid("1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must be between 1 and 500", *n)
	}
	return struct {
		Names []string `json:"indexNames"`
	}{p.Index.ListIndices()}, nil
}

func (p *plane) connectivity(ctx context.Context, req *awsapi.Request) (any, error) {
	name, err := p.Registry.ThingNameOf(req.Path("thingName"), "")
	if err != nil {
		return nil, err
	}
	c, err := p.Index.ThingConnectivity(ctx, name)
	if err != nil {
		return nil, err
	}
	return struct {
		Name      string      `json:"thingName"`
		Connected bool        `json:"connected"`
		Timestamp awsapi.Time `json:"timestamp"`
		Reason    string      `json:"disconnectReason,omitempty"`
	}{name, c.Connected, awsapi.Time(c.Timestamp), c.Reason}, nil
}

// listMetrics pages by name.
func (p *plane) listMetrics(_ context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	if page.Limit == 0 {
		page.Limit = registry.MaxPage
	}
	type metric struct {
		Name string `json:"metricName"`
		ARN  string `json:"metricArn"`
	}
	out := struct {
		Metrics []metric `json:"fleetMetrics"`
		Next    string   `json:"nextToken,omitempty"`
	}{Metrics: []metric{}}
	after := ""
	if page.Token != "" {
		if after, err = strconv.Unquote(page.Token); err != nil {
			return nil, awsapi.Invalid("the pagination token is not valid")
		}
	}
	list, more := p.Index.ListMetrics(after, page.Limit)
	for _, m := range list {
		out.Metrics = append(out.Metrics, metric{m.Name, m.ARN})
	}
	if more {
		out.Next = strconv.Quote(list[len(list)-1].Name)
	}
	return out, nil
}
