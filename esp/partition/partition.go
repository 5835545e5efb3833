// Package partition reads and writes ESP32 partition tables, as CSV and as the
// binary that lies in flash, with the checks of ESP-IDF's gen_esp32part.py and
// in its words.
//
// A binary table is a list of 32-byte rows, each a magic, type, subtype,
// offset, size, name and flags; then, usually, a row with the MD5 of the rows
// before it; then rows of 0xFF up to 3072 bytes. See the ESP-IDF programming
// guide, "Partition Tables".
package partition

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrTable is wrapped by every error about the content of a table.
var ErrTable = errors.New("partition table")

// tableError says what is wrong in the words of gen_esp32part.py.
type tableError string

func (e tableError) Error() string { return string(e) }
func (e tableError) Unwrap() error { return ErrTable }

func errorf(format string, args ...any) error { return tableError(fmt.Sprintf(format, args...)) }

const (
	// DefaultOffset is where the table lies in flash unless a build moves it.
	DefaultOffset = 0x8000
	// Sector is what a table occupies in flash, in bytes.
	Sector = 0x1000
	// MaxLength is the length of a binary table, in bytes; the rest of its
	// sector is for a signature.
	MaxLength = 0xC00

	rowLength = 32
	nameLen   = 16

	otaDataSize = 0x2000
	minNVSSize  = 0x3000
)

// Type is the kind of a partition. Types from 0x40 are for applications.
type Type uint8

// The types that ESP-IDF knows.
const (
	App            Type = 0x00
	Data           Type = 0x01
	Bootloader     Type = 0x02
	PartitionTable Type = 0x03
)

// Subtype says what a partition holds; its meaning depends on the type.
type Subtype uint8

// Some subtypes that ESP-IDF knows; the rest are known by name.
const (
	AppFactory Subtype = 0x00
	AppOTA0    Subtype = 0x10 // up to AppOTA0 + 15
	AppTest    Subtype = 0x20
	AppTEE0    Subtype = 0x30

	DataOTA       Subtype = 0x00
	DataPHY       Subtype = 0x01
	DataNVS       Subtype = 0x02
	DataCoreDump  Subtype = 0x03
	DataNVSKeys   Subtype = 0x04
	DataEFuse     Subtype = 0x05
	DataUndefined Subtype = 0x06
	DataFAT       Subtype = 0x81
	DataSPIFFS    Subtype = 0x82
	DataLittleFS  Subtype = 0x83
	DataTEEOTA    Subtype = 0x90

	BootloaderPrimary  Subtype = 0x00
	BootloaderOTA      Subtype = 0x01
	BootloaderRecovery Subtype = 0x02

	TablePrimary Subtype = 0x00
	TableOTA     Subtype = 0x01
)

// Flags are the flags of a partition.
type Flags uint32

// The flags that ESP-IDF knows.
const (
	Encrypted Flags = 1 << 0 // encrypt it when flash encryption is on
	Readonly  Flags = 1 << 1 // firmware may not write to it
)

// Partition is one row of a table.
type Partition struct {
	Name    string // at most 16 bytes
	Type    Type
	Subtype Subtype
	Offset  uint32 // in flash, in bytes
	Size    uint32 // in bytes
	Flags   Flags
}

// End returns the first byte after the partition.
func (p Partition) End() uint64 { return uint64(p.Offset) + uint64(p.Size) }

// Table is the rows of a table in their order.
type Table []Partition

// ByName returns the partition of that name, and whether there is one.
func (t Table) ByName(name string) (Partition, bool) {
	for _, p := range t {
		if p.Name == name {
			return p, true
		}
	}
	return Partition{}, false
}

// ByType returns the partitions of that type and subtype, in order.
func (t Table) ByType(typ Type, subtype Subtype) []Partition {
	var found []Partition
	for _, p := range t {
		if p.Type == typ && p.Subtype == subtype {
			found = append(found, p)
		}
	}
	return found
}

// FlashSize returns how much flash the partitions reach into: the end of the
// one with the highest offset, in bytes.
func (t Table) FlashSize() uint64 {
	if len(t) == 0 {
		return 0
	}
	return slices.MaxFunc(t, func(a, b Partition) int { return int(int64(a.Offset) - int64(b.Offset)) }).End()
}

// keyword is one name of a type or a subtype.
type keyword struct {
	name  string
	value int
}

func typeNames() []keyword {
	return []keyword{
		{"bootloader", int(Bootloader)}, {"partition_table", int(PartitionTable)}, {"app", int(App)}, {"data", int(Data)},
	}
}

// subtypeNames lists the names of a type's subtypes in the order in which the
// generator prints them.
func subtypeNames(t Type, extra []ExtraSubtype) []keyword {
	var names []keyword
	switch t {
	case App:
		names = []keyword{{"factory", int(AppFactory)}, {"test", int(AppTest)}}
		for i := range 16 {
			names = append(names, keyword{"ota_" + strconv.Itoa(i), int(AppOTA0) + i})
		}
		names = append(names, keyword{"tee_0", int(AppTEE0)}, keyword{"tee_1", int(AppTEE0) + 1})
	case Data:
		names = []keyword{
			{"ota", int(DataOTA)}, {"phy", int(DataPHY)}, {"nvs", int(DataNVS)}, {"coredump", int(DataCoreDump)},
			{"nvs_keys", int(DataNVSKeys)}, {"efuse", int(DataEFuse)}, {"undefined", int(DataUndefined)},
			{"esphttpd", 0x80}, {"fat", int(DataFAT)}, {"spiffs", int(DataSPIFFS)}, {"littlefs", int(DataLittleFS)},
			{"tee_ota", int(DataTEEOTA)},
		}
	case Bootloader:
		names = []keyword{{"primary", int(BootloaderPrimary)}, {"ota", int(BootloaderOTA)}, {"recovery", int(BootloaderRecovery)}}
	case PartitionTable:
		names = []keyword{{"primary", int(TablePrimary)}, {"ota", int(TableOTA)}}
	}
	for _, e := range extra {
		if e.Type == t {
			names = append(names, keyword{e.Name, int(e.Subtype)})
		}
	}
	return names
}

func nameOf(value int, names []keyword) (string, bool) {
	for _, k := range names {
		if k.value == value {
			return k.name, true
		}
	}
	return strconv.Itoa(value), false
}

func valueOf(name string, names []keyword) (int, bool) {
	for _, k := range names {
		if k.name == name {
			return k.value, true
		}
	}
	return 0, false
}

// String returns the name of the type, or its number in decimal.
func (t Type) String() string {
	name, _ := nameOf(int(t), typeNames())
	return name
}

// SubtypeName returns the name of the partition's subtype, the project's own
// in opt included, or its number in decimal.
func (p Partition) SubtypeName(opt Options) string {
	name, _ := nameOf(int(p.Subtype), subtypeNames(p.Type, opt.ExtraSubtypes))
	return name
}

// String returns the flags as a CSV has them: names with colons between them.
func (f Flags) String() string {
	var names []string
	if f&Encrypted != 0 {
		names = append(names, "encrypted")
	}
	if f&Readonly != 0 {
		names = append(names, "readonly")
	}
	return strings.Join(names, ":")
}

// Secure is a secure boot scheme, as far as it matters to sizes.
type Secure string

// The schemes.
const (
	SecureNone Secure = ""
	SecureV1   Secure = "v1"
	SecureV2   Secure = "v2"
)

// ExtraSubtype is a subtype that a project has added to those of ESP-IDF.
type ExtraSubtype struct {
	Type    Type
	Name    string
	Subtype Subtype
}

// Options says what a table is checked against and how it is written. The zero
// value is the usual: a table at 0x8000, with an MD5 row, any flash size.
type Options struct {
	// Offset is where the table lies in flash, in bytes; 0 is DefaultOffset.
	Offset uint32
	// NoMD5 leaves out the MD5 row; on reading such a row is an error.
	NoMD5 bool
	// FlashSize is the size of the chip's flash in bytes; 0 checks nothing.
	FlashSize uint64
	// Secure is the secure boot scheme that app partitions must suit.
	Secure Secure
	// PrimaryBootloaderOffset and RecoveryBootloaderOffset place partitions of
	// type bootloader. nil means not defined.
	PrimaryBootloaderOffset  *uint32
	RecoveryBootloaderOffset *uint32
	// ExtraSubtypes are the project's own.
	ExtraSubtypes []ExtraSubtype
	// LookupEnv returns the value of a variable that a CSV names as $NAME or
	// ${NAME}. nil knows none.
	LookupEnv func(name string) (string, bool)
}

func (o Options) offset() uint64 {
	if o.Offset == 0 {
		return DefaultOffset
	}
	return uint64(o.Offset)
}

// tableEnd is the first offset that partitions may have.
func (o Options) tableEnd() uint64 { return o.offset() + Sector }
