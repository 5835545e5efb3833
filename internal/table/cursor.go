package table

import (
	"container/heap"
	"context"
	"errors"
)

// cursor reads the rows of one thing in a range, a chunk at a time. Before its first chunk it stands
// at the bound of its range.
type cursor struct {
	thing      int64
	name       string
	rank       int   // among the cursors of a query, by name
	from, to   int64 // what is left, from included, to not
	seq        int64 // rows at the starting time are after (ascending) or before (descending) this
	bounded    bool  // seq counts
	descending bool

	chunk []stored
	at    int
	size  int // of the next chunk, in rows
	most  int // of any chunk
	bytes int // after which a chunk ends early
	ended bool
	arena []byte
}

// skip leaves out what is not after a position in the order of the query.
func (c *cursor) skip(p *position) {
	if c.descending {
		switch {
		case c.name < p.thing: // comes later at the same time
			c.to = min(c.to, p.time+1)
		case c.name > p.thing:
			c.to = min(c.to, p.time)
		case c.to > p.time:
			c.to, c.seq, c.bounded = p.time+1, p.seq, true
		}
		return
	}
	switch {
	case c.name > p.thing:
		c.from = max(c.from, p.time)
	case c.name < p.thing:
		c.from = max(c.from, p.time+1)
	case c.from <= p.time:
		c.from, c.seq, c.bounded = p.time, p.seq, true
	}
}

// key is the time that the cursor stands at, or may.
func (c *cursor) key() int64 {
	switch {
	case c.at < len(c.chunk):
		return c.chunk[c.at].time
	case c.descending:
		return c.to - 1
	}
	return c.from
}

const maxChunk = 2048 // rows

// Chunks of all cursors of a query are in memory together: these are their rows and bytes.
const (
	openRows  = 256 << 10
	openBytes = 32 << 20
)

var errChunkFull = errors.New("chunk is full")

// fill reads the next chunk; without one the cursor has ended.
func (c *cursor) fill(ctx context.Context, db database) error {
	c.chunk, c.at, c.arena = c.chunk[:0], 0, c.arena[:0]
	if c.ended || c.from >= c.to {
		c.ended = true
		return nil
	}
	next := span{thing: c.thing, from: c.from, to: c.to, descending: c.descending, limit: c.size}
	if c.bounded {
		next.after = &key{time: c.from, thing: c.thing, seq: c.seq}
		if c.descending {
			next.after.time = c.to - 1
		}
	}
	ends := make([]int, 0, c.size)
	err := db.read(ctx, next, func(_ int64, r stored) error {
		c.arena = append(c.arena, r.data...)
		ends = append(ends, len(c.arena))
		c.chunk = append(c.chunk, stored{time: r.time, seq: r.seq})
		if len(c.arena) > c.bytes {
			return errChunkFull
		}
		return nil
	})
	full := errors.Is(err, errChunkFull)
	if err != nil && !full {
		return err
	}
	begin := 0
	for i, end := range ends {
		c.chunk[i].data = c.arena[begin:end:end]
		begin = end
	}
	if n := len(c.chunk); n < c.size && !full {
		c.ended = true
	} else {
		last := c.chunk[n-1]
		c.seq, c.bounded = last.seq, true
		if c.descending {
			c.to = last.time + 1
		} else {
			c.from = last.time
		}
	}
	c.size = min(2*c.size, c.most)
	return nil
}

// admits reports whether a row of the cursor's thing lies in what is left of its range.
func (c *cursor) admits(r *stored) bool {
	switch {
	case r.time < c.from || r.time >= c.to:
		return false
	case !c.bounded:
		return true
	case c.descending:
		return r.time < c.to-1 || r.seq < c.seq
	}
	return r.time > c.from || r.seq > c.seq
}

// merge calls yield with the rows of all cursors in order. wanted is a guess at how many rows will
// be taken, 0 for all.
func (t *Tables) merge(ctx context.Context, cursors []*cursor, wanted int, yield func(c *cursor, r *stored) (bool, error)) error {
	var h merged
	size := maxChunk / 4
	if wanted > 0 && len(cursors) > 0 {
		size = min(max(wanted/len(cursors)+2, 8), size)
	}
	most, bytes := maxChunk, 1<<20
	if n := len(cursors); n > 0 {
		most, bytes = min(max(openRows/n, 16), most), min(max(openBytes/n, 4<<10), bytes)
	}
	for i, c := range cursors {
		if c.from < c.to {
			c.rank, c.size, c.most, c.bytes = i, min(size, most), most, bytes
			h = append(h, c)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		c := h[0]
		if c.at == len(c.chunk) {
			if err := c.fill(ctx, t.db); err != nil {
				return err
			}
			if len(c.chunk) == 0 {
				heap.Pop(&h)
				continue
			}
			heap.Fix(&h, 0) // it may stand later than its bound said
			continue
		}
		more, err := yield(c, &c.chunk[c.at])
		if err != nil || !more {
			return err
		}
		c.at++
		if c.at == len(c.chunk) && c.ended {
			heap.Pop(&h)
			continue
		}
		if len(h) > 1 {
			heap.Fix(&h, 0)
		}
	}
	return nil
}

// merged is a heap of cursors.
type merged []*cursor

func (h merged) Len() int      { return len(h) }
func (h merged) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h merged) Less(i, j int) bool {
	a, b := h[i], h[j]
	x, y := a.key(), b.key()
	switch {
	case x == y:
		return (a.rank < b.rank) != a.descending
	case a.descending:
		return x > y
	}
	return x < y
}
func (h *merged) Push(x any) { *h = append(*h, x.(*cursor)) }
func (h *merged) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}
