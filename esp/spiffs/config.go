// Package spiffs writes and reads images of SPIFFS, the SPI flash file system
// that ESP-IDF and Arduino mount on ESP32 boards.
//
// [Build] lays objects out exactly as ESP-IDF's spiffsgen.py does, so that an
// image is the same byte for byte when the files come in the same order.
// [Read] takes images of either kind: fresh ones from a generator, and ones
// that a device has lived on, with deleted pages, stale copies and erase
// counters. [Detect] finds the geometry from the magic where there is one.
//
// The layout is that of SPIFFS 0.3.7 with 16-bit object identifiers, span
// indices, page indices and block indices, as ESP-IDF compiles it: a block
// begins with its object look-up pages, one 16-bit identifier for every other
// page of the block, and ends that table with the block's magic and erase
// count.
//
// The package keeps an image in memory and knows nothing of flash or files.
package spiffs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Errors that Build and Read wrap; errors.Is tells them apart.
var (
	// ErrGeometry means page, block, name or metadata size cannot work together.
	ErrGeometry = errors.New("spiffs: bad geometry")
	// ErrFull means the files do not fit the image.
	ErrFull = errors.New("spiffs: image full")
	// ErrName means a file name that the file system cannot hold.
	ErrName = errors.New("spiffs: bad name")
	// ErrNotSPIFFS means the bytes are no SPIFFS image of the given geometry.
	ErrNotSPIFFS = errors.New("spiffs: not a SPIFFS image")
)

const (
	idFree    = 0xFFFF
	idDeleted = 0x0000
	idIndex   = 0x8000 // set in the identifier of an object index page

	maxObjectID = 0x7FFE

	// Page header flags; a cleared bit means yes.
	flagUsed    = 1 << 0
	flagFinal   = 1 << 1
	flagIndex   = 1 << 2
	flagIxDele  = 1 << 6
	flagDeleted = 1 << 7

	flagsData  = 0xFF &^ (flagUsed | flagFinal)
	flagsIndex = 0xFF &^ (flagUsed | flagFinal | flagIndex)

	headerLen        = 5 // object id, span index, flags
	headerLenAligned = 8
	indexFixedLen    = headerLenAligned + 4 + 1 // and size, type

	typeFile      = 1
	undefinedSize = 0xFFFFFFFF // a file that was created and never written

	magicBase = 0x20140529
)

// Config is the geometry of a file system. It must equal what the firmware was
// compiled with, or the firmware cannot mount the image.
type Config struct {
	// PageSize is the logical page in bytes, a power of two
	// (CONFIG_SPIFFS_PAGE_SIZE).
	PageSize int
	// BlockSize is the logical block in bytes, a multiple of PageSize; ESP-IDF
	// uses the flash sector, 4096.
	BlockSize int
	// ObjectNameLen is the room for a name in bytes, its NUL included
	// (CONFIG_SPIFFS_OBJ_NAME_LEN).
	ObjectNameLen int
	// MetaLen is the metadata kept with every file in bytes
	// (CONFIG_SPIFFS_META_LENGTH).
	MetaLen int
	// Magic says whether every block carries the magic (CONFIG_SPIFFS_USE_MAGIC).
	Magic bool
	// MagicLength says whether the magic also holds the number of blocks from
	// here to the end (CONFIG_SPIFFS_USE_MAGIC_LENGTH).
	MagicLength bool
	// AlignedIndexTables starts object index tables on a 16-bit boundary
	// (SPIFFS_ALIGNED_OBJECT_INDEX_TABLES).
	AlignedIndexTables bool
	// BigEndian is for targets of that kind; no ESP32 is one.
	BigEndian bool
}

// DefaultConfig returns the geometry that ESP-IDF compiles in and its
// generator assumes: 256-byte pages, 4096-byte blocks, 32-byte names, 4 bytes
// of metadata, magic with length.
func DefaultConfig() Config {
	return Config{
		PageSize:      256,
		BlockSize:     4096,
		ObjectNameLen: 32,
		MetaLen:       4,
		Magic:         true,
		MagicLength:   true,
	}
}

// Validate reports why the firmware could not use this geometry, wrapping
// ErrGeometry, or returns nil.
func (c Config) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrGeometry, fmt.Sprintf(format, args...))
	}
	switch {
	case c.PageSize <= 0 || c.BlockSize <= 0:
		return bad("page size %d and block size %d must be positive", c.PageSize, c.BlockSize)
	case c.BlockSize%c.PageSize != 0:
		return bad("block size should be a multiple of page size: %d is not a multiple of %d", c.BlockSize, c.PageSize)
	case bits.OnesCount(uint(c.PageSize)) != 1:
		return bad("page size should be a power of two: %d is not", c.PageSize)
	case c.PageSize > 32768:
		return bad("page size should be at most 32768, not %d", c.PageSize)
	case c.ObjectNameLen < 2:
		return bad("object name length should be at least 2, a slash and the NUL, not %d", c.ObjectNameLen)
	case c.MetaLen < 0:
		return bad("metadata length %d is negative", c.MetaLen)
	}
	l := c.layout()
	switch {
	case l.indexStart > c.PageSize:
		return bad("a page of %d bytes has no room for an object index header of %d bytes: take larger pages, or shorter names or metadata",
			c.PageSize, l.indexStart)
	case l.usable < 1:
		return bad("a block of %d bytes holds its look-up page and nothing else: take larger blocks or smaller pages", c.BlockSize)
	case l.lookupPages != max(1, l.pagesPerBlock*2/c.PageSize):
		// The C code rounds the number of look-up pages down, so its table
		// would run into the first data page.
		return bad("the look-up table of a %d-byte block does not fill whole %d-byte pages, and SPIFFS rounds it down: take another block size",
			c.BlockSize, c.PageSize)
	case c.Magic && l.usable%l.idsPerPage > l.idsPerPage-2:
		// SPIFFS_CHECK_MAGIC_POSSIBLE: the last two slots of the last look-up
		// page belong to the magic and the erase count.
		return bad("the last look-up page has no room for the magic: it has %d slots and needs %d for pages and 2 for the magic, so SPIFFS would refuse to mount it; take another block or page size, or no magic",
			l.idsPerPage, l.usable%l.idsPerPage)
	}
	return nil
}

// checkSize reports why an image of size bytes cannot have this geometry.
func (c Config) checkSize(size int) error {
	switch {
	case size <= 0:
		return fmt.Errorf("%w: image size %d must be positive", ErrGeometry, size)
	case size%c.BlockSize != 0:
		return fmt.Errorf("%w: image size should be a multiple of block size: %d is not a multiple of %d", ErrGeometry, size, c.BlockSize)
	case size/c.PageSize > 1<<16:
		return fmt.Errorf("%w: image of %d pages is larger than the 65536 that page indices of 16 bits can name: take larger pages", ErrGeometry, size/c.PageSize)
	}
	return nil
}

// layout holds what follows from a Config, in pages, slots or bytes.
type layout struct {
	pagesPerBlock int
	lookupPages   int // look-up pages at the start of a block
	usable        int // pages of a block for objects
	idsPerPage    int // slots in a look-up page
	content       int // bytes of a file in a data page
	indexStart    int // offset of the table in an object index header page
	headEntries   int // data pages named by the header page
	indexEntries  int // data pages named by any further index page
	order         binary.ByteOrder
}

func (c Config) layout() layout {
	l := layout{
		pagesPerBlock: c.BlockSize / c.PageSize,
		idsPerPage:    c.PageSize / 2,
		content:       c.PageSize - headerLen,
		indexStart:    indexFixedLen + c.ObjectNameLen + c.MetaLen,
		order:         binary.LittleEndian,
	}
	if c.BigEndian {
		l.order = binary.BigEndian
	}
	if c.AlignedIndexTables {
		l.indexStart = (l.indexStart + 1) &^ 1
	}
	l.lookupPages = (l.pagesPerBlock*2 + c.PageSize - 1) / c.PageSize
	l.usable = l.pagesPerBlock - l.lookupPages
	l.headEntries = max(0, c.PageSize-l.indexStart) / 2
	l.indexEntries = (c.PageSize - headerLenAligned) / 2
	return l
}

// magic returns the mark of the block that has blocksLeft blocks from its own
// start to the end of the image.
func (c Config) magic(blocksLeft int) uint16 {
	m := magicBase ^ c.PageSize
	if c.MagicLength {
		m ^= blocksLeft
	}
	return uint16(m)
}
