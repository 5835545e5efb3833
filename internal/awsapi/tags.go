package awsapi

import (
	"context"

	"github.com/berth-iot/berth/internal/registry"
)

// Tagged is an operation that makes a resource, named by a label of the path, and then gives it the
// tags of the request. Wrong tags are refused before anything is made. If the server stops between
// the two, the request was not answered and the resource has no tags.
func Tagged(reg *registry.Registry, kind, label string, create Handler) Handler {
	return func(ctx context.Context, req *Request) (any, error) {
		var in struct {
			Tags []registry.Tag `json:"tags"`
		}
		if err := req.Decode(&in); err != nil {
			return nil, err
		}
		if err := registry.CheckTags(in.Tags); err != nil {
			return nil, err
		}
		answer, err := create(ctx, req)
		if err != nil {
			return nil, err
		}
		return answer, reg.ReplaceTags(ctx, kind+"/"+req.Path(label), in.Tags)
	}
}
