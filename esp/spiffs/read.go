package spiffs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Image is what Read found.
type Image struct {
	Config Config
	// Objects are the files, in order of their object identifiers.
	Objects []Object
	// Problems says in words what does not fit together; an image that a
	// device has used may be readable all the same. Empty for a sound image.
	Problems []string

	Blocks       int
	FreePages    int
	DeletedPages int
	// StalePages are copies left behind by an update that was cut short.
	StalePages int
}

// Object is one file of an image.
type Object struct {
	ID   uint16
	Name string
	Size int
	// Meta is the metadata, MetaLen bytes. ESP-IDF keeps the time of the last
	// change there, in seconds, when it keeps any.
	Meta []byte

	data []byte
	err  error
}

// Data returns the content, or why it cannot be read. The caller must not
// change the slice.
func (o *Object) Data() ([]byte, error) { return o.data, o.err }

// Open returns the object called name, and whether there is one. Objects that
// share a name are an error of the image; the first is returned.
func (m *Image) Open(name string) (*Object, bool) {
	for i := range m.Objects {
		if m.Objects[i].Name == name {
			return &m.Objects[i], true
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
	return fmt.Errorf("spiffs: damaged image: %w", errors.Join(errs...))
}

// span names one page of an object.
type span struct {
	id    uint16 // with idIndex for index pages
	index uint16
}

// reader gathers the pages in use by what they hold.
type reader struct {
	cfg Config
	layout
	image []byte
	pages map[span]int
	out   *Image
}

// Read takes apart an image of the given geometry. It fails with ErrGeometry
// when the sizes cannot work, and with ErrNotSPIFFS when the magic is absent
// from every block; anything less is reported in Problems and per object. The
// result keeps no reference to image.
func Read(image []byte, cfg Config) (*Image, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.checkSize(len(image)); err != nil {
		return nil, err
	}
	r := reader{
		cfg:    cfg,
		layout: cfg.layout(),
		image:  image,
		pages:  make(map[span]int),
		out:    &Image{Config: cfg, Blocks: len(image) / cfg.BlockSize},
	}
	if err := r.checkMagic(); err != nil {
		return nil, err
	}
	for block := range r.out.Blocks {
		r.scan(block)
	}
	r.objects()
	return r.out, nil
}

func (r *reader) problem(format string, args ...any) {
	r.out.Problems = append(r.out.Problems, fmt.Sprintf(format, args...))
}

// checkMagic looks at every block's mark. A block without one was being erased
// when power failed; an image without any is something else.
func (r *reader) checkMagic() error {
	if !r.cfg.Magic {
		return nil
	}
	var bad []int
	for block := range r.out.Blocks {
		if blockMagic(r.image, r.cfg, r.layout, block) != r.cfg.magic(r.out.Blocks-block) {
			bad = append(bad, block)
		}
	}
	if len(bad) < r.out.Blocks {
		for _, block := range bad {
			r.problem("block %d: magic is missing", block)
		}
		return nil
	}
	if erased(r.image) {
		return fmt.Errorf("%w: all %d bytes are 0xff, an erased partition", ErrNotSPIFFS, len(r.image))
	}
	return fmt.Errorf("%w: no block has the magic of page size %d, block size %d and %d blocks: another geometry, another size, or another kind of file",
		ErrNotSPIFFS, r.cfg.PageSize, r.cfg.BlockSize, r.out.Blocks)
}

func blockMagic(image []byte, cfg Config, l layout, block int) uint16 {
	return l.order.Uint16(image[block*cfg.BlockSize+l.lookupPages*cfg.PageSize-4:])
}

func erased(b []byte) bool {
	for _, c := range b {
		if c != 0xFF {
			return false
		}
	}
	return true
}

func (r *reader) page(index int) []byte {
	return r.image[index*r.cfg.PageSize:][:r.cfg.PageSize]
}

// scan reads one block's look-up table and the page headers it speaks of.
func (r *reader) scan(block int) {
	table := r.image[block*r.cfg.BlockSize:]
	for slot := range r.usable {
		id := r.order.Uint16(table[2*slot:])
		index := block*r.pagesPerBlock + r.lookupPages + slot
		page := r.page(index)
		flags := page[4]
		switch {
		case id == idFree:
			if flags&flagUsed == 0 {
				r.problem("page %d: in use, but free in the look-up table", index)
			}
			r.out.FreePages++
			continue
		case id == idDeleted || flags&flagDeleted == 0:
			r.out.DeletedPages++
			continue
		}
		key := span{id: r.order.Uint16(page[0:]), index: r.order.Uint16(page[2:])}
		isIndex := flags&flagIndex == 0
		switch {
		case flags&flagUsed != 0 || flags&flagFinal != 0:
			// Taken in the look-up table, and power failed before the page was
			// written or finished.
			r.out.StalePages++
			continue
		case isIndex && flags&flagIxDele == 0:
			// The file was being deleted.
			r.out.StalePages++
			continue
		case key.id != id:
			r.problem("page %d: look-up table says object 0x%04x, page header says 0x%04x", index, id, key.id)
			continue
		case isIndex != (id&idIndex != 0):
			r.problem("page %d: look-up table and page flags 0x%02x differ on whether it is an index page", index, flags)
			continue
		}
		if first, ok := r.pages[key]; ok {
			// An update writes the new page, then deletes the old one. Between
			// the two there are two copies, and SPIFFS takes the first.
			r.out.StalePages++
			r.problem("page %d: a second copy of object %d span %d, first in page %d", index, id&^idIndex, key.index, first)
			continue
		}
		r.pages[key] = index
	}
}

// objects puts files together from their index pages.
func (r *reader) objects() {
	var heads []uint16
	for key := range r.pages {
		if key.id&idIndex != 0 && key.index == 0 {
			heads = append(heads, key.id)
		}
	}
	slices.Sort(heads)
	claimed := make(map[int]bool)
	names := make(map[string]uint16)
	for _, id := range heads {
		object := r.object(id, claimed)
		if other, ok := names[object.Name]; ok {
			r.problem("object %d: has the name %q of object %d", object.ID, object.Name, other)
		} else {
			names[object.Name] = object.ID
		}
		if object.err != nil {
			r.problem("object %d (%q): %v", object.ID, object.Name, object.err)
		}
		r.out.Objects = append(r.out.Objects, object)
	}
	orphans := 0
	for _, index := range r.pages {
		if !claimed[index] {
			orphans++
		}
	}
	if orphans > 0 {
		r.problem("%d pages belong to no file", orphans)
	}
}

func (r *reader) object(id uint16, claimed map[int]bool) Object {
	headIndex := r.pages[span{id, 0}]
	head := r.page(headIndex)
	claimed[headIndex] = true

	name := head[indexFixedLen:][:r.cfg.ObjectNameLen]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	object := Object{
		ID:   id &^ idIndex,
		Name: string(name),
		Meta: bytes.Clone(head[indexFixedLen+r.cfg.ObjectNameLen:][:r.cfg.MetaLen]),
	}
	if head[headerLenAligned+4] != typeFile {
		r.problem("object %d (%q): type %d is not a file's", object.ID, object.Name, head[headerLenAligned+4])
	}
	size := r.order.Uint32(head[headerLenAligned:])
	if size == undefinedSize {
		size = 0
	}
	// No file is longer than the image: this bounds what is allocated below.
	if int64(size) > int64(len(r.image)) {
		object.err = fmt.Errorf("size %d is larger than the image", size)
		return object
	}
	object.Size = int(size)
	object.data, object.err = r.content(id, object.Size, claimed)
	return object
}

// content follows the index tables of object id, marking the pages it meets.
func (r *reader) content(id uint16, size int, claimed map[int]bool) ([]byte, error) {
	data := make([]byte, 0, size)
	table := r.page(r.pages[span{id, 0}])[r.indexStart:][:2*r.headEntries]
	indexSpan := uint16(0)
	for spanIndex := uint16(0); len(data) < size; spanIndex++ {
		for len(table) == 0 {
			indexSpan++
			index, ok := r.pages[span{id, indexSpan}]
			if !ok {
				return nil, fmt.Errorf("index page %d is missing", indexSpan)
			}
			claimed[index] = true
			table = r.page(index)[headerLenAligned:][:2*r.indexEntries]
		}
		index := int(r.order.Uint16(table))
		table = table[2:]

		// The look-up table knows the page too; a page that only one of the
		// two names is damage.
		found, ok := r.pages[span{id &^ idIndex, spanIndex}]
		if !ok || found != index {
			return nil, fmt.Errorf("data page %d (page index %d) is missing or is another object's", spanIndex, index)
		}
		claimed[index] = true
		data = append(data, r.page(index)[headerLen:][:min(r.layout.content, size-len(data))]...)
	}
	return data, nil
}
