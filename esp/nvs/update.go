package nvs

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// The two halves of a blob's chunk numbers: an update writes to the one that is not in use.
const (
	firstVersion  = 0x00
	secondVersion = 0x80
)

// The types of values that are one entry each, and those that may share a key.
var kinds = []Type{U8, I8, U16, I16, U32, I32, U64, I64, String, BlobV1, BlobIndex}

// Get returns a value as the Go type of its own width; false if there is none.
func (s *Store) Get(namespace, key string) (value any, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns, ok := s.names[namespace]
	if !ok {
		return nil, false
	}
	id, ok := s.find(ns, key)
	if !ok {
		return nil, false
	}
	return s.value(id), true
}

func (s *Store) find(ns uint8, key string) (identity, bool) {
	for _, kind := range kinds {
		id := identity{ns, kind, anyChunk, key}
		if _, ok := s.items[id]; ok {
			return id, true
		}
	}
	return identity{}, false
}

func (s *Store) value(id identity) any {
	it := s.items[id]
	switch id.kind {
	case BlobIndex:
		blob := []byte{}
		list, _ := s.chunks(id, it)
		for _, c := range list {
			blob = append(blob, s.data(s.items[c])...)
		}
		return blob
	case String, BlobV1:
		return (&Record{Type: id.kind, Data: s.data(it)}).value()
	}
	h, _ := decodeHeader(s.plain(it.page, it.index, 1)) // it was sound when it was found
	return (&Record{Type: id.kind, Number: number(h)}).value()
}

// Keys lists the keys of a namespace, sorted.
func (s *Store) Keys(namespace string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns, ok := s.names[namespace]
	if !ok {
		return nil
	}
	keys := make(map[string]bool)
	for id := range s.items {
		if id.namespace == ns && id.kind != BlobData {
			keys[id.key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// FreeEntries is how many more entries could be written, that of the page left aside that is needed to
// move others.
func (s *Store) FreeEntries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := (len(s.free) - 1) * EntriesPerPage
	for _, at := range s.order {
		n += EntriesPerPage - s.used(at)
	}
	return max(n, 0)
}

// Set writes an entry; one that has the value already is not written. The value from before is erased
// after the new one is in flash. ErrEntry, ErrFull.
func (s *Store) Set(e Entry) error {
	if err := checkName("key", e.Key); err != nil {
		return err
	}
	if err := checkName("namespace", e.Namespace); err != nil {
		return err
	}
	kind := e.Type()
	if kind == 0 {
		return fmt.Errorf("%w: %s/%s has the type %T", ErrEntry, e.Namespace, e.Key, e.Value)
	}
	if text, ok := e.Value.(string); ok && (len(text)+1 > MaxStringLen || bytes.IndexByte([]byte(text), 0) >= 0) {
		return fmt.Errorf("%w: string %s/%s: %d bytes, at most %d and none of them NUL", ErrEntry, e.Namespace, e.Key, len(text), MaxStringLen-1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ns, err := s.namespace(e.Namespace)
	if err != nil {
		return err
	}
	id := identity{ns, kind, anyChunk, e.Key}
	if _, ok := s.items[id]; ok && same(s.value(id), e.Value) {
		return nil
	}
	switch v := e.Value.(type) {
	case []byte:
		err = s.setBlob(id, v)
	case string:
		data := append([]byte(v), 0)
		err = s.put(id, varData(data), data)
	default:
		err = s.put(id, scalar(v), nil)
	}
	if err != nil {
		return fmt.Errorf("set %s/%s: %w", e.Namespace, e.Key, err)
	}
	// A key has one value, whatever its type was.
	for _, other := range kinds {
		if o := (identity{ns, other, anyChunk, e.Key}); other != kind {
			if err := s.remove(o); err != nil {
				return err
			}
		}
	}
	return nil
}

func same(a, b any) bool {
	if x, ok := a.([]byte); ok {
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	}
	return a == b
}

func scalar(v any) [8]byte {
	switch v := v.(type) {
	case uint8:
		return numberData(uint64(v), 1)
	case int8:
		return numberData(uint64(uint8(v)), 1)
	case uint16:
		return numberData(uint64(v), 2)
	case int16:
		return numberData(uint64(uint16(v)), 2)
	case uint32:
		return numberData(uint64(v), 4)
	case int32:
		return numberData(uint64(uint32(v)), 4)
	case int64:
		return numberData(uint64(v), 8)
	}
	return numberData(v.(uint64), 8)
}

// namespace returns the number of a namespace, and gives it one if it is new.
func (s *Store) namespace(name string) (uint8, error) {
	if ns, ok := s.names[name]; ok {
		return ns, nil
	}
	taken := make(map[uint8]bool)
	for _, ns := range s.names {
		taken[ns] = true
	}
	for ns := uint8(1); ns <= maxNamespaces; ns++ {
		if !taken[ns] {
			if err := s.put(identity{namespaceOfAll, U8, anyChunk, name}, numberData(uint64(ns), 1), nil); err != nil {
				return 0, err
			}
			s.names[name] = ns
			return ns, nil
		}
	}
	return 0, fmt.Errorf("%w: more than %d namespaces", ErrFull, maxNamespaces)
}

// Delete erases a key; one that is not there is no error.
func (s *Store) Delete(namespace, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns, ok := s.names[namespace]
	if !ok {
		return nil
	}
	for _, kind := range kinds {
		if err := s.remove(identity{ns, kind, anyChunk, key}); err != nil {
			return fmt.Errorf("delete %s/%s: %w", namespace, key, err)
		}
	}
	return nil
}

// remove erases an entry; of a blob the index first, so that no index is without its chunks.
func (s *Store) remove(id identity) error {
	it, ok := s.items[id]
	if !ok {
		return nil
	}
	var list []identity
	if id.kind == BlobIndex {
		list, _ = s.chunks(id, it)
	}
	for _, one := range append([]identity{id}, list...) {
		if err := s.forget(one); err != nil {
			return err
		}
	}
	return nil
}

// put writes one entry with its data and then erases what it replaces.
func (s *Store) put(id identity, field [8]byte, data []byte) error {
	h := header{id.namespace, id.kind, uint8(1 + entriesFor(len(data))), id.chunk, id.key, field}
	entries := h.encode()
	entries = append(entries, data...)
	for len(entries)%EntrySize != 0 {
		entries = append(entries, 0xFF)
	}
	n := len(entries) / EntrySize
	if s.room() < n {
		if err := s.newPage(); err != nil {
			return err
		}
		if s.room() < n {
			return ErrFull
		}
	}
	at := s.order[len(s.order)-1]
	i := EntriesPerPage - s.room()
	if err := s.append(at, i, entries); err != nil {
		return err
	}
	old, replaced := s.items[id]
	s.items[id] = item{at, i, n}
	if replaced {
		return s.drop(old)
	}
	return nil
}

// room is how many entries the page takes that takes new ones.
func (s *Store) room() int {
	if len(s.order) == 0 {
		return 0
	}
	at := s.order[len(s.order)-1]
	p := s.r.page(at)
	if p.state() != PageActive {
		return 0
	}
	n := 0
	for n < EntriesPerPage && p.entryState(EntriesPerPage-1-n) == EntryEmpty {
		n++
	}
	return n
}

// used counts the written entries of a page.
func (s *Store) used(at int) (n int) {
	for i := range EntriesPerPage {
		if s.r.page(at).entryState(i) == EntryWritten {
			n++
		}
	}
	return n
}

// newPage closes the page that takes new entries and begins another one. One free page is always kept
// for moving: if there is no second, the page with the least in it is emptied.
func (s *Store) newPage() error {
	if n := len(s.order); n > 0 && s.r.page(s.order[n-1]).state() == PageActive {
		if err := s.r.setState(s.order[n-1], PageFull); err != nil {
			return err
		}
	}
	if len(s.order) == 0 || len(s.free) >= 2 {
		_, err := s.activate()
		return err
	}
	best, least := 0, EntriesPerPage
	for _, at := range s.order {
		if u := s.used(at); u < least {
			best, least = at, u
		}
	}
	if least == EntriesPerPage {
		return ErrFull
	}
	if err := s.r.setState(best, PageFreeing); err != nil {
		return err
	}
	if err := s.move(best); err != nil {
		return err
	}
	return s.index(nil)
}

// setBlob writes a blob's chunks, then its index, then erases the chunks of the blob from before.
func (s *Store) setBlob(id identity, blob []byte) (err error) {
	var before []identity
	first := uint8(firstVersion)
	if it, ok := s.items[id]; ok {
		before, _ = s.chunks(id, it)
		if h, err := decodeHeader(s.plain(it.page, it.index, 1)); err == nil && h.data[5] == firstVersion {
			first = secondVersion
		}
	}
	var written []identity
	defer func() {
		if err != nil {
			for _, c := range written {
				_ = s.forget(c) // otherwise the next Open does
			}
		}
	}()
	rest := blob
	for len(rest) > 0 || len(written) == 0 {
		room := max(s.room()-1, 0) * EntrySize
		// A small rest of a page is not worth a chunk.
		if room == 0 || len(written) == 0 && room < len(rest) && room < MaxStringLen/10 {
			if err := s.newPage(); err != nil {
				return err
			}
			if room = max(s.room()-1, 0) * EntrySize; room == 0 {
				return ErrFull
			}
		}
		if len(written) == secondVersion-1 {
			return fmt.Errorf("%w: more than %d chunks", ErrFull, secondVersion-1)
		}
		n := min(room, len(rest))
		c := identity{id.namespace, BlobData, first + uint8(len(written)), id.key}
		if err := s.put(c, varData(rest[:n]), rest[:n]); err != nil {
			return err
		}
		written, rest = append(written, c), rest[n:]
	}
	if err := s.put(id, indexData(uint32(len(blob)), uint8(len(written)), first), nil); err != nil {
		return err
	}
	for _, c := range before {
		if err := s.forget(c); err != nil {
			return err
		}
	}
	return nil
}
