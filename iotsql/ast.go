package iotsql

import "strings"

// expr is an expression. Its printed form parses to the same expression again.
type expr interface {
	at() int
	print(dst []byte) []byte
}

type pos int

func (p pos) at() int { return int(p) }

type (
	literal struct {
		pos
		val value
		src string // of a number
	}
	// name is a member of the payload, or of the element that a nested query looks at.
	name struct {
		pos
		name string
	}
	access struct {
		pos
		x   expr
		key string
	}
	variable struct {
		pos
		name string
	}
	// star is the whole payload.
	star   struct{ pos }
	prefix struct {
		pos
		op string // - or NOT
		x  expr
	}
	infix struct {
		pos
		op   string
		l, r expr
	}
	call struct {
		pos
		name string
		args []expr
	}
	cast struct {
		pos
		x  expr
		to string
	}
	when   struct{ test, then expr }
	choice struct {
		pos
		x     expr
		whens []when
		other expr // nil without ELSE
	}
	objectLiteral struct {
		pos
		keys []string
		vals []expr
	}
	arrayLiteral struct {
		pos
		items []expr
	}
	subquery struct {
		pos
		sel *selection
	}
)

// item is one of a SELECT's.
type item struct {
	x expr
	// alias is empty if there was none; a dotted alias has several parts. word is false when it was
	// given in quotes.
	alias []string
	word  bool
	// spread is x.*: the members of an object, each for itself.
	spread bool
}

// selection is a SELECT up to and with WHERE.
type selection struct {
	value bool
	items []item
	// from is the expression that a nested query looks into, filter the topic filter of the outer
	// one.
	from      expr
	filter    string
	hasFilter bool
	where     expr
}

type assignment struct {
	name string
	x    expr
}

type statement struct {
	set []assignment
	sel *selection
}

// binding is how strongly an operator binds; 0 for none.
func binding(op string) int {
	switch op {
	case "OR":
		return 1
	case "AND":
		return 2
	case "=", "<>", "<", ">", "<=", ">=", "IN":
		return 4
	case "+", "-":
		return 5
	case "*", "/", "%":
		return 6
	}
	return 0
}

const (
	bindNot    = 3
	bindMinus  = 7
	bindAccess = 8
)

func strength(x expr) int {
	switch x := x.(type) {
	case *infix:
		return binding(x.op)
	case *prefix:
		if x.op == "NOT" {
			return bindNot
		}
		return bindMinus
	case *literal:
		if x.val.kind == Int || x.val.kind == Decimal {
			return bindMinus
		}
	}
	return bindAccess
}

// wrap prints x, in parentheses if it binds less than it must.
func wrap(dst []byte, x expr, least int) []byte {
	if strength(x) >= least {
		return x.print(dst)
	}
	dst = append(dst, '(')
	return append(x.print(dst), ')')
}

func printText(dst []byte, s string) []byte {
	dst = append(dst, '\'')
	dst = append(dst, strings.ReplaceAll(s, "'", "''")...)
	return append(dst, '\'')
}

func (x *literal) print(dst []byte) []byte {
	switch x.val.kind {
	case String:
		return printText(dst, x.val.str)
	case Null:
		return append(dst, "NULL"...)
	case Boolean:
		if x.val.coef != 0 {
			return append(dst, "TRUE"...)
		}
		return append(dst, "FALSE"...)
	}
	return append(dst, x.src...)
}

func (x *name) print(dst []byte) []byte     { return append(dst, x.name...) }
func (x *variable) print(dst []byte) []byte { return append(dst, x.name...) }
func (x *star) print(dst []byte) []byte     { return append(dst, '*') }

func (x *access) print(dst []byte) []byte {
	dst = wrap(dst, x.x, bindAccess)
	dst = append(dst, '.')
	return append(dst, x.key...)
}

func (x *prefix) print(dst []byte) []byte {
	if x.op == "NOT" {
		return wrap(append(dst, "NOT "...), x.x, bindNot)
	}
	dst = append(dst, '-')
	at := len(dst)
	dst = wrap(dst, x.x, bindMinus)
	if dst[at] != '-' { // -- would be a comment
		return dst
	}
	dst = append(x.x.print(append(dst[:at], '(')), ')')
	return dst
}

func (x *infix) print(dst []byte) []byte {
	b := binding(x.op)
	dst = wrap(dst, x.l, b)
	dst = append(append(append(dst, ' '), x.op...), ' ')
	return wrap(dst, x.r, b+1)
}

func printList(dst []byte, l []expr) []byte {
	for i, x := range l {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = x.print(dst)
	}
	return dst
}

func (x *call) print(dst []byte) []byte {
	dst = append(append(dst, x.name...), '(')
	return append(printList(dst, x.args), ')')
}

func (x *cast) print(dst []byte) []byte {
	dst = x.x.print(append(dst, "cast("...))
	return append(append(append(dst, " AS "...), x.to...), ')')
}

func (x *choice) print(dst []byte) []byte {
	dst = x.x.print(append(dst, "CASE "...))
	for _, w := range x.whens {
		dst = w.test.print(append(dst, " WHEN "...))
		dst = w.then.print(append(dst, " THEN "...))
	}
	if x.other != nil {
		dst = x.other.print(append(dst, " ELSE "...))
	}
	return append(dst, " END"...)
}

func (x *objectLiteral) print(dst []byte) []byte {
	dst = append(dst, '{')
	for i, k := range x.keys {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(printText(dst, k), ": "...)
		dst = x.vals[i].print(dst)
	}
	return append(dst, '}')
}

func (x *arrayLiteral) print(dst []byte) []byte {
	return append(printList(append(dst, '['), x.items), ']')
}

func (x *subquery) print(dst []byte) []byte {
	return append(x.sel.print(append(dst, '(')), ')')
}

func (s *selection) print(dst []byte) []byte {
	dst = append(dst, "SELECT "...)
	if s.value {
		dst = append(dst, "VALUE "...)
	}
	for i, it := range s.items {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		start := len(dst)
		dst = it.x.print(dst)
		if i == 0 && !it.spread && s.ambiguous(it.x, dst[start]) {
			dst = append(it.x.print(append(dst[:start], '(')), ')')
		}
		if it.spread {
			dst = append(dst, ".*"...)
		}
		if len(it.alias) == 0 {
			continue
		}
		dst = append(dst, " AS "...)
		if it.word {
			dst = append(dst, strings.Join(it.alias, ".")...)
		} else {
			dst = printText(dst, it.alias[0])
		}
	}
	if s.hasFilter {
		dst = printText(append(dst, " FROM "...), s.filter)
	} else if s.from != nil {
		dst = s.from.print(append(dst, " FROM "...))
	}
	if s.where != nil {
		dst = s.where.print(append(dst, " WHERE "...))
	}
	return dst
}

// ambiguous reports whether a first item needs parentheses lest VALUE, as keyword or as field, be
// taken for the other.
func (s *selection) ambiguous(x expr, first byte) bool {
	if s.value {
		_, alone := x.(*star)
		return first == '-' || first == '*' && !alone
	}
	n, ok := leftmost(x).(*name)
	return ok && strings.EqualFold(n.name, "value") && x != expr(n)
}

// leftmost is the expression that a printed one begins with.
func leftmost(x expr) expr {
	for {
		switch y := x.(type) {
		case *infix:
			x = y.l
		case *access:
			x = y.x
		default:
			return x
		}
	}
}

func (s *statement) print(dst []byte) []byte {
	for i, a := range s.set {
		if i == 0 {
			dst = append(dst, "SET "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = append(append(dst, a.name...), " = "...)
		dst = append(a.x.print(dst), ' ')
		if i+1 < len(s.set) {
			dst = dst[:len(dst)-1]
		}
	}
	return s.sel.print(dst)
}

func printed(x expr) string { return string(x.print(nil)) }
