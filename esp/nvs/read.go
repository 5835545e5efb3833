package nvs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Image is what Read found.
type Image struct {
	// Entries are the live ones, as firmware would read them, in the order in
	// which they were written.
	Entries []Entry
	// Pages are all pages in the order of their addresses.
	Pages []Page
	// Problems says in words what does not fit together. Empty for a sound
	// image.
	Problems []string
}

// Page is one page of an image.
type Page struct {
	Offset  int // in bytes, from the start of the image
	State   PageState
	Seq     uint32  // sequence number: pages are in use in this order
	Version Version // 0 for an empty page
	// Written, Erased and Empty count entries; they make up EntriesPerPage
	// unless header or bitmap are damaged.
	Written, Erased, Empty int
	// Records are the written entries, and the erased ones that can still be
	// made out, in order.
	Records []Record
}

// Record is one entry as it lies in its page, the entries of its data
// included.
type Record struct {
	Index     int // from 0 within the page
	State     EntryState
	Namespace uint8 // index; 0 holds the names of namespaces
	Type      Type
	Span      int   // entries taken
	Chunk     uint8 // of a blob; 255 for everything else
	Key       string
	Number    uint64 // of an integer, its bits extended to 64 with their sign
	Data      []byte // of a string, its NUL included, or a blob chunk
	// Stale tells that a later entry has taken its place.
	Stale bool
	// Err says why the entry cannot be trusted: a checksum, a span, a size.
	Err error

	size          uint32 // of a whole blob, for a BlobIndex
	chunks, first uint8
}

// Lookup returns the value of a key and whether there is one.
func (m *Image) Lookup(namespace, key string) (any, bool) {
	// The last one written is the one that counts.
	for _, e := range slices.Backward(m.Entries) {
		if e.Namespace == namespace && e.Key == key {
			return e.Value, true
		}
	}
	return nil, false
}

// Verify returns an error that lists every problem, or nil.
func (m *Image) Verify() error {
	if len(m.Problems) == 0 {
		return nil
	}
	errs := make([]error, len(m.Problems))
	for i, p := range m.Problems {
		errs[i] = errors.New(p)
	}
	return fmt.Errorf("nvs: damaged image: %w", errors.Join(errs...))
}

// Read takes apart an image, with keys if it is encrypted and nil if it is
// not. It fails with ErrNotNVS if no page has a header, and with ErrKeys if
// there are entries and none passes its check; anything less is reported in
// Problems and per record. The result keeps no reference to image.
func Read(image []byte, keys *Keys) (*Image, error) {
	if len(image) == 0 || len(image)%PageSize != 0 {
		return nil, fmt.Errorf("%w: length 0x%x is not a multiple of 4096: truncated, or another kind of file", ErrNotNVS, len(image))
	}
	r := reader{xts: newXTS(keys), out: &Image{}, names: make(map[uint8]string), live: make(map[identity]place)}
	inUse, good := 0, 0
	for offset := 0; offset < len(image); offset += PageSize {
		p := page(image[offset:][:PageSize])
		found := Page{Offset: offset, State: p.state()}
		if found.State != PageEmpty {
			inUse++
			if err := p.checkHeader(); err != nil {
				r.problem("page at 0x%x: %v", offset, err)
			} else {
				good++
				r.readPage(p, &found)
			}
		} else {
			found.Empty = EntriesPerPage
			if bytes.Count(p, []byte{0xFF}) != PageSize {
				r.problem("page at 0x%x: empty by its header, but not erased", offset)
			}
		}
		r.out.Pages = append(r.out.Pages, found)
	}
	if inUse > 0 && good == 0 {
		return nil, fmt.Errorf("%w: no page has a sound header", ErrNotNVS)
	}
	if r.bad > 0 && r.sound == 0 {
		if keys != nil {
			return nil, fmt.Errorf("%w: no entry passes its check with these keys: other keys, or the image is not encrypted", ErrKeys)
		}
		return nil, fmt.Errorf("%w: no entry passes its check: the image is encrypted, give its keys", ErrKeys)
	}
	r.resolve()
	return r.out, nil
}

type reader struct {
	xts        *xts
	out        *Image
	bad, sound int // written entries that fail or pass their check
	names      map[uint8]string
	live       map[identity]place
}

// identity is what a later entry must share to take the place of an earlier.
type identity struct {
	namespace uint8
	kind      Type
	chunk     uint8
	key       string
}

// place is a record by page and position.
type place struct{ page, record int }

func (r *reader) problem(format string, args ...any) {
	r.out.Problems = append(r.out.Problems, fmt.Sprintf(format, args...))
}

// readPage fills in counts and records of one page.
func (r *reader) readPage(p page, found *Page) {
	found.Seq, found.Version = p.seq(), p.version()
	for i := range EntriesPerPage {
		switch p.entryState(i) {
		case EntryWritten:
			found.Written++
		case EntryErased:
			found.Erased++
		case EntryEmpty:
			found.Empty++
		default:
			r.problem("page at 0x%x: entry %d: invalid state in the bitmap", found.Offset, i)
		}
	}
	for i := 0; i < EntriesPerPage; {
		state := p.entryState(i)
		if state != EntryWritten && state != EntryErased {
			i++
			continue
		}
		record := r.readRecord(p, found.Offset, i, state)
		for k := 1; k < record.Span && record.Err == nil; k++ {
			if p.entryState(i+k) != state {
				record.Err = errors.New("its data has another state than itself")
			}
		}
		switch {
		case record.Err == nil:
			found.Records = append(found.Records, record)
			i += record.Span
			if state == EntryWritten {
				r.sound++
			}
		case state == EntryErased:
			// What was erased may have been its data only, or half of it.
			i++
		default:
			r.bad++
			r.problem("page at 0x%x: entry %d (key %q): %v", found.Offset, i, printable(record.Key), record.Err)
			found.Records = append(found.Records, record)
			i++
		}
	}
}

// printable keeps the garbage of a damaged key short.
func printable(key string) string {
	for _, c := range []byte(key) {
		if c < ' ' || c > '~' {
			return "?"
		}
	}
	return key
}

func (r *reader) readRecord(p page, offset, i int, state EntryState) Record {
	plain := func(i, n int) []byte {
		b := bytes.Clone(p.entries(i, n))
		if r.xts != nil {
			for k := range n {
				r.xts.decrypt(b[k*EntrySize:][:EntrySize], offset+firstEntry+(i+k)*EntrySize)
			}
		}
		return b
	}
	h, err := decodeHeader(plain(i, 1))
	record := Record{
		Index: i, State: state, Namespace: h.namespace, Type: h.kind, Span: int(h.span), Chunk: h.chunk, Key: h.key, Err: err,
	}
	if err != nil {
		return record
	}
	switch h.kind {
	case U8, I8, U16, I16, U32, I32, U64, I64:
		record.Number = number(h)
		if record.Span != 1 {
			record.Err = fmt.Errorf("span %d of an integer", record.Span)
		}
	case BlobIndex:
		record.size, record.chunks, record.first = binary.LittleEndian.Uint32(h.data[:]), h.data[4], h.data[5]
		if record.Span != 1 {
			record.Err = fmt.Errorf("span %d of a blob index", record.Span)
		}
	case String, BlobV1, BlobData:
		size := int(binary.LittleEndian.Uint16(h.data[:]))
		switch {
		case record.Span != 1+entriesFor(size):
			record.Err = fmt.Errorf("span %d does not fit size %d", record.Span, size)
		case i+record.Span > EntriesPerPage:
			record.Err = fmt.Errorf("span %d runs over the end of the page", record.Span)
		default:
			record.Data = plain(i+1, record.Span-1)[:size]
			if checksum(record.Data) != binary.LittleEndian.Uint32(h.data[4:]) {
				record.Err = errors.New("data checksum does not match")
			} else if h.kind == String && (size == 0 || record.Data[size-1] != 0) {
				record.Err = errors.New("string has no end")
			}
		}
	default:
		record.Err = fmt.Errorf("type %v is not known", h.kind)
	}
	return record
}

// number returns an integer's bits, extended to 64 with their sign.
func number(h header) uint64 {
	bits := 8 * int(h.kind&0x0F)
	v := binary.LittleEndian.Uint64(h.data[:]) << (64 - bits)
	if h.kind&0x10 != 0 {
		return uint64(int64(v) >> (64 - bits))
	}
	return v >> (64 - bits)
}

// value returns a record's number as the Go type of its own width.
func (r *Record) value() any {
	switch r.Type {
	case U8:
		return uint8(r.Number)
	case I8:
		return int8(r.Number)
	case U16:
		return uint16(r.Number)
	case I16:
		return int16(r.Number)
	case U32:
		return uint32(r.Number)
	case I32:
		return int32(r.Number)
	case U64:
		return r.Number
	case I64:
		return int64(r.Number)
	case String:
		return string(r.Data[:len(r.Data)-1])
	}
	return r.Data
}

// resolve goes through the records in the order they were written, drops those
// that a later one replaces, and puts blobs together.
func (r *reader) resolve() {
	var order []int
	for i, p := range r.out.Pages {
		if p.Version != 0 && (p.State == PageActive || p.State == PageFull || p.State == PageFreeing) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.out.Pages[a].Seq, r.out.Pages[b].Seq) })

	var sequence []place
	for _, i := range order {
		for j := range r.out.Pages[i].Records {
			rec := &r.out.Pages[i].Records[j]
			if rec.State != EntryWritten || rec.Err != nil {
				continue
			}
			id := identity{rec.Namespace, rec.Type, rec.Chunk, rec.Key}
			if old, ok := r.live[id]; ok {
				// A device writes the new entry before it erases the old one.
				r.at(old).Stale = true
			}
			at := place{i, j}
			r.live[id] = at
			sequence = append(sequence, at)
			if rec.Namespace == namespaceOfAll && rec.Type == U8 {
				r.names[uint8(rec.Number)] = rec.Key
			}
		}
	}
	claimed := make(map[place]bool)
	for _, at := range sequence {
		rec := r.at(at)
		if rec.Stale || rec.Namespace == namespaceOfAll || rec.Type == BlobData {
			continue
		}
		name, ok := r.names[rec.Namespace]
		if !ok {
			r.problem("key %q: namespace %d has no name", rec.Key, rec.Namespace)
			continue
		}
		entry := Entry{Namespace: name, Key: rec.Key}
		if rec.Type == BlobIndex {
			blob, err := r.blob(rec, claimed)
			if err != nil {
				r.problem("blob %s/%s: %v", name, rec.Key, err)
				continue
			}
			entry.Value = blob
		} else {
			entry.Value = rec.value()
		}
		r.out.Entries = append(r.out.Entries, entry)
	}
	for _, at := range sequence {
		if rec := r.at(at); rec.Type == BlobData && !rec.Stale && !claimed[at] {
			// Left over from an update; the device drops it when it starts.
			rec.Stale = true
		}
	}
}

func (r *reader) at(p place) *Record { return &r.out.Pages[p.page].Records[p.record] }

func (r *reader) blob(index *Record, claimed map[place]bool) ([]byte, error) {
	blob := []byte{}
	for i := range int(index.chunks) {
		at, ok := r.live[identity{index.Namespace, BlobData, index.first + uint8(i), index.Key}]
		if !ok {
			return nil, fmt.Errorf("chunk %d of %d is missing", i, index.chunks)
		}
		claimed[at] = true
		blob = append(blob, r.at(at).Data...)
	}
	if len(blob) != int(index.size) {
		return nil, fmt.Errorf("chunks have %d bytes, the index says %d", len(blob), index.size)
	}
	return blob, nil
}
