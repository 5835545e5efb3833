package iotota

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/stream"
)

// streamSummary is a stream in a listing, and the answer of the operations that change one.
type streamSummary struct {
	ID          string `json:"streamId"`
	ARN         string `json:"streamArn"`
	Version     int    `json:"streamVersion"`
	Description string `json:"description,omitempty"`
}

func summarize(v *stream.Stream) streamSummary {
	return streamSummary{v.ID, v.ARN, v.Version, v.Description}
}

func (p *plane) createStream(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Description string        `json:"description"`
		Files       []stream.File `json:"files"`
		RoleARN     *string       `json:"roleArn"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Files == nil:
		return nil, awsapi.Missing("files")
	case in.RoleARN == nil:
		return nil, awsapi.Missing("roleArn")
	}
	v, err := p.Streams.CreateStream(ctx, stream.NewStream{ID: req.Path("streamId"), Description: in.Description, RoleARN: *in.RoleARN, Files: in.Files})
	if err != nil {
		return nil, err
	}
	return summarize(v), nil
}

func (p *plane) updateStream(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Description *string       `json:"description"`
		Files       []stream.File `json:"files"`
		RoleARN     *string       `json:"roleArn"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	v, err := p.Streams.UpdateStream(ctx, req.Path("streamId"), stream.Changes{Description: in.Description, RoleARN: in.RoleARN, Files: in.Files})
	if err != nil {
		return nil, err
	}
	return summarize(v), nil
}

func (p *plane) describeStream(ctx context.Context, req *awsapi.Request) (any, error) {
	v, err := p.Streams.DescribeStream(ctx, req.Path("streamId"))
	if err != nil {
		return nil, err
	}
	type info struct {
		streamSummary
		Files   []stream.File `json:"files"`
		Created awsapi.Time   `json:"createdAt"`
		Updated awsapi.Time   `json:"lastUpdatedAt"`
		RoleARN string        `json:"roleArn,omitempty"`
	}
	return struct {
		Info info `json:"streamInfo"`
	}{info{summarize(v), v.Files, awsapi.Time(v.Created), awsapi.Time(v.Updated), v.RoleARN}}, nil
}

func (p *plane) deleteStream(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.Streams.DeleteStream(ctx, req.Path("streamId"))
}

func (p *plane) listStreams(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	ascending, err := req.Bool("isAscendingOrder", false)
	if err != nil {
		return nil, err
	}
	list, next, err := p.Streams.ListStreams(ctx, page.Limit, page.Token, ascending)
	if err != nil {
		return nil, err
	}
	out := struct {
		Streams   []streamSummary `json:"streams"`
		NextToken string          `json:"nextToken,omitempty"`
	}{[]streamSummary{}, next}
	for _, v := range list {
		out.Streams = append(out.Streams, summarize(v))
	}
	return out, nil
}
