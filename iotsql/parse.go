package iotsql

import (
	"fmt"
	"strings"
)

// Limits of a statement. AWS states those of variables; the others keep recursion bounded.
const (
	maxVariables = 10
	maxNesting   = 100
	maxNodes     = 10000
)

// words that cannot be fields where an expression is expected.
var reserved = [...]string{"SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "CASE", "WHEN", "THEN", "ELSE", "END", "SET"}

func isReserved(s string) bool {
	for _, r := range reserved {
		if strings.EqualFold(r, s) {
			return true
		}
	}
	return false
}

type parser struct {
	lex     lexer
	tok     token
	version Version
	depth   int
	nodes   int
	// sub is the number of nested queries around the current token.
	sub int
	// vars are the variables that may be used.
	vars     []string
	template bool
}

// bail carries a *SyntaxError out of the recursion; it never leaves the package.
type bail struct{ err *SyntaxError }

func catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case bail:
		*err = r.err
	default:
		panic(r)
	}
}

func (p *parser) fail(at int, hint, format string, args ...any) {
	panic(bail{syntaxError(p.lex.src, at, hint, format, args...)})
}

func (p *parser) advance() {
	tok, err := p.lex.next()
	if err != nil {
		panic(bail{err.(*SyntaxError)})
	}
	p.tok = tok
}

// peek returns the token after the current one; a mistake there shows up later.
func (p *parser) peek() token {
	l := p.lex
	t, _ := l.next()
	return t
}

func (p *parser) accept(s string) bool {
	if !p.tok.is(s) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) expect(s, hint string) {
	if !p.accept(s) {
		p.fail(p.tok.pos, hint, "expected %s, found %v", s, p.tok)
	}
}

// need2016 refuses what 2015-10-08 does not have.
func (p *parser) need2016(at int, what string) {
	if p.version == V2015 {
		p.fail(at, "set awsIotSqlVersion to 2016-03-23; without it the version is 2015-10-08", "SQL version 2015-10-08 has no %s", what)
	}
}

func parseStatement(sql string, version Version) (s *statement, err error) {
	defer catch(&err)
	p := &parser{lex: lexer{src: sql}, version: version}
	p.advance()
	s = new(statement)
	if p.accept("SET") {
		s.set = p.assignments()
	}
	if !p.tok.is("SELECT") {
		if p.tok.is("SET") {
			p.fail(p.tok.pos, p.strayHint(), "expected SELECT, found another SET")
		}
		p.fail(p.tok.pos, "a statement is [SET @v = …] SELECT … FROM 'topic/filter' [WHERE …]", "expected SELECT, found %v", p.tok)
	}
	s.sel = p.selection()
	if p.tok.kind != tokEnd {
		p.fail(p.tok.pos, p.strayHint(), "expected the end of the statement, found %v", p.tok)
	}
	return s, nil
}

func (p *parser) strayHint() string {
	for _, w := range [...]string{"GROUP", "ORDER", "HAVING", "LIMIT", "JOIN", "UNION", "INNER", "LEFT"} {
		if p.tok.is(w) {
			return "AWS IoT SQL knows SET, SELECT, FROM and WHERE only"
		}
	}
	switch {
	case p.tok.is("LIKE"):
		return "there is no LIKE: use startswith, endswith, indexof or regexp_matches"
	case p.tok.is("BETWEEN"):
		return "there is no BETWEEN: write x >= low AND x <= high"
	case p.tok.is("IS"):
		return "use isNull(x) or isUndefined(x)"
	case p.tok.is("SET"):
		return "SET comes once, before SELECT"
	case p.tok.is("["):
		return "get(array, index) reads an element"
	case p.tok.kind == tokNumber:
		return "get(object, 'key') reads a key that begins with a digit"
	}
	return ""
}

func (p *parser) assignments() []assignment {
	var l []assignment
	for {
		at, v := p.tok.pos, p.tok.text
		if p.tok.kind != tokVariable {
			p.fail(at, "SET @name = expression, …", "expected a variable, found %v", p.tok)
		}
		for _, known := range p.vars {
			if known == v {
				p.fail(at, "a variable is assigned once", "variable %s has a value already", v)
			}
		}
		if len(l) == maxVariables {
			p.fail(at, "", "more than %d variables", maxVariables)
		}
		p.advance()
		p.expect("=", "SET @name = expression")
		l = append(l, assignment{v, p.expr(0)})
		p.vars = append(p.vars, v) // not before: it cannot refer to itself
		if !p.accept(",") {
			return l
		}
	}
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxNesting {
		p.fail(p.tok.pos, "SET @v = … names a part of it", "the expression is nested more than %d deep", maxNesting)
	}
}

func (p *parser) node() {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(p.tok.pos, "", "the statement has more than %d parts", maxNodes)
	}
}

// expr parses what binds at least as strongly as least.
func (p *parser) expr(least int) expr {
	p.enter()
	defer func() { p.depth-- }()
	left := p.operand(least)
	for {
		op := p.tok.text
		switch {
		case p.tok.kind == tokWord:
			op = strings.ToUpper(op)
		case p.tok.kind != tokSymbol:
			return left
		case op == "!=":
			op = "<>"
		}
		b := binding(op)
		if b == 0 || b < least {
			return left
		}
		at := p.tok.pos
		p.advance()
		p.node()
		left = &infix{pos(at), op, left, p.expr(b + 1)}
	}
}

// operand parses an expression without binary operators.
func (p *parser) operand(least int) expr {
	p.node()
	at := pos(p.tok.pos)
	switch {
	case p.tok.is("NOT"):
		if least > bindNot {
			p.fail(p.tok.pos, "put NOT … in parentheses", "NOT binds less than the operator before it")
		}
		p.advance()
		return &prefix{at, "NOT", p.expr(bindNot)}
	case p.tok.is("-"):
		p.advance()
		if p.tok.kind == tokNumber {
			t := p.tok
			p.advance()
			return p.access(p.numberLiteral(int(at), "-"+t.text))
		}
		return &prefix{at, "-", p.expr(bindMinus)}
	}
	return p.access(p.primary())
}

func (p *parser) numberLiteral(at int, src string) expr {
	shown := src // without leading zeros, which JSON does not have
	sign := ""
	if shown[0] == '-' {
		sign, shown = "-", shown[1:]
	}
	for len(shown) > 1 && shown[0] == '0' && shown[1] >= '0' && shown[1] <= '9' {
		shown = shown[1:]
	}
	return &literal{pos(at), numberFromText(sign+shown, p.version != V2015), src}
}

// access parses the .key that may follow.
func (p *parser) access(x expr) expr {
	for p.tok.is(".") {
		at := p.tok.pos
		p.advance()
		p.node()
		if p.tok.kind != tokWord {
			p.fail(p.tok.pos, "get(object, 'key') reads a key with other characters than letters, digits and _", "expected a key after the point, found %v", p.tok)
		}
		if lit, ok := x.(*literal); ok && lit.val.isNumber() {
			p.fail(at, "", "a number has no members")
		}
		x = &access{pos(at), x, p.tok.text}
		p.advance()
	}
	return x
}

func (p *parser) primary() expr {
	t := p.tok
	at := pos(t.pos)
	switch t.kind {
	case tokNumber:
		p.advance()
		return p.numberLiteral(t.pos, t.text)
	case tokText:
		p.advance()
		return &literal{at, text(t.text), ""}
	case tokVariable:
		p.advance()
		for _, v := range p.vars {
			if v == t.text {
				return &variable{at, v}
			}
		}
		p.fail(t.pos, "SET "+t.text+" = … before SELECT", "variable %s has no value", t.text)
	case tokWord:
		return p.word()
	case tokSymbol:
		switch t.text {
		case "(":
			p.advance()
			if p.tok.is("SELECT") {
				p.need2016(p.tok.pos, "nested queries")
				p.enter()
				p.sub++
				x := &subquery{at, p.selection()}
				p.sub--
				p.depth--
				p.expect(")", "the nested query ends with )")
				return x
			}
			x := p.expr(0)
			p.expect(")", "")
			return x
		case "{":
			return p.object()
		case "[":
			p.need2016(t.pos, "array literals")
			p.advance()
			return &arrayLiteral{at, p.exprs("]")}
		case "*":
			p.advance()
			return &star{at}
		}
	}
	hint := ""
	if t.is("FROM") {
		hint = "SELECT * FROM … takes the whole payload"
	}
	p.fail(t.pos, hint, "expected an expression, found %v", t)
	return nil
}

// exprs parses a list up to the closing symbol; a comma before it is allowed.
func (p *parser) exprs(closing string) []expr {
	var l []expr
	for !p.tok.is(closing) {
		l = append(l, p.expr(0))
		if !p.tok.is(closing) {
			p.expect(",", "")
		}
	}
	p.advance()
	return l
}

func (p *parser) object() expr {
	p.need2016(p.tok.pos, "object literals")
	x := &objectLiteral{pos: pos(p.tok.pos)}
	p.advance()
	for !p.tok.is("}") {
		if p.tok.kind != tokText {
			p.fail(p.tok.pos, "{'key': expression}", "expected a key in quotes, found %v", p.tok)
		}
		x.keys = append(x.keys, p.tok.text)
		p.advance()
		p.expect(":", "{'key': expression}")
		x.vals = append(x.vals, p.expr(0))
		if !p.tok.is("}") {
			p.expect(",", "")
		}
	}
	p.advance()
	return x
}

// word parses a field, a keyword's expression or a function call.
func (p *parser) word() expr {
	t := p.tok
	at := pos(t.pos)
	if t.is("CASE") {
		return p.choice()
	}
	if t.is("EXISTS") && p.peek().is("(") {
		p.fail(t.pos, "isUndefined((SELECT …)) or get((SELECT …), 0) tells", "there is no EXISTS")
	}
	if isReserved(t.text) {
		hint := ""
		if !t.is("FROM") {
			hint = fmt.Sprintf("get(*, '%s') reads a field of that name", t.text)
		} else if p.sub == 0 {
			hint = "SELECT * FROM … takes the whole payload"
		}
		p.fail(t.pos, hint, "expected an expression, found %v", t)
	}
	p.advance()
	if p.tok.is("(") {
		if strings.EqualFold(t.text, "cast") {
			return p.cast(at)
		}
		return p.call(t)
	}
	switch {
	case t.is("NULL"):
		return &literal{at, null, ""}
	case t.is("TRUE"):
		return &literal{at, boolean(true), ""}
	case t.is("FALSE"):
		return &literal{at, boolean(false), ""}
	}
	return &name{at, t.text}
}

func (p *parser) call(t token) expr {
	low := strings.ToLower(t.text)
	f, ok := functions[low]
	if !ok {
		if low == "machinelearning_predict" {
			p.fail(t.pos, "aws_lambda can ask a model", "machinelearning_predict is not supported: Amazon Machine Learning takes no models any more")
		}
		hint := "the guide's page \"Functions\" lists them"
		if near := nearest(low); near != "" {
			hint = "did you mean " + near + "?"
		}
		p.fail(t.pos, hint, "there is no function %s", quoted(t.text))
	}
	if f.since2016 {
		p.need2016(t.pos, "function "+low)
	}
	p.advance()
	return &call{pos(t.pos), low, p.exprs(")")}
}

func (p *parser) cast(at pos) expr {
	p.advance()
	x := p.expr(0)
	p.expect("AS", "cast(value AS type)")
	to := strings.ToLower(p.tok.text)
	kind, only2016 := castType(to)
	if p.tok.kind != tokWord || kind == Undefined {
		p.fail(p.tok.pos, "String, Nvarchar, Text, Ntext, Varchar, Int, Integer, Double, Decimal, Bool or Boolean", "expected a type, found %v", p.tok)
	}
	if only2016 {
		p.need2016(p.tok.pos, "cast to "+p.tok.text)
	}
	p.advance()
	p.expect(")", "cast(value AS type)")
	return &cast{at, x, to}
}

func (p *parser) choice() expr {
	x := &choice{pos: pos(p.tok.pos)}
	p.advance()
	if p.tok.is("WHEN") {
		p.fail(p.tok.pos, "CASE TRUE WHEN (a > b) THEN … tests conditions", "expected an expression to compare, found %v", p.tok)
	}
	x.x = p.expr(0)
	for p.accept("WHEN") {
		w := when{test: p.expr(0)}
		p.expect("THEN", "CASE x WHEN a THEN b … ELSE c END")
		w.then = p.expr(0)
		x.whens = append(x.whens, w)
		p.node()
	}
	if len(x.whens) == 0 {
		p.fail(p.tok.pos, "CASE x WHEN a THEN b … ELSE c END", "expected WHEN, found %v", p.tok)
	}
	if p.accept("ELSE") {
		x.other = p.expr(0)
	}
	p.expect("END", "CASE x WHEN a THEN b … ELSE c END")
	return x
}
