// Package nvs writes and reads images of ESP-IDF's non-volatile storage (NVS),
// the key-value partition in which ESP32 firmware keeps Wi-Fi credentials,
// certificates and settings.
//
// A [Writer] takes typed entries ([Writer.Set]) or the CSV files of Espressif's
// nvs_partition_gen ([Writer.AddCSV]) and lays them out as that tool does, byte
// for byte, plain or encrypted. [Read] takes apart any image, also one that a
// device has written to, with erased entries and pages in every state.
//
// The layout follows ESP-IDF's nvs_flash documentation: pages of 4096 bytes,
// each a 32-byte header, a 32-byte bitmap of two bits an entry, and 126 entries
// of 32 bytes. Version 2 pages split blobs over pages; version 1 pages do not.
package nvs

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that this package wraps; errors.Is tells them apart.
var (
	// ErrSize means a partition size that NVS cannot have.
	ErrSize = errors.New("nvs: bad partition size")
	// ErrFull means the entries do not fit the partition.
	ErrFull = errors.New("nvs: partition full")
	// ErrEntry means a key, namespace, type or value that NVS cannot hold.
	ErrEntry = errors.New("nvs: bad entry")
	// ErrCSV means a CSV file against the grammar.
	ErrCSV = errors.New("nvs: bad CSV")
	// ErrKeys means bytes that are no encryption keys, or the wrong ones.
	ErrKeys = errors.New("nvs: bad keys")
	// ErrNotNVS means the bytes are no NVS image.
	ErrNotNVS = errors.New("nvs: not an NVS image")
)

// Sizes of the format, in bytes unless they say otherwise.
const (
	PageSize  = 4096
	EntrySize = 32
	// EntriesPerPage is how many entries one page holds.
	EntriesPerPage = 126
	// MaxKeyLen is the longest key or namespace.
	MaxKeyLen = 15
	// MaxStringLen is the longest string, its NUL included. Espressif's
	// generator, and so this package, gives up above 3968 already.
	MaxStringLen = 4000
	// MinReadWriteSize is the smallest partition a device can write to; smaller
	// ones must be flagged readonly in the partition table.
	MinReadWriteSize = 0x3000

	maxBlobV1      = 1984
	maxNamespaces  = 254
	firstEntry     = 64
	anyChunk       = 0xFF
	namespaceOfAll = 0 // the namespace that holds the names of the others
)

// Type is the type code of an entry.
type Type uint8

// The types of entries.
const (
	U8        Type = 0x01
	I8        Type = 0x11
	U16       Type = 0x02
	I16       Type = 0x12
	U32       Type = 0x04
	I32       Type = 0x14
	U64       Type = 0x08
	I64       Type = 0x18
	String    Type = 0x21
	BlobV1    Type = 0x41 // whole, on version 1 pages
	BlobData  Type = 0x42 // one chunk of a blob
	BlobIndex Type = 0x48 // says how many chunks a blob has
)

// String returns the name that CSV files use, or the code.
func (t Type) String() string {
	switch t {
	case U8:
		return "u8"
	case I8:
		return "i8"
	case U16:
		return "u16"
	case I16:
		return "i16"
	case U32:
		return "u32"
	case I32:
		return "i32"
	case U64:
		return "u64"
	case I64:
		return "i64"
	case String:
		return "string"
	case BlobV1:
		return "blob"
	case BlobData:
		return "blob_data"
	case BlobIndex:
		return "blob_index"
	}
	return fmt.Sprintf("0x%02x", uint8(t))
}

// Entry is one key with its value.
type Entry struct {
	Namespace string
	Key       string
	// Value is a uint8, int8, uint16, int16, uint32, int32, uint64, int64,
	// string (without its NUL) or []byte (a blob).
	Value any
}

// Type returns the type that the value is stored as, BlobIndex for a blob, or
// 0 for a value that NVS does not know.
func (e Entry) Type() Type {
	switch e.Value.(type) {
	case uint8:
		return U8
	case int8:
		return I8
	case uint16:
		return U16
	case int16:
		return I16
	case uint32:
		return U32
	case int32:
		return I32
	case uint64:
		return U64
	case int64:
		return I64
	case string:
		return String
	case []byte:
		return BlobIndex
	}
	return 0
}

func checkName(what, name string) error {
	switch {
	case len(name) > MaxKeyLen:
		return fmt.Errorf("%w: Length of %s `%s` should be <= %d characters", ErrEntry, what, name, MaxKeyLen)
	case name == "" || strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: %s %q is empty or has a NUL in it", ErrEntry, what, name)
	}
	return nil
}
