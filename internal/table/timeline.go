package table

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// A query of many things and few rows reads the index by time, not one cursor after the other: what
// it costs follows the rows that lie in the range, whosever they are, and not the things.
const (
	fewThings = 64 // that cursors are always good enough for
	// rowsPerThing is how many rows the index may be asked for instead of opening one cursor. A row
	// costs a look into the index and another for its data, a cursor one look and its rows.
	rowsPerThing = 2
)

// estimate guesses how many rows lie in a range, as if every thing's were spread evenly over its own.
// The catalogue is locked.
func (t *Tables) estimate(s *selection, own *table, from, to int64) {
	if len(s.cursors) <= fewThings {
		return
	}
	var mine float64
	for _, e := range t.tables {
		for _, th := range e.things {
			first, end := th.state.first, th.state.last+1
			covered := min(end, to) - max(first, from)
			if covered <= 0 {
				continue
			}
			n := max(float64(th.state.rows)*float64(covered)/float64(end-first), 1)
			s.inRange += n
			if e == own {
				mine += n
			}
		}
	}
	if s.inRange > 0 {
		s.share = mine / s.inRange
	}
}

// ordered calls yield with the rows of a selection in order. wanted is a guess at how many will be
// taken, 0 for all.
func (t *Tables) ordered(ctx context.Context, s *selection, wanted int, yield func(c *cursor, r *stored) (bool, error)) error {
	most := rowsPerThing * len(s.cursors)
	reads := s.inRange
	if wanted > 0 && s.share > 0 {
		reads = min(reads, float64(wanted)/s.share)
	}
	if len(s.cursors) > fewThings && reads <= float64(most) {
		done, err := t.timeline(ctx, s, 2*most, yield)
		if done || err != nil {
			return err
		}
	}
	return t.merge(ctx, s.cursors, wanted, yield)
}

// timeline reads rows of the index by time. It gives up after some rows, or when those of one
// moment do not fit into memory: then done is false and the cursors stand where it ended.
func (t *Tables) timeline(ctx context.Context, s *selection, most int, yield func(c *cursor, r *stored) (bool, error)) (done bool, err error) {
	cursors := make(map[int64]*cursor, len(s.cursors))
	all := span{from: MaxTime + 1, descending: s.descending, limit: maxChunk / 4}
	for i, c := range s.cursors {
		c.rank, cursors[c.thing] = i, c
		all.from, all.to = min(all.from, c.from), max(all.to, c.to)
	}
	type row struct {
		cursor *cursor
		stored
	}
	var moment []row // rows of one time
	bytes := 0
	var last *position
	flush := func() (bool, error) {
		slices.SortFunc(moment, func(a, b row) int {
			c := cmp.Or(cmp.Compare(a.cursor.rank, b.cursor.rank), cmp.Compare(a.seq, b.seq))
			if s.descending {
				return -c
			}
			return c
		})
		for i := range moment {
			r := &moment[i]
			if more, err := yield(r.cursor, &r.stored); err != nil || !more {
				return false, err
			}
			last = &position{r.time, r.cursor.name, r.seq}
		}
		moment, bytes = moment[:0], 0
		return true, nil
	}
	for all.from < all.to {
		n, chunk := 0, []row(nil)
		var at key
		err := t.db.read(ctx, all, func(thing int64, r stored) error {
			n++
			at = key{r.time, thing, r.seq}
			if c := cursors[thing]; c != nil && c.admits(&r) {
				r.data = slices.Clone(r.data)
				chunk = append(chunk, row{c, r})
				bytes += len(r.data) + 64
			}
			if bytes > openBytes {
				return errChunkFull
			}
			return nil
		})
		full := errors.Is(err, errChunkFull)
		if err != nil && !full {
			return true, err
		}
		for _, r := range chunk {
			if len(moment) > 0 && moment[0].time != r.time {
				if more, err := flush(); err != nil || !more {
					return true, err
				}
			}
			moment = append(moment, r)
		}
		if n < all.limit && !full {
			_, err := flush()
			return true, err
		}
		if most -= n; most < 0 || full && bytes > openBytes {
			break
		}
		all.after, all.limit = &at, maxChunk
	}
	for _, c := range s.cursors {
		if last != nil {
			c.skip(last)
		}
	}
	return false, nil
}
