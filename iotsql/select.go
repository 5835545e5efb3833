package iotsql

import (
	"fmt"
	"slices"
	"strings"
)

// emitter appends the output of a SELECT; some is false when there is none.
type emitter func(f *frame, dst []byte) (out []byte, some bool)

// column is a compiled item of a SELECT.
type column struct {
	star   bool
	spread bool // do gives an object whose members count
	path   []string
	// key is the only part of path as JSON, with its colon.
	key []byte
	do  fn
}

func (c *compiler) columns(s *selection) (cols []column, simple bool) {
	simple = true
	seen := make(map[string]bool)
	for i, it := range s.items {
		col := column{path: it.alias}
		if _, ok := it.x.(*star); ok && len(it.alias) == 0 {
			col.star = true
			simple = simple && i == 0
			cols = append(cols, col)
			continue
		}
		if it.spread {
			col.spread, col.do = true, c.expr(it.x)
			simple = false
			cols = append(cols, col)
			continue
		}
		if len(col.path) == 0 {
			col.path = []string{defaultName(it.x)}
		}
		simple = simple && len(col.path) == 1 && !seen[col.path[0]]
		seen[col.path[0]] = true
		col.key = append(appendText(nil, col.path[0]), ':')
		col.do = c.expr(it.x)
		cols = append(cols, col)
	}
	return cols, simple
}

// defaultName is the name of an item without AS: the last key of a path, the name of a function or
// variable, the text of anything else.
func defaultName(x expr) string {
	switch x := x.(type) {
	case *name:
		return x.name
	case *access:
		return x.key
	case *call:
		return x.name
	case *cast:
		return "cast"
	case *variable:
		return x.name[1:]
	}
	return printed(x)
}

// selection compiles the outermost SELECT.
func (c *compiler) selection(s *selection) emitter {
	if s.value {
		do := c.expr(s.items[0].x)
		arrays := c.version != V2015
		return func(f *frame, dst []byte) ([]byte, bool) {
			v := do(f)
			if v.kind == Undefined || v.kind == Array && !arrays {
				return dst, false
			}
			if v.kind == Binary {
				return append(dst, v.str...), true
			}
			return v.appendJSON(dst, false, f.asInt), true
		}
	}
	cols, simple := c.columns(s)
	if !simple {
		return func(f *frame, dst []byte) ([]byte, bool) {
			v := build(f, cols)
			return v.appendJSON(dst, false, f.asInt), true
		}
	}
	if cols[0].star {
		return extend(cols)
	}
	return func(f *frame, dst []byte) ([]byte, bool) {
		return append(appendColumns(f, append(dst, '{'), cols, false), '}'), true
	}
}

func appendColumns(f *frame, dst []byte, cols []column, comma bool) []byte {
	for i := range cols {
		v := cols[i].do(f)
		if v.kind == Undefined {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(dst, cols[i].key...)
		dst = v.appendJSON(dst, false, f.asInt)
	}
	return dst
}

// extend is SELECT *, x AS y: the payload's text with members added before its last brace, if none
// of them is there already.
func extend(cols []column) emitter {
	return func(f *frame, dst []byte) ([]byte, bool) {
		fits := f.m.read() == jsonObject
		for i := 1; fits && i < len(cols); i++ {
			_, there := f.m.raw(cols[i].path[0])
			fits = !there
		}
		if !fits {
			v := build(f, cols)
			return v.appendJSON(dst, false, f.asInt), true
		}
		src := trimSpace(f.m.src)
		dst = append(dst, trimSpace(src[:len(src)-1])...)
		return append(appendColumns(f, dst, cols[1:], len(f.m.fields) > 0), '}'), true
	}
}

// build makes the object of a SELECT; later items replace members of the same name.
func build(f *frame, cols []column) value {
	m := make([]member, 0, len(cols))
	for i := range cols {
		col := &cols[i]
		if col.star {
			m = addAll(f, m)
			continue
		}
		v := col.do(f)
		if col.spread {
			if v.kind == Object {
				m = merge(m, v.members(f.asInt))
			}
			continue
		}
		if v.kind != Undefined {
			m = putPath(m, col.path, v, f.asInt)
		}
	}
	return object(m)
}

// addAll adds the members of what * stands for.
func addAll(f *frame, m []member) []member {
	v := f.scope
	if !f.nested {
		if f.m.read() == empty {
			return m
		}
		v = f.m.whole(f.asInt)
	}
	if v.kind != Object {
		if f.nested {
			return m
		}
		err := ErrPayload
		if v.kind != Binary {
			err = fmt.Errorf("%w object", ErrPayload)
		}
		f.fail(err)
		return m
	}
	return merge(m, v.members(f.asInt))
}

// putPath sets a member that may lie in objects within objects, as AS a.b.c names it.
func putPath(m []member, path []string, v value, asInt bool) []member {
	if len(path) == 1 {
		return put(m, member{path[0], v})
	}
	inner := []member{}
	for i := range m {
		if m[i].key == path[0] && m[i].val.kind == Object {
			inner = append(inner, m[i].val.members(asInt)...) // a copy: it may belong to a value
		}
	}
	return put(m, member{path[0], object(putPath(inner, path[1:], v, asInt))})
}

// subquery compiles a nested SELECT: over an array it gives an array with an entry for every
// element that WHERE lets pass, over an object the one entry. What is undefined is left out.
func (c *compiler) subquery(s *selection) fn {
	from := c.expr(s.from)
	var where func(f *frame) bool
	if s.where != nil {
		where = c.condition(s.where)
	}
	var entry fn
	switch {
	case s.value:
		entry = c.expr(s.items[0].x)
	case plainStar(s):
		entry = func(f *frame) value { return f.scope }
	default:
		cols, _ := c.columns(s)
		entry = func(f *frame) value { return build(f, cols) }
	}
	one := func(f *frame, e value) value {
		nested, scope := f.nested, f.scope
		f.nested, f.scope = true, e
		v := undefined
		if where == nil || where(f) {
			v = entry(f)
		}
		f.nested, f.scope = nested, scope
		return v
	}
	return func(f *frame) value {
		v := from(f)
		switch v.kind {
		case Object:
			return one(f, v)
		case Array:
			l := []value{}
			v.each(f.asInt, func(e value) {
				if f.err == nil && !f.spent() {
					if r := one(f, e); r.kind != Undefined {
						l = append(l, r)
					}
				}
			})
			return list(l)
		}
		return undefined
	}
}

// maxSteps bounds the entries that nested queries look at in one evaluation: nested in each other
// over a large array they would take hours.
const maxSteps = 1 << 20

func (f *frame) spent() bool {
	if f.steps++; f.steps > maxSteps {
		f.fail(fmt.Errorf("nested queries look at more than %d elements", maxSteps))
		return true
	}
	return false
}

// Template is a text with ${expressions}, as the parameters of rule actions are (developer guide,
// "Substitution templates"). It may be used by several goroutines at once.
type Template struct {
	q      *Query
	parts  []part
	called []string
}

type part struct {
	text string
	do   fn // nil for text
}

// Template parses a substitution template. Its expressions see the payload as it came, the
// functions and the variables of the statement's SET, but no aliases of its SELECT. Errors are
// *[SyntaxError].
func (q *Query) Template(src string) (*Template, error) {
	t := &Template{q: q}
	c := &compiler{version: q.version, vars: make(map[string]int, len(q.vars))}
	for i, v := range q.vars {
		c.vars[v] = i
	}
	for at := 0; at < len(src); {
		i := strings.Index(src[at:], "${")
		if i < 0 {
			t.parts = append(t.parts, part{text: src[at:]})
			break
		}
		if i > 0 {
			t.parts = append(t.parts, part{text: src[at : at+i]})
		}
		x, end, err := parseEmbedded(src, at+i+2, q.version, q.vars)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{do: c.expr(x)})
		at = end
	}
	slices.Sort(c.called)
	t.called = slices.Compact(c.called)
	return t, nil
}

// Functions returns the names of the functions that the template's own expressions call, sorted, in
// small letters. Variables of SET may call others: see [Query.Functions].
func (t *Template) Functions() []string { return t.called }

func parseEmbedded(src string, at int, version Version, vars []string) (x expr, end int, err error) {
	defer catch(&err)
	p := &parser{lex: lexer{src: src, pos: at}, version: version, vars: vars}
	p.advance()
	x = p.expr(0)
	if !p.tok.is("}") {
		p.fail(p.tok.pos, "a template is ${expression}", "expected }, found %v", p.tok)
	}
	return x, p.tok.end, nil
}

// Fixed reports whether the template is plain text.
func (t *Template) Fixed() bool {
	return len(t.parts) == 0 || len(t.parts) == 1 && t.parts[0].do == nil
}

// Eval appends the text of the template for a message; what is Undefined or Null adds nothing.
// Fields of a payload that is not JSON are Undefined. Variables that the statement has set for the
// message just before are not computed again. Errors are as those of [Query.Eval].
func (t *Template) Eval(m *Message, dst []byte) ([]byte, error) {
	f := m.begin(t.q)
	f.lenient = true
	start := len(dst)
	for _, p := range t.parts {
		if p.do == nil {
			dst = append(dst, p.text...)
			continue
		}
		v := p.do(f)
		if f.err != nil {
			return dst[:start], f.err
		}
		switch v.kind {
		case String, Binary:
			dst = append(dst, v.str...)
		case Null:
		default:
			dst = v.appendJSON(dst, true, f.asInt)
		}
	}
	return dst, nil
}
