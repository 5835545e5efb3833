package nvs

import (
	"bytes"
	"fmt"
	"strings"
)

// Options says how a Writer writes. The zero value is version 2, plain.
type Options struct {
	Version Version // 0 is Version2
	Keys    *Keys   // nil writes plain
}

// Writer fills an image entry by entry, front to back, as Espressif's
// generator does. It is not for concurrent use, and after an error its image
// is worth nothing.
type Writer struct {
	image    []byte
	size     int
	pages    int // most pages that entries may fill
	readOnly bool
	version  Version
	xts      *xts

	current page
	used    int // pages begun
	entry   int // next entry of the current page

	namespaces map[string]uint8
	seen       map[[2]string]bool
	warnings   []string
	csv        csvState
}

// NewWriter begins an image of size bytes, a multiple of 4096. One page stays
// reserved for the device to move entries, except below 0x3000 bytes, where
// the image is for reading only and holds just the pages it needs.
func NewWriter(size int, opt Options) (*Writer, error) {
	switch {
	case size%PageSize != 0:
		return nil, fmt.Errorf("%w: Size of partition must be multiple of 4096: 0x%x is not", ErrSize, size)
	case size < PageSize:
		return nil, fmt.Errorf("%w: Minimum partition size for read/write NVS is 0x3000 bytes and for read-only NVS is 0x1000 bytes", ErrSize)
	}
	w := &Writer{
		size:       size,
		pages:      size/PageSize - 1,
		version:    opt.Version,
		xts:        newXTS(opt.Keys),
		namespaces: make(map[string]uint8),
		seen:       make(map[[2]string]bool),
	}
	if w.version == 0 {
		w.version = Version2
	}
	if w.version != Version1 && w.version != Version2 {
		return nil, fmt.Errorf("%w: version %d: there are 1 and 2", ErrSize, w.version)
	}
	if size < MinReadWriteSize {
		w.readOnly = true
		w.pages = size / PageSize
	}
	return w, w.nextPage()
}

// Build makes an image of size bytes from entries; see NewWriter and Set.
func Build(size int, opt Options, entries []Entry) ([]byte, error) {
	w, err := NewWriter(size, opt)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := w.Set(e); err != nil {
			return nil, err
		}
	}
	return w.Image(), nil
}

// ReadOnly tells whether the image is too small for a device to write to, so
// that its partition must be flagged readonly.
func (w *Writer) ReadOnly() bool { return w.readOnly }

// Warnings says in words what was written as asked and is likely a mistake.
func (w *Writer) Warnings() []string { return w.warnings }

// Image returns the whole image: size bytes, or only the pages in use if the
// partition is read-only. It may be called once, at the end.
func (w *Writer) Image() []byte {
	if w.readOnly {
		return w.image
	}
	return append(w.image, bytes.Repeat([]byte{0xFF}, w.size-len(w.image))...)
}

// Set writes one entry, and its namespace before it when that is new. Keys are
// not replaced: the same key twice in a namespace is an error.
func (w *Writer) Set(e Entry) error {
	fail := func(err error) error { return fmt.Errorf("set %s/%s: %w", e.Namespace, e.Key, err) }
	if err := checkName("key", e.Key); err != nil {
		return fail(err)
	}
	name := [2]string{e.Namespace, e.Key}
	if w.seen[name] {
		return fail(fmt.Errorf("%w: key given twice", ErrEntry))
	}
	if e.Type() == 0 {
		return fail(fmt.Errorf("%w: no type for a value of %T", ErrEntry, e.Value))
	}
	index, err := w.namespace(e.Namespace)
	if err != nil {
		return fail(err)
	}
	if err := w.value(index, e.Key, e.Value); err != nil {
		return fail(err)
	}
	w.seen[name] = true
	return nil
}

// namespace returns the index of a namespace, writing its entry if it is new.
func (w *Writer) namespace(name string) (uint8, error) {
	if index, ok := w.namespaces[name]; ok {
		return index, nil
	}
	if err := checkName("namespace", name); err != nil {
		return 0, err
	}
	if len(w.namespaces) >= maxNamespaces {
		return 0, fmt.Errorf("%w: more than %d namespaces", ErrEntry, maxNamespaces)
	}
	index := uint8(len(w.namespaces) + 1)
	if err := w.number(namespaceOfAll, name, U8, uint64(index)); err != nil {
		return 0, err
	}
	w.namespaces[name] = index
	return index, nil
}

func (w *Writer) value(namespace uint8, key string, value any) error {
	switch v := value.(type) {
	case uint8:
		return w.number(namespace, key, U8, uint64(v))
	case int8:
		return w.number(namespace, key, I8, uint64(v))
	case uint16:
		return w.number(namespace, key, U16, uint64(v))
	case int16:
		return w.number(namespace, key, I16, uint64(v))
	case uint32:
		return w.number(namespace, key, U32, uint64(v))
	case int32:
		return w.number(namespace, key, I32, uint64(v))
	case uint64:
		return w.number(namespace, key, U64, v)
	case int64:
		return w.number(namespace, key, I64, uint64(v))
	case string:
		if strings.IndexByte(v, 0) >= 0 {
			return fmt.Errorf("%w: a string cannot have a NUL in it; store it as a blob", ErrEntry)
		}
		return w.whole(namespace, key, String, append([]byte(v), 0))
	case []byte:
		return w.blob(namespace, key, v)
	}
	return fmt.Errorf("%w: no type for a value of %T", ErrEntry, value)
}

// nextPage closes the current page and begins another.
func (w *Writer) nextPage() error {
	if w.used == w.pages {
		return fmt.Errorf("%w: Size parameter is less than the size of data in csv. Please increase the size: 0x%x bytes are too few", ErrFull, w.size)
	}
	if w.used > 0 {
		page(w.image[(w.used-1)*PageSize:]).setState(PageFull)
	}
	w.image = append(w.image, bytes.Repeat([]byte{0xFF}, PageSize)...)
	w.current = page(w.image[w.used*PageSize:])
	w.current.format(uint32(w.used), w.version)
	w.used++
	w.entry = 0
	return nil
}

// put writes a header and its data into the current page, which has room.
func (w *Writer) put(h header, data []byte) {
	n := 1 + entriesFor(len(data))
	slots := w.current.entries(w.entry, n)
	copy(slots, h.encode())
	copy(slots[EntrySize:], data)
	for i := range n {
		if w.xts != nil {
			address := (w.used-1)*PageSize + firstEntry + (w.entry+i)*EntrySize
			w.xts.encrypt(slots[i*EntrySize:][:EntrySize], address)
		}
		w.current.setEntryState(w.entry+i, EntryWritten)
	}
	w.entry += n
}

func (w *Writer) number(namespace uint8, key string, kind Type, v uint64) error {
	if w.entry >= EntriesPerPage {
		if err := w.nextPage(); err != nil {
			return err
		}
	}
	width := int(kind & 0x0F)
	w.put(header{namespace: namespace, kind: kind, span: 1, chunk: anyChunk, key: key, data: numberData(v, width)}, nil)
	return nil
}

// whole writes data that must lie in one page: a string with its NUL, or a
// version 1 blob. The generator never lets such an entry end at the last entry
// of a page, and neither does this.
func (w *Writer) whole(namespace uint8, key string, kind Type, data []byte) error {
	limit := MaxStringLen
	if w.version == Version1 {
		limit = maxBlobV1
	}
	if len(data) > limit {
		return fmt.Errorf("%w: Size (%d) exceeds max allowed length `%d` bytes for key `%s`", ErrEntry, len(data), limit, key)
	}
	span := 1 + entriesFor(len(data))
	if span >= EntriesPerPage {
		return fmt.Errorf("%w: Size (%d) of key `%s` needs a whole page, and the generator leaves the last entry of a page free: at most %d bytes, or store it as binary",
			ErrEntry, len(data), key, (EntriesPerPage-2)*EntrySize)
	}
	if w.entry+span >= EntriesPerPage {
		if err := w.nextPage(); err != nil {
			return err
		}
	}
	w.put(header{namespace: namespace, kind: kind, span: uint8(span), chunk: anyChunk, key: key, data: varData(data)}, data)
	return nil
}

// blob writes data in chunks, each as large as its page allows, and then the
// index that names them.
func (w *Writer) blob(namespace uint8, key string, data []byte) error {
	if w.version == Version1 {
		return w.whole(namespace, key, BlobV1, data)
	}
	if w.entry >= EntriesPerPage {
		if err := w.nextPage(); err != nil {
			return err
		}
	}
	rest := data
	chunks := 0
	for {
		room := (EntriesPerPage - w.entry - 1) * EntrySize
		n := min(room, len(rest))
		// Chunk numbers from 128 on belong to the device, which alternates
		// between the two ranges when it replaces a blob.
		if chunks == 127 {
			return fmt.Errorf("%w: blob of %d bytes for key `%s` needs more than 127 chunks", ErrEntry, len(data), key)
		}
		w.put(header{
			namespace: namespace, kind: BlobData, span: uint8(1 + entriesFor(n)), chunk: uint8(chunks),
			key: key, data: varData(rest[:n]),
		}, rest[:n])
		rest = rest[n:]
		chunks++
		if len(rest) > 0 || room-n < EntrySize {
			if err := w.nextPage(); err != nil {
				return err
			}
		}
		if len(rest) == 0 {
			break
		}
	}
	w.put(header{
		namespace: namespace, kind: BlobIndex, span: 1, chunk: anyChunk,
		key: key, data: indexData(uint32(len(data)), uint8(chunks), 0),
	}, nil)
	return nil
}
