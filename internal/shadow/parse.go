package shadow

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNesting bounds the nesting of what is parsed at all, wherever in a request it is.
const maxNesting = 64

var (
	errSyntax  = errors.New("not valid JSON")
	errNesting = errors.New("JSON nested too deeply")
)

// parse reads one JSON text (RFC 8259), which must be valid UTF-8, into the tree. Of members with
// the same key the last one counts. Tokens are substrings of the text; those of strings with escape
// sequences are written anew, so that equal strings have equal tokens.
func (t *tree) parse(text string) (root int32, err error) {
	p := parser{t: t, s: text}
	p.space()
	root, err = p.value("", 0)
	if err != nil {
		return 0, err
	}
	p.space()
	if p.i != len(p.s) {
		return 0, errSyntax
	}
	return root, nil
}

type parser struct {
	t *tree
	s string
	i int
}

func (p *parser) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// next takes one byte of punctuation after white space.
func (p *parser) next() byte {
	p.space()
	if p.i == len(p.s) {
		return 0
	}
	p.i++
	return p.s[p.i-1]
}

func (p *parser) value(key string, depth int) (int32, error) {
	if p.i == len(p.s) {
		return 0, errSyntax
	}
	switch c := p.s[p.i]; c {
	case '{':
		return p.object(key, depth+1)
	case '[':
		return p.array(key, depth+1)
	case '"':
		token, err := p.string()
		return p.t.add(node{key: key, text: token, kind: scalar}), err
	case 't':
		return p.literal(key, "true", scalar)
	case 'f':
		return p.literal(key, "false", scalar)
	case 'n':
		return p.literal(key, "null", null)
	}
	return p.number(key)
}

func (p *parser) literal(key, word string, k kind) (int32, error) {
	if len(p.s)-p.i < len(word) || p.s[p.i:p.i+len(word)] != word {
		return 0, errSyntax
	}
	p.i += len(word)
	return p.t.add(node{key: key, text: word, kind: k}), nil
}

func (p *parser) object(key string, depth int) (int32, error) {
	if depth > maxNesting {
		return 0, errNesting
	}
	n := p.t.add(node{key: key, kind: object})
	p.i++
	p.space()
	if p.i < len(p.s) && p.s[p.i] == '}' {
		p.i++
		return n, nil
	}
	for {
		p.space()
		if p.i == len(p.s) || p.s[p.i] != '"' {
			return 0, errSyntax
		}
		name, err := p.string()
		if err != nil {
			return 0, err
		}
		if p.next() != ':' {
			return 0, errSyntax
		}
		p.space()
		c, err := p.value(name, depth)
		if err != nil {
			return 0, err
		}
		p.t.link(n, c)
		switch p.next() {
		case ',':
		case '}':
			p.t.dedupe(n)
			return n, nil
		default:
			return 0, errSyntax
		}
	}
}

func (p *parser) array(key string, depth int) (int32, error) {
	if depth > maxNesting {
		return 0, errNesting
	}
	n := p.t.add(node{key: key, kind: array})
	p.i++
	p.space()
	if p.i < len(p.s) && p.s[p.i] == ']' {
		p.i++
		return n, nil
	}
	for {
		p.space()
		c, err := p.value("", depth)
		if err != nil {
			return 0, err
		}
		p.t.link(n, c)
		switch p.next() {
		case ',':
		case ']':
			return n, nil
		default:
			return 0, errSyntax
		}
	}
}

// dedupe drops all but the last of the members with the same key.
func (t *tree) dedupe(parent int32) {
	p := &t.nodes[parent]
	if p.count > 16 {
		seen := make(map[string]int32, p.count)
		for c := p.first; c != 0; c = t.nodes[c].next {
			if earlier, again := seen[t.nodes[c].key]; again {
				t.unlink(parent, earlier)
			}
			seen[t.nodes[c].key] = c
		}
		return
	}
	for c := p.first; c != 0; c = t.nodes[c].next {
		for d := t.nodes[c].next; d != 0; d = t.nodes[d].next {
			if t.nodes[d].key == t.nodes[c].key {
				t.unlink(parent, c)
				break
			}
		}
	}
}

func (p *parser) number(key string) (int32, error) {
	start := p.i
	digits := func() bool {
		from := p.i
		for p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9' {
			p.i++
		}
		return p.i > from
	}
	at := func(c byte) bool { return p.i < len(p.s) && p.s[p.i] == c }
	if at('-') {
		p.i++
	}
	if at('0') {
		p.i++
	} else if !digits() {
		return 0, errSyntax
	}
	if at('.') {
		p.i++
		if !digits() {
			return 0, errSyntax
		}
	}
	if at('e') || at('E') {
		p.i++
		if at('+') || at('-') {
			p.i++
		}
		if !digits() {
			return 0, errSyntax
		}
	}
	return p.t.add(node{key: key, text: p.s[start:p.i], kind: number}), nil
}

// string reads a string and returns its canonical token.
func (p *parser) string() (string, error) {
	start := p.i
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return p.s[start:p.i], nil
		case c == '\\':
			p.i = start
			return p.escaped()
		case c < ' ':
			return "", errSyntax
		}
	}
	return "", errSyntax
}

func (p *parser) escaped() (string, error) {
	out := []byte{'"'}
	for p.i++; p.i < len(p.s); {
		c := p.s[p.i]
		p.i++
		switch {
		case c == '"':
			return string(append(out, '"')), nil
		case c < ' ':
			return "", errSyntax
		case c != '\\':
			out = append(out, c)
			continue
		}
		if p.i == len(p.s) {
			return "", errSyntax
		}
		c = p.s[p.i]
		p.i++
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '/':
			out = append(out, '/')
		case 'b', 'f', 'n', 'r', 't':
			out = append(out, '\\', c)
		case 'u':
			r, ok := p.hex()
			if !ok {
				return "", errSyntax
			}
			if utf16.IsSurrogate(r) && p.i+1 < len(p.s) && p.s[p.i] == '\\' && p.s[p.i+1] == 'u' {
				back := p.i
				p.i += 2
				low, ok := p.hex()
				if !ok {
					return "", errSyntax
				}
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					r = pair
				} else {
					p.i = back
				}
			}
			out = appendRune(out, r)
		default:
			return "", errSyntax
		}
	}
	return "", errSyntax
}

func (p *parser) hex() (rune, bool) {
	if len(p.s)-p.i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.s[p.i : p.i+4]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	p.i += 4
	return r, true
}

const hexDigits = "0123456789abcdef"

// appendRune writes a character into a string token. Half of a surrogate pair stands for nothing
// that UTF-8 can say and stays an escape sequence.
func appendRune(out []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(out, '\\', byte(r))
	case r < ' ':
		for i, short := range "\b\f\n\r\t" {
			if r == short {
				return append(out, '\\', "bfnrt"[i])
			}
		}
		fallthrough
	case utf16.IsSurrogate(r):
		return append(out, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
	}
	return utf8.AppendRune(out, r)
}

// tokenBytes is the length of a string in UTF-8, given its canonical token.
func tokenBytes(token string) int {
	n := len(token) - 2
	for i := 1; i < len(token)-1; i++ {
		if token[i] != '\\' {
			continue
		}
		i++
		n--
		if token[i] == 'u' { // six characters for a control character or half a surrogate pair
			n -= 4
			i += 4
		}
	}
	return n
}
