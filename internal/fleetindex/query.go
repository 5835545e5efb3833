package fleetindex

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a query (AWS IoT Device Management quotas, "Fleet indexing").
const (
	// MaxQueryBytes is the longest query string in bytes.
	MaxQueryBytes = 1000
	// MaxTerms is the largest number of terms in a query; a phrase or a range is one.
	MaxTerms = 7
)

// Query is a parsed query. It is immutable.
type Query struct {
	root *expr
}

// QueryError says why a query cannot be understood. Offset is where, in bytes.
type QueryError struct {
	Offset  int
	Message string
}

func (e *QueryError) Error() string {
	return fmt.Sprintf("invalid query string, at offset %d: %s", e.Offset, e.Message)
}

// operator is what an expression does.
type operator uint8

const (
	opAnd operator = iota
	opOr
	opNot
	opWords  // words that follow one another in a value; one word for an ordinary term
	opWild   // one word with wildcards
	opRange  // also comparisons
	opExists // a value is there
)

// expr is one node of a query.
type expr struct {
	op      operator
	sub     []*expr
	field   string // of a term; empty for any field
	words   []string
	pattern []rune // with anyRunes and anyRune
	number  float64
	numeric bool // the term reads as a number
	low     bound
	high    bound
	numbers bool // the range is of numbers
}

// bound is an end of a range.
type bound struct {
	given     bool
	inclusive bool
	text      string
	number    float64
}

// Wildcards in a pattern.
const (
	anyRunes rune = -1
	anyRune  rune = -2
)

// fold makes text comparable without regard to case.
func fold(s string) string { return strings.ToLower(s) }

// isSpace is Java's Character.isWhitespace, by which AWS IoT separates words: Unicode's separators
// but for those that do not break, and the control characters of white space.
func isSpace(c rune) bool {
	switch c {
	case '\u00a0', '\u2007', '\u202f', '\u0085':
		return false
	}
	return unicode.IsSpace(c) || c >= 0x1c && c <= 0x1f
}

// cutWord returns the first word of a text and what follows it.
func cutWord(s string) (word, rest string) {
	start := -1
	for i, c := range s {
		switch space := isSpace(c); {
		case start < 0 && !space:
			start = i
		case start >= 0 && space:
			return s[start:i], s[i:]
		}
	}
	if start < 0 {
		return "", ""
	}
	return s[start:], ""
}

func splitWords(s string) []string {
	var words []string
	for {
		word, rest := cutWord(s)
		if word == "" {
			return words
		}
		words, s = append(words, word), rest
	}
}

// sameWord compares a word of a value with a folded word of a query.
func sameWord(word, folded string) bool {
	if len(word) != len(folded) || !isASCII(word) {
		return !isASCII(word) && fold(word) == folded
	}
	for i := range len(word) {
		c := word[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != folded[i] {
			return false
		}
	}
	return true
}

// isPlain tells whether a text is one word of ASCII characters.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return s != ""
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// containsWords tells whether words follow one another in a text.
func containsWords(text string, words []string) bool {
	if len(words) == 1 && isPlain(text) {
		return sameWord(text, words[0])
	}
	if len(words) == 0 {
		first, _ := cutWord(text)
		return first == ""
	}
	for text != "" {
		var word string
		word, text = cutWord(text)
		if word == "" || !sameWord(word, words[0]) {
			continue
		}
		rest, same := text, true
		for _, w := range words[1:] {
			if word, rest = cutWord(rest); word == "" || !sameWord(word, w) {
				same = false
				break
			}
		}
		if same {
			return true
		}
	}
	return false
}

// containsPattern tells whether a word of a text fits a pattern.
func containsPattern(text string, pattern []rune) bool {
	if text = fold(text); isPlain(text) {
		return fits(text, pattern)
	}
	for {
		word, rest := cutWord(text)
		if word == "" {
			return false
		}
		if fits(word, pattern) {
			return true
		}
		text = rest
	}
}

// fits matches a word with a pattern in time proportional to the product of their lengths.
func fits(word string, pattern []rune) bool {
	p, star, mark := 0, -1, 0
	for i := 0; i < len(word); {
		c, n := utf8.DecodeRuneInString(word[i:])
		switch {
		case p < len(pattern) && pattern[p] == anyRunes:
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == anyRune || pattern[p] == c):
			i += n
			p++
		case star >= 0:
			_, n := utf8.DecodeRuneInString(word[mark:])
			mark += n
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == anyRunes {
		p++
	}
	return p == len(pattern)
}

// matchText tells whether a text, or a number's or boolean's text, fits a term.
func (e *expr) matchText(text string) bool {
	switch e.op {
	case opExists:
		return true
	case opWords:
		return containsWords(text, e.words)
	case opWild:
		return containsPattern(text, e.pattern)
	case opRange:
		if e.numbers {
			return false
		}
		text = fold(text)
		return !(e.low.given && (text < e.low.text || text == e.low.text && !e.low.inclusive) ||
			e.high.given && (text > e.high.text || text == e.high.text && !e.high.inclusive))
	}
	return false
}

// matchNumber tells whether a number, written as text, fits a term.
func (e *expr) matchNumber(n float64, text string) bool {
	switch {
	case e.op == opRange && e.numbers:
		return !(e.low.given && (n < e.low.number || n == e.low.number && !e.low.inclusive) ||
			e.high.given && (n > e.high.number || n == e.high.number && !e.high.inclusive))
	case e.op == opWords && e.numeric && n == e.number:
		return true
	}
	return e.matchText(text)
}
