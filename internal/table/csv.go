package table

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

// WriteCSV writes the answer to a query as CSV of RFC 4180, as it reads it. The header is time,
// thing and the measures by name, samples having measure.aggregate; times are of RFC 3339 in
// milliseconds, UTC. Limit and Token are not looked at.
func (t *Tables) WriteCSV(ctx context.Context, w io.Writer, q Query) error {
	_, info, err := t.Describe(q.Table)
	if err != nil {
		return err
	}
	q.Token = ""
	var names []string
	for _, m := range info {
		if q.Measures == nil || slices.Contains(q.Measures, m.Name) {
			names = append(names, m.Name)
		}
	}
	if q.Every != 0 && q.Aggregates == nil {
		q.Aggregates = []Aggregate{Avg}
	}
	header := []string{"time", "thing"}
	columns := make(map[string]int)
	for _, name := range names {
		columns[name] = len(header)
		if q.Every == 0 {
			header = append(header, name)
		}
		for _, a := range q.Aggregates {
			header = append(header, name+"."+string(a))
		}
	}
	out := csv.NewWriter(w)
	if err := out.Write(header); err != nil {
		return err
	}
	record := make([]string, len(header))
	begin := func(at int64, thing string) {
		clear(record)
		record[0], record[1] = formatTime(at), thing
	}
	end := func() bool { err = out.Write(record); return err == nil }
	var failed error
	if q.Every == 0 {
		failed = t.Rows(ctx, q, func(r Row) bool {
			begin(r.Time, r.Thing)
			for _, m := range r.Measures {
				if i, ok := columns[m.Name]; ok { // a measure may be newer than the header
					record[i] = m.Value.String()
				}
			}
			return end()
		})
	} else {
		failed = t.Samples(ctx, q, func(s Sample) bool {
			begin(s.Time, s.Thing)
			for _, m := range s.Measures {
				i, ok := columns[m.Name]
				for _, v := range m.Values {
					if ok {
						record[i+slices.Index(q.Aggregates, v.Aggregate)] = v.Value.String()
					}
				}
			}
			return end()
		})
	}
	out.Flush()
	return errors.Join(failed, err, out.Error())
}

func formatTime(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// WriteNDJSON writes the answer to a query as one JSON object a line.
func (t *Tables) WriteNDJSON(ctx context.Context, w io.Writer, q Query) error {
	q.Token = ""
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	var err error
	if q.Every != 0 {
		failed := t.Samples(ctx, q, func(s Sample) bool { err = enc.Encode(s); return err == nil })
		return errors.Join(failed, err)
	}
	failed := t.Rows(ctx, q, func(r Row) bool { err = enc.Encode(r); return err == nil })
	return errors.Join(failed, err)
}

// ReadCSV reads rows and calls yield with up to MaxRows at a time; the slice is used again. The
// header names time, thing and id, each of which may be missing, and the measures, of which there
// must be one. Empty cells are no readings; true, false and numbers are what they seem, anything
// else is a string. A byte order mark is skipped. Errors name the line and are ErrInvalid or yield's.
func ReadCSV(r io.Reader, yield func([]Row) error) error {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	record, err := in.Read()
	if err != nil {
		return invalid("read the header: %v", err)
	}
	header := slices.Clone(record)
	header[0] = string(bytes.TrimPrefix([]byte(header[0]), []byte("\ufeff")))
	measures := 0
	for i, name := range header {
		if name == "" || slices.Index(header, name) != i {
			return invalid("column %d has no name of its own", i+1)
		}
		if name != "time" && name != "thing" && name != "id" {
			measures++
		}
	}
	if measures == 0 {
		return invalid("the header names no measure beside time, thing and id")
	}
	var rows []Row
	for {
		record, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return invalid("%v", err)
		}
		var row Row
		for i, cell := range record {
			switch header[i] {
			case "time":
				if cell == "" {
					break
				}
				if row.Time, err = ParseTime(cell); err != nil {
					line, _ := in.FieldPos(i)
					return fmt.Errorf("line %d: %w", line, err)
				}
			case "thing":
				row.Thing = cell
			case "id":
				row.ID = cell
			default:
				if cell != "" {
					row.Measures = append(row.Measures, Measure{header[i], valueOfText(cell)})
				}
			}
		}
		if len(row.Measures) == 0 {
			continue
		}
		if _, err := row.check(); err != nil {
			line, _ := in.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, err)
		}
		if rows = append(rows, row); len(rows) == MaxRows {
			if err := yield(rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return yield(rows)
}

// valueOfText guesses: hexadecimal, infinite and padded numbers stay strings.
func valueOfText(s string) Value {
	switch s {
	case "true", "false":
		return Bool(s == "true")
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) && json.Valid([]byte(s)) {
		return Number(f)
	}
	return String(s)
}
