package fleetindex

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
)

// Pages of a search (AWS IoT Device Management quotas, "Fleet indexing").
const (
	MaxPage     = 500
	DefaultPage = 100
)

// ThingDocument is a thing as SearchIndex answers it, with the sources that are indexed.
type ThingDocument struct {
	*registry.Member
	Shadow       []byte // JSON object, or nil
	Defender     []byte // JSON object, or nil
	Connectivity *Connectivity
}

// Result is a page of a search.
type Result struct {
	Things []*ThingDocument
	Groups []*registry.ThingGroup
	Next   string // token of the next page, or ""
}

// Search finds things or groups, by name. It sees every change that was acknowledged before the call,
// unless indexing lags by more than a second. limit is 1 to [MaxPage], 0 for [DefaultPage]. Errors
// match ErrNotFound for an unknown index, ErrNotReady, ErrInvalid, or are a *QueryError.
func (s *Service) Search(ctx context.Context, index, query, token string, limit int) (*Result, error) {
	if limit == 0 {
		limit = DefaultPage
	}
	if limit < 0 || limit > MaxPage {
		return nil, refuse(ErrInvalid, "1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must be between 1 and %d", limit, MaxPage)
	}
	after, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return nil, refuse(ErrInvalid, "the pagination token is not valid")
	}
	q, err := Parse(query)
	if err != nil {
		return nil, err
	}
	t, v, err := s.index(index)
	if err != nil {
		return nil, err
	}
	s.settle(ctx)
	t.read()
	found := t.match(t.plan(q, v), string(after), limit+1)
	var names []string
	for _, r := range found[:min(len(found), limit)] {
		names = append(names, r.name)
	}
	t.mu.RUnlock()
	res := &Result{}
	if len(found) > limit {
		res.Next = base64.StdEncoding.EncodeToString([]byte(names[len(names)-1]))
	}
	for _, name := range names {
		// What has been deleted meanwhile is left out.
		if index == ThingGroups {
			g, err := s.cfg.Registry.DescribeThingGroup(ctx, name)
			if err == nil {
				res.Groups = append(res.Groups, g)
			} else if !errors.Is(err, registry.ErrNotFound) {
				return nil, err
			}
			continue
		}
		d, err := s.document(ctx, name, v)
		if err == nil {
			res.Things = append(res.Things, d)
		} else if !errors.Is(err, registry.ErrNotFound) {
			return nil, err
		}
	}
	return res, nil
}

// document reads a thing from its sources.
func (s *Service) document(ctx context.Context, name string, v *view) (*ThingDocument, error) {
	m, err := s.cfg.Registry.DescribeMember(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &ThingDocument{Member: m}
	if d.Shadow, err = s.shadowDocument(ctx, name, v); err != nil {
		return nil, err
	}
	s.things.mu.RLock()
	defer s.things.mu.RUnlock()
	r := s.things.rows[name]
	if r == nil {
		return d, nil
	}
	if v.live {
		d.Connectivity = r.connection.public()
	}
	if list := r.parts[partDefender]; v.defender && list != "" {
		count, _ := list.next()
		d.Defender = []byte(`{"violationCount":` + count.text + `}`)
	}
	return d, nil
}

// shadowDocument joins the shadows of a thing that are indexed into one object: the members of the
// classic one, and under name the named ones.
func (s *Service) shadowDocument(ctx context.Context, thing string, v *view) ([]byte, error) {
	members := make(map[string]json.RawMessage)
	if v.shadow {
		if err := s.addShadow(ctx, shadow.ID{Thing: thing}, members); err != nil {
			return nil, err
		}
	}
	named := make(map[string]map[string]json.RawMessage)
	for name := range v.named {
		m := make(map[string]json.RawMessage)
		if err := s.addShadow(ctx, shadow.ID{Thing: thing, Shadow: name}, m); err != nil {
			return nil, err
		}
		if len(m) > 0 {
			named[name] = m
		}
	}
	if len(named) > 0 {
		b, err := json.Marshal(named)
		if err != nil {
			return nil, err
		}
		members["name"] = b
	}
	if len(members) == 0 {
		return nil, nil
	}
	return json.Marshal(members)
}

func (s *Service) addShadow(ctx context.Context, id shadow.ID, to map[string]json.RawMessage) error {
	d, err := s.cfg.Shadows.Document(ctx, id)
	if err != nil || !d.Live {
		return err
	}
	if err := json.Unmarshal([]byte(d.State), &to); err != nil {
		return err
	}
	metadata, err := d.Metadata()
	if err != nil {
		return err
	}
	delta, err := new(shadow.Reader).Leaves(d, func([]byte, shadow.LeafKind, string) {})
	to["metadata"] = metadata
	to["hasDelta"] = strconv.AppendBool(nil, delta)
	to["version"] = strconv.AppendInt(nil, d.Version, 10)
	return err
}

// aggregate collects the values of a field in what a query finds.
func (s *Service) aggregate(ctx context.Context, index, query, field string) (*sample, error) {
	q, err := Parse(query)
	if err != nil {
		return nil, err
	}
	t, v, err := s.index(index)
	if err != nil {
		return nil, err
	}
	kind, err := s.aggregated(s.configuration.Load(), index, &field)
	if err != nil {
		return nil, err
	}
	s.settle(ctx)
	t.read()
	defer t.mu.RUnlock()
	p := &plan{expr: &expr{}, view: v}
	p.part, p.named, p.field, p.none = t.locate(field, v)
	sm := &sample{kind: kind}
	sm.take(t.match(t.plan(q, v), "", -1), p)
	return sm, nil
}

// aggregated returns the type of a field to aggregate; an empty field is the version.
func (s *Service) aggregated(c *Configuration, index string, field *string) (string, error) {
	kind := ""
	if index == ThingGroups {
		if *field == "" {
			*field = "version"
		}
		kind = fieldType(*field, c.Groups.managed(), c.Groups.Custom)
	} else {
		if *field == "" {
			*field = "registry.version"
		}
		kind = fieldType(*field, c.Things.managed(), c.Things.Custom)
	}
	if kind == "" {
		return "", refuse(ErrAggregation, "field %s is neither a managed nor a custom field of index %s", strings.TrimSpace(*field), index)
	}
	return kind, nil
}

// Statistics sums up a field of what a query finds; an empty field is the version in the registry.
// Errors are those of Search, and ErrAggregation for a field that is neither managed nor custom.
func (s *Service) Statistics(ctx context.Context, index, query, field string) (Statistics, error) {
	sm, err := s.aggregate(ctx, index, query, field)
	if err != nil {
		return Statistics{}, err
	}
	return sm.statistics(), nil
}

// Cardinality counts the different values of a field, exactly. Errors are those of Statistics.
func (s *Service) Cardinality(ctx context.Context, index, query, field string) (int64, error) {
	sm, err := s.aggregate(ctx, index, query, field)
	if err != nil {
		return 0, err
	}
	return sm.cardinality(), nil
}

// DefaultPercents are the percentiles when none are asked for.
func DefaultPercents() []float64 { return []float64{1, 5, 25, 50, 75, 95, 99} }

// Percentiles returns percentiles of a field of type Number. Errors are those of Statistics.
func (s *Service) Percentiles(ctx context.Context, index, query, field string, percents []float64) ([]Percentile, error) {
	if len(percents) == 0 {
		percents = DefaultPercents()
	}
	if len(percents) > maxPercents {
		return nil, refuse(ErrInvalid, "%d percentiles are more than the %d that can be asked for", len(percents), maxPercents)
	}
	for _, p := range percents {
		if !(0 <= p && p <= 100) {
			return nil, refuse(ErrInvalid, "1 validation error detected: Value '%v' at 'percents' failed to satisfy constraint: Member must be between 0 and 100", p)
		}
	}
	sm, err := s.aggregate(ctx, index, query, field)
	if err != nil {
		return nil, err
	}
	if sm.kind != Number {
		return nil, refuse(ErrAggregation, "percentiles need a field of type Number, and %s is a %s", field, sm.kind)
	}
	return sm.percentiles(percents), nil
}

// Buckets returns the n most frequent values of a field, n from 1 to [MaxBuckets] or 0 for
// [DefaultBuckets], and the number of things found. Errors are those of Statistics.
func (s *Service) Buckets(ctx context.Context, index, query, field string, n int) (total int64, list []Bucket, err error) {
	if n == 0 {
		n = DefaultBuckets
	}
	if n < 0 || n > MaxBuckets {
		return 0, nil, refuse(ErrInvalid, "1 validation error detected: Value '%d' at 'bucketsAggregationType.termsAggregation.maxBuckets' failed to satisfy constraint: Member must be between 1 and %d", n, MaxBuckets)
	}
	sm, err := s.aggregate(ctx, index, query, field)
	if err != nil {
		return 0, nil, err
	}
	return sm.rows, sm.buckets(n), nil
}

// CheckDynamic says whether a dynamic group can have this index and query.
func (s *Service) CheckDynamic(index, query string) error {
	if _, err := Parse(query); err != nil {
		return err
	}
	if index != Things {
		return refuse(ErrNotFound, "index %s not found: a dynamic thing group needs %s", index, Things)
	}
	if s.configuration.Load().Things.Mode == Off {
		return refuse(ErrInvalid, "thing indexing must be turned on before there can be dynamic thing groups")
	}
	return nil
}
