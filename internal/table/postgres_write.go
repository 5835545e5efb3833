package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// errNotBegun: the connection was gone before the transaction began.
var errNotBegun = errors.New("the transaction did not begin")

func (d *postgres) write(ctx context.Context, fn func(tx transaction) error) error {
	if d.conn == nil {
		return fmt.Errorf("%w: not connected", ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	tx, err := d.conn.Begin(ctx)
	if err != nil {
		d.disconnect()
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, errNotBegun, err)
	}
	if err = fn(&postgresTx{ctx, tx}); err == nil {
		err = tx.Commit(ctx)
	} else {
		tx.Rollback(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err = failure(err); errors.Is(err, ErrUnavailable) {
		d.disconnect()
	}
	return err
}

type postgresTx struct {
	ctx context.Context
	tx  pgx.Tx
}

func (t *postgresTx) exec(statement string, args ...any) error {
	_, err := t.tx.Exec(t.ctx, statement, args...)
	return failure(err)
}

func (t *postgresTx) read(s span, yield func(int64, stored) error) error {
	return s.rows(t.ctx, t.tx, yield)
}

// insert copies rows that are later than all that their things had, since nothing can be in their
// place. The others are asked for first, and inserted where there is room.
func (t *postgresTx) insert(rows []insertion) error {
	var fresh, doubtful []*insertion
	var taken []*insertion // one for each moment whose numbers have to be asked for
	for begin := 0; begin < len(rows); {
		end := begin + 1
		for end < len(rows) && rows[end].thing == rows[begin].thing && rows[end].time == rows[begin].time {
			end++
		}
		seen, asked := make(map[int64]bool, end-begin), false
		next := int64(0)
		for i := begin; i < end; i++ {
			r := &rows[i]
			switch {
			case !r.fixed:
				r.seq = next
				next++
				if asked = asked || !r.later; r.later {
					fresh = append(fresh, r)
				} else {
					doubtful = append(doubtful, r)
				}
			case seen[r.seq]:
			case r.later:
				seen[r.seq] = true
				fresh = append(fresh, r)
			default:
				seen[r.seq] = true
				doubtful = append(doubtful, r)
			}
		}
		if asked {
			taken = append(taken, &rows[begin])
		}
		begin = end
	}
	if err := t.renumber(taken, doubtful); err != nil {
		return err
	}
	if err := t.copy(fresh); err != nil {
		return fmt.Errorf("write readings: %w", err)
	}
	if err := t.merge(doubtful); err != nil {
		return fmt.Errorf("write readings: %w", err)
	}
	return nil
}

type moment struct{ thing, time int64 }

// renumber moves rows without ID behind those that their moments have.
func (t *postgresTx) renumber(moments, rows []*insertion) error {
	if len(moments) == 0 {
		return nil
	}
	things, times := make([]int64, len(moments)), make([]time.Time, len(moments))
	for i, r := range moments {
		things[i], times[i] = r.thing, time.UnixMilli(r.time)
	}
	found, err := t.tx.Query(t.ctx, `SELECT m.thing, m.time, (SELECT max(seq) FROM berth.reading r WHERE r.thing = m.thing AND r.time = m.time AND r.seq >= 0)
		FROM unnest($1::bigint[], $2::timestamptz[]) AS m (thing, time)`, things, times)
	if err != nil {
		return failure(err)
	}
	highest := make(map[moment]int64)
	var thing int64
	var at time.Time
	var seq *int64
	_, err = pgx.ForEachRow(found, []any{&thing, &at, &seq}, func() error {
		if seq != nil {
			highest[moment{thing, at.UnixMilli()}] = *seq + 1
		}
		return nil
	})
	if err != nil {
		return failure(err)
	}
	for _, r := range rows {
		if !r.fixed {
			r.seq += highest[moment{r.thing, r.time}]
		}
	}
	return nil
}

func (t *postgresTx) copy(rows []*insertion) error {
	if len(rows) == 0 {
		return nil
	}
	values := make([]any, 4)
	_, err := t.tx.CopyFrom(t.ctx, pgx.Identifier{"berth", "reading"}, []string{"thing", "time", "seq", "measures"},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			r := rows[i]
			r.written = true
			values[0], values[1], values[2], values[3] = r.thing, time.UnixMilli(r.time), r.seq, r.data
			return values, nil
		}))
	return failure(err)
}

// merge inserts rows unless they are there.
func (t *postgresTx) merge(rows []*insertion) error {
	if len(rows) == 0 {
		return nil
	}
	things, seqs, times, data := make([]int64, len(rows)), make([]int64, len(rows)), make([]time.Time, len(rows)), make([]string, len(rows))
	byKey := make(map[key]*insertion, len(rows))
	for i, r := range rows {
		things[i], times[i], seqs[i], data[i] = r.thing, time.UnixMilli(r.time), r.seq, string(r.data)
		byKey[key{r.time, r.thing, r.seq}] = r
	}
	written, err := t.tx.Query(t.ctx, `INSERT INTO berth.reading (thing, time, seq, measures)
		SELECT n.thing, n.time, n.seq, n.measures::json FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::text[]) AS n (thing, time, seq, measures)
		ON CONFLICT DO NOTHING RETURNING thing, time, seq`, things, times, seqs, data)
	if err != nil {
		return failure(err)
	}
	var k key
	var at time.Time
	_, err = pgx.ForEachRow(written, []any{&k.thing, &at, &k.seq}, func() error {
		k.time = at.UnixMilli()
		if r := byKey[k]; r != nil {
			r.written = true
		}
		return nil
	})
	return failure(err)
}

func (t *postgresTx) remove(thing, from, at, seq int64) error {
	return t.exec(`DELETE FROM berth.reading WHERE thing = $1 AND time >= $2 AND (time, seq) <= ($3, $4)`, thing, time.UnixMilli(from), time.UnixMilli(at), seq)
}

func (t *postgresTx) addTable(r tableRow) error {
	return t.exec(`INSERT INTO berth.series (id, name, created_at, retention, max_bytes, dropped) VALUES ($1, $2, $3, $4, $5, $6)`,
		r.id, r.name, r.created, r.retention, r.maxBytes, r.dropped)
}

func (t *postgresTx) setTable(r tableRow) error {
	return t.exec(`UPDATE berth.series SET retention = $2, max_bytes = $3, dropped = $4 WHERE id = $1`, r.id, r.retention, r.maxBytes, r.dropped)
}

func (t *postgresTx) removeTable(id int64) error {
	if err := t.exec(`DELETE FROM berth.measure WHERE series = $1`, id); err != nil {
		return err
	}
	return t.exec(`DELETE FROM berth.series WHERE id = $1`, id)
}

func (t *postgresTx) addMeasure(table int64, number int, name string) error {
	return t.exec(`INSERT INTO berth.measure (series, number, name) VALUES ($1, $2, $3)`, table, number, name)
}

func (t *postgresTx) putThings(rows []thingRow) error {
	if len(rows) == 0 {
		return nil
	}
	ids, tables, names, states := make([]int64, len(rows)), make([]int64, len(rows)), make([]string, len(rows)), make([][]byte, len(rows))
	for i, r := range rows {
		ids[i], tables[i], names[i], states[i] = r.id, r.table, r.name, r.state
	}
	return t.exec(`INSERT INTO berth.thing (id, series, name, state) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[])
		ON CONFLICT (id) DO UPDATE SET state = excluded.state`, ids, tables, names, states)
}

func (t *postgresTx) removeThing(id int64) error {
	return t.exec(`DELETE FROM berth.thing WHERE id = $1`, id)
}
