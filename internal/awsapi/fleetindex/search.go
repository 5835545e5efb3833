package fleetindex

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/fleetindex"
)

// thingConfiguration also takes the part of the filter that is not supported, to refuse it.
type thingConfiguration struct {
	fleetindex.ThingConfiguration
	Filter *struct {
		ShadowNames []string `json:"namedShadowNames"`
		Locations   []any    `json:"geoLocations"`
	} `json:"filter"`
}

func (p *plane) updateConfiguration(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Things *thingConfiguration            `json:"thingIndexingConfiguration"`
		Groups *fleetindex.GroupConfiguration `json:"thingGroupIndexingConfiguration"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	var things *fleetindex.ThingConfiguration
	if in.Things != nil {
		things = &in.Things.ThingConfiguration
		if things.Mode == "" {
			return nil, awsapi.Missing("thingIndexingConfiguration.thingIndexingMode")
		}
		if f := in.Things.Filter; f != nil {
			if len(f.Locations) > 0 {
				return nil, awsapi.Invalid("geographic locations cannot be indexed here")
			}
			things.Filter = &fleetindex.Filter{ShadowNames: f.ShadowNames}
		}
	}
	if in.Groups != nil && in.Groups.Mode == "" {
		return nil, awsapi.Missing("thingGroupIndexingConfiguration.thingGroupIndexingMode")
	}
	return empty{}, p.Index.Configure(ctx, things, in.Groups)
}

func (p *plane) getConfiguration(context.Context, *awsapi.Request) (any, error) {
	return p.Index.Configuration(), nil
}

// query is what every search and aggregation sends.
type query struct {
	Index   string `json:"indexName"`
	Query   string `json:"queryString"`
	Version string `json:"queryVersion"`
	Field   string `json:"aggregationField"`
}

// check completes a query.
func (q *query) check() error {
	if q.Query == "" {
		return awsapi.Missing("queryString")
	}
	if q.Index == "" {
		q.Index = fleetindex.Things
	}
	return checkVersion(q.Version)
}

type connectivity struct {
	Connected bool   `json:"connected"`
	Timestamp int64  `json:"timestamp"` // milliseconds
	Reason    string `json:"disconnectReason,omitempty"`
}

type thing struct {
	Name         string            `json:"thingName"`
	ID           string            `json:"thingId"`
	Type         string            `json:"thingTypeName,omitempty"`
	Groups       []string          `json:"thingGroupNames,omitempty"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	Shadow       string            `json:"shadow,omitempty"`         // JSON
	Defender     string            `json:"deviceDefender,omitempty"` // JSON
	Connectivity *connectivity     `json:"connectivity,omitempty"`
}

type thingGroup struct {
	Name        string            `json:"thingGroupName"`
	ID          string            `json:"thingGroupId"`
	Description string            `json:"thingGroupDescription,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Parents     []string          `json:"parentGroupNames,omitempty"`
}

func (p *plane) search(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		query
		Token string `json:"nextToken"`
		Max   *int   `json:"maxResults"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	limit := 0
	if in.Max != nil {
		if limit = *in.Max; limit == 0 {
			limit = -1
		}
	}
	res, err := p.Index.Search(ctx, in.Index, in.Query, in.Token, limit)
	if err != nil {
		return nil, err
	}
	if in.Index == fleetindex.ThingGroups {
		out := struct {
			Groups []thingGroup `json:"thingGroups"`
			Next   string       `json:"nextToken,omitempty"`
		}{[]thingGroup{}, res.Next}
		for _, g := range res.Groups {
			doc := thingGroup{Name: g.Name, ID: g.ID, Description: g.Description, Attributes: g.Attributes}
			for _, above := range g.RootToParent {
				doc.Parents = append(doc.Parents, above.Name)
			}
			out.Groups = append(out.Groups, doc)
		}
		return out, nil
	}
	out := struct {
		Things []thing `json:"things"`
		Next   string  `json:"nextToken,omitempty"`
	}{[]thing{}, res.Next}
	for _, t := range res.Things {
		doc := thing{Name: t.Name, ID: t.ID, Type: t.Type, Groups: append(t.Static, t.Dynamic...), Attributes: t.Attributes,
			Shadow: string(t.Shadow), Defender: string(t.Defender)}
		if c := t.Connectivity; c != nil {
			doc.Connectivity = &connectivity{c.Connected, c.Timestamp.UnixMilli(), c.Reason}
		}
		out.Things = append(out.Things, doc)
	}
	return out, nil
}

func (p *plane) statistics(ctx context.Context, req *awsapi.Request) (any, error) {
	var in query
	if err := decode(req, &in); err != nil {
		return nil, err
	}
	st, err := p.Index.Statistics(ctx, in.Index, in.Query, in.Field)
	return struct {
		Statistics fleetindex.Statistics `json:"statistics"`
	}{st}, err
}

func decode(req *awsapi.Request, in *query) error {
	if err := req.Decode(in); err != nil {
		return err
	}
	return in.check()
}

func (p *plane) cardinality(ctx context.Context, req *awsapi.Request) (any, error) {
	var in query
	if err := decode(req, &in); err != nil {
		return nil, err
	}
	n, err := p.Index.Cardinality(ctx, in.Index, in.Query, in.Field)
	return struct {
		Cardinality int64 `json:"cardinality"`
	}{n}, err
}

func (p *plane) percentiles(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		query
		Percents []float64 `json:"percents"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	list, err := p.Index.Percentiles(ctx, in.Index, in.Query, in.Field, in.Percents)
	return struct {
		Percentiles []fleetindex.Percentile `json:"percentiles"`
	}{list}, err
}

func (p *plane) buckets(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		query
		Type *struct {
			Terms *struct {
				Max *int `json:"maxBuckets"`
			} `json:"termsAggregation"`
		} `json:"bucketsAggregationType"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	switch {
	case in.Field == "":
		return nil, awsapi.Missing("aggregationField")
	case in.Type == nil:
		return nil, awsapi.Missing("bucketsAggregationType")
	case in.Type.Terms == nil:
		return nil, awsapi.Invalid("bucketsAggregationType needs termsAggregation")
	}
	n := 0
	if m := in.Type.Terms.Max; m != nil {
		if n = *m; n == 0 {
			n = -1
		}
	}
	total, list, err := p.Index.Buckets(ctx, in.Index, in.Query, in.Field, n)
	return struct {
		Total   int64               `json:"totalCount"`
		Buckets []fleetindex.Bucket `json:"buckets"`
	}{total, list}, err
}
