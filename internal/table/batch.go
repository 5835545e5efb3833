package table

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
)

// batch is one commit in the making. What it changes in the catalogue is kept aside and published
// after the commit, so that a failed one leaves nothing behind and a reader sees only what lasts.
type batch struct {
	tables *Tables
	tx     transaction
	nextID int64
	now    int64

	states   map[*thing]*state
	fresh    map[string]*table            // new tables
	things   map[*table]map[string]*thing // new things
	names    map[*table]*newMeasures
	removed  []*thing
	then     []func() // further changes, under the catalogue's lock
	rows     []pending
	full     map[*table]*names
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

func (b *batch) begin(tx transaction) {
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
			if _, ok := e.names.numbers[m.Name]; ok {
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
	case len(measures) > 0 && len(e.names.list)+len(more.names)+len(measures) > MaxMeasures:
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
	if n, ok := e.names.numbers[name]; ok {
		return n
	}
	more := b.names[e]
	if more == nil {
		more = &newMeasures{numbers: make(map[string]uint32)}
		b.names[e] = more
	}
	n, ok := more.numbers[name]
	if !ok {
		n = uint32(len(e.names.list) + len(more.names))
		more.numbers[name] = n
		more.names = append(more.names, name)
	}
	return n
}

// finish writes rows, new names and changed states.
func (b *batch) finish() error {
	for _, e := range b.fresh {
		if err := b.tx.addTable(tableRow{id: e.id, name: e.name, created: e.created}); err != nil {
			return err
		}
	}
	b.full = make(map[*table]*names)
	for e, more := range b.names {
		for i, name := range more.names {
			if err := b.tx.addMeasure(e.id, len(e.names.list)+i, name); err != nil {
				return err
			}
		}
		b.full[e] = newNames(slices.Concat(e.names.list, more.names))
	}
	if err := b.write(); err != nil {
		return err
	}
	changed := make([]thingRow, 0, len(b.states))
	for th, s := range b.states {
		if s.rows > 0 { // and was not removed
			changed = append(changed, thingRow{th.id, th.table.id, th.name, s.append(nil)})
		}
	}
	slices.SortFunc(changed, func(x, y thingRow) int { return cmp.Compare(x.id, y.id) })
	return b.tx.putThings(changed)
}

// known are a table's measures with those of this batch.
func (b *batch) known(e *table) *names {
	if n := b.full[e]; n != nil {
		return n
	}
	return e.names
}

// write inserts the rows that are not there.
func (b *batch) write() error {
	slices.SortStableFunc(b.rows, func(x, y pending) int {
		return cmp.Or(cmp.Compare(x.thing.id, y.thing.id), cmp.Compare(x.row.Time, y.row.Time))
	})
	list := make([]insertion, len(b.rows))
	var scratch []numbered
	number := func(p pending) []numbered {
		scratch = scratch[:0]
		for _, m := range p.row.Measures {
			scratch = append(scratch, numbered{b.number(p.thing.table, m.Name), m.Value})
		}
		return scratch
	}
	for i, p := range b.rows {
		before := p.thing.state
		if s := b.states[p.thing]; s != nil {
			before = s
		}
		data, err := b.tables.db.encode(b.known(p.thing.table), number(p))
		if err != nil {
			return fmt.Errorf("encode reading: %w", err)
		}
		list[i] = insertion{thing: p.thing.id, time: p.row.Time, seq: sequence(p.row.ID), fixed: p.row.ID != "", data: data,
			later: before.rows == 0 || p.row.Time > before.last}
	}
	if len(list) == 0 {
		return nil
	}
	if err := b.tx.insert(list); err != nil {
		return err
	}
	for i, p := range b.rows {
		s := b.state(p.thing)
		if !list[i].written {
			b.repeated++
			continue
		}
		b.inserted++
		values := number(p)
		slices.SortStableFunc(values, byNumber)
		s.add(p.row.Time, int64(len(list[i].data))+b.tables.db.overhead(), values)
	}
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
	for e, all := range b.full {
		e.names = all
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
