package table

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"
)

// Aggregate is what becomes of the readings of an interval.
type Aggregate string

// Avg, Min, Max and Sum are of numbers, with bools as 0 and 1; Count, First and Last of all readings.
const (
	Avg   Aggregate = "avg"
	Min   Aggregate = "min"
	Max   Aggregate = "max"
	Sum   Aggregate = "sum"
	Count Aggregate = "count"
	First Aggregate = "first"
	Last  Aggregate = "last"
)

// Aggregates are all of them.
var Aggregates = []Aggregate{Avg, Min, Max, Sum, Count, First, Last}

// Sample is an interval of one thing.
type Sample struct {
	Time     int64              `json:"time"` // where the interval begins, milliseconds
	Thing    string             `json:"thing"`
	Measures []AggregateMeasure `json:"-"`
}

// AggregateMeasure holds the aggregates asked for, without those that do not exist: numeric ones of
// an interval without numbers, and sums beyond a double. A measure without any is left out, and so is
// a sample without measures.
type AggregateMeasure struct {
	Name   string
	Values []AggregateValue
}

// AggregateValue is one aggregate.
type AggregateValue struct {
	Aggregate Aggregate
	Value     Value
}

// MarshalJSON gives {"time":…,"thing":…,"measures":{"temperature":{"avg":21.5}}}.
func (s Sample) MarshalJSON() ([]byte, error) {
	outer := make(Measures, 0, len(s.Measures))
	for _, m := range s.Measures {
		inner := make(Measures, len(m.Values))
		for i, v := range m.Values {
			inner[i] = Measure{string(v.Aggregate), v.Value}
		}
		b, err := inner.MarshalJSON()
		if err != nil {
			return nil, err
		}
		outer = append(outer, Measure{m.Name, JSON(string(b))})
	}
	type plain Sample
	return json.Marshal(struct {
		plain
		Measures Measures `json:"measures"`
	}{plain(s), outer})
}

// UnmarshalJSON reads what MarshalJSON gives.
func (s *Sample) UnmarshalJSON(b []byte) error {
	type plain Sample
	in := struct {
		*plain
		Measures Measures `json:"measures"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	s.Measures = nil
	for _, m := range in.Measures {
		var inner Measures
		if err := inner.UnmarshalJSON([]byte(m.Value.text)); err != nil {
			return err
		}
		out := AggregateMeasure{Name: m.Name}
		for _, v := range inner {
			out.Values = append(out.Values, AggregateValue{Aggregate(v.Name), v.Value})
		}
		s.Measures = append(s.Measures, out)
	}
	return nil
}

// Get returns an aggregate of a measure.
func (s *Sample) Get(measure string, a Aggregate) (Value, bool) {
	for _, m := range s.Measures {
		for _, v := range m.Values {
			if m.Name == measure && v.Aggregate == a {
				return v.Value, true
			}
		}
	}
	return Value{}, false
}

// accumulator takes the readings of one measure in one interval.
type accumulator struct {
	number         uint32
	count, numbers int64
	sum, min, max  float64
	first, last    Value
}

func (a *accumulator) add(v Value, descending bool) {
	if descending || a.count == 0 {
		a.first = v
	}
	if !descending || a.count == 0 {
		a.last = v
	}
	a.count++
	f, ok := v.Float()
	if !ok {
		return
	}
	if a.numbers == 0 {
		a.min, a.max = f, f
	}
	a.numbers++
	a.sum += f
	a.min, a.max = min(a.min, f), max(a.max, f)
}

func (a *accumulator) value(which Aggregate) (Value, bool) {
	var f float64
	switch which {
	case First:
		return a.first, true
	case Last:
		return a.last, true
	case Count:
		return Number(float64(a.count)), true
	case Avg:
		f = a.sum / float64(a.numbers)
	case Min:
		f = a.min
	case Max:
		f = a.max
	default:
		f = a.sum
	}
	return Number(f), a.numbers > 0 && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// sample calls yield with samples in order: by interval, then thing.
func (t *Tables) sample(ctx context.Context, q Query, yield func(Sample) bool) error {
	if err := q.check(); err != nil {
		return err
	}
	every := int64(q.Every / time.Millisecond)
	if every == 0 {
		return invalid("every is missing")
	}
	after, err := q.after()
	if err != nil {
		return err
	}
	if q.Aggregates == nil {
		q.Aggregates = []Aggregate{Avg}
	}
	if after != nil { // read its interval again, for the things that come after it
		if q.Descending {
			q.To = min(q.To, after.time+min(every, MaxTime))
		} else {
			q.From = max(q.From, after.time)
		}
	}
	s, err := t.resolve(&q)
	if err != nil {
		return err
	}
	current := int64(-1)
	open := make(map[*cursor][]accumulator)
	flush := func() bool {
		cursors := make([]*cursor, 0, len(open))
		for c := range open {
			cursors = append(cursors, c)
		}
		slices.SortFunc(cursors, func(a, b *cursor) int {
			if q.Descending {
				a, b = b, a
			}
			return cmp.Compare(a.rank, b.rank)
		})
		for _, c := range cursors {
			passed := after != nil && current == after.time && (c.name == after.thing || (c.name < after.thing) != q.Descending)
			if passed {
				continue
			}
			if v := s.sample(current, c.name, open[c], q.Aggregates); len(v.Measures) > 0 && !yield(v) {
				return false
			}
		}
		clear(open)
		return true
	}
	stopped := false
	var list []accumulator
	add := func(v numbered) {
		if !s.keep(v.number) || int(v.number) >= len(s.names.list) {
			return
		}
		i := slices.IndexFunc(list, func(a accumulator) bool { return a.number == v.number })
		if i < 0 {
			i = len(list)
			list = append(list, accumulator{number: v.number})
		}
		list[i].add(v.value, q.Descending)
	}
	err = t.ordered(ctx, s, 0, func(c *cursor, r *stored) (bool, error) {
		if begin := r.time - r.time%every; begin != current {
			if !flush() {
				stopped = true
				return false, nil
			}
			current = begin
		}
		list = open[c]
		had := len(list)
		if err := t.db.values(r.data, s.names, s.keep, add); err != nil {
			return false, err
		}
		if len(list) > had {
			open[c] = list
		}
		return true, nil
	})
	if err == nil && !stopped {
		flush()
	}
	return err
}

func (s *selection) sample(at int64, thing string, list []accumulator, aggregates []Aggregate) Sample {
	slices.SortFunc(list, func(a, b accumulator) int { return cmp.Compare(a.number, b.number) })
	out := Sample{Time: at, Thing: thing, Measures: make([]AggregateMeasure, 0, len(list))}
	for i := range list {
		m := AggregateMeasure{Name: s.names.list[list[i].number]}
		for _, which := range aggregates {
			if v, ok := list[i].value(which); ok {
				m.Values = append(m.Values, AggregateValue{which, v})
			}
		}
		if len(m.Values) > 0 {
			out.Measures = append(out.Measures, m)
		}
	}
	return out
}
