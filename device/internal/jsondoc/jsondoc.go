// Package jsondoc reads and writes JSON (RFC 8259) without reflection, for chips. Objects become
// members in their order; every other value stays as the text that it was.
package jsondoc

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrSyntax is returned for text that is not one JSON value in UTF-8, is nested deeper than 32
// or has an object of more than 2048 members.
var ErrSyntax = errors.New("not a JSON value")

const (
	maxDepth   = 32
	maxMembers = 2048 // of one object
)

// Value is a JSON value; the zero Value is absent. Values share memory with what they were parsed
// from.
type Value struct {
	raw     []byte // anything but an object
	members []Member
	object  bool
}

// Member is a member of an object.
type Member struct {
	Key   string
	Value Value
}

// Parse reads one value. The last of several members with one name counts.
func Parse(b []byte) (Value, error) {
	if !utf8.Valid(b) {
		return Value{}, ErrSyntax
	}
	p := parser{b: b}
	v, ok := p.value(0)
	p.space()
	if !ok || p.at != len(b) {
		return Value{}, ErrSyntax
	}
	return v, nil
}

type parser struct {
	b  []byte
	at int
}

func (p *parser) space() {
	for p.at < len(p.b) && (p.b[p.at] == ' ' || p.b[p.at] == '\n' || p.b[p.at] == '\t' || p.b[p.at] == '\r') {
		p.at++
	}
}

func (p *parser) take(c byte) bool {
	p.space()
	if p.at < len(p.b) && p.b[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) value(depth int) (Value, bool) {
	p.space()
	if depth > maxDepth || p.at == len(p.b) {
		return Value{}, false
	}
	start := p.at
	ok := false
	switch c := p.b[p.at]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		ok = p.array(depth)
	case c == '"':
		_, ok = p.text()
	case c == '-' || c >= '0' && c <= '9':
		ok = p.number()
	default:
		for _, word := range [...]string{"true", "false", "null"} {
			if bytes.HasPrefix(p.b[p.at:], []byte(word)) {
				p.at += len(word)
				ok = true
			}
		}
	}
	return Value{raw: p.b[start:p.at]}, ok
}

func (p *parser) object(depth int) (Value, bool) {
	v := Value{object: true}
	p.at++
	if p.take('}') {
		return v, true
	}
	for {
		p.space()
		key, ok := p.text()
		if !ok || !p.take(':') {
			return Value{}, false
		}
		member, ok := p.value(depth + 1)
		if !ok {
			return Value{}, false
		}
		// Setting looks through the members: the bound keeps a hostile object from costing seconds.
		if v.Set(key, member); len(v.members) > maxMembers {
			return Value{}, false
		}
		if p.take('}') {
			return v, true
		}
		if !p.take(',') {
			return Value{}, false
		}
	}
}

func (p *parser) array(depth int) bool {
	p.at++
	if p.take(']') {
		return true
	}
	for {
		if _, ok := p.value(depth + 1); !ok {
			return false
		}
		if p.take(']') {
			return true
		}
		if !p.take(',') {
			return false
		}
	}
}

func (p *parser) digits() bool {
	start := p.at
	for p.at < len(p.b) && p.b[p.at] >= '0' && p.b[p.at] <= '9' {
		p.at++
	}
	return p.at > start
}

func (p *parser) one(set string) bool {
	if p.at < len(p.b) && bytes.IndexByte([]byte(set), p.b[p.at]) >= 0 {
		p.at++
		return true
	}
	return false
}

func (p *parser) number() bool {
	p.one("-")
	if !p.one("0") && !p.digits() {
		return false
	}
	if p.one(".") && !p.digits() {
		return false
	}
	if p.one("eE") {
		p.one("+-")
		return p.digits()
	}
	return true
}

// text reads a string.
func (p *parser) text() (string, bool) {
	if p.at == len(p.b) || p.b[p.at] != '"' {
		return "", false
	}
	p.at++
	start := p.at
	for p.at < len(p.b) && p.b[p.at] != '"' && p.b[p.at] != '\\' && p.b[p.at] >= ' ' {
		p.at++
	}
	if p.at < len(p.b) && p.b[p.at] == '"' {
		p.at++
		return string(p.b[start : p.at-1]), true
	}
	out := append([]byte{}, p.b[start:p.at]...)
	for p.at < len(p.b) {
		c := p.b[p.at]
		p.at++
		switch {
		case c == '"':
			return string(out), true
		case c < ' ':
			return "", false
		case c != '\\':
			out = append(out, c)
			continue
		}
		if p.at == len(p.b) {
			return "", false
		}
		c = p.b[p.at]
		p.at++
		if i := bytes.IndexByte([]byte(`"\/bfnrt`), c); i >= 0 {
			out = append(out, "\"\\/\b\f\n\r\t"[i])
			continue
		}
		if c != 'u' {
			return "", false
		}
		r, ok := p.hex()
		if !ok {
			return "", false
		}
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if bytes.HasPrefix(p.b[p.at:], []byte(`\u`)) {
				at := p.at
				p.at += 2
				low, ok := p.hex()
				if !ok {
					return "", false
				}
				if pair = utf16.DecodeRune(r, low); pair == utf8.RuneError {
					p.at = at
				}
			}
			r = pair
		}
		out = utf8.AppendRune(out, r)
	}
	return "", false
}

func (p *parser) hex() (rune, bool) {
	if p.at+4 > len(p.b) {
		return 0, false
	}
	var r rune
	for _, c := range p.b[p.at : p.at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|32 >= 'a' && c|32 <= 'f':
			c = c | 32 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	p.at += 4
	return r, true
}

// Exists reports whether the value is there at all.
func (v Value) Exists() bool { return v.object || v.raw != nil }

// IsObject and IsNull tell what a value is.
func (v Value) IsObject() bool { return v.object }
func (v Value) IsNull() bool   { return string(v.raw) == "null" }

// Members lists the members of an object; they must not be changed.
func (v Value) Members() []Member { return v.members }

// Get follows names through objects; what is not there is absent.
func (v Value) Get(path ...string) Value {
	for _, name := range path {
		found := Value{}
		for i := range v.members {
			if v.members[i].Key == name {
				found = v.members[i].Value
			}
		}
		v = found
	}
	return v
}

// Text returns a string's text, and "" for anything else.
func (v Value) Text() string {
	p := parser{b: v.raw}
	s, _ := p.text()
	return s
}

// Int returns a whole number; ok is false for anything else.
func (v Value) Int() (n int64, ok bool) {
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	return n, err == nil
}

// Append appends the value as JSON, null if it is absent.
func (v Value) Append(dst []byte) []byte {
	if !v.object {
		if v.raw == nil {
			return append(dst, "null"...)
		}
		return append(dst, v.raw...)
	}
	dst = append(dst, '{')
	for i, m := range v.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, m.Key), ':')
		dst = m.Value.Append(dst)
	}
	return append(dst, '}')
}

// Set makes an object's member have a value; a value that is no object becomes one.
func (v *Value) Set(key string, member Value) {
	v.object, v.raw = true, nil
	for i := range v.members {
		if v.members[i].Key == key {
			v.members[i].Value = member
			return
		}
	}
	v.members = append(v.members, Member{key, member})
}

// Merge lays a patch over a value: objects member by member, anything else replaces. Members that
// are null stay as null, so that patches can be merged before they are applied.
func Merge(base, patch Value) Value {
	if !base.object || !patch.object {
		return patch
	}
	out := Value{object: true, members: append([]Member{}, base.members...)}
	for _, m := range patch.members {
		out.Set(m.Key, Merge(out.Get(m.Key), m.Value))
	}
	return out
}

// Object returns an empty object.
func Object() Value { return Value{object: true} }

// String returns a string value.
func String(s string) Value { return Value{raw: AppendString(nil, s)} }

// Int returns a number value.
func Int(n int64) Value { return Value{raw: strconv.AppendInt(nil, n, 10)} }

// AppendString appends a string in quotes; bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < ' ' || r == 0x7F:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// IsText reports whether a value is a string.
func (v Value) IsText() bool { return len(v.raw) > 0 && v.raw[0] == '"' }

// Elements calls yield for each element of an array; anything else has none.
func (v Value) Elements(yield func(Value)) {
	p := parser{b: v.raw}
	if !p.take('[') || p.take(']') {
		return
	}
	for {
		element, ok := p.value(0)
		if !ok {
			return
		}
		yield(element)
		if !p.take(',') {
			return
		}
	}
}
