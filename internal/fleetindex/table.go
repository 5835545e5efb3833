package fleetindex

import (
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

// table is an index: rows by name, searched from one end to the other on all processors. A row is a
// handful of short strings, so that a fleet of a hundred thousand things is read through in a few
// hundredths of a second and nothing has to be kept up beside the rows.
type table struct {
	groups bool // of thing groups

	mu         sync.RWMutex
	dictionary *dictionary
	rows       map[string]*row
	order      []*row // by name; may hold rows that are gone
	added      []*row // not in order yet
	gone       int    // rows in order or added that are gone
}

func newTable(groups bool) *table {
	return &table{groups: groups, dictionary: newDictionary(), rows: make(map[string]*row)}
}

// row returns the row of a name, made if it is new. The table is locked.
func (t *table) row(name string) *row {
	r := t.rows[name]
	if r == nil {
		r = &row{name: name}
		t.rows[name] = r
		t.added = append(t.added, r)
	}
	return r
}

// remove takes a row away. The table is locked.
func (t *table) remove(name string) {
	if r := t.rows[name]; r != nil {
		r.gone = true
		t.gone++
		delete(t.rows, name)
		if t.gone >= maxGone && t.gone > len(t.rows) {
			t.settle() // things that come and go, and nobody who searches
		}
	}
}

// maxGone is how many rows that are gone may always wait for a search to drop them.
const maxGone = 1024

// sweep forgets the names of fields that no row has, if many have been added. The table is locked.
func (t *table) sweep() {
	if len(t.dictionary.numbers) < t.dictionary.limit {
		return
	}
	used := make(map[uint32]bool)
	mark := func(f fields) {
		for f != "" {
			var v value
			v, f = f.next()
			used[v.field] = true
		}
	}
	for _, r := range t.rows {
		for _, f := range r.parts {
			mark(f)
		}
		for _, s := range r.named {
			mark(s.fields)
		}
	}
	t.dictionary.sweep(used)
}

// read locks the table for reading, its order up to date.
func (t *table) read() {
	t.mu.RLock()
	for len(t.added) > 0 || t.gone > 0 {
		t.mu.RUnlock()
		t.mu.Lock()
		t.settle()
		t.mu.Unlock()
		t.mu.RLock()
	}
}

// settle merges what was added into the order and drops what is gone. The table is locked.
func (t *table) settle() {
	if len(t.added) == 0 && t.gone == 0 {
		return
	}
	slices.SortFunc(t.added, func(a, b *row) int { return strings.Compare(a.name, b.name) })
	order := make([]*row, 0, len(t.order)+len(t.added))
	take := func(r *row) {
		if !r.gone {
			order = append(order, r)
		}
	}
	i := 0
	for _, r := range t.order {
		for i < len(t.added) && t.added[i].name < r.name {
			take(t.added[i])
			i++
		}
		take(r)
	}
	for ; i < len(t.added); i++ {
		take(t.added[i])
	}
	t.order, t.added, t.gone = order, nil, 0
}

// block is how many rows a processor takes at a time.
const block = 2048

// match returns the rows after a name that a plan finds, by name; at least limit ones if there are
// as many, all of them if limit is negative. The table is locked for reading.
func (t *table) match(p *plan, after string, limit int) []*row {
	start := 0
	if after != "" {
		start = sort.Search(len(t.order), func(i int) bool { return t.order[i].name > after })
	}
	rows := t.order[start:]
	blocks := (len(rows) + block - 1) / block
	found := make([][]*row, blocks)
	var next, enough atomic.Int64
	enough.Store(int64(blocks))
	var mu sync.Mutex
	work := func() {
		for {
			b := next.Add(1) - 1
			if b >= enough.Load() {
				return
			}
			var hits []*row
			for _, r := range rows[b*block : min((b+1)*block, int64(len(rows)))] {
				if p.match(r) {
					hits = append(hits, r)
				}
			}
			mu.Lock()
			found[b] = hits
			if limit >= 0 && len(hits) > 0 {
				// Blocks are taken in order: those before this one are done or being worked on.
				n := 0
				for i := int64(0); i <= b; i++ {
					if n += len(found[i]); n >= limit {
						enough.Store(min(enough.Load(), i+1))
						break
					}
				}
			}
			mu.Unlock()
		}
	}
	if workers := min(runtime.GOMAXPROCS(0), blocks); workers > 1 {
		var wg sync.WaitGroup
		for range workers {
			wg.Go(work)
		}
		wg.Wait()
	} else {
		work()
	}
	return slices.Concat(found...)
}
