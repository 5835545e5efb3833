package table

import (
	"context"
	"fmt"
)

// stepRows is how many rows are deleted in one commit, so that inserts do not wait long.
const stepRows = 2000

// Drop deletes a table. Its name is free at once; its rows go in the background, also after a
// restart. ErrNotFound.
func (t *Tables) Drop(ctx context.Context, name string) error {
	err := t.run(ctx, func(b *batch) error {
		e := t.tables[name]
		if e == nil {
			return notFound(name)
		}
		b.then = append(b.then, func() {
			delete(t.tables, name)
			t.dropping = append(t.dropping, e)
		})
		return b.tx.setTable(tableRow{id: e.id, retention: e.retention, maxBytes: e.maxBytes, dropped: true})
	})
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return nil
}

// DeleteRange deletes rows from a time on (included) to another (not; 0 for no end), of some things
// or of all for nil, and returns how many. It works in steps: with an error some are gone.
// ErrNotFound, ErrInvalid.
func (t *Tables) DeleteRange(ctx context.Context, name string, things []string, from, to int64) (int64, error) {
	q := Query{Table: name, From: from, To: to}
	if err := q.check(); err != nil {
		return 0, fmt.Errorf("delete from table %q: %w", name, err)
	}
	t.mu.RLock()
	e := t.tables[name]
	var list []*thing
	if e != nil {
		list = e.within(things, q.From, q.To)
	}
	t.mu.RUnlock()
	if e == nil {
		return 0, fmt.Errorf("delete: %w", notFound(name))
	}
	return t.deleteRows(ctx, list, q.From, q.To)
}

// within returns things that may have rows in a range. The catalogue is locked.
func (e *table) within(names []string, from, to int64) []*thing {
	var list []*thing
	add := func(th *thing) {
		if th != nil && th.state.first < to && th.state.last >= from {
			list = append(list, th)
		}
	}
	if names == nil {
		for _, th := range e.things {
			add(th)
		}
	}
	for _, name := range names {
		add(e.things[name])
	}
	return list
}

// deleteRows deletes a range of some things in steps.
func (t *Tables) deleteRows(ctx context.Context, list []*thing, from, to int64) (deleted int64, err error) {
	for len(list) > 0 {
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		rest, n := list, 0
		err := t.run(ctx, func(b *batch) error {
			rest, n = list, 0
			// A thing costs something even if it has nothing to delete.
			for budget := stepRows; len(rest) > 0 && budget > 0; budget-- {
				k, err := b.deleteStep(rest[0], from, to, budget)
				if err != nil {
					return fmt.Errorf("delete rows of %q: %w", rest[0].name, err)
				}
				if k < budget {
					rest = rest[1:]
				}
				budget -= k
				n += k
			}
			return nil
		})
		if err != nil {
			return deleted, err
		}
		list = rest
		deleted += int64(n)
	}
	return deleted, nil
}

// deleteStep deletes at most limit rows of a thing, the oldest of the range first.
func (b *batch) deleteStep(th *thing, from, to int64, limit int) (int, error) {
	s := b.state(th)
	if s.rows == 0 || th.table.things[th.name] != th { // gone meanwhile
		delete(b.states, th)
		return 0, nil
	}
	var n int
	var end stored
	db := b.tables.db
	err := b.tx.read(span{thing: th.id, from: from, to: to, limit: limit}, func(_ int64, r stored) error {
		n++
		end.time, end.seq = r.time, r.seq
		s.rows--
		s.bytes -= int64(len(r.data)) + db.overhead()
		return db.values(r.data, th.table.names, func(uint32) bool { return false }, func(v numbered) { s.stat(v.number).count-- })
	})
	if err != nil || n == 0 {
		return 0, err
	}
	if err := b.tx.remove(th.id, from, end.time, end.seq); err != nil {
		return 0, err
	}
	b.deleted += uint64(n)
	if s.rows == 0 {
		b.removed = append(b.removed, th)
		return n, b.tx.removeThing(th.id)
	}
	return n, b.narrow(th, s, from, end.time)
}

// narrow brings a state's ranges and latest values up to date after rows between two times went.
func (b *batch) narrow(th *thing, s *state, from, end int64) error {
	edge := func(to *int64, descending bool) error {
		return b.tx.read(span{thing: th.id, to: MaxTime + 1, descending: descending, limit: 1}, func(_ int64, r stored) error {
			*to = r.time
			return nil
		})
	}
	if from <= s.first {
		if err := edge(&s.first, false); err != nil {
			return err
		}
	}
	if end >= s.last {
		if err := edge(&s.last, true); err != nil {
			return err
		}
	}
	kept := s.measures[:0]
	lost := make(map[uint32]*stat)
	begin := int64(0)
	for _, m := range s.measures {
		if m.count == 0 {
			continue
		}
		m.first = max(m.first, s.first)
		kept = append(kept, m)
	}
	s.measures = kept
	for i := range kept {
		if m := &kept[i]; m.last >= from && m.last <= end {
			lost[m.number] = m
			begin = max(begin, m.last)
		}
	}
	// The latest values went: look for those before them.
	before := span{thing: th.id, to: begin + 1, descending: true, limit: maxChunk}
	for len(lost) > 0 {
		n := 0
		var last key
		err := b.tx.read(before, func(_ int64, r stored) error {
			n++
			last = key{time: r.time, thing: th.id, seq: r.seq}
			return b.tables.db.values(r.data, th.table.names, nil, func(v numbered) {
				if m := lost[v.number]; m != nil {
					m.last, m.value = r.time, v.value
					delete(lost, v.number)
				}
			})
		})
		if err != nil {
			return err
		}
		if n < maxChunk {
			break
		}
		before.after = &last
	}
	return nil
}
