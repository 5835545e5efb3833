package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sweepInterval is how often old readings are looked for.
const sweepInterval = time.Minute

// SetRetention gives a table an age and a size of its own: 0 for those of the server, negative for
// without limit. ErrNotFound.
func (t *Tables) SetRetention(ctx context.Context, name string, age time.Duration, maxBytes int64) error {
	retention := int64(age / time.Millisecond)
	if age < 0 {
		retention = -1
	}
	if age > 0 && age < time.Second {
		return fmt.Errorf("set retention of table %q: %w", name, invalid("%v is shorter than a second", age))
	}
	maxBytes = max(maxBytes, -1)
	err := t.run(ctx, func(b *batch) error {
		e := t.tables[name]
		if e == nil {
			return notFound(name)
		}
		b.then = append(b.then, func() { e.retention, e.maxBytes = retention, maxBytes })
		return b.tx.setTable(tableRow{id: e.id, retention: retention, maxBytes: maxBytes})
	})
	if err != nil {
		return fmt.Errorf("set retention: %w", err)
	}
	return nil
}

func (t *Tables) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		if err := t.sweep(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			t.cfg.Log.Error("removing old readings failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-t.wake:
		}
	}
}

// sweep removes dropped tables, readings that are too old, and the oldest of tables that are too
// large.
func (t *Tables) sweep(ctx context.Context) error {
	t.mu.RLock()
	dropping := slices.Clone(t.dropping)
	type work struct {
		table  *table
		cutoff int64
	}
	var aged, large []work
	now := t.cfg.Now().UnixMilli()
	for _, e := range t.tables {
		retention, maxBytes := t.limits(e)
		if retention > 0 && now > retention {
			aged = append(aged, work{e, now - retention})
		}
		if maxBytes > 0 {
			large = append(large, work{e, maxBytes})
		}
	}
	t.mu.RUnlock()
	for _, e := range dropping {
		if err := t.remove(ctx, e); err != nil {
			return fmt.Errorf("table %q: %w", e.name, err)
		}
	}
	for _, w := range aged {
		if err := t.deleteBefore(ctx, w.table, w.cutoff); err != nil {
			return fmt.Errorf("table %q: %w", w.table.name, err)
		}
	}
	for _, w := range large {
		if err := t.shrink(ctx, w.table, w.cutoff); err != nil {
			return fmt.Errorf("table %q: %w", w.table.name, err)
		}
	}
	return nil
}

func (t *Tables) deleteBefore(ctx context.Context, e *table, cutoff int64) error {
	t.mu.RLock()
	list := e.within(nil, 0, cutoff)
	t.mu.RUnlock()
	_, err := t.deleteRows(ctx, list, 0, cutoff)
	return err
}

// remove deletes what is left of a dropped table.
func (t *Tables) remove(ctx context.Context, e *table) error {
	if err := t.deleteBefore(ctx, e, MaxTime+1); err != nil {
		return err
	}
	return t.run(ctx, func(b *batch) error {
		b.then = append(b.then, func() {
			t.dropping = slices.DeleteFunc(t.dropping, func(d *table) bool { return d == e })
		})
		return b.tx.removeTable(e.id)
	})
}

// shrink deletes the oldest rows of a table, whosever they are, until it is small enough.
func (t *Tables) shrink(ctx context.Context, e *table, maxBytes int64) error {
	for {
		t.mu.RLock()
		var rows, bytes int64
		for _, th := range e.things {
			rows, bytes = rows+th.state.rows, bytes+th.state.bytes
		}
		name, things := e.name, len(e.things)
		t.mu.RUnlock()
		if bytes <= maxBytes || rows == 0 {
			return nil
		}
		excess := (bytes-maxBytes)*rows/bytes + 1
		n := min(excess, int64(max(4*stepRows, 16*things)))
		q := Query{Table: name}
		if err := q.check(); err != nil {
			return err
		}
		s, err := t.resolve(&q)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		cutoff := int64(0)
		err = t.ordered(ctx, s, int(n), func(_ *cursor, r *stored) (bool, error) {
			cutoff = r.time + 1
			n--
			return n > 0, nil
		})
		if err != nil {
			return err
		}
		if cutoff == 0 { // its rows went meanwhile
			return nil
		}
		if err := t.deleteBefore(ctx, e, cutoff); err != nil {
			return err
		}
	}
}
