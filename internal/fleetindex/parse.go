package fleetindex

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads a query in the language of the AWS IoT developer guide, "Query syntax". NOT binds
// closer than AND, and AND, which may be left out, closer than OR. Errors are of type *QueryError.
func Parse(text string) (*Query, error) {
	switch {
	case len(text) > MaxQueryBytes:
		return nil, &QueryError{MaxQueryBytes, "the query is longer than " + strconv.Itoa(MaxQueryBytes) + " bytes"}
	case !utf8.ValidString(text):
		return nil, &QueryError{0, "the query is not UTF-8"}
	}
	p := &parser{text: text}
	p.space()
	if p.end() {
		return nil, p.fail("the query is empty")
	}
	root, err := p.either("")
	if err != nil {
		return nil, err
	}
	if !p.end() {
		return nil, p.fail("unexpected %q", p.text[p.pos:p.pos+1])
	}
	return &Query{root}, nil
}

type parser struct {
	text  string
	pos   int
	terms int
}

func (p *parser) end() bool { return p.pos == len(p.text) }

func (p *parser) fail(format string, args ...any) error { return failAt(p.pos, format, args...) }

// peek returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.end() {
		return 0
	}
	return p.text[p.pos]
}

func (p *parser) space() {
	for !p.end() {
		c, n := utf8.DecodeRuneInString(p.text[p.pos:])
		if !isSpace(c) {
			return
		}
		p.pos += n
	}
}

// keyword consumes an operator that stands alone.
func (p *parser) keyword(word string) bool {
	if !p.atKeyword(word) {
		return false
	}
	p.pos += len(word)
	p.space()
	return true
}

func (p *parser) atKeyword(word string) bool {
	rest, ok := strings.CutPrefix(p.text[p.pos:], word)
	if !ok {
		return false
	}
	c, _ := utf8.DecodeRuneInString(rest)
	return rest == "" || isSpace(c) || strings.ContainsRune(`()[]{}"`, c)
}

func (p *parser) either(field string) (*expr, error) {
	e, err := p.both(field)
	if err != nil {
		return nil, err
	}
	all := []*expr{e}
	for p.keyword("OR") {
		if e, err = p.both(field); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return &expr{op: opOr, sub: all}, nil
}

func (p *parser) both(field string) (*expr, error) {
	var all []*expr
	for {
		e, err := p.negation(field)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if p.keyword("AND") {
			continue
		}
		if p.end() || p.peek() == ')' || p.atKeyword("OR") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return &expr{op: opAnd, sub: all}, nil
}

func (p *parser) negation(field string) (*expr, error) {
	not := false
	for {
		if p.keyword("NOT") {
			not = !not
			continue
		}
		if p.peek() != '-' {
			break
		}
		p.pos++
		not = !not
	}
	e, err := p.primary(field)
	if err != nil || !not {
		return e, err
	}
	return &expr{op: opNot, sub: []*expr{e}}, nil
}

// primary reads a group or a term, perhaps with a field.
func (p *parser) primary(field string) (*expr, error) {
	switch p.peek() {
	case 0:
		return nil, p.fail("a term is missing")
	case '(', '[', '{', '"', '<', '>':
		return p.value(field)
	case ')', ']', '}', ':':
		return nil, p.fail("unexpected %q", p.peek())
	}
	start := p.pos
	w, err := p.word()
	if err != nil {
		return nil, err
	}
	p.space()
	switch p.peek() {
	case ':':
		p.pos++
		p.space()
	case '<', '>':
	default:
		return p.term(field, start, w)
	}
	if w.wild {
		return nil, failAt(start, "a field name cannot hold wildcards")
	}
	return p.value(w.text)
}

// value reads what stands after a field.
func (p *parser) value(field string) (*expr, error) {
	start := p.pos
	switch p.peek() {
	case '(':
		p.pos++
		p.space()
		e, err := p.either(field)
		if err != nil {
			return nil, err
		}
		if p.peek() != ')' {
			return nil, failAt(start, "the parenthesis is not closed")
		}
		p.pos++
		p.space()
		return e, nil
	case '[', '{':
		return p.interval(field)
	case '<', '>':
		return p.comparison(field)
	case '"':
		text, err := p.phrase()
		if err != nil {
			return nil, err
		}
		p.space()
		return p.count(start, &expr{op: opWords, field: field, words: splitWords(fold(text))})
	case 0, ')', ']', '}', ':':
		return nil, p.fail("a value is missing")
	}
	w, err := p.word()
	if err != nil {
		return nil, err
	}
	p.space()
	return p.term(field, start, w)
}

func (p *parser) count(start int, e *expr) (*expr, error) {
	if p.terms++; p.terms > MaxTerms {
		return nil, failAt(start, "the query has more than %d terms", MaxTerms)
	}
	switch p.peek() {
	case ':', ']', '}':
		return nil, p.fail("unexpected %q; quote the value or write \\%c", p.peek(), p.peek())
	}
	return e, nil
}

func (p *parser) term(field string, start int, w word) (*expr, error) {
	e := &expr{op: opWords, field: field}
	switch {
	case w.raw == "*":
		e.op = opExists
	case w.wild:
		if e.op = opWild; w.pattern[0] < 0 {
			return nil, failAt(start, "a term cannot begin with a wildcard")
		}
		e.pattern = w.pattern
	default:
		switch w.raw {
		case "AND", "OR", "NOT", "TO":
			return nil, failAt(start, "%s is an operator; quote it to search for it", w.raw)
		}
		e.words = splitWords(fold(w.text))
		e.number, e.numeric = number(w.raw)
	}
	return p.count(start, e)
}

// word is a token that is not quoted.
type word struct {
	raw     string // as it is written
	text    string // without escapes
	pattern []rune // folded, with wildcards
	wild    bool
}

func (p *parser) word() (word, error) {
	start := p.pos
	var w word
	var text strings.Builder
scan:
	for !p.end() {
		c, n := utf8.DecodeRuneInString(p.text[p.pos:])
		switch {
		case c == '\\':
			p.pos++
			if p.end() {
				return w, failAt(p.pos-1, "nothing follows the backslash")
			}
			c, n = utf8.DecodeRuneInString(p.text[p.pos:])
		case c == '*' || c == '?':
			w.wild = true
			p.pos++
			wildcard := anyRunes
			if c == '?' {
				wildcard = anyRune
			}
			w.pattern = append(w.pattern, wildcard)
			continue
		case c == '~' || c == '^':
			return w, p.fail("fuzzy searches, proximity and boosting are not supported; write \\%c to search for %q", c, c)
		case isSpace(c) || strings.ContainsRune(`()[]{}:<>"`, c):
			break scan
		}
		p.pos += n
		text.WriteRune(c)
		w.pattern = append(w.pattern, []rune(fold(string(c)))...)
	}
	w.raw, w.text = p.text[start:p.pos], text.String()
	if w.raw == "" {
		return w, p.fail("unexpected %q", p.peek())
	}
	return w, nil
}

// phrase reads a text in quotes.
func (p *parser) phrase() (string, error) {
	start := p.pos
	var text strings.Builder
	for p.pos++; !p.end(); p.pos++ {
		switch c := p.text[p.pos]; c {
		case '"':
			p.pos++
			return text.String(), nil
		case '\\':
			if p.pos++; p.end() {
				return "", failAt(start, "the quotation mark is not closed")
			}
			text.WriteByte(p.text[p.pos])
		default:
			text.WriteByte(c)
		}
	}
	return "", failAt(start, "the quotation mark is not closed")
}

// comparison reads <5, >=5 and the like.
func (p *parser) comparison(field string) (*expr, error) {
	start := p.pos
	if field == "" {
		return nil, p.fail("a comparison needs a field")
	}
	less := p.peek() == '<'
	p.pos++
	b := &bound{given: true}
	if p.peek() == '=' {
		b.inclusive = true
		p.pos++
	}
	p.space()
	numeric, err := p.bound(b)
	if err != nil {
		return nil, err
	}
	if !b.given {
		return nil, failAt(start, "a comparison needs a value")
	}
	e := &expr{op: opRange, field: field, numbers: numeric}
	if less {
		e.high = *b
	} else {
		e.low = *b
	}
	return p.count(start, e)
}

// interval reads [a TO b], {a TO b} and mixtures.
func (p *parser) interval(field string) (*expr, error) {
	start := p.pos
	e := &expr{op: opRange, field: field}
	e.low = bound{given: true, inclusive: p.peek() == '['}
	p.pos++
	p.space()
	low, err := p.bound(&e.low)
	if err != nil {
		return nil, err
	}
	if !p.keyword("TO") {
		return nil, p.fail("a range needs TO between its ends")
	}
	e.high.given = true
	high, err := p.bound(&e.high)
	if err != nil {
		return nil, err
	}
	switch p.peek() {
	case ']':
		e.high.inclusive = true
	case '}':
	default:
		return nil, failAt(start, "the range is not closed")
	}
	p.pos++
	p.space()
	e.numbers = (low || !e.low.given) && (high || !e.high.given) && (low || high)
	if !e.low.given && !e.high.given {
		e.op = opExists
	}
	return p.count(start, e)
}

// bound reads an end of a range; * leaves it open.
func (p *parser) bound(b *bound) (numeric bool, err error) {
	start := p.pos
	if p.peek() == '"' {
		text, err := p.phrase()
		b.text = fold(text)
		p.space()
		return false, err
	}
	w, err := p.word()
	switch {
	case err != nil:
		return false, err
	case w.raw == "*":
		b.given = false
	case w.wild:
		return false, failAt(start, "a range cannot hold wildcards")
	case w.raw == "TO":
		return false, failAt(start, "an end of the range is missing")
	}
	p.space()
	b.text = fold(w.text)
	b.number, numeric = number(w.raw)
	return numeric, nil
}

// number reads a JSON number (AWS IoT developer guide, "Numeric values").
func number(s string) (float64, bool) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || len(digits) > 1 && digits[0] == '0' && '0' <= digits[1] && digits[1] <= '9' {
		return 0, false
	}
	last := byte('e')
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
		case c == '.' && '0' <= last && last <= '9':
		case (c == 'e' || c == 'E') && '0' <= last && last <= '9':
		case (c == '-' || c == '+') && (last == 'e' || last == 'E') && (i > 0 || c == '-'):
		default:
			return 0, false
		}
		last = c
	}
	if last < '0' || last > '9' {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && !math.IsInf(n, 0)
}
