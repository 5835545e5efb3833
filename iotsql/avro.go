package iotsql

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"
)

// AvroSchema is a schema of Apache Avro 1.12, for decoding messages. It may be used by several
// goroutines at once.
type AvroSchema struct{ root *avroType }

type avroType struct {
	kind    string // a primitive, record, enum, array, map, fixed or union
	name    string
	fields  []avroField
	symbols []string
	items   *avroType   // of arrays and maps
	union   []*avroType // branches
	size    int         // of fixed
	logical string
	scale   int
}

type avroField struct {
	name string
	typ  *avroType
}

var errAvro = errors.New("avro: damaged data")

// ParseAvroSchema reads a schema in JSON.
func ParseAvroSchema(b []byte) (*AvroSchema, error) {
	if len(b) > 1<<20 || !checkJSON(string(b)) {
		return nil, errors.New("parse Avro schema: not JSON, or larger than 1 MiB")
	}
	var raw any
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("parse Avro schema: %w", err)
	}
	r := avroReader{named: map[string]*avroType{}}
	t, err := r.read(raw, "", 0)
	if err != nil {
		return nil, fmt.Errorf("parse Avro schema: %w", err)
	}
	return &AvroSchema{t}, nil
}

type avroReader struct{ named map[string]*avroType }

func (r *avroReader) read(raw any, space string, depth int) (*avroType, error) {
	if depth > maxNesting {
		return nil, errors.New("nested too deeply")
	}
	switch s := raw.(type) {
	case string:
		switch s {
		case "null", "boolean", "int", "long", "float", "double", "bytes", "string":
			return &avroType{kind: s}, nil
		}
		for _, name := range [...]string{qualified(s, space), s} {
			if t := r.named[name]; t != nil {
				return t, nil
			}
		}
		return nil, fmt.Errorf("no type %s", quoted(s))
	case []any:
		u := &avroType{kind: "union"}
		for _, b := range s {
			t, err := r.read(b, space, depth+1)
			if err != nil {
				return nil, err
			}
			u.union = append(u.union, t)
		}
		return u, nil
	case map[string]any:
		return r.complex(s, space, depth)
	}
	return nil, errors.New("a type is a string, an array or an object")
}

func qualified(name, space string) string {
	for i := range len(name) {
		if name[i] == '.' {
			return name
		}
	}
	if space == "" {
		return name
	}
	return space + "." + name
}

func (r *avroReader) complex(s map[string]any, space string, depth int) (*avroType, error) {
	kind, ok := s["type"].(string)
	if !ok {
		return r.read(s["type"], space, depth+1) // {"type": {…}}
	}
	if ns, ok := s["namespace"].(string); ok {
		space = ns
	}
	t := &avroType{kind: kind}
	t.name, _ = s["name"].(string)
	t.logical, _ = s["logicalType"].(string)
	if f, ok := s["scale"].(float64); ok && f >= 0 && f <= 1000 {
		t.scale = int(f)
	}
	var err error
	switch kind {
	case "record", "error", "enum", "fixed":
		if t.name == "" {
			return nil, fmt.Errorf("a %s has no name", kind)
		}
		full := qualified(t.name, space)
		for i := len(full) - 1; i >= 0; i-- {
			if full[i] == '.' {
				space = full[:i]
				break
			}
		}
		r.named[full] = t
	}
	switch kind {
	case "record", "error":
		t.kind = "record"
		list, _ := s["fields"].([]any)
		for _, raw := range list {
			m, _ := raw.(map[string]any)
			f := avroField{}
			if f.name, ok = m["name"].(string); !ok {
				return nil, fmt.Errorf("a field of %s has no name", quoted(t.name))
			}
			if f.typ, err = r.read(m["type"], space, depth+1); err != nil {
				return nil, err
			}
			t.fields = append(t.fields, f)
		}
	case "enum":
		list, _ := s["symbols"].([]any)
		for _, raw := range list {
			symbol, _ := raw.(string)
			t.symbols = append(t.symbols, symbol)
		}
	case "fixed":
		size, ok := s["size"].(float64)
		if !ok || size < 0 || size > 1<<20 {
			return nil, fmt.Errorf("fixed %s has no usable size", quoted(t.name))
		}
		t.size = int(size)
	case "array":
		t.items, err = r.read(s["items"], space, depth+1)
	case "map":
		t.items, err = r.read(s["values"], space, depth+1)
	default:
		named, err := r.read(kind, space, depth+1)
		if err != nil {
			return nil, err
		}
		if len(named.kind) > 0 && named.name == "" { // a primitive with a logical type
			return t, nil
		}
		return named, nil
	}
	return t, err
}

// avroSingle begins a message in single-object encoding: marker and 8 bytes of fingerprint.
var avroSingle = []byte{0xc3, 0x01}

// AppendJSON decodes one value in Avro's binary encoding, bare or as a single object, and appends
// it as JSON: unions without the name of their branch, bytes and fixed in base64, the logical type
// decimal as a number.
func (s *AvroSchema) AppendJSON(dst []byte, data []byte) ([]byte, error) {
	d := avroDecoder{b: data, limit: maxText}
	out, err := d.value(dst, s.root, 0)
	if (err != nil || len(d.b) > 0) && len(data) >= 10 && bytes.HasPrefix(data, avroSingle) {
		d = avroDecoder{b: data[10:], limit: maxText}
		out, err = d.value(dst, s.root, 0)
	}
	if err == nil && len(d.b) > 0 {
		err = errors.New("avro: bytes left over")
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

type avroDecoder struct {
	b     []byte
	limit int
	empty int // values that took no bytes
}

func (d *avroDecoder) long() (int64, error) {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		return 0, errAvro
	}
	d.b = d.b[n:]
	return v, nil
}

func (d *avroDecoder) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(d.b)) {
		return nil, errAvro
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b, nil
}

func (d *avroDecoder) bytes() ([]byte, error) {
	n, err := d.long()
	if err != nil {
		return nil, err
	}
	return d.take(n)
}

func (d *avroDecoder) value(dst []byte, t *avroType, depth int) ([]byte, error) {
	if depth > maxNesting || len(dst) > d.limit {
		return dst, errors.New("avro: value too deep or too large")
	}
	switch t.kind {
	case "null":
		return append(dst, "null"...), nil
	case "boolean":
		b, err := d.take(1)
		if err != nil || b[0] > 1 {
			return dst, errAvro
		}
		return strconv.AppendBool(dst, b[0] == 1), nil
	case "int", "long":
		v, err := d.long()
		if err != nil || t.kind == "int" && v != int64(int32(v)) {
			return dst, errAvro
		}
		return strconv.AppendInt(dst, v, 10), nil
	case "float":
		b, err := d.take(4)
		if err != nil {
			return dst, err
		}
		return appendDouble(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 32), nil
	case "double":
		b, err := d.take(8)
		if err != nil {
			return dst, err
		}
		return appendDouble(dst, math.Float64frombits(binary.LittleEndian.Uint64(b)), 64), nil
	case "bytes", "fixed":
		b, err := d.take(int64(t.size))
		if t.kind == "bytes" {
			b, err = d.bytes()
		}
		if err != nil {
			return dst, err
		}
		if t.logical == "decimal" && len(b) <= 64 {
			return appendAvroDecimal(dst, b, t.scale), nil
		}
		return appendText(dst, base64.StdEncoding.EncodeToString(b)), nil
	case "string":
		b, err := d.bytes()
		if err != nil || !utf8.Valid(b) {
			return dst, errAvro
		}
		return appendText(dst, string(b)), nil
	case "enum":
		i, err := d.long()
		if err != nil || i < 0 || i >= int64(len(t.symbols)) {
			return dst, errAvro
		}
		return appendText(dst, t.symbols[i]), nil
	case "union":
		i, err := d.long()
		if err != nil || i < 0 || i >= int64(len(t.union)) {
			return dst, errAvro
		}
		return d.value(dst, t.union[i], depth+1)
	case "record":
		dst = append(dst, '{')
		var err error
		for i, f := range t.fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendText(dst, f.name), ':')
			if dst, err = d.value(dst, f.typ, depth+1); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	case "array":
		return d.blocks(append(dst, '['), t, ']', depth)
	case "map":
		return d.blocks(append(dst, '{'), t, '}', depth)
	}
	return dst, errAvro
}

// blocks reads an array or a map: blocks of a count and as many items, up to a count of zero. A
// negative count is followed by the size in bytes.
func (d *avroDecoder) blocks(dst []byte, t *avroType, end byte, depth int) ([]byte, error) {
	for first := true; ; {
		n, err := d.long()
		if err != nil {
			return dst, err
		}
		if n == 0 {
			return append(dst, end), nil
		}
		if n < 0 {
			if n = -n; n < 0 {
				return dst, errAvro
			}
			if _, err := d.long(); err != nil {
				return dst, err
			}
		}
		for ; n > 0; n-- {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			left := len(d.b)
			if t.kind == "map" {
				key, err := d.bytes()
				if err != nil || !utf8.Valid(key) {
					return dst, errAvro
				}
				dst = append(appendText(dst, string(key)), ':')
			}
			if dst, err = d.value(dst, t.items, depth+1); err != nil {
				return dst, err
			}
			if left == len(d.b) { // a count of nulls costs nothing to send
				if d.empty++; d.empty > 1<<16 {
					return dst, errAvro
				}
			}
		}
	}
}

func appendAvroDecimal(dst []byte, b []byte, scale int) []byte {
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return num{exp: int32(-scale), big: v}.append(dst)
}
