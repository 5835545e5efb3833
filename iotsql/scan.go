package iotsql

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deeply JSON may be nested; what is deeper counts as not JSON.
const maxDepth = 512

// field is a member of an object: where its key and its value lie in the text. The key is without
// its quotes.
type field struct {
	key, keyEnd, val, valEnd uint32
}

// validator checks JSON text [RFC 8259] and, if asked, notes the members of the outermost object.
type validator struct {
	s      string
	fields []field
	index  bool
}

// checkJSON reports whether s is one JSON value with white space around it.
func checkJSON(s string) bool {
	v := validator{s: s}
	return v.check()
}

func (v *validator) check() bool {
	i, ok := v.value(skipSpace(v.s, 0), 0)
	return ok && skipSpace(v.s, i) == len(v.s) && utf8.ValidString(v.s)
}

func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\r' || s[i] == '\t') {
		i++
	}
	return i
}

func (v *validator) value(i, depth int) (int, bool) {
	s := v.s
	if i >= len(s) || depth > maxDepth {
		return i, false
	}
	switch s[i] {
	case '{':
		return v.object(i, depth)
	case '[':
		return v.array(i, depth)
	case '"':
		return v.text(i)
	case 't':
		return i + 4, strings.HasPrefix(s[i:], "true")
	case 'f':
		return i + 5, strings.HasPrefix(s[i:], "false")
	case 'n':
		return i + 4, strings.HasPrefix(s[i:], "null")
	}
	return v.number(i)
}

func (v *validator) array(i, depth int) (int, bool) {
	s := v.s
	i = skipSpace(s, i+1)
	if i < len(s) && s[i] == ']' {
		return i + 1, true
	}
	for {
		var ok bool
		if i, ok = v.value(i, depth+1); !ok {
			return i, false
		}
		if i = skipSpace(s, i); i >= len(s) {
			return i, false
		}
		switch s[i] {
		case ']':
			return i + 1, true
		case ',':
			i = skipSpace(s, i+1)
		default:
			return i, false
		}
	}
}

func (v *validator) object(i, depth int) (int, bool) {
	s := v.s
	i = skipSpace(s, i+1)
	if i < len(s) && s[i] == '}' {
		return i + 1, true
	}
	for {
		if i >= len(s) || s[i] != '"' {
			return i, false
		}
		var f field
		var ok bool
		f.key = uint32(i + 1)
		if i, ok = v.text(i); !ok {
			return i, false
		}
		f.keyEnd = uint32(i - 1)
		if i = skipSpace(s, i); i >= len(s) || s[i] != ':' {
			return i, false
		}
		i = skipSpace(s, i+1)
		f.val = uint32(i)
		if i, ok = v.value(i, depth+1); !ok {
			return i, false
		}
		f.valEnd = uint32(i)
		if v.index && depth == 0 {
			v.fields = append(v.fields, f)
		}
		if i = skipSpace(s, i); i >= len(s) {
			return i, false
		}
		switch s[i] {
		case '}':
			return i + 1, true
		case ',':
			i = skipSpace(s, i+1)
		default:
			return i, false
		}
	}
}

// text checks a string; i is at its first quote.
func (v *validator) text(i int) (int, bool) {
	s := v.s
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1, true
		case c < ' ':
			return i, false
		case c == '\\':
			i++
			if i >= len(s) {
				return i, false
			}
			switch s[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(s) {
					return i, false
				}
				if _, ok := hex4(s[i+1 : i+5]); !ok {
					return i, false
				}
				i += 4
			default:
				return i, false
			}
		}
	}
	return i, false
}

func hex4(s string) (rune, bool) {
	var r rune
	for i := range 4 {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func (v *validator) number(i int) (int, bool) {
	s := v.s
	digits := func() bool {
		start := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > start
	}
	if s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return i, false
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return i, false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return i, false
		}
	}
	return i, true
}

// What follows walks text that was checked before; on other text it gives nonsense, but stays
// within it.

// skipText returns the index after the string whose first quote is at i.
func skipText(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return len(s)
}

// skipValue returns the index after the value that begins at i.
func skipValue(s string, i int) int {
	if i >= len(s) {
		return len(s)
	}
	switch s[i] {
	case '"':
		return skipText(s, i)
	case '{', '[':
		for depth := 0; i < len(s); {
			switch s[i] {
			case '"':
				i = skipText(s, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(s)
	}
	for i < len(s) {
		switch s[i] {
		case ',', ']', '}', ' ', '\n', '\r', '\t':
			return i
		}
		i++
	}
	return i
}

// members calls f with each raw key, without quotes, and raw value of an object's text until f
// returns false.
func members(s string, f func(key, val string) bool) {
	i := skipSpace(s, 1)
	for i < len(s) && s[i] == '"' {
		end := skipText(s, i)
		key := s[i+1 : max(end-1, i+1)]
		i = skipSpace(s, end)
		i = skipSpace(s, min(i+1, len(s))) // the colon
		val := i
		i = skipValue(s, i)
		if !f(key, s[val:i]) {
			return
		}
		i = skipSpace(s, i)
		i = skipSpace(s, min(i+1, len(s))) // the comma
	}
}

// elements calls f with the raw elements of an array's text until f returns false.
func elements(s string, f func(val string) bool) {
	i := skipSpace(s, 1)
	for i < len(s) && s[i] != ']' {
		end := skipValue(s, i)
		if end == i || !f(s[i:end]) {
			return
		}
		i = skipSpace(s, end)
		i = skipSpace(s, min(i+1, len(s)))
	}
}

// lookup finds the last member with the key, as most JSON parsers take the last of duplicates.
func lookup(s, key string) (string, bool) {
	var found string
	var ok bool
	i := skipSpace(s, 1)
	for i < len(s) && s[i] == '"' {
		end := skipText(s, i)
		match := keyEqual(s[i+1:max(end-1, i+1)], key)
		i = skipSpace(s, end)
		i = skipSpace(s, min(i+1, len(s)))
		val := i
		i = skipValue(s, i)
		if match {
			found, ok = s[val:i], true
		}
		i = skipSpace(s, i)
		i = skipSpace(s, min(i+1, len(s)))
	}
	return found, ok
}

func keyEqual(raw, key string) bool {
	if raw == key {
		return strings.IndexByte(raw, '\\') < 0
	}
	return strings.IndexByte(raw, '\\') >= 0 && unescape(raw) == key
}

// unescape decodes the inside of a JSON string. Without escapes it returns it as it is.
func unescape(s string) string {
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s
	}
	b := append(make([]byte, 0, len(s)), s[:i]...)
	for i < len(s) {
		c := s[i]
		if c != '\\' || i+1 >= len(s) {
			b = append(b, c)
			i++
			continue
		}
		i += 2
		switch s[i-1] {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			if i+4 > len(s) {
				return string(b)
			}
			r, _ := hex4(s[i : i+4])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(0)
				if i+6 <= len(s) && s[i] == '\\' && s[i+1] == 'u' {
					low, _ = hex4(s[i+2 : i+6])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, s[i-1])
		}
	}
	return string(b)
}

// appendText writes a JSON string.
func appendText(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendCompact writes checked JSON text without white space between its tokens.
func appendCompact(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		switch s[i] {
		case ' ', '\n', '\r', '\t':
			i++
		case '"':
			end := skipText(s, i)
			dst = append(dst, s[i:end]...)
			i = end
		default:
			dst = append(dst, s[i])
			i++
		}
	}
	return dst
}
