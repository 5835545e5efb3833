package nvs

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"sync"
)

// Store is a partition that is written to while it is in use, as firmware does: entries are appended,
// what they replace is erased by clearing bits, and pages are emptied when the free ones run out. It
// follows ESP-IDF's nvs_flash step by step, so that firmware and Store can take turns on one partition.
//
// Whatever write the power goes in, the next Open finds each key with the value from before or the new
// one. The partition is kept in memory. Methods may be called concurrently.
type Store struct {
	mu    sync.Mutex
	r     *region
	xts   *xts
	order []int // pages in use, by sequence number; the last one takes new entries
	free  []int
	seq   uint32
	items map[identity]item
	names map[string]uint8
}

// item is an entry in place, those of its data included.
type item struct {
	page, index, span int
}

// Open opens a partition of a flash, encrypted if there are keys. What a loss of power left half done is
// finished or undone. ErrSize, ErrNotNVS, ErrKeys.
func Open(f Flash, offset, size uint32, keys *Keys) (*Store, error) {
	r, err := openRegion(f, offset, size)
	if err != nil {
		return nil, err
	}
	s := &Store{r: r, xts: newXTS(keys)}
	// With other keys every entry would look torn, and be erased. One alone is torn: even the smallest
	// partition in use holds two, a namespace and a key.
	if _, err := Read(r.image, keys); err != nil && !s.untouched() && !(errors.Is(err, ErrKeys) && s.written() < 2) {
		return nil, err
	}
	if err := s.mount(); err != nil {
		return nil, err
	}
	return s, nil
}

// untouched reports whether no page has more than a header, which may be torn.
func (s *Store) untouched() bool {
	for at := range s.pages() {
		if bytes.Count(s.r.page(at)[32:], []byte{0xFF}) < PageSize-32 {
			return false
		}
	}
	return true
}

// written counts written entries.
func (s *Store) written() (n int) {
	for at := range s.pages() {
		n += s.used(at)
	}
	return n
}

// pages is how many there are.
func (s *Store) pages() int { return len(s.r.image) / PageSize }

func (s *Store) mount() error {
	for at := range s.pages() {
		p := s.r.page(at)
		switch state := p.state(); {
		case p.checkHeader() == nil && (state == PageActive || state == PageFull || state == PageFreeing):
			s.order = append(s.order, at)
			s.seq = max(s.seq, p.seq()+1)
		default: // begun or erased in part when the power went
			if err := s.blank(at); err != nil {
				return err
			}
			s.free = append(s.free, at)
		}
	}
	slices.SortFunc(s.order, func(a, b int) int { return cmp.Compare(s.r.page(a).seq(), s.r.page(b).seq()) })
	for i, at := range s.order {
		if err := s.repairPage(at); err != nil {
			return err
		}
		// A page that was to be full when the power went.
		if i < len(s.order)-1 && s.r.page(at).state() == PageActive {
			if err := s.r.setState(at, PageFull); err != nil {
				return err
			}
		}
	}
	if err := s.finishFreeing(); err != nil {
		return err
	}
	return s.removeStale()
}

// plain is n entries from entry i of a page, decrypted.
func (s *Store) plain(at, i, n int) []byte {
	b := bytes.Clone(s.r.page(at).entries(i, n))
	if s.xts != nil {
		for k := range n {
			s.xts.decrypt(b[k*EntrySize:][:EntrySize], at*PageSize+firstEntry+(i+k)*EntrySize)
		}
	}
	return b
}

// repairPage erases entries of a page that were not written or not erased to their end.
func (s *Store) repairPage(at int) error {
	p := s.r.page(at)
	for i := 0; i < EntriesPerPage; {
		n, sound := 1, false
		switch p.entryState(i) {
		case EntryErased:
			i++
			continue
		case EntryEmpty:
			if bytes.Count(p.entries(i, 1), []byte{0xFF}) == EntrySize {
				i++
				continue
			}
			// Written, but not yet marked as such.
		case EntryWritten:
			if h, err := decodeHeader(s.plain(at, i, 1)); err == nil && h.span > 0 && i+int(h.span) <= EntriesPerPage {
				n, sound = int(h.span), true
				for k := i; k < i+n; k++ {
					sound = sound && p.entryState(k) == EntryWritten
				}
				if sound && n > 1 {
					size := int(h.data[0]) | int(h.data[1])<<8
					sound = n == 1+entriesFor(size) && varData(s.plain(at, i+1, n-1)[:size]) == h.data
				}
			}
		}
		if !sound {
			if err := s.r.mark(at, i, n, EntryErased); err != nil {
				return err
			}
		}
		i += n
	}
	return nil
}

// finishFreeing empties a page that was being emptied when the power went. What had been copied is
// copied again.
func (s *Store) finishFreeing() error {
	i := slices.IndexFunc(s.order, func(at int) bool { return s.r.page(at).state() == PageFreeing })
	if i < 0 {
		return nil
	}
	at := s.order[i]
	if last := s.order[len(s.order)-1]; last != at && s.r.page(last).state() == PageActive {
		if err := s.r.erase(last); err != nil {
			return err
		}
		s.order = s.order[:len(s.order)-1]
		s.free = append(s.free, last)
	}
	return s.move(at)
}

// move copies what a page holds to a fresh one and erases it.
func (s *Store) move(from int) error {
	to, err := s.activate()
	if err != nil {
		return err
	}
	next := 0
	var failed error
	s.each(from, func(i int, h header) {
		if n := int(h.span); failed == nil {
			failed = s.append(to, next, s.plain(from, i, n))
			next += n
		}
	})
	if failed != nil {
		return failed
	}
	// From here on the copies count: an erase that is cut short must not make it the other way round.
	if err := s.r.setState(from, PageCorrupt); err != nil {
		return err
	}
	if err := s.r.erase(from); err != nil {
		return err
	}
	s.order = slices.DeleteFunc(s.order, func(at int) bool { return at == from })
	s.free = append(s.free, from)
	return nil
}

// each calls do for the written entries of a page in order.
func (s *Store) each(at int, do func(i int, h header)) {
	p := s.r.page(at)
	for i := 0; i < EntriesPerPage; {
		if p.entryState(i) == EntryWritten {
			if h, err := decodeHeader(s.plain(at, i, 1)); err == nil && h.span > 0 {
				do(i, h)
				i += int(h.span)
				continue
			}
		}
		i++
	}
}

// blank erases a page that is not.
func (s *Store) blank(at int) error {
	if bytes.Count(s.r.page(at), []byte{0xFF}) == PageSize {
		return nil
	}
	return s.r.erase(at)
}

// activate makes a free page the one that takes new entries.
func (s *Store) activate() (int, error) {
	if len(s.free) == 0 {
		return 0, ErrFull
	}
	at := s.free[0]
	header := page(bytes.Repeat([]byte{0xFF}, PageSize))
	header.format(s.seq, Version2)
	if err := s.r.program(at, 0, header[:32]); err != nil {
		return 0, err
	}
	s.free = s.free[1:]
	s.seq++
	s.order = append(s.order, at)
	return at, nil
}

// append writes plain entries to a page and then marks them, the first one first, as firmware does.
func (s *Store) append(at, i int, entries []byte) error {
	n := len(entries) / EntrySize
	b := bytes.Clone(entries)
	if s.xts != nil {
		for k := range n {
			s.xts.encrypt(b[k*EntrySize:][:EntrySize], at*PageSize+firstEntry+(i+k)*EntrySize)
		}
	}
	write := func(i, n int, b []byte) error {
		if err := s.r.program(at, firstEntry+i*EntrySize, b); err != nil {
			return err
		}
		return s.r.mark(at, i, n, EntryWritten)
	}
	if err := write(i, 1, b[:EntrySize]); err != nil || n == 1 {
		return err
	}
	return write(i+1, n-1, b[EntrySize:])
}

// index looks at what every page holds, and calls stale for what something later replaces.
func (s *Store) index(stale func(item) error) (err error) {
	s.items, s.names = make(map[identity]item), make(map[string]uint8)
	for _, at := range s.order {
		s.each(at, func(i int, h header) {
			id := identity{h.namespace, h.kind, h.chunk, h.key}
			old, replaced := s.items[id]
			if other, ok := s.find(id.namespace, id.key); !replaced && ok && id.kind != BlobData {
				// A key has one value: the power went after its type changed.
				old, replaced = s.items[other], true
				delete(s.items, other)
			}
			if replaced && err == nil && stale != nil {
				err = stale(old)
			}
			s.items[id] = item{at, i, int(h.span)}
			if h.namespace == namespaceOfAll && h.kind == U8 {
				s.names[h.key] = h.data[0]
			}
		})
	}
	return err
}

// removeStale erases what was about to be erased when the power went: values that have been replaced,
// chunks without index, an index without its chunks.
func (s *Store) removeStale() error {
	if err := s.index(s.drop); err != nil {
		return err
	}
	claimed := make(map[identity]bool)
	for id, it := range s.items {
		if id.kind != BlobIndex {
			continue
		}
		if chunks, ok := s.chunks(id, it); ok {
			for _, c := range chunks {
				claimed[c] = true
			}
		} else if err := s.forget(id); err != nil {
			return err
		}
	}
	for id := range s.items {
		if id.kind == BlobData && !claimed[id] {
			if err := s.forget(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) drop(it item) error { return s.r.mark(it.page, it.index, it.span, EntryErased) }

func (s *Store) forget(id identity) error {
	it, ok := s.items[id]
	if !ok {
		return nil
	}
	delete(s.items, id)
	return s.drop(it)
}

// chunks lists those of a blob; false if one is missing.
func (s *Store) chunks(id identity, it item) (list []identity, ok bool) {
	h, err := decodeHeader(s.plain(it.page, it.index, 1))
	if err != nil {
		return nil, false
	}
	size, n, first := int(h.data[0])|int(h.data[1])<<8|int(h.data[2])<<16|int(h.data[3])<<24, int(h.data[4]), h.data[5]
	for i := range n {
		c := identity{id.namespace, BlobData, first + uint8(i), id.key}
		at, ok := s.items[c]
		if !ok {
			return nil, false
		}
		list = append(list, c)
		size -= s.dataSize(at)
	}
	return list, size == 0
}

func (s *Store) dataSize(it item) int {
	b := s.plain(it.page, it.index, 1)
	return int(b[24]) | int(b[25])<<8
}

func (s *Store) data(it item) []byte {
	return s.plain(it.page, it.index+1, it.span-1)[:s.dataSize(it)]
}
