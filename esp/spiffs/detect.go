package spiffs

import "fmt"

// Detect finds the geometry of an image: byte order, page and block size and
// kind of magic from the magic itself, and where the object index tables begin
// from the first file that has data. It fails with ErrNotSPIFFS when nothing
// fits.
//
// Some things leave no trace. Without a magic the geometry is the one under
// which look-up tables and pages agree. Names and metadata share one field: it
// counts as ESP-IDF's 32 and 4 bytes if it has their length, else as a name
// without metadata if its length is a power of two, else as 4 bytes of
// metadata after the name.
func Detect(image []byte) (Config, error) {
	if len(image) == 0 {
		return Config{}, fmt.Errorf("%w: empty", ErrNotSPIFFS)
	}
	if erased(image) {
		return Config{}, fmt.Errorf("%w: all %d bytes are 0xff, an erased partition", ErrNotSPIFFS, len(image))
	}
	kinds := []struct{ magic, length bool }{{true, true}, {true, false}, {false, false}}
	for _, kind := range kinds {
		for _, bigEndian := range []bool{false, true} {
			for pageSize := 128; pageSize <= 4096; pageSize *= 2 {
				for blockSize := 4096; blockSize <= 1<<20 && blockSize <= len(image); blockSize *= 2 {
					cfg := DefaultConfig()
					cfg.PageSize, cfg.BlockSize = pageSize, blockSize
					cfg.Magic, cfg.MagicLength, cfg.BigEndian = kind.magic, kind.length, bigEndian
					if found, ok := cfg.matches(image); ok {
						return found, nil
					}
				}
			}
		}
	}
	return Config{}, fmt.Errorf("%w: no known page and block size fits; give them if you know them", ErrNotSPIFFS)
}

// matches tells whether image can have this page size, block size, byte order
// and magic, and returns cfg with the lengths of names and metadata filled in.
func (c Config) matches(image []byte) (Config, bool) {
	if c.Validate() != nil || c.checkSize(len(image)) != nil {
		return c, false
	}
	l := c.layout()
	blocks := len(image) / c.BlockSize
	if c.Magic {
		// A block in the middle of an erase has no magic, as SPIFFS allows.
		missing := 0
		for block := range blocks {
			if blockMagic(image, c, l, block) != c.magic(blocks-block) {
				missing++
			}
		}
		if missing > blocks/3 {
			return c, false
		}
	}
	probe := &reader{cfg: c, layout: l, image: image, pages: make(map[span]int), out: &Image{}}
	for block := range blocks {
		probe.scan(block)
		if len(probe.out.Problems) > 0 && !c.Magic {
			return c, false
		}
	}
	c = probe.lengths()
	if c.Magic {
		return c, true
	}
	m, err := Read(image, c)
	return c, err == nil && len(m.Objects) > 0 && len(m.Problems) == 0
}

// lengths finds where the index table of a file with data begins: at the
// offset from which page indices are those of the file's data pages.
func (r *reader) lengths() Config {
	for id := uint16(idIndex); id < idFree; id++ {
		headIndex, ok := r.pages[span{id, 0}]
		if !ok {
			continue
		}
		head := r.page(headIndex)
		for start := indexFixedLen + 2; start+2 <= len(head); start++ {
			if head[indexFixedLen] != 0 && r.tableAt(id&^idIndex, head[start:]) {
				return r.cfg.withNameField(start - indexFixedLen)
			}
		}
	}
	return r.cfg
}

// tableAt tells whether table names the data pages of object id, at least one
// of them, and then nothing.
func (r *reader) tableAt(id uint16, table []byte) bool {
	n := 0
	for ; 2*n+2 <= len(table); n++ {
		index, ok := r.pages[span{id, uint16(n)}]
		if !ok {
			break
		}
		if int(r.order.Uint16(table[2*n:])) != index {
			return false
		}
	}
	return n > 0 && erased(table[2*n:])
}

func (c Config) withNameField(length int) Config {
	standard := DefaultConfig().ObjectNameLen + DefaultConfig().MetaLen
	c.AlignedIndexTables = false
	switch {
	case length == standard:
	case length == standard+1 && (indexFixedLen+length)%2 == 0:
		c.AlignedIndexTables = true
	case length&(length-1) == 0:
		c.ObjectNameLen, c.MetaLen = length, 0
	case length > 6:
		c.ObjectNameLen, c.MetaLen = length-4, 4
	default:
		c.ObjectNameLen, c.MetaLen = length, 0
	}
	return c
}
