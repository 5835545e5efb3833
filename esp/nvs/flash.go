package nvs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Flash is NOR flash: erasing makes every bit of a 4 KiB sector one, programming can only make bits
// zero. Offsets are in bytes from its start.
type Flash interface {
	io.ReaderAt
	// Erase erases whole sectors; offset and size are multiples of 4096.
	Erase(offset, size uint32) error
	Program(offset uint32, b []byte) error
}

// region is a partition of a flash, and what it holds in memory.
type region struct {
	flash  Flash
	offset uint32
	image  []byte
}

func openRegion(f Flash, offset, size uint32) (*region, error) {
	if size%PageSize != 0 || size < MinReadWriteSize || offset%PageSize != 0 {
		return nil, fmt.Errorf("%w: 0x%x bytes at 0x%x: a partition that can be written to has at least 0x%x, in multiples of 0x%x",
			ErrSize, size, offset, MinReadWriteSize, PageSize)
	}
	r := &region{flash: f, offset: offset, image: make([]byte, size)}
	if n, err := f.ReadAt(r.image, int64(offset)); n < len(r.image) {
		return nil, fmt.Errorf("nvs: read partition at 0x%x: %w", offset, err)
	}
	return r, nil
}

func (r *region) page(at int) page { return page(r.image[at*PageSize:][:PageSize]) }

func (r *region) erase(at int) error {
	if err := r.flash.Erase(r.offset+uint32(at*PageSize), PageSize); err != nil {
		return fmt.Errorf("nvs: erase page %d: %w", at, err)
	}
	copy(r.page(at), bytes.Repeat([]byte{0xFF}, PageSize))
	return nil
}

// program writes b into a page from an offset on.
func (r *region) program(at, offset int, b []byte) error {
	if err := r.flash.Program(r.offset+uint32(at*PageSize+offset), b); err != nil {
		return fmt.Errorf("nvs: write page %d: %w", at, err)
	}
	held := r.page(at)[offset:]
	for i := range b {
		held[i] &= b[i]
	}
	return nil
}

func (r *region) setState(at int, s PageState) error {
	return r.program(at, 0, binary.LittleEndian.AppendUint32(nil, uint32(s)))
}

// mark sets the state of n entries from entry i on: one program of the bytes of the bitmap that change.
func (r *region) mark(at, i, n int, s EntryState) error {
	if n == 0 {
		return nil
	}
	first, last := i/4, (i+n-1)/4
	bits := bytes.Repeat([]byte{0xFF}, last-first+1)
	for e := i; e < i+n; e++ {
		shift := 2 * (e % 4)
		bits[e/4-first] &= byte(s)<<shift | ^byte(3<<shift)
	}
	return r.program(at, 32+first, bits)
}
