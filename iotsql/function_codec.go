package iotsql

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"
)

// encode returns base64: of the payload's bytes for *, of the text of any other value.
func encode(args []arg) (fn, string) {
	in, scheme := args[0].do, args[1].do
	star := args[0].star
	return func(f *frame) value {
		if s := scheme(f); s.kind != String || s.str != "base64" {
			return undefined
		}
		if star && !f.nested {
			return text(base64.StdEncoding.EncodeToString(f.m.payload))
		}
		s, ok := in(f).toText()
		if !ok {
			return undefined
		}
		return text(base64.StdEncoding.EncodeToString([]byte(s)))
	}, ""
}

// decode reads base64, protobuf or Avro. base64 gives the value if JSON comes out, else a string;
// what cannot be decoded is Null.
func decode(args []arg) (fn, string) {
	scheme, fixed := args[1].text()
	want := map[string]int{"base64": 2, "proto": 6, "avro": 4}
	if fixed && want[scheme] != len(args) {
		return func(*frame) value { return undefined }, "decode takes (value, 'base64'), (value, 'proto', bucket, key, file, message) or (value, 'avro', bucket, key): always Undefined"
	}
	return func(f *frame) value {
		var v [6]value
		for i := range args {
			v[i] = args[i].do(f)
		}
		if v[1].kind != String || want[v[1].str] != len(args) {
			return undefined
		}
		if v[1].str == "base64" {
			return decodeText(f, v[0])
		}
		for _, a := range v[2:len(args)] {
			if a.kind != String {
				return undefined
			}
		}
		data, ok := binaryOf(f, v[0], args[0].star)
		if !ok {
			return null
		}
		if v[1].str == "avro" {
			return decodeAvro(f, data, v[2].str, v[3].str)
		}
		return decodeProto(f, data, v[2].str, v[3].str, v[4].str, v[5].str)
	}, ""
}

// fromBase64 takes the standard alphabet and the one for URLs, with and without padding.
func fromBase64(s string) ([]byte, bool) {
	s = strings.TrimRight(s, "=")
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(s)
	return b, err == nil
}

func decodeText(f *frame, v value) value {
	s, ok := v.toText()
	if !ok {
		return v // Null stays Null
	}
	b, ok := fromBase64(s)
	if !ok {
		return null
	}
	out := string(b)
	if checkJSON(out) {
		return fromJSON(trimSpace(out), f.asInt)
	}
	if !utf8.ValidString(out) {
		return value{kind: Binary, str: out}
	}
	return text(out)
}

// binaryOf returns the bytes to decode: the payload's for *, those of a decoded value, or those
// that a string has in base64.
func binaryOf(f *frame, v value, star bool) ([]byte, bool) {
	switch {
	case star && !f.nested:
		return f.m.payload, true
	case v.kind == Binary:
		return []byte(v.str), true
	case v.kind == String:
		return fromBase64(v.str)
	}
	return nil, false
}

func decodeAvro(f *frame, data []byte, bucket, key string) value {
	if f.ctx.AvroSchema == nil {
		f.fail(&FunctionError{"decode", ErrUnavailable})
		return undefined
	}
	schema, err := f.ctx.AvroSchema(bucket, key)
	if err == nil && schema == nil {
		err = errors.New("no schema")
	}
	if err != nil {
		f.fail(&FunctionError{"decode", err})
		return undefined
	}
	out, err := schema.AppendJSON(nil, data)
	if err != nil {
		return null
	}
	return fromJSON(string(out), f.asInt)
}

func decodeProto(f *frame, data []byte, bucket, key, file, message string) value {
	if f.ctx.Descriptors == nil {
		f.fail(&FunctionError{"decode", ErrUnavailable})
		return undefined
	}
	d, err := f.ctx.Descriptors(bucket, key)
	if err == nil && d == nil {
		err = errors.New("no descriptors")
	}
	if err != nil {
		f.fail(&FunctionError{"decode", err})
		return undefined
	}
	out, err := d.AppendJSON(nil, file, message, data)
	if err != nil {
		if errors.Is(err, ErrNoMessage) {
			f.fail(&FunctionError{"decode", err})
			return undefined
		}
		return null
	}
	return fromJSON(string(out), f.asInt)
}
