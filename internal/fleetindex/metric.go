package fleetindex

import (
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// maxMetrics is the number of fleet metrics. AWS IoT Device Management quotas, "Fleet indexing".
const maxMetrics = 100

// Types of aggregation.
const (
	AggregateStatistics  = "Statistics"
	AggregatePercentiles = "Percentiles"
	AggregateCardinality = "Cardinality"
)

// Aggregation is what a fleet metric computes. Values are names of statistics, or percentiles such
// as 95 or p95; a cardinality needs none.
type Aggregation struct {
	Name   string   `json:"name"`
	Values []string `json:"values,omitempty"`
}

// MetricDefinition is what is set of a fleet metric.
type MetricDefinition struct {
	Query        string      `json:"queryString"`
	Aggregation  Aggregation `json:"aggregationType"`
	Period       int         `json:"period"` // seconds: a multiple of 60 up to 86400
	Field        string      `json:"aggregationField"`
	Description  string      `json:"description,omitempty"`
	QueryVersion string      `json:"queryVersion"`
	Index        string      `json:"indexName"`
	Unit         string      `json:"unit,omitempty"`
}

// Metric is a fleet metric.
type Metric struct {
	Name, ARN string
	MetricDefinition
	Version           int64
	Created, Modified time.Time
}

// Sample is a value that a fleet metric had last.
type Sample struct {
	Metric string
	Value  string // average, p95, cardinality and so on
	Unit   string
	Number float64
}

// metrics holds the fleet metrics and what they gave last.
type metrics struct {
	mu      sync.Mutex
	list    map[string]*metricState
	changed chan struct{}
}

type metricState struct {
	Metric
	due  time.Time
	last []Sample
}

func (s *Service) loadMetrics(ctx context.Context) error {
	list := make(map[string]*metricState)
	if s.metrics.changed == nil {
		s.metrics.changed = make(chan struct{}, 1)
	}
	err := s.cfg.Store.Query(ctx, `SELECT name, definition, version, created, modified FROM fleet_metric`, nil, func(row store.Row) error {
		m := &metricState{due: s.cfg.Now()}
		var definition string
		var created, modified int64
		if err := row.Scan(&m.Name, &definition, &m.Version, &created, &modified); err != nil {
			return err
		}
		m.ARN, m.Created, m.Modified = s.metricARN(m.Name), time.UnixMilli(created), time.UnixMilli(modified)
		list[m.Name] = m
		return json.Unmarshal([]byte(definition), &m.MetricDefinition)
	})
	if err != nil {
		return err
	}
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	s.metrics.list = list
	return nil
}

func (s *Service) metricARN(name string) string { return s.cfg.Registry.ARN("fleetmetric/" + name) }

var metricName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)

// units are those that CloudWatch knows.
func units() []string {
	list := []string{"Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "Count/Second", "None"}
	for _, u := range []string{"Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits", "Kilobits", "Megabits", "Gigabits", "Terabits"} {
		list = append(list, u, u+"/Second")
	}
	return list
}

func statisticNames() []string {
	return []string{"count", "average", "sum", "minimum", "maximum", "sumOfSquares", "variance", "stdDeviation"}
}

// percent reads a percentile as a fleet metric names it.
func percent(s string) (float64, bool) {
	p, err := strconv.ParseFloat(strings.TrimPrefix(s, "p"), 64)
	return p, err == nil && 0 <= p && p <= 100
}

// check completes a definition and says what is wrong with it.
func (s *Service) checkMetric(d *MetricDefinition) error {
	if d.Index == "" {
		d.Index = Things
	}
	if d.QueryVersion == "" {
		d.QueryVersion = QueryVersion
	}
	if err := oneOf("aggregationType.name", d.Aggregation.Name, AggregateStatistics, AggregatePercentiles, AggregateCardinality); err != nil {
		return err
	}
	switch {
	case d.Period < 60 || d.Period > 86400 || d.Period%60 != 0:
		return refuse(ErrInvalid, "period %d is not a multiple of 60 between 60 and 86400 seconds", d.Period)
	case d.Field == "":
		return refuse(ErrInvalid, "1 validation error detected: Value null at 'aggregationField' failed to satisfy constraint: Member must not be null")
	case utf8.RuneCountInString(d.Description) > 1024:
		return refuse(ErrInvalid, "the description is longer than 1024 characters")
	case d.QueryVersion != QueryVersion:
		return refuse(ErrInvalid, "query version %s is not supported; the version is %s", d.QueryVersion, QueryVersion)
	case d.Unit != "" && !slices.Contains(units(), d.Unit):
		return oneOf("unit", d.Unit, units()...)
	}
	if _, err := Parse(d.Query); err != nil {
		return err
	}
	if _, _, err := s.index(d.Index); err != nil {
		return err
	}
	kind, err := s.aggregated(s.configuration.Load(), d.Index, &d.Field)
	if err != nil {
		return err
	}
	return d.Aggregation.check(kind)
}

func (a *Aggregation) check(kind string) error {
	if len(a.Values) > maxPercents {
		return refuse(ErrInvalid, "%d values are more than the %d that a fleet metric may have", len(a.Values), maxPercents)
	}
	switch a.Name {
	case AggregateStatistics:
		if len(a.Values) == 0 {
			return refuse(ErrInvalid, "aggregationType.values must name at least one of %v", statisticNames())
		}
		for _, v := range a.Values {
			if err := oneOf("aggregationType.values", v, statisticNames()...); err != nil {
				return err
			}
		}
	case AggregatePercentiles:
		if kind != Number {
			return refuse(ErrAggregation, "percentiles need a field of type Number")
		}
		for _, v := range a.Values {
			if _, ok := percent(v); !ok {
				return refuse(ErrInvalid, "aggregationType.values: %s is not a percentile between 0 and 100", v)
			}
		}
	}
	return nil
}

// checkMetricFields refuses a configuration that a fleet metric cannot live with.
func (s *Service) checkMetricFields(c *Configuration) error {
	old := s.configuration.Load()
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.metrics.list)) {
		m := s.metrics.list[name]
		field := m.Field
		was, _ := s.aggregated(old, m.Index, &field)
		if is, _ := s.aggregated(c, m.Index, &field); was != "" && is != was {
			return refuse(ErrInvalid, "field %s is used by fleet metric %s", field, name)
		}
	}
	return nil
}

// CreateMetric makes a fleet metric. ErrAlreadyExists, ErrLimit, and what Search and Statistics refuse.
func (s *Service) CreateMetric(ctx context.Context, name string, d MetricDefinition, tags []registry.Tag) (*Metric, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if !metricName.MatchString(name) {
		return nil, refuse(ErrInvalid, "1 validation error detected: Value '%s' at 'metricName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_\\-\\.]+", name)
	}
	if err := s.checkMetric(&d); err != nil {
		return nil, err
	}
	s.metrics.mu.Lock()
	old, n := s.metrics.list[name], len(s.metrics.list)
	s.metrics.mu.Unlock()
	switch {
	case old != nil:
		return nil, &Error{Kind: ErrAlreadyExists, Message: "fleet metric " + name + " already exists", ID: name, ARN: old.ARN}
	case n >= maxMetrics:
		return nil, refuse(ErrLimit, "there are already %d fleet metrics", n)
	}
	now := s.cfg.Now()
	m := &metricState{Metric: Metric{Name: name, ARN: s.metricARN(name), MetricDefinition: d, Version: 1, Created: now, Modified: now}, due: now}
	return &m.Metric, s.writeMetric(ctx, m, tags)
}

// MetricUpdate is a change of a fleet metric; zero fields change nothing.
type MetricUpdate struct {
	MetricDefinition
	ExpectedVersion *int64
}

// UpdateMetric changes a fleet metric. ErrNotFound, ErrVersionConflict, and what CreateMetric refuses.
func (s *Service) UpdateMetric(ctx context.Context, name string, up MetricUpdate) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	m, err := s.DescribeMetric(name)
	if err != nil {
		return err
	}
	if err := checkVersion(m, up.ExpectedVersion); err != nil {
		return err
	}
	d := &m.MetricDefinition
	for _, f := range []struct {
		to   *string
		from string
	}{{&d.Query, up.Query}, {&d.Field, up.Field}, {&d.Description, up.Description}, {&d.QueryVersion, up.QueryVersion}, {&d.Index, up.Index}, {&d.Unit, up.Unit}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	if up.Aggregation.Name != "" {
		d.Aggregation = up.Aggregation
	}
	if up.Period != 0 {
		d.Period = up.Period
	}
	if err := s.checkMetric(d); err != nil {
		return err
	}
	m.Version++
	m.Modified = s.cfg.Now()
	return s.writeMetric(ctx, &metricState{Metric: *m, due: m.Modified}, nil)
}

func (s *Service) writeMetric(ctx context.Context, m *metricState, tags []registry.Tag) error {
	b, err := json.Marshal(m.MetricDefinition)
	if err != nil {
		return err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, "")
		_, err := tx.Exec(`INSERT INTO fleet_metric (name, definition, version, created, modified) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, version = excluded.version, modified = excluded.modified`,
			m.Name, string(b), m.Version, m.Created.UnixMilli(), m.Modified.UnixMilli())
		if err != nil || m.Version > 1 {
			return err
		}
		return s.cfg.Registry.SetTags(tx, "fleetmetric/"+m.Name, tags)
	})
	if err != nil {
		return err
	}
	s.metrics.mu.Lock()
	s.metrics.list[m.Name] = m
	s.metrics.mu.Unlock()
	s.metrics.poke()
	return nil
}

func (m *metrics) poke() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// DeleteMetric removes a fleet metric; one that does not exist is no error. ErrVersionConflict.
func (s *Service) DeleteMetric(ctx context.Context, name string, expectedVersion *int64) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	m, err := s.DescribeMetric(name)
	if err != nil {
		return nil
	}
	if err := checkVersion(m, expectedVersion); err != nil {
		return err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, "")
		if _, err := tx.Exec(`DELETE FROM fleet_metric WHERE name = ?`, name); err != nil {
			return err
		}
		return s.cfg.Registry.DropTags(tx, "fleetmetric/"+name)
	})
	if err != nil {
		return err
	}
	s.metrics.mu.Lock()
	delete(s.metrics.list, name)
	s.metrics.mu.Unlock()
	return nil
}

func checkVersion(m *Metric, expected *int64) error {
	if expected != nil && *expected != m.Version {
		return refuse(ErrVersionConflict, "fleet metric %s is at version %d, not %d", m.Name, m.Version, *expected)
	}
	return nil
}

// DescribeMetric returns a fleet metric, or ErrNotFound.
func (s *Service) DescribeMetric(name string) (*Metric, error) {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	if m := s.metrics.list[name]; m != nil {
		c := m.Metric
		return &c, nil
	}
	return nil, refuse(ErrNotFound, "fleet metric %s not found", name)
}

// ListMetrics lists up to n fleet metrics by name after one.
func (s *Service) ListMetrics(after string, n int) (list []*Metric, more bool) {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.metrics.list)) {
		if name <= after {
			continue
		}
		if len(list) == n {
			return list, true
		}
		c := s.metrics.list[name].Metric
		list = append(list, &c)
	}
	return list, false
}

// Samples returns what the fleet metrics gave last, by name.
func (s *Service) Samples() []Sample {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	var list []Sample
	for _, name := range slices.Sorted(maps.Keys(s.metrics.list)) {
		list = append(list, s.metrics.list[name].last...)
	}
	return list
}

// metricLoop evaluates fleet metrics as they fall due.
func (s *Service) metricLoop(ctx context.Context) {
	for ctx.Err() == nil {
		wait := time.Minute
		if !s.loaded.Load() {
			pause(ctx, 100*time.Millisecond)
			continue
		}
		for {
			m, d := s.nextMetric()
			if m == nil {
				wait = min(wait, d)
				break
			}
			samples := s.evaluate(ctx, &m.Metric)
			s.metrics.mu.Lock()
			m.last = samples
			s.metrics.mu.Unlock()
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-s.metrics.changed:
		}
		t.Stop()
	}
}

// nextMetric returns a metric that is due, or how long it is until one will be.
func (s *Service) nextMetric() (*metricState, time.Duration) {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	now := s.cfg.Now()
	wait := time.Minute
	for _, m := range s.metrics.list {
		d := m.due.Sub(now)
		if d <= 0 {
			m.due = now.Add(time.Duration(m.Period) * time.Second)
			return m, 0
		}
		wait = min(wait, d)
	}
	return nil, wait
}

// evaluate computes a metric. Of an empty selection there is a count only (AWS IoT developer guide,
// "Fleet indexing troubleshooting").
func (s *Service) evaluate(ctx context.Context, m *Metric) []Sample {
	sm, err := s.aggregate(ctx, m.Index, m.Query, m.Field)
	if err != nil {
		s.cfg.Log.Warn("evaluate fleet metric", "metric", m.Name, "error", err)
		return nil
	}
	var list []Sample
	add := func(name string, n *float64) {
		if n != nil {
			list = append(list, Sample{m.Name, name, m.Unit, *n})
		}
	}
	switch m.Aggregation.Name {
	case AggregateStatistics:
		st := sm.statistics()
		count := float64(st.Count)
		for _, name := range m.Aggregation.Values {
			add(name, map[string]*float64{"count": &count, "average": st.Average, "sum": st.Sum, "minimum": st.Minimum, "maximum": st.Maximum,
				"sumOfSquares": st.SumOfSquares, "variance": st.Variance, "stdDeviation": st.StdDeviation}[name])
		}
	case AggregateCardinality:
		n := float64(sm.cardinality())
		add("cardinality", &n)
	case AggregatePercentiles:
		percents := DefaultPercents()
		if len(m.Aggregation.Values) > 0 {
			percents = nil
			for _, v := range m.Aggregation.Values {
				p, _ := percent(v)
				percents = append(percents, p)
			}
		}
		for _, p := range sm.percentiles(percents) {
			add("p"+strconv.FormatFloat(p.Percent, 'f', -1, 64), &p.Value)
		}
	}
	return list
}
