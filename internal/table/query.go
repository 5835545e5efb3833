package table

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Query says which rows of a table are wanted.
type Query struct {
	Table      string
	Things     []string // nil for all
	Measures   []string // nil for all; rows without any of them are left out
	From, To   int64    // milliseconds, From included, To not; To 0 for no end
	Descending bool     // newest first; the order is by time, then thing
	Limit      int      // rows or samples of a page: 1 to MaxRows; 0 for 1000; large rows make fewer
	Token      string   // Page.Next of the page before

	// Every asks for samples: one for each interval and thing that has readings, intervals beginning
	// at multiples of Every since 1970. Whole milliseconds; 0 for the rows themselves.
	Every time.Duration
	// Aggregates of a sample; nil for Avg.
	Aggregates []Aggregate
}

// Page is part of an answer: rows, or samples if the query has Every.
type Page struct {
	Rows    []Row    `json:"rows,omitempty"`
	Samples []Sample `json:"samples,omitempty"`
	Next    string   `json:"nextToken,omitempty"` // empty on the last page
}

const defaultLimit = 1000

// maxPage is the bytes of values after which a page ends before its limit.
const maxPage = 8 << 20

// Query returns one page. Rows written or deleted between two pages may or may not be in it; no
// others are doubled or missed. ErrNotFound when there is no such table, ErrInvalid for a query that
// cannot be; things and measures that do not exist have no rows.
func (t *Tables) Query(ctx context.Context, q Query) (*Page, error) {
	if q.Limit == 0 {
		q.Limit = defaultLimit
	}
	if q.Limit < 0 || q.Limit > MaxRows {
		return nil, fmt.Errorf("query table %q: %w", q.Table, invalid("limit %d is not from 1 to %d", q.Limit, MaxRows))
	}
	page := new(Page)
	var at position
	n, bytes := 0, 0
	add := func(p position, size int) bool {
		if n == q.Limit || bytes > maxPage {
			page.Next = at.token(&q)
			return false
		}
		n++
		bytes += size
		at = p
		return true
	}
	var err error
	if q.Every != 0 {
		page.Samples = []Sample{}
		err = t.sample(ctx, q, func(s Sample) bool {
			size := 0
			for _, m := range s.Measures {
				for _, v := range m.Values {
					size += 32 + len(v.Value.text)
				}
			}
			ok := add(position{time: s.Time, thing: s.Thing}, size)
			if ok {
				page.Samples = append(page.Samples, s)
			}
			return ok
		})
	} else {
		page.Rows = []Row{}
		err = t.scan(ctx, q, func(r Row, p position) bool {
			size := 0
			for _, m := range r.Measures {
				size += 32 + len(m.Value.text)
			}
			ok := add(p, size)
			if ok {
				page.Rows = append(page.Rows, r)
			}
			return ok
		})
	}
	if err != nil {
		return nil, fmt.Errorf("query table %q: %w", q.Table, err)
	}
	return page, nil
}

// Rows calls yield with every row of a query in order until it returns false; Limit is not looked
// at and memory does not grow with the number of rows. The row is yield's to keep.
func (t *Tables) Rows(ctx context.Context, q Query, yield func(Row) bool) error {
	if err := t.scan(ctx, q, func(r Row, _ position) bool { return yield(r) }); err != nil {
		return fmt.Errorf("query table %q: %w", q.Table, err)
	}
	return nil
}

// Samples is Rows for a query with Every.
func (t *Tables) Samples(ctx context.Context, q Query, yield func(Sample) bool) error {
	if err := t.sample(ctx, q, yield); err != nil {
		return fmt.Errorf("query table %q: %w", q.Table, err)
	}
	return nil
}

// position is a place in the order of a query: time, thing, sequence.
type position struct {
	time  int64
	thing string
	seq   int64
}

// token encodes a position with what must not change between pages.
func (p position) token(q *Query) string {
	flags := byte(0)
	if q.Descending {
		flags = 1
	}
	b := []byte{flags}
	b = binary.AppendVarint(b, int64(q.Every/time.Millisecond))
	b = binary.AppendVarint(b, p.time)
	b = binary.AppendVarint(b, p.seq)
	return base64.RawURLEncoding.EncodeToString(append(b, p.thing...))
}

// after returns the position that the token of a query stands for, or nil without one.
func (q *Query) after() (*position, error) {
	if q.Token == "" {
		return nil, nil
	}
	refused := invalid("the token is not one of this query")
	b, err := base64.RawURLEncoding.DecodeString(q.Token)
	if err != nil || len(b) == 0 || b[0] > 1 || (b[0] == 1) != q.Descending {
		return nil, refused
	}
	b = b[1:]
	var p position
	var every int64
	for _, to := range []*int64{&every, &p.time, &p.seq} {
		v, n := binary.Varint(b)
		if n <= 0 {
			return nil, refused
		}
		*to, b = v, b[n:]
	}
	if every != int64(q.Every/time.Millisecond) || p.time < 0 || p.time > MaxTime || len(b) > MaxName {
		return nil, refused
	}
	p.thing = string(b)
	return &p, nil
}

// check validates a query and completes it.
func (q *Query) check() error {
	if q.To == 0 {
		q.To = MaxTime + 1
	}
	switch {
	case q.From < 0 || q.From > MaxTime || q.To < 0 || q.To > MaxTime+1:
		return invalid("the range is not between the years 1970 and 9999")
	case q.Every < 0 || q.Every%time.Millisecond != 0:
		return invalid("every %v is not a whole number of milliseconds", q.Every)
	case q.Every == 0 && len(q.Aggregates) > 0:
		return invalid("aggregates need an interval: give every")
	}
	for _, a := range q.Aggregates {
		if !slices.Contains(Aggregates, a) {
			return invalid("aggregate %q is not one of %v", a, Aggregates)
		}
	}
	return nil
}

// selection is a query resolved against the catalogue.
type selection struct {
	cursors    []*cursor
	names      *names          // of measures
	wanted     map[uint32]bool // nil for all
	descending bool
	// inRange is a guess at the rows of all tables that lie in the range, and share at the part of
	// them that is of this query's things.
	inRange, share float64
}

func (s *selection) keep(number uint32) bool { return s.wanted == nil || s.wanted[number] }

// select resolves names. Things without rows in the range are left out.
func (t *Tables) resolve(q *Query) (*selection, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.tables[q.Table]
	if e == nil {
		return nil, ErrNotFound
	}
	s := &selection{names: e.names, descending: q.Descending}
	if q.Measures != nil {
		s.wanted = make(map[uint32]bool)
		for _, name := range q.Measures {
			if n, ok := e.names.numbers[name]; ok {
				s.wanted[n] = true
			}
		}
		if len(s.wanted) == 0 {
			return s, nil
		}
	}
	add := func(th *thing) {
		if th == nil || th.state.last < q.From || th.state.first >= q.To {
			return
		}
		// The range known now bounds the cursor's first row, so that it need not be read yet.
		s.cursors = append(s.cursors, &cursor{thing: th.id, name: th.name,
			from: max(q.From, th.state.first), to: min(q.To, th.state.last+1), descending: q.Descending})
	}
	if q.Things == nil {
		for _, th := range e.things {
			add(th)
		}
	} else {
		seen := make(map[string]bool)
		for _, name := range q.Things {
			if !seen[name] {
				seen[name] = true
				add(e.things[name])
			}
		}
	}
	slices.SortFunc(s.cursors, func(a, b *cursor) int { return cmp.Compare(a.name, b.name) })
	t.estimate(s, e, q.From, q.To)
	return s, nil
}

// scan calls yield with rows in order.
func (t *Tables) scan(ctx context.Context, q Query, yield func(Row, position) bool) error {
	if err := q.check(); err != nil {
		return err
	}
	after, err := q.after()
	if err != nil {
		return err
	}
	s, err := t.resolve(&q)
	if err != nil {
		return err
	}
	if after != nil {
		for _, c := range s.cursors {
			c.skip(after)
		}
	}
	var values []Measure
	add := func(v numbered) {
		if s.keep(v.number) && int(v.number) < len(s.names.list) {
			values = append(values, Measure{s.names.list[v.number], v.value})
		}
	}
	return t.ordered(ctx, s, q.Limit, func(c *cursor, r *stored) (bool, error) {
		values = values[:0]
		if err := t.db.values(r.data, s.names, s.keep, add); err != nil {
			return false, err
		}
		if len(values) == 0 {
			return true, nil
		}
		return yield(Row{Time: r.time, Thing: c.name, Measures: slices.Clone(values)}, position{r.time, c.name, r.seq}), nil
	})
}
