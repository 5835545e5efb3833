package policy

import (
	"strings"
	"unicode/utf8"
)

// elemKind tells the three elements of a pattern apart.
type elemKind uint8

const (
	elemLiteral elemKind = iota // the text itself
	elemOne                     // ?: exactly one character
	elemStar                    // *: any run of characters, empty or with slashes
)

type elem struct {
	kind elemKind
	text string // of a literal, never empty
}

// pattern is a resolved pattern: no variables are left. Adjacent literals are
// joined and a run of stars is one star.
type pattern []elem

// add appends e and keeps the pattern in its normal form.
func (p pattern) add(e elem) pattern {
	if n := len(p); n > 0 && p[n-1].kind == e.kind {
		switch e.kind {
		case elemLiteral:
			p[n-1].text += e.text
			return p
		case elemStar:
			return p
		}
	}
	if e.kind == elemLiteral && e.text == "" {
		return p
	}
	return append(p, e)
}

// match reports whether the whole of s fits the pattern. ? takes one UTF-8
// encoded character, or one byte where s is not UTF-8. When a literal fails
// only the last star is moved on, so the time is at most len(s) times the
// length of the pattern.
func (p pattern) match(s string) bool {
	i, at := 0, 0
	starElem, starAt := -1, 0
	for {
		if i == len(p) {
			if at == len(s) {
				return true
			}
		} else {
			switch e := &p[i]; e.kind {
			case elemStar:
				if i == len(p)-1 {
					return true
				}
				starElem, starAt = i, at
				i++
				continue
			case elemOne:
				if at < len(s) {
					at += runeLen(s[at:])
					i++
					continue
				}
			default:
				if strings.HasPrefix(s[at:], e.text) {
					at += len(e.text)
					i++
					continue
				}
			}
		}
		if starElem < 0 || starAt >= len(s) {
			return false
		}
		starAt += runeLen(s[starAt:])
		i, at = starElem+1, starAt
	}
}

func runeLen(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// isStar reports whether the pattern fits everything.
func (p pattern) isStar() bool { return len(p) == 1 && p[0].kind == elemStar }

// String writes the pattern as a policy would, for messages.
func (p pattern) String() string {
	var b strings.Builder
	for _, e := range p {
		switch e.kind {
		case elemStar:
			b.WriteByte('*')
		case elemOne:
			b.WriteByte('?')
		default:
			b.WriteString(e.text)
		}
	}
	return b.String()
}

// place is a position in a pattern: element and offset in its literal.
type place struct{ elem, off int }

// after returns the patterns that fit exactly those rests r for which the
// pattern fits prefix+r. There is none if nothing that begins with prefix
// fits, one as a rule, and several where a star may end inside or beyond the
// prefix, as in arn:aws:iot:*:*:topic/a.
func (p pattern) after(prefix string) []pattern {
	if len(p) > 0 && p[0].kind == elemLiteral {
		// The usual case: the pattern spells the prefix out.
		if rest, ok := strings.CutPrefix(p[0].text, prefix); ok {
			if rest == "" {
				return []pattern{p[1:]}
			}
			return []pattern{append(pattern{{text: rest}}, p[1:]...)}
		}
	}
	var a, b [8]place
	cur, spare := p.reach(a[:0], place{}), b[:0]
	for len(prefix) > 0 && len(cur) > 0 {
		n := runeLen(prefix)
		out := spare[:0]
		for _, at := range cur {
			if at.elem == len(p) {
				continue
			}
			switch e := &p[at.elem]; e.kind {
			case elemStar:
				out = p.reach(out, at)
			case elemOne:
				out = p.reach(out, place{elem: at.elem + 1})
			default:
				if !strings.HasPrefix(e.text[at.off:], prefix[:n]) {
					continue
				}
				at.off += n
				if at.off == len(e.text) {
					at = place{elem: at.elem + 1}
				}
				out = p.reach(out, at)
			}
		}
		prefix = prefix[n:]
		cur, spare = out, cur
	}
	var rests []pattern
	for _, at := range cur {
		// What follows a star fits nothing that the star does not.
		if at.elem > 0 && at.off == 0 && p[at.elem-1].kind == elemStar && contains(cur, place{elem: at.elem - 1}) {
			continue
		}
		if at.off == 0 {
			rests = append(rests, p[at.elem:])
			continue
		}
		rest := make(pattern, 0, len(p)-at.elem)
		rest = append(rest, elem{text: p[at.elem].text[at.off:]})
		rests = append(rests, append(rest, p[at.elem+1:]...))
	}
	return rests
}

// reach adds at, and what an empty star leads to from there.
func (p pattern) reach(set []place, at place) []place {
	for {
		if !contains(set, at) {
			set = append(set, at)
		}
		if at.elem == len(p) || p[at.elem].kind != elemStar {
			return set
		}
		at = place{elem: at.elem + 1}
	}
}

func contains(set []place, at place) bool {
	for _, have := range set {
		if have == at {
			return true
		}
	}
	return false
}
