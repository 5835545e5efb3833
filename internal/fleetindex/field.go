package fleetindex

import (
	"encoding/binary"
	"math"
	"strings"
	"unsafe"
)

// kind is the type of a value.
type kind uint8

const (
	textValue kind = iota
	numberValue
	boolValue
)

// hidden marks a value that a term without a field does not find: versions, times and the like.
const hidden = 0x80

// Fields that have their numbers beforehand.
const (
	fieldThingName uint32 = iota
	fieldThingID
	fieldTypeName
	fieldGroups
	fieldVersion
	fieldShadowVersion
	fieldHasDelta
	fieldConnected
	fieldTimestamp
	fieldConnectionVersion
	fieldReason
	fieldViolations
	fieldGroupName
	fieldGroupID
	fieldDescription
	fieldParents
	fieldGroupVersion
	firstFree
)

func fixedFields() []string {
	return []string{"thingName", "thingId", "thingTypeName", "thingGroupNames", "registry.version",
		"shadow.version", "shadow.hasDelta", "connectivity.connected", "connectivity.timestamp", "connectivity.version",
		"connectivity.disconnectReason", "deviceDefender.violationCount", "thingGroupName", "thingGroupId", "description",
		"parentGroupNames", "version"}
}

// fields is a list of values as a row keeps it: for each the number of its field, its kind, of a
// number the value, and its text.
type fields string

// value is one entry of a list.
type value struct {
	field  uint32
	kind   kind
	hidden bool
	number float64
	text   string
}

func appendValue(dst []byte, v value) []byte {
	dst = binary.AppendUvarint(dst, uint64(v.field))
	tag := byte(v.kind)
	if v.hidden {
		tag |= hidden
	}
	dst = append(dst, tag)
	if v.kind == numberValue {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.number))
	}
	dst = binary.AppendUvarint(dst, uint64(len(v.text)))
	return append(dst, v.text...)
}

// next cuts the first value off. The list must not be empty.
func (f fields) next() (v value, rest fields) {
	i := 0
	v.field, i = f.uvarint(i)
	v.kind, v.hidden = kind(f[i]&^hidden), f[i]&hidden != 0
	i++
	if v.kind == numberValue {
		b := unsafe.Slice(unsafe.StringData(string(f[i:i+8])), 8)
		v.number = math.Float64frombits(binary.LittleEndian.Uint64(b))
		i += 8
	}
	n, i := f.uvarint(i)
	end := i + int(n)
	v.text = string(f[i:end])
	return v, f[end:]
}

// from cuts off what stands before the first value of a field.
func (f fields) from(field uint32) fields {
	for i := 0; i < len(f); {
		n, next := f.uvarint(i)
		if n == field {
			return f[i:]
		}
		if kind(f[next]&^hidden) == numberValue {
			next += 8
		}
		length, end := f.uvarint(next + 1)
		i = end + int(length)
	}
	return ""
}

func (f fields) uvarint(i int) (uint32, int) {
	if c := f[i]; c < 0x80 {
		return uint32(c), i + 1
	}
	var n uint32
	for shift := 0; ; shift += 7 {
		c := f[i]
		i++
		n |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return n, i
		}
	}
}

// dictionary numbers the names of fields. Names that no row has any more are forgotten now and then,
// so that devices that invent names do not fill the memory.
type dictionary struct {
	numbers map[string]uint32
	names   []string
	free    []uint32
	limit   int // number of names from which a sweep is due
}

// sweepFrom is the least number of names that makes a sweep worth while.
const sweepFrom = 4096

func newDictionary() *dictionary {
	d := &dictionary{numbers: make(map[string]uint32), limit: sweepFrom}
	for _, name := range fixedFields() {
		d.number([]byte(name))
	}
	return d
}

func (d *dictionary) number(name []byte) uint32 {
	if n, ok := d.numbers[string(name)]; ok {
		return n
	}
	s := string(name)
	n := uint32(len(d.names))
	if last := len(d.free) - 1; last >= 0 {
		n, d.free = d.free[last], d.free[:last]
		d.names[n] = s
	} else {
		d.names = append(d.names, s)
	}
	d.numbers[s] = n
	return n
}

// sweep forgets all names but those in use.
func (d *dictionary) sweep(used map[uint32]bool) {
	for name, n := range d.numbers {
		if n >= firstFree && !used[n] {
			delete(d.numbers, name)
			d.names[n] = ""
			d.free = append(d.free, n)
		}
	}
	d.limit = max(sweepFrom, 2*len(d.numbers))
}

// writer builds lists of values.
type writer struct {
	dictionary *dictionary
	buf        []byte
	path       []byte
}

func (w *writer) reset() { w.buf = w.buf[:0] }

func (w *writer) fields() fields { return fields(w.buf) }

func (w *writer) text(field uint32, text string) {
	w.buf = appendValue(w.buf, value{field: field, text: text})
}

func (w *writer) number(field uint32, n int64, text string) {
	w.buf = appendValue(w.buf, value{field: field, kind: numberValue, number: float64(n), text: text, hidden: true})
}

func (w *writer) bool(field uint32, b bool) {
	text := "false"
	if b {
		text = "true"
	}
	w.buf = appendValue(w.buf, value{field: field, kind: boolValue, text: text, hidden: true})
}

// attribute writes a value of the registry, which is a number if it reads as one.
func (w *writer) attribute(name, text string) {
	w.path = append(append(w.path[:0], "attributes."...), name...)
	v := value{field: w.dictionary.number(w.path), text: text}
	if n, ok := number(text); ok {
		v.kind, v.number = numberValue, n
	}
	w.buf = appendValue(w.buf, v)
}

// alias returns the name under which a field of the things or the groups is kept.
func alias(name string, groups bool) string {
	switch {
	case groups && name == "thingGroupNames":
		return "thingGroupName"
	case groups && name == "thingGroupDescription":
		return "description"
	case groups:
		return name
	}
	switch rest, ok := strings.CutPrefix(name, "registry."); {
	case ok && (rest == "thingTypeName" || rest == "thingGroupNames" || rest == "thingName" || rest == "thingId"):
		return rest
	case name == "version":
		return "registry.version"
	}
	return name
}
