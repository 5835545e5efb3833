package iotsql

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrNoMessage is wrapped when descriptors do not hold the file or message that is asked for.
var ErrNoMessage = errors.New("no such message")

// Descriptors are compiled .proto files: what protoc --descriptor_set_out writes, best with
// --include_imports. They may be used by several goroutines at once.
type Descriptors struct {
	files    map[string]*protoFile
	messages map[string]*protoMessage
	enums    map[string]map[int32]string
}

type protoFile struct {
	pkg    string
	proto3 bool
}

type protoMessage struct {
	name     string
	fields   []*protoField
	byNumber map[int]*protoField
	mapEntry bool
	proto3   bool
}

type protoField struct {
	name     string // in JSON
	number   int
	repeated bool
	kind     int // FieldDescriptorProto.Type
	typeName string
	presence bool // absent fields have no default in the output
}

// Types of fields, as descriptor.proto numbers them.
const (
	protoDouble = iota + 1
	protoFloat
	protoInt64
	protoUint64
	protoInt32
	protoFixed64
	protoFixed32
	protoBool
	protoString
	protoGroup
	protoMessageType
	protoBytes
	protoUint32
	protoEnum
	protoSfixed32
	protoSfixed64
	protoSint32
	protoSint64
)

// ParseDescriptors reads a FileDescriptorSet.
func ParseDescriptors(b []byte) (*Descriptors, error) {
	d := &Descriptors{files: map[string]*protoFile{}, messages: map[string]*protoMessage{}, enums: map[string]map[int32]string{}}
	err := fields(b, func(f wireField) error {
		if f.number == 1 && f.wire == wireBytes {
			return d.file(f.data)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("parse protobuf descriptors: %w", err)
	}
	if len(d.files) == 0 {
		return nil, errors.New("parse protobuf descriptors: no file in them")
	}
	return d, nil
}

func (d *Descriptors) file(b []byte) error {
	var name string
	var messages, enums [][]byte
	file := new(protoFile)
	err := fields(b, func(f wireField) error {
		switch f.number {
		case 1:
			name = string(f.data)
		case 2:
			file.pkg = string(f.data)
		case 4:
			messages = append(messages, f.data)
		case 5:
			enums = append(enums, f.data)
		case 12:
			file.proto3 = string(f.data) == "proto3"
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.files[name] = file
	scope := ""
	if file.pkg != "" {
		scope = "." + file.pkg
	}
	for _, m := range messages {
		if err := d.message(m, scope, file.proto3, 0); err != nil {
			return err
		}
	}
	for _, e := range enums {
		if err := d.enum(e, scope); err != nil {
			return err
		}
	}
	return nil
}

func (d *Descriptors) message(b []byte, scope string, proto3 bool, depth int) error {
	if depth > maxNesting {
		return errWire
	}
	m := &protoMessage{byNumber: map[int]*protoField{}, proto3: proto3}
	var nested, enums [][]byte
	err := fields(b, func(f wireField) error {
		switch f.number {
		case 1:
			m.name = scope + "." + string(f.data)
		case 2:
			field, err := protoFieldOf(f.data, proto3)
			if err != nil {
				return err
			}
			m.fields = append(m.fields, field)
			m.byNumber[field.number] = field
		case 3:
			nested = append(nested, f.data)
		case 4:
			enums = append(enums, f.data)
		case 7:
			return fields(f.data, func(o wireField) error {
				m.mapEntry = m.mapEntry || o.number == 7 && o.num != 0
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.messages[m.name] = m
	for _, n := range nested {
		if err := d.message(n, m.name, proto3, depth+1); err != nil {
			return err
		}
	}
	for _, e := range enums {
		if err := d.enum(e, m.name); err != nil {
			return err
		}
	}
	return nil
}

func protoFieldOf(b []byte, proto3 bool) (*protoField, error) {
	var plain, jsonName string
	f := &protoField{presence: !proto3}
	err := fields(b, func(w wireField) error {
		switch w.number {
		case 1:
			plain = string(w.data)
		case 3:
			f.number = int(w.num)
		case 4:
			f.repeated = w.num == 3
		case 5:
			f.kind = int(w.num)
		case 6:
			f.typeName = string(w.data)
		case 9, 17: // member of a oneof, optional
			f.presence = true
		case 10:
			jsonName = string(w.data)
		}
		return nil
	})
	if f.name = jsonName; f.name == "" {
		f.name = camel(plain)
	}
	return f, err
}

// camel is the JSON name of a field (protobuf language guide, "JSON mapping").
func camel(s string) string {
	var b strings.Builder
	up := false
	for _, r := range s {
		if r == '_' {
			up = true
			continue
		}
		if up && r >= 'a' && r <= 'z' {
			r -= 'a' - 'A'
		}
		up = false
		b.WriteRune(r)
	}
	return b.String()
}

func (d *Descriptors) enum(b []byte, scope string) error {
	var name string
	values := map[int32]string{}
	err := fields(b, func(f wireField) error {
		switch f.number {
		case 1:
			name = string(f.data)
		case 2:
			var value string
			var number int32
			err := fields(f.data, func(v wireField) error {
				switch v.number {
				case 1:
					value = string(v.data)
				case 2:
					number = int32(v.num)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if _, ok := values[number]; !ok { // the first of aliases
				values[number] = value
			}
		}
		return nil
	})
	d.enums[scope+"."+name] = values
	return err
}

// AppendJSON decodes a message and appends it as JSON by protobuf's JSON mapping, with proto3's
// default values filled in, unknown fields left out, and 64-bit integers as numbers, so that rules
// can compute with them. The file is named with or without .proto, the message with or without its
// package. Errors wrap [ErrNoMessage] or tell that the data is damaged.
func (d *Descriptors) AppendJSON(dst []byte, file, message string, data []byte) ([]byte, error) {
	f := d.files[file]
	if f == nil {
		f = d.files[file+".proto"]
	}
	if f == nil {
		return dst, fmt.Errorf("%w: no file %s among the descriptors", ErrNoMessage, quoted(file))
	}
	m := d.messages["."+strings.TrimPrefix(message, ".")]
	if m == nil && f.pkg != "" {
		m = d.messages["."+f.pkg+"."+message]
	}
	if m == nil {
		return dst, fmt.Errorf("%w: no message %s in file %s", ErrNoMessage, quoted(message), quoted(file))
	}
	p := printer{d: d, limit: maxText}
	out, err := p.message(dst, m, data, 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// printer bounds the output: default values can make much of little.
type printer struct {
	d     *Descriptors
	limit int
}

func (p *printer) message(dst []byte, m *protoMessage, data []byte, depth int) ([]byte, error) {
	if depth > maxNesting {
		return dst, errors.New("protobuf: message nested too deeply")
	}
	got := map[*protoField][]wireField{}
	err := fields(data, func(w wireField) error {
		f := m.byNumber[w.number]
		if f == nil {
			return nil
		}
		if w.wire == wireBytes && f.repeated && packable(f.kind) {
			l, err := unpack(w, f)
			got[f] = append(got[f], l...)
			return err
		}
		if w.wire != wireOf(f.kind) {
			return errWire
		}
		got[f] = append(got[f], w)
		return nil
	})
	if err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	first := true
	for _, f := range m.fields {
		l := got[f]
		if len(l) == 0 && f.presence && !f.repeated {
			continue
		}
		if len(l) == 0 && !f.repeated && (f.kind == protoMessageType || f.kind == protoGroup) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendText(dst, f.name), ':')
		if dst, err = p.field(dst, f, l, depth); err != nil {
			return dst, err
		}
		if len(dst) > p.limit {
			return dst, errors.New("protobuf: message too large as JSON")
		}
	}
	return append(dst, '}'), nil
}

func (p *printer) field(dst []byte, f *protoField, l []wireField, depth int) ([]byte, error) {
	var err error
	if !f.repeated {
		w := wireField{wire: wireOf(f.kind)}
		if len(l) > 0 {
			w = l[len(l)-1] // the last one counts; messages are joined
		}
		if f.kind == protoMessageType && len(l) > 1 {
			var all []byte
			for _, part := range l {
				all = append(all, part.data...)
			}
			w.data = all
		}
		return p.value(dst, f, w, depth)
	}
	if m := p.d.messages[f.typeName]; f.kind == protoMessageType && m != nil && m.mapEntry {
		return p.entries(dst, m, l, depth)
	}
	dst = append(dst, '[')
	for i, w := range l {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = p.value(dst, f, w, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// entries prints a map; keys become strings.
func (p *printer) entries(dst []byte, m *protoMessage, l []wireField, depth int) ([]byte, error) {
	key, val := m.byNumber[1], m.byNumber[2]
	if key == nil || val == nil || key.kind == protoMessageType || key.kind == protoGroup {
		return dst, errors.New("protobuf: descriptor of a map without key or value")
	}
	dst = append(dst, '{')
	for i, w := range l {
		k, v := wireField{wire: wireOf(key.kind)}, wireField{wire: wireOf(val.kind)}
		err := fields(w.data, func(e wireField) error {
			switch {
			case e.number == 1 && e.wire == k.wire:
				k = e
			case e.number == 2 && e.wire == v.wire:
				v = e
			}
			return nil
		})
		if err != nil {
			return dst, err
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		shown, err := p.value(nil, key, k, depth)
		if err != nil {
			return dst, err
		}
		if len(shown) > 0 && shown[0] == '"' {
			dst = append(dst, shown...)
		} else {
			dst = appendText(dst, string(shown))
		}
		dst = append(dst, ':')
		if dst, err = p.value(dst, val, v, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (p *printer) value(dst []byte, f *protoField, w wireField, depth int) ([]byte, error) {
	n := w.num
	switch f.kind {
	case protoDouble:
		return appendDouble(dst, math.Float64frombits(n), 64), nil
	case protoFloat:
		return appendDouble(dst, float64(math.Float32frombits(uint32(n))), 32), nil
	case protoInt64, protoSfixed64:
		return strconv.AppendInt(dst, int64(n), 10), nil
	case protoUint64, protoFixed64:
		return strconv.AppendUint(dst, n, 10), nil
	case protoInt32, protoSfixed32:
		return strconv.AppendInt(dst, int64(int32(n)), 10), nil
	case protoUint32, protoFixed32:
		return strconv.AppendUint(dst, uint64(uint32(n)), 10), nil
	case protoSint32:
		return strconv.AppendInt(dst, int64(int32(uint32(n)>>1)^-int32(n&1)), 10), nil
	case protoSint64:
		return strconv.AppendInt(dst, int64(n>>1)^-int64(n&1), 10), nil
	case protoBool:
		return strconv.AppendBool(dst, n != 0), nil
	case protoString:
		if !utf8.Valid(w.data) {
			return dst, errors.New("protobuf: string is not UTF-8")
		}
		return appendText(dst, string(w.data)), nil
	case protoBytes:
		return appendText(dst, base64.StdEncoding.EncodeToString(w.data)), nil
	case protoEnum:
		if name, ok := p.d.enums[f.typeName][int32(n)]; ok {
			return appendText(dst, name), nil
		}
		return strconv.AppendInt(dst, int64(int32(n)), 10), nil
	case protoMessageType, protoGroup:
		m := p.d.messages[f.typeName]
		if m == nil {
			return dst, fmt.Errorf("%w: descriptors lack %s; compile with --include_imports", ErrNoMessage, quoted(f.typeName))
		}
		return p.message(dst, m, w.data, depth+1)
	}
	return dst, fmt.Errorf("protobuf: field %s has the unknown type %d", quoted(f.name), f.kind)
}

// appendDouble writes what JSON has no number for as a string.
func appendDouble(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

func wireOf(kind int) int {
	switch kind {
	case protoDouble, protoFixed64, protoSfixed64:
		return wire64
	case protoFloat, protoFixed32, protoSfixed32:
		return wire32
	case protoString, protoMessageType, protoBytes:
		return wireBytes
	case protoGroup:
		return wireGroup
	}
	return wireVarint
}

func packable(kind int) bool {
	w := wireOf(kind)
	return w == wireVarint || w == wire32 || w == wire64
}

func unpack(w wireField, f *protoField) ([]wireField, error) {
	var l []wireField
	wire := wireOf(f.kind)
	for b := w.data; len(b) > 0; {
		e := wireField{number: w.number, wire: wire}
		n := 0
		switch wire {
		case wireVarint:
			if e.num, n = binary.Uvarint(b); n <= 0 {
				return nil, errWire
			}
		case wire64:
			if n = 8; len(b) < n {
				return nil, errWire
			}
			e.num = binary.LittleEndian.Uint64(b)
		default:
			if n = 4; len(b) < n {
				return nil, errWire
			}
			e.num = uint64(binary.LittleEndian.Uint32(b))
		}
		l = append(l, e)
		b = b[n:]
	}
	return l, nil
}
