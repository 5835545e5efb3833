package table

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Table describes a table.
type Table struct {
	Name     string `json:"name"`
	Created  int64  `json:"createdAt"` // milliseconds, as every time here
	Rows     int64  `json:"rows"`
	Bytes    int64  `json:"bytes"` // as stored, without free space of pages
	Things   int    `json:"things"`
	Measures int    `json:"measures"` // that have readings
	First    int64  `json:"first,omitempty"`
	Last     int64  `json:"last,omitempty"`
	// What applies, whether the table's own or the server's; 0 for without limit.
	RetentionSeconds int64 `json:"retentionSeconds"`
	MaxBytes         int64 `json:"maxBytes"`
}

// MeasureInfo describes a measure of a table, or of one thing.
type MeasureInfo struct {
	Name  string   `json:"name"`
	Kinds []string `json:"kinds"` // of "number", "string", "bool", "json"
	Count int64    `json:"count"` // readings
	First int64    `json:"first"` // may be too early after a deletion
	Last  int64    `json:"last"`
}

// ThingInfo describes a thing of a table.
type ThingInfo struct {
	Name     string        `json:"thing"`
	Rows     int64         `json:"rows"`
	Bytes    int64         `json:"bytes"`
	First    int64         `json:"first"`
	Last     int64         `json:"last"`
	Measures []MeasureInfo `json:"measures"`
}

// Latest is the latest reading of a measure of a thing.
type Latest struct {
	Thing   string `json:"thing"`
	Measure string `json:"measure"`
	Time    int64  `json:"time"`
	Value   Value  `json:"value"`
}

// List returns all tables by name.
func (t *Tables) List() []Table {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]Table, 0, len(t.tables))
	for _, e := range t.tables {
		out = append(out, t.describe(e))
	}
	slices.SortFunc(out, func(a, b Table) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Describe returns a table and its measures by name. ErrNotFound.
func (t *Tables) Describe(name string) (Table, []MeasureInfo, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.tables[name]
	if e == nil {
		return Table{}, nil, notFound(name)
	}
	return t.describe(e), e.measureInfo(maps.Values(e.things)), nil
}

func (t *Tables) describe(e *table) Table {
	retention, maxBytes := t.limits(e)
	out := Table{Name: e.name, Created: e.created, Things: len(e.things), RetentionSeconds: retention / 1000, MaxBytes: maxBytes}
	used := make([]bool, len(e.names.list))
	for _, th := range e.things {
		s := th.state
		if out.Rows == 0 || s.first < out.First {
			out.First = s.first
		}
		out.Rows, out.Bytes, out.Last = out.Rows+s.rows, out.Bytes+s.bytes, max(out.Last, s.last)
		for _, m := range s.measures {
			if !used[m.number] {
				used[m.number] = true
				out.Measures++
			}
		}
	}
	return out
}

func (e *table) measureInfo(things func(func(*thing) bool)) []MeasureInfo {
	sums := make(map[uint32]stat)
	for th := range things {
		for _, m := range th.state.measures {
			sum, ok := sums[m.number]
			if !ok {
				sum.first = m.first
			}
			sum.kinds |= m.kinds
			sum.count += m.count
			sum.first, sum.last = min(sum.first, m.first), max(sum.last, m.last)
			sums[m.number] = sum
		}
	}
	out := make([]MeasureInfo, 0, len(sums))
	for n, s := range sums {
		out = append(out, MeasureInfo{e.names.list[n], s.kinds.Names(), s.count, s.first, s.last})
	}
	slices.SortFunc(out, func(a, b MeasureInfo) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Things returns at most limit things of a table by name, those after a name if it is given; more
// says whether there are others. ErrNotFound.
func (t *Tables) Things(name, after string, limit int) (list []ThingInfo, more bool, err error) {
	if limit < 1 || limit > MaxRows {
		return nil, false, fmt.Errorf("list things of table %q: %w", name, invalid("limit %d is not from 1 to %d", limit, MaxRows))
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.tables[name]
	if e == nil {
		return nil, false, notFound(name)
	}
	names := make([]string, 0, len(e.things))
	for n := range e.things {
		if after == "" || n > after {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	more = len(names) > limit
	list = make([]ThingInfo, 0, min(limit, len(names)))
	for _, n := range names[:min(limit, len(names))] {
		th := e.things[n]
		list = append(list, ThingInfo{n, th.state.rows, th.state.bytes, th.state.first, th.state.last, e.measureInfo(func(yield func(*thing) bool) { yield(th) })})
	}
	return list, more, nil
}

// Latest returns the latest reading of every measure of every thing, or of those named, by thing and
// measure, in the order in which the table met them. ErrNotFound.
func (t *Tables) Latest(name string, things, measures []string) ([]Latest, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.tables[name]
	if e == nil {
		return nil, notFound(name)
	}
	if things == nil {
		things = slices.Collect(maps.Keys(e.things))
	}
	names := slices.Clone(things)
	slices.Sort(names)
	out := []Latest{}
	for _, n := range slices.Compact(names) {
		th := e.things[n]
		if th == nil {
			continue
		}
		for _, m := range th.state.measures {
			if measure := e.names.list[m.number]; measures == nil || slices.Contains(measures, measure) {
				out = append(out, Latest{n, measure, m.last, m.value})
			}
		}
	}
	return out, nil
}

// limits are the retention of a table in milliseconds and its size in bytes; 0 for without.
func (t *Tables) limits(e *table) (retention, maxBytes int64) {
	retention, maxBytes = e.retention, e.maxBytes
	if retention == 0 {
		retention = int64(t.cfg.Retention / time.Millisecond)
	}
	if maxBytes == 0 {
		maxBytes = t.cfg.MaxBytes
	}
	return max(retention, 0), max(maxBytes, 0)
}
