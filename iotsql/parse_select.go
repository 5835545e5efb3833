package iotsql

import (
	"strings"

	"github.com/berth-iot/berth/topic"
)

// selection parses from SELECT on.
func (p *parser) selection() *selection {
	p.advance()
	s := new(selection)
	if p.tok.is("VALUE") && p.valueKeyword() {
		s.value = true
		p.advance()
	}
	for {
		s.items = append(s.items, p.item())
		if !p.tok.is(",") {
			break
		}
		if s.value {
			p.fail(p.tok.pos, "without VALUE the result is an object with as many members as you like", "SELECT VALUE takes one item")
		}
		p.advance()
	}
	if s.value && s.items[0].spread {
		p.fail(s.items[0].x.at(), "leave .* out", "SELECT VALUE takes one value")
	}
	if s.value && len(s.items[0].alias) > 0 {
		p.fail(s.items[0].x.at(), "leave AS out", "the item of SELECT VALUE has no name")
	}
	p.from(s)
	if p.accept("WHERE") {
		s.where = p.expr(0)
	}
	return s
}

// valueKeyword decides whether VALUE, the current token, is the keyword and not a field of that
// name: it is when something follows that an operand could begin with.
func (p *parser) valueKeyword() bool {
	next := p.peek()
	switch next.kind {
	case tokNumber, tokText, tokVariable:
		return true
	case tokWord:
		return !isReserved(next.text) || next.is("CASE") || next.is("NOT")
	case tokSymbol:
		switch next.text {
		case "(", "{", "[":
			return true
		case "*": // SELECT VALUE * FROM …, but SELECT value * 2 FROM …
			l := p.lex
			l.next()
			after, _ := l.next()
			return after.kind == tokEnd || after.is("FROM") || after.is("WHERE") || after.is(")")
		}
	}
	return false
}

func (p *parser) item() item {
	if p.tok.is("*") {
		at := p.tok.pos
		p.advance()
		if p.tok.is("AS") {
			return item{x: &star{pos(at)}, alias: p.alias(), word: true}
		}
		return item{x: &star{pos(at)}}
	}
	if p.spread() {
		x := p.path()
		p.advance() // the star
		return item{x: x, spread: true}
	}
	it := item{x: p.expr(0), word: true}
	if p.tok.is("AS") {
		it.word = p.peek().kind != tokText
		it.alias = p.alias()
	} else if p.tok.kind == tokWord && !isReserved(p.tok.text) && p.strayHint() == "" {
		p.fail(p.tok.pos, "write AS "+p.tok.text, "expected AS, a comma or FROM, found %v", p.tok)
	}
	return it
}

// spread reports whether the item is a path or a variable with .* behind it.
func (p *parser) spread() bool {
	l, t := p.lex, p.tok
	if t.kind != tokVariable && (t.kind != tokWord || isReserved(t.text)) {
		return false
	}
	for {
		dot, _ := l.next()
		t, _ = l.next()
		switch {
		case !dot.is("."):
			return false
		case t.is("*"):
			return true
		case t.kind != tokWord:
			return false
		}
	}
}

// path parses what spread has seen, up to the star.
func (p *parser) path() expr {
	x := p.primary()
	for {
		at := p.tok.pos
		p.expect(".", "")
		if p.tok.is("*") {
			return x
		}
		p.node()
		x = &access{pos(at), x, p.tok.text}
		p.advance()
	}
}

func (p *parser) alias() []string {
	p.advance()
	if p.tok.kind == tokText {
		s := p.tok.text
		p.advance()
		return []string{s}
	}
	var parts []string
	for {
		if p.tok.kind != tokWord {
			p.fail(p.tok.pos, "AS name, AS outer.inner or AS 'any text'", "expected a name, found %v", p.tok)
		}
		parts = append(parts, p.tok.text)
		p.advance()
		if len(parts) > maxNesting {
			p.fail(p.tok.pos, "", "the name has too many parts")
		}
		if !p.accept(".") {
			return parts
		}
	}
}

func (p *parser) from(s *selection) {
	if !p.tok.is("FROM") {
		if p.sub > 0 {
			p.fail(p.tok.pos, "SELECT … FROM array [WHERE …]", "expected FROM, found %v", p.tok)
		}
		return // a rule for Basic Ingest alone
	}
	p.advance()
	if p.sub > 0 {
		if p.tok.kind == tokText {
			p.fail(p.tok.pos, "a nested query reads from an array or an object", "a nested query has no topic filter")
		}
		s.from = p.expr(0)
		return
	}
	if p.tok.kind != tokText {
		hint := "the filter stands in single quotes: FROM 'a/b'"
		if p.tok.is("(") {
			hint = "a nested query stands in SELECT or WHERE: SELECT (SELECT … FROM array) AS x FROM 'a/b'"
		}
		p.fail(p.tok.pos, hint, "expected a topic filter, found %v", p.tok)
	}
	if err := topic.AWS.CheckFilter(p.tok.text); err != nil {
		p.fail(p.tok.pos, "", "%v", err)
	}
	if strings.HasPrefix(p.tok.text, "$share/") {
		p.fail(p.tok.pos, "leave $share/name/ out", "a rule does not take part in a shared subscription")
	}
	s.filter, s.hasFilter = p.tok.text, true
	p.advance()
}
