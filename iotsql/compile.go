package iotsql

import "fmt"

// compiler turns expressions into closures.
type compiler struct {
	version  Version
	vars     map[string]int
	sets     []fn
	tracing  bool
	warnings []string
	called   []string
}

func (c *compiler) warn(x expr, format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf("%s: %s", quoted(printed(x)), fmt.Sprintf(format, args...)))
}

func (c *compiler) expr(x expr) fn {
	do := c.plain(x)
	if !c.tracing {
		return do
	}
	return traced(x, do)
}

func (c *compiler) exprs(l []expr) []fn {
	fns := make([]fn, len(l))
	for i, x := range l {
		fns[i] = c.expr(x)
	}
	return fns
}

func (c *compiler) plain(x expr) fn {
	switch x := x.(type) {
	case *literal:
		v := x.val
		return func(*frame) value { return v }
	case *name:
		key := x.name
		return func(f *frame) value { return f.field(key) }
	case *access:
		return c.access(x)
	case *variable:
		return c.variable(x)
	case *star:
		return func(f *frame) value {
			if f.nested {
				return f.scope
			}
			return f.m.whole(f.asInt)
		}
	case *prefix:
		return c.unary(x)
	case *infix:
		return c.binary(x)
	case *call:
		return c.call(x)
	case *cast:
		in := c.expr(x.x)
		kind, _ := castType(x.to)
		exact := x.to != "double"
		return func(f *frame) value { return convert(in(f), kind, exact, f.asInt) }
	case *choice:
		return c.choice(x)
	case *objectLiteral:
		return c.object(x)
	case *arrayLiteral:
		items := c.exprs(x.items)
		return func(f *frame) value {
			l := make([]value, len(items))
			for i, item := range items {
				l[i] = item(f)
			}
			return list(l)
		}
	case *subquery:
		return c.subquery(x.sel)
	}
	return func(*frame) value { return undefined }
}

func (c *compiler) object(x *objectLiteral) fn {
	var keys []string
	var vals []fn
	at := make(map[string]int)
	for i, k := range x.keys {
		do := c.expr(x.vals[i])
		if j, ok := at[k]; ok { // the last of duplicates
			vals[j] = do
			continue
		}
		at[k] = len(keys)
		keys, vals = append(keys, k), append(vals, do)
	}
	return func(f *frame) value {
		m := make([]member, len(keys))
		for i, k := range keys {
			m[i] = member{k, vals[i](f)}
		}
		return object(m)
	}
}

func (c *compiler) access(x *access) fn {
	// A path of the payload is walked without a closure per step.
	var path []string
	var root expr = x
	for {
		a, ok := root.(*access)
		if !ok {
			break
		}
		path = append(path, a.key)
		root = a.x
	}
	if n, ok := root.(*name); ok && !c.tracing {
		first := n.name
		if len(path) == 1 {
			key := path[0]
			return func(f *frame) value { return f.field(first).get(key, f.asInt) }
		}
		return func(f *frame) value {
			v := f.field(first)
			for i := len(path) - 1; i >= 0; i-- {
				v = v.get(path[i], f.asInt)
			}
			return v
		}
	}
	in, key := c.expr(x.x), x.key
	return func(f *frame) value { return in(f).get(key, f.asInt) }
}

func (c *compiler) variable(x *variable) fn {
	i := c.vars[x.name]
	return func(f *frame) value {
		if f.have&(1<<i) == 0 {
			f.set(i)
		}
		return f.vars[i]
	}
}

// maxVariable is the largest size of a variable, and of all together, in bytes of JSON.
const maxVariable = 128 << 10

// set evaluates a variable in the outermost scope. Variables refer to earlier ones only.
func (f *frame) set(i int) {
	nested, scope := f.nested, f.scope
	f.nested, f.scope = false, undefined
	sets := f.q.sets
	if f.trace != nil {
		sets = f.trace.sets
	}
	v := sets[i](f)
	f.nested, f.scope = nested, scope
	f.vars[i] = v
	f.have |= 1 << i
	total := 0
	for j, v := range f.vars[:len(f.q.vars)] {
		if f.have&(1<<j) != 0 {
			total += v.size()
		}
	}
	if total > maxVariable {
		f.fail(fmt.Errorf("variable %s: the variables have more than 128 KiB", f.q.vars[i]))
		f.vars[i] = undefined
	}
}

// size is about the number of bytes of the value as JSON.
func (v value) size() int {
	switch r := v.ref.(type) {
	case []value:
		n := 2
		for _, e := range r {
			n += e.size() + 1
		}
		return n
	case []member:
		n := 2
		for _, m := range r {
			n += len(m.key) + m.val.size() + 4
		}
		return n
	}
	return max(len(v.str), 8)
}

func (c *compiler) unary(x *prefix) fn {
	in := c.expr(x.x)
	if x.op == "NOT" {
		return func(f *frame) value {
			b, ok := in(f).toBool()
			if !ok {
				return undefined
			}
			return boolean(!b)
		}
	}
	return func(f *frame) value {
		v, ok := in(f).toNumber()
		if !ok {
			return undefined
		}
		return number(v.kind, v.num().neg(), true)
	}
}

func (c *compiler) choice(x *choice) fn {
	subject := c.expr(x.x)
	tests, results := make([]fn, len(x.whens)), make([]fn, len(x.whens))
	for i, w := range x.whens {
		tests[i], results[i] = c.expr(w.test), c.expr(w.then)
	}
	other := func(*frame) value { return undefined }
	if x.other != nil {
		other = c.expr(x.other)
	}
	return func(f *frame) value {
		v := subject(f)
		if v.kind == Undefined {
			return undefined
		}
		for i, test := range tests {
			if equal(v, test(f)) {
				return results[i](f)
			}
		}
		return other(f)
	}
}

// condition compiles a WHERE: only true lets a message pass. An AND needs both sides true, so the
// right one is not evaluated when the left one is not.
func (c *compiler) condition(x expr) func(f *frame) bool {
	if b, ok := x.(*infix); ok && b.op == "AND" {
		l, r := c.condition(b.l), c.condition(b.r)
		return func(f *frame) bool { return l(f) && r(f) }
	}
	in := c.expr(x)
	return func(f *frame) bool {
		b, ok := in(f).toBool()
		return ok && b
	}
}

// arg is an argument of a function call.
type arg struct {
	do fn
	// lit is the value of a literal, star is true for *.
	lit  *value
	star bool
}

func (a arg) text() (string, bool) {
	if a.lit == nil || a.lit.kind != String {
		return "", false
	}
	return a.lit.str, true
}

func (c *compiler) call(x *call) fn {
	spec := functions[x.name]
	c.called = append(c.called, x.name)
	if len(x.args) < spec.min || spec.max >= 0 && len(x.args) > spec.max {
		c.warn(x, "has %d arguments and is always Undefined", len(x.args))
		return func(*frame) value { return undefined }
	}
	args := make([]arg, len(x.args))
	for i, a := range x.args {
		args[i].do = c.expr(a)
		switch a := a.(type) {
		case *literal:
			args[i].lit = &a.val
		case *star:
			args[i].star = true
		}
	}
	do, warning := spec.build(args)
	if warning != "" {
		c.warn(x, "%s", warning)
	}
	return do
}
