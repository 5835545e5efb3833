package awsapi

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"

	"github.com/berth-iot/berth/internal/registry"
)

// Tag makes operations of the set keep the tags of what they make. made names the resource, as its ARN
// does, with labels of the path in braces: "CreateStream": "stream/{streamId}".
//
// The resource is made first and gets its tags then, but wrong tags are refused before anything is
// made. If the server stops between the two, the request was not answered and the resource has none.
func (s Set) Tag(reg *registry.Registry, made map[string]string) Set {
	refuse := func(err error) error {
		if s.Exception == nil {
			return err
		}
		return s.Exception(ErrorOf(err))
	}
	for operation, resource := range made {
		create := s.Handlers[operation]
		s.Handlers[operation] = func(ctx context.Context, req *Request) (any, error) {
			tags, err := requestTags(req)
			if err != nil {
				return nil, refuse(err)
			}
			if err := registry.CheckTags(tags); err != nil {
				return nil, refuse(err)
			}
			answer, err := create(ctx, req)
			if err != nil {
				return nil, err
			}
			name := pathLabel.ReplaceAllStringFunc(resource, func(label string) string { return req.Path(label[1 : len(label)-1]) })
			return answer, reg.ReplaceTags(ctx, name, tags)
		}
	}
	return s
}

var pathLabel = regexp.MustCompile(`\{[^}]*\}`)

// requestTags reads the tags of a request: a list of keys and values, for packages a map, and for rules
// a header with key=value pairs as in a query.
func requestTags(req *Request) ([]registry.Tag, error) {
	if header := req.Header("x-amz-tagging"); header != "" {
		values, err := url.ParseQuery(header)
		if err != nil {
			return nil, invalid("x-amz-tagging is not a list of key=value: %v", err)
		}
		var list []registry.Tag
		for _, key := range slices.Sorted(maps.Keys(values)) {
			list = append(list, registry.Tag{Key: key, Value: values.Get(key)})
		}
		return list, nil
	}
	var in struct {
		Tags json.RawMessage `json:"tags"`
	}
	if err := req.Decode(&in); err != nil || in.Tags == nil {
		return nil, err
	}
	var list []registry.Tag
	if json.Unmarshal(in.Tags, &list) == nil {
		return list, nil
	}
	var byKey map[string]string
	if json.Unmarshal(in.Tags, &byKey) != nil {
		return nil, invalid("tags must be a list of Key and Value, or a map for packages")
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		list = append(list, registry.Tag{Key: key, Value: byKey[key]})
	}
	return list, nil
}
