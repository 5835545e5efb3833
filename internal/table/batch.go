package table

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/berth-iot/berth/internal/store"
)

// batch is one commit in the making. What it changes in the catalogue is kept aside and published
// after the commit, so that a failed one leaves nothing behind and a reader sees only what lasts.
type batch struct {
	tables *Tables
	tx     *store.Tx
	nextID int64
	now    int64

	states   map[*thing]*state
	fresh    map[string]*table            // new tables
	things   map[*table]map[string]*thing // new things
	names    map[*table]*newMeasures
	removed  []*thing
	then     []func() // further changes, under the catalogue's lock
	rows     []pending
	scratch  []numbered
	inserted uint64
	repeated uint64
	deleted  uint64
}

type newMeasures struct {
	names   []string
	numbers map[string]uint32
}

// pending is a row with its names resolved.
type pending struct {
	thing *thing
	row   *Row
}

func (b *batch) begin(tx *store.Tx) {
	*b = batch{tables: b.tables, tx: tx, nextID: b.tables.nextID, now: b.tables.cfg.Now().UnixMilli(),
		states: make(map[*thing]*state), fresh: make(map[string]*table),
		things: make(map[*table]map[string]*thing), names: make(map[*table]*newMeasures)}
}

// state returns a thing's state to be changed.
func (b *batch) state(th *thing) *state {
	s := b.states[th]
	if s == nil {
		s = th.state.clone()
		b.states[th] = s
	}
	return s
}

// resolve finds or makes the names of an insert. Its error concerns this operation only: nothing
// has been written for it.
func (b *batch) resolve(op *operation) error {
	e := b.tables.tables[op.table]
	if e == nil {
		e = b.fresh[op.table]
	}
	isNew := e == nil
	if isNew {
		if len(b.tables.tables)+len(b.fresh) >= MaxTables {
			return fmt.Errorf("insert into table %q: %w: there are %d tables", op.table, ErrLimit, MaxTables)
		}
		e = newTable(0, op.table)
	}
	if err := b.fits(e, op.rows); err != nil {
		return fmt.Errorf("insert into table %q: %w", op.table, err)
	}
	if isNew {
		b.nextID++
		e.id, e.created = b.nextID, b.now
		b.fresh[op.table] = e
	}
	for i := range op.rows {
		row := &op.rows[i]
		b.rows = append(b.rows, pending{b.thing(e, row.Thing), row})
		for _, m := range row.Measures {
			b.number(e, m.Name)
		}
	}
	return nil
}

// fits reports ErrLimit when rows would bring too many new names.
func (b *batch) fits(e *table, rows []Row) error {
	things, measures := make(map[string]bool), make(map[string]bool)
	var more *newMeasures
	if more = b.names[e]; more == nil {
		more = &newMeasures{}
	}
	for i := range rows {
		if name := rows[i].Thing; e.things[name] == nil && b.things[e][name] == nil {
			things[name] = true
		}
		for _, m := range rows[i].Measures {
			if _, ok := e.numbers[m.Name]; ok {
				continue
			}
			if _, ok := more.numbers[m.Name]; !ok {
				measures[m.Name] = true
			}
		}
	}
	switch {
	case len(things) > 0 && len(e.things)+len(b.things[e])+len(things) > MaxThings:
		return fmt.Errorf("%w: more than %d things", ErrLimit, MaxThings)
	case len(measures) > 0 && len(e.measures)+len(more.names)+len(measures) > MaxMeasures:
		return fmt.Errorf("%w: more than %d measures", ErrLimit, MaxMeasures)
	}
	return nil
}

func (b *batch) thing(e *table, name string) *thing {
	if th := e.things[name]; th != nil {
		return th
	}
	if th := b.things[e][name]; th != nil {
		return th
	}
	b.nextID++
	th := &thing{id: b.nextID, name: name, table: e, state: new(state)}
	if b.things[e] == nil {
		b.things[e] = make(map[string]*thing)
	}
	b.things[e][name] = th
	return th
}

func (b *batch) number(e *table, name string) uint32 {
	if n, ok := e.numbers[name]; ok {
		return n
	}
	more := b.names[e]
	if more == nil {
		more = &newMeasures{numbers: make(map[string]uint32)}
		b.names[e] = more
	}
	n, ok := more.numbers[name]
	if !ok {
		n = uint32(len(e.measures) + len(more.names))
		more.numbers[name] = n
		more.names = append(more.names, name)
	}
	return n
}

const (
	insertOne = `INSERT INTO reading (thing, time, seq, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`
	nextSeq   = `SELECT coalesce(max(seq), -1) + 1 FROM reading WHERE thing = ? AND time = ? AND seq >= 0`
)

// finish writes rows, new names and changed states.
func (b *batch) finish() error {
	for _, e := range b.fresh {
		if _, err := b.tx.Exec(`INSERT INTO series (id, name, created_at, retention, max_bytes, dropped) VALUES (?, ?, ?, 0, 0, 0)`, e.id, e.name, e.created); err != nil {
			return err
		}
	}
	for e, more := range b.names {
		for i, name := range more.names {
			if _, err := b.tx.Exec(`INSERT INTO measure (series, number, name) VALUES (?, ?, ?)`, e.id, len(e.measures)+i, name); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(b.rows, func(x, y pending) int {
		return cmp.Or(cmp.Compare(x.thing.id, y.thing.id), cmp.Compare(x.row.Time, y.row.Time))
	})
	for _, p := range b.rows {
		if err := b.write(p); err != nil {
			return fmt.Errorf("write reading: %w", err)
		}
	}
	var buf []byte
	for th, s := range b.states {
		if s.rows == 0 {
			continue // removed
		}
		buf = s.append(buf[:0])
		if _, err := b.tx.Exec(`INSERT INTO thing (id, series, name, state) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state`,
			th.id, th.table.id, th.name, slices.Clone(buf)); err != nil {
			return err
		}
	}
	return nil
}

// write inserts one row unless it is there.
func (b *batch) write(p pending) error {
	values := b.scratch[:0]
	for _, m := range p.row.Measures {
		values = append(values, numbered{b.number(p.thing.table, m.Name), m.Value})
	}
	b.scratch = values
	data := appendValues(nil, values)
	s := b.state(p.thing)
	seq := sequence(p.row.ID)
	n, err := b.tx.Exec(insertOne, p.thing.id, p.row.Time, seq, data)
	if err == nil && n == 0 && p.row.ID == "" {
		if err = b.tx.QueryRow(nextSeq, []any{p.thing.id, p.row.Time}, &seq); err == nil {
			n, err = b.tx.Exec(insertOne, p.thing.id, p.row.Time, seq, data)
		}
	}
	if err != nil {
		return err
	}
	if n == 0 {
		b.repeated++
		return nil
	}
	b.inserted++
	s.add(p.row.Time, data, values)
	return nil
}

// sequence is the last part of a row's key. Rows without ID are counted from 0 within their
// millisecond; an ID becomes a negative number of 47 bits, which SQLite keeps in six bytes. Two IDs
// meet only if they also share thing and millisecond.
func sequence(id string) int64 {
	if id == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	sum := h.Sum64()
	return -1 - int64((sum^sum>>47)&(1<<47-1))
}

// publish changes the catalogue after the commit.
func (b *batch) publish() {
	t := b.tables
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nextID = b.nextID
	for name, e := range b.fresh {
		t.tables[name] = e
	}
	for e, more := range b.names {
		e.measures = append(e.measures, more.names...)
		for name, n := range more.numbers {
			e.numbers[name] = n
		}
	}
	for th, s := range b.states {
		th.state = s
	}
	for e, things := range b.things {
		for name, th := range things {
			if th.state.rows > 0 {
				e.things[name] = th
			}
		}
	}
	for _, th := range b.removed {
		delete(th.table.things, th.name)
	}
	for _, f := range b.then {
		f()
	}
	t.counts.inserted.Add(b.inserted)
	t.counts.duplicates.Add(b.repeated)
	t.counts.deleted.Add(b.deleted)
}
