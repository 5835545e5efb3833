package virtualesp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// Geometry of the flash, in bytes.
const (
	SectorSize = 0x1000
	BlockSize  = 0x10000
	pageSize   = 0x100

	minFlash = 1 << 20
	maxFlash = 16 << 20
)

// ErrRange means an address or a size that the flash does not have.
var ErrRange = errors.New("flash: out of range")

// storage is where the bytes of a flash are: a file or memory.
type storage interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Close() error
}

// Flash is a NOR flash chip: erasing makes every bit of a 4 KiB sector one, programming
// can only make bits zero. Every change is written through before the call returns, so
// that killing the process loses nothing. It may be used from several goroutines.
type Flash struct {
	mu         sync.Mutex
	size       int
	store      storage
	worn       map[uint32]bool // by sector address
	erased     int             // sectors
	programmed int             // bytes
}

// NewFlash returns an erased flash in memory. size is in bytes, a power of two from 1 to
// 16 MiB; only sectors that were programmed take memory.
func NewFlash(size int) (*Flash, error) {
	if err := checkFlashSize(size); err != nil {
		return nil, err
	}
	return &Flash{size: size, store: make(memory, size/SectorSize)}, nil
}

// OpenFlash opens the flash in a file and makes it if there is none. size 0 is the size of
// the file, or 4 MiB for a new one. A file shorter than size is filled up with 0xFF; a
// longer one is an error.
func OpenFlash(path string, size int) (*Flash, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open flash: %w", err)
	}
	flash, err := flashIn(f, size)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open flash %s: %w", path, err)
	}
	return flash, nil
}

func flashIn(f *os.File, size int) (*Flash, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	}
	if size == 0 {
		size = int(min(info.Size(), maxFlash+1))
		if size == 0 {
			size = 4 << 20
		}
	}
	if err := checkFlashSize(size); err != nil {
		return nil, err
	}
	if info.Size() > int64(size) {
		return nil, fmt.Errorf("the file has %d bytes, the flash %d: %w", info.Size(), size, ErrRange)
	}
	if missing := int64(size) - info.Size(); missing > 0 {
		if _, err := f.WriteAt(slices.Repeat([]byte{0xFF}, int(missing)), info.Size()); err != nil {
			return nil, err
		}
	}
	return &Flash{size: size, store: f}, nil
}

func checkFlashSize(size int) error {
	if size < minFlash || size > maxFlash || size&(size-1) != 0 {
		return fmt.Errorf("%d bytes: want a power of two from 1 to 16 MiB: %w", size, ErrRange)
	}
	return nil
}

// Size returns the size in bytes.
func (f *Flash) Size() int { return f.size }

// JEDEC returns the three bytes that the flash answers to RDID, first byte lowest:
// GigaDevice's manufacturer and type, and the size as a power of two.
func (f *Flash) JEDEC() uint32 {
	log := uint32(0)
	for s := f.size; s > 1; s >>= 1 {
		log++
	}
	return 0xC8 | 0x40<<8 | log<<16
}

// ReadAt reads bytes as io.ReaderAt.
func (f *Flash) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off < 0 || off > int64(f.size) {
		return 0, fmt.Errorf("read flash at %#x: %w", off, ErrRange)
	}
	n := int(min(int64(len(p)), int64(f.size)-off))
	if m, err := f.store.ReadAt(p[:n], off); err != nil && m < n {
		return m, fmt.Errorf("read flash at %#x: %w", off, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Erase erases size bytes from offset, both multiples of SectorSize.
func (f *Flash) Erase(offset, size uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if offset%SectorSize != 0 || size%SectorSize != 0 || uint64(offset)+uint64(size) > uint64(f.size) {
		return fmt.Errorf("erase flash from %#x, %#x bytes: %w", offset, size, ErrRange)
	}
	blank := slices.Repeat([]byte{0xFF}, SectorSize)
	for end := offset + size; offset < end; offset += SectorSize {
		f.erased++
		if f.worn[offset] {
			continue
		}
		if _, err := f.store.WriteAt(blank, int64(offset)); err != nil {
			return fmt.Errorf("erase flash at %#x: %w", offset, err)
		}
	}
	return nil
}

// Program clears those bits of the flash from offset that are zero in data.
func (f *Flash) Program(offset uint32, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if uint64(offset)+uint64(len(data)) > uint64(f.size) {
		return fmt.Errorf("program flash at %#x, %#x bytes: %w", offset, len(data), ErrRange)
	}
	f.programmed += len(data)
	for len(data) > 0 {
		sector := offset &^ (SectorSize - 1)
		n := min(len(data), int(sector+SectorSize-offset))
		if !f.worn[sector] {
			held := make([]byte, n)
			if _, err := f.store.ReadAt(held, int64(offset)); err != nil {
				return fmt.Errorf("program flash at %#x: %w", offset, err)
			}
			for i := range held {
				held[i] &= data[i]
			}
			if _, err := f.store.WriteAt(held, int64(offset)); err != nil {
				return fmt.Errorf("program flash at %#x: %w", offset, err)
			}
		}
		data, offset = data[n:], offset+uint32(n)
	}
	return nil
}

// Wear makes the sector that holds address ignore erasing and programming from now on.
func (f *Flash) Wear(address uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.worn == nil {
		f.worn = map[uint32]bool{}
	}
	f.worn[address&^(SectorSize-1)] = true
}

// Usage returns how many sectors were erased and how many bytes programmed so far.
func (f *Flash) Usage() (sectorsErased, bytesProgrammed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.erased, f.programmed
}

// Sync waits until what was written has reached the disk.
func (f *Flash) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.store.Sync()
}

// Close syncs and closes the flash.
func (f *Flash) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.store.Sync(), f.store.Close())
}

// memory is a flash by sectors; nil is an erased one. Flash keeps it within its bounds.
type memory [][]byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	for i := 0; i < len(p); {
		sector, at := (off+int64(i))/SectorSize, (off+int64(i))%SectorSize
		n := min(len(p)-i, int(SectorSize-at))
		if held := m[sector]; held != nil {
			copy(p[i:i+n], held[at:])
		} else {
			for j := i; j < i+n; j++ {
				p[j] = 0xFF
			}
		}
		i += n
	}
	return len(p), nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	for i := 0; i < len(p); {
		sector, at := (off+int64(i))/SectorSize, (off+int64(i))%SectorSize
		n := min(len(p)-i, int(SectorSize-at))
		if n == SectorSize && blank(p[i:i+n]) {
			m[sector] = nil
		} else {
			if m[sector] == nil {
				m[sector] = slices.Repeat([]byte{0xFF}, SectorSize)
			}
			copy(m[sector][at:], p[i:i+n])
		}
		i += n
	}
	return len(p), nil
}

func (memory) Sync() error  { return nil }
func (memory) Close() error { return nil }

func blank(p []byte) bool {
	for _, b := range p {
		if b != 0xFF {
			return false
		}
	}
	return true
}
