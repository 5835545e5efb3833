package table

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/berth-iot/berth/internal/columns"
)

// WriteParquet writes the answer to a query as a Parquet file: time, thing, and a column for each
// measure by name, samples having measure.aggregate. A measure that has readings of several kinds has
// a column for each of them, such as measure.number and measure.string. What is of a measure or a kind
// that came while the file was written is left out. Limit and Token are not looked at.
func (t *Tables) WriteParquet(ctx context.Context, w io.Writer, q Query) error {
	_, info, err := t.Describe(q.Table)
	if err != nil {
		return err
	}
	q.Token = ""
	if q.Every != 0 && q.Aggregates == nil {
		q.Aggregates = []Aggregate{Avg}
	}
	list := []columns.Column{{Name: "time", Kind: columns.Time, Required: true}, {Name: "thing", Kind: columns.Text, Required: true}}
	type cell struct {
		measure   string
		aggregate Aggregate
		kind      Kind
	}
	places := make(map[cell]int)
	add := func(c cell, name string, kind columns.Kind) {
		places[c] = len(list)
		list = append(list, columns.Column{Name: name, Kind: kind})
	}
	// union adds the columns of values as they were read.
	union := func(m MeasureInfo, a Aggregate, name string) {
		for _, kind := range m.Kinds {
			column := name
			if len(m.Kinds) > 1 {
				column += "." + kind
			}
			add(cell{m.Name, a, kindNamed(kind)}, column, parquetKind[kindNamed(kind)])
		}
	}
	for _, m := range info {
		if q.Measures != nil && !slices.Contains(q.Measures, m.Name) {
			continue
		}
		if q.Every == 0 {
			union(m, "", m.Name)
		}
		for _, a := range q.Aggregates {
			switch name := m.Name + "." + string(a); a {
			case First, Last:
				union(m, a, name)
			case Count:
				add(cell{m.Name, a, KindNumber}, name, columns.Integer)
			default:
				add(cell{m.Name, a, KindNumber}, name, columns.Number)
			}
		}
	}
	columns.Unique(list)
	out := columns.NewWriter(w, list)
	row := make([]columns.Value, len(list))
	begin := func(at int64, thing string) {
		clear(row)
		row[0], row[1] = columns.IntegerValue(at), columns.TextValue(thing)
	}
	set := func(measure string, a Aggregate, v Value) {
		i, ok := places[cell{measure, a, v.kind}]
		switch {
		case !ok:
		case list[i].Kind == columns.Integer:
			row[i] = columns.IntegerValue(int64(v.number))
		case v.kind == KindNumber:
			row[i] = columns.NumberValue(v.number)
		case v.kind == KindBool:
			row[i] = columns.BooleanValue(v.number != 0)
		default:
			row[i] = columns.TextValue(v.text)
		}
	}
	end := func() bool { err = out.Write(row); return err == nil }
	var failed error
	if q.Every == 0 {
		failed = t.Rows(ctx, q, func(r Row) bool {
			begin(r.Time, r.Thing)
			for _, m := range r.Measures {
				set(m.Name, "", m.Value)
			}
			return end()
		})
	} else {
		failed = t.Samples(ctx, q, func(s Sample) bool {
			begin(s.Time, s.Thing)
			for _, m := range s.Measures {
				for _, v := range m.Values {
					set(m.Name, v.Aggregate, v.Value)
				}
			}
			return end()
		})
	}
	if failed = errors.Join(failed, err); failed != nil {
		return failed // without a footer: nobody takes it for a whole file
	}
	return out.Close()
}

var parquetKind = map[Kind]columns.Kind{KindNumber: columns.Number, KindString: columns.Text, KindBool: columns.Boolean, KindJSON: columns.JSON}

func kindNamed(name string) Kind {
	for k := KindNumber; k <= KindJSON; k <<= 1 {
		if k.Names()[0] == name {
			return k
		}
	}
	return 0
}
