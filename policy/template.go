package policy

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxVariable is the longest value, in characters, that replaces a variable.
const maxVariable = 1024

var errOpenVariable = errors.New("a variable is opened with ${ and not closed with }")

// part is one piece of a template: an element of a pattern, or a variable.
type part struct {
	elem
	variable string // canonical key, "" for an element
	source   string // the key as written
}

// template is a string of a document, split into literals, wildcards and
// variables.
type template []part

// templateMode says what is special in a string.
type templateMode struct {
	variables bool // ${...}: documents of Version 2012-10-17
	wild      bool // * and ?
}

// parseTemplate splits s. In strings with variables, ${*} ${?} ${$} stand for
// the character itself, and so do the forms $(*) $(?) $($) that the developer
// guide prints.
func parseTemplate(s string, mode templateMode) (template, error) {
	var t template
	literal := func(text string) {
		if text == "" {
			return
		}
		if n := len(t); n > 0 && t[n-1].variable == "" && t[n-1].kind == elemLiteral {
			t[n-1].text += text
			return
		}
		t = append(t, part{elem: elem{text: text}})
	}
	special := "$"
	if mode.wild {
		special = "$*?"
	}
	for s != "" {
		i := strings.IndexAny(s, special)
		if i < 0 {
			literal(s)
			break
		}
		literal(s[:i])
		s = s[i:]
		switch {
		case s[0] == '*':
			t = append(t, part{elem: elem{kind: elemStar}})
			s = s[1:]
		case s[0] == '?':
			t = append(t, part{elem: elem{kind: elemOne}})
			s = s[1:]
		case mode.variables && len(s) >= 4 && strings.IndexByte("*?$", s[2]) >= 0 &&
			(s[1] == '{' && s[3] == '}' || s[1] == '(' && s[3] == ')'):
			literal(s[2:3])
			s = s[4:]
		case mode.variables && strings.HasPrefix(s, "${"):
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return nil, errOpenVariable
			}
			name := strings.TrimSpace(s[2:end])
			if name == "" {
				return nil, errors.New("a variable ${} has no name")
			}
			t = append(t, part{variable: canonicalKey(name), source: name})
			s = s[end+1:]
		default:
			literal("$")
			s = s[1:]
		}
	}
	return t, nil
}

// hasVariables reports whether anything in t depends on the context.
func (t template) hasVariables() bool {
	for i := range t {
		if t[i].variable != "" {
			return true
		}
	}
	return false
}

// resolve puts the values in. A variable without exactly one value, or whose
// value may not be substituted, leaves the template without a pattern: ok is
// false, missing the name as written. Values become literals, whatever
// characters they hold.
func (t template) resolve(f *facts) (p pattern, missing string, ok bool) {
	p = make(pattern, 0, len(t))
	for i := range t {
		if t[i].variable == "" {
			p = p.add(t[i].elem)
			continue
		}
		text, ok := f.substitute(t[i].variable)
		if !ok {
			return nil, t[i].source, false
		}
		p = p.add(elem{text: text})
	}
	return p, "", true
}

// substitute returns the text that replaces a variable.
func (f *facts) substitute(key string) (string, bool) {
	if f == nil {
		return "", false
	}
	vals, ok := f.values(key)
	if !ok || len(vals) != 1 || strings.HasSuffix(key, ".list") || !substitutable(vals[0]) {
		return "", false
	}
	if strings.HasPrefix(key, certificatePrefix) {
		return escapeCertificate(vals[0]), true
	}
	return vals[0], true
}

// substitutable reports whether a value may replace a variable. (AWS IoT
// developer guide, "X.509 Certificate policy variable limitations": wildcards,
// string length.) Bytes that are not UTF-8 could make half a character match
// and are refused too.
func substitutable(v string) bool {
	return len(v) <= maxVariable*utf8.UTFMax && !strings.ContainsAny(v, "*$+?#") &&
		utf8.ValidString(v) && utf8.RuneCountInString(v) <= maxVariable
}

// escapeCertificate writes a backslash before each of the characters that the
// developer guide names for certificate values.
func escapeCertificate(v string) string {
	const special = `,"\+=<>;`
	if !strings.ContainsAny(v, special) {
		return v
	}
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		if strings.IndexByte(special, v[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(v[i])
	}
	return b.String()
}
