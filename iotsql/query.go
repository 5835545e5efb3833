package iotsql

import (
	"slices"

	"github.com/berth-iot/berth/topic"
)

// Query is a parsed and compiled statement. It may be used by several goroutines at once.
type Query struct {
	version  Version
	source   string
	stmt     *statement
	vars     []string
	sets     []fn
	where    func(f *frame) bool // nil without WHERE
	emit     emitter
	passes   bool // SELECT * alone
	warnings []string
	called   []string
}

// Result is what a query made of a message.
type Result struct {
	// Matched is true when WHERE let the message pass.
	Matched bool
	// Undefined is true when SELECT VALUE has no value; the output is then empty.
	Undefined bool
	// Binary is true when the output is a payload that is not JSON, passed on as it came.
	Binary bool
	// JSON is the output, appended to the slice that was given to Eval.
	JSON []byte
}

// Parse reads and compiles a statement. Errors are *[SyntaxError].
func Parse(sql string, version Version) (*Query, error) {
	stmt, err := parseStatement(sql, version)
	if err != nil {
		return nil, err
	}
	q := &Query{version: version, source: sql, stmt: stmt}
	c := &compiler{version: version}
	c.statement(q)
	q.sets, q.warnings, q.called = c.sets, c.warnings, c.called
	slices.Sort(q.called)
	n := 0
	for _, name := range q.called {
		if name == "get_dynamodb" {
			n++
		}
	}
	if n > 1 {
		return nil, syntaxError(sql, 0, "SET @item = get_dynamodb(…) calls it once", "get_dynamodb is called %d times, once is allowed", n)
	}
	q.called = slices.Compact(q.called)
	return q, nil
}

// statement compiles the parts of a statement into q; sets stay in the compiler.
func (c *compiler) statement(q *Query) {
	c.vars = make(map[string]int, len(q.stmt.set))
	q.vars = q.vars[:0]
	for i, a := range q.stmt.set {
		c.sets = append(c.sets, c.expr(a.x))
		c.vars[a.name] = i
		q.vars = append(q.vars, a.name)
	}
	sel := q.stmt.sel
	if sel.where != nil {
		q.where = c.condition(sel.where)
	}
	if q.passes = plainStar(sel); q.passes {
		return
	}
	q.emit = c.selection(sel)
}

func plainStar(s *selection) bool {
	if len(s.items) != 1 || len(s.items[0].alias) > 0 {
		return false
	}
	_, ok := s.items[0].x.(*star)
	return ok
}

// Version returns the version that the statement was parsed for.
func (q *Query) Version() Version { return q.version }

// Filter returns the topic filter of FROM; ok is false when there is none, as in rules that only
// Basic Ingest triggers.
func (q *Query) Filter() (filter string, ok bool) { return q.stmt.sel.filter, q.stmt.sel.hasFilter }

// Matches reports whether a message to the topic triggers the statement: FROM matches its name by
// AWS IoT's rules. Without FROM, and for topics of Basic Ingest, whose prefix names the rule, it is
// true.
func (q *Query) Matches(name string) bool {
	filter, ok := q.Filter()
	if !ok || topic.BasicIngestRest(name) != name {
		return true
	}
	return topic.AWS.Match(filter, name)
}

// String returns the statement in one form: keywords in capitals, functions in small letters.
func (q *Query) String() string { return string(q.stmt.print(nil)) }

// Functions returns the names of the functions that the statement calls, sorted, in small letters.
func (q *Query) Functions() []string { return q.called }

// Warnings says what is allowed but hardly meant, such as a call with the wrong number of
// arguments, which is always Undefined.
func (q *Query) Warnings() []string { return q.warnings }

// Eval evaluates the statement for a message, whose topic is taken to match, and appends the output
// to dst. Errors wrap [ErrPayload], or are a *[FunctionError]; then there is no output.
func (q *Query) Eval(m *Message, dst []byte) (Result, error) {
	f := m.begin(q)
	f.have = 0
	return q.eval(f, dst)
}

func (q *Query) eval(f *frame, dst []byte) (Result, error) {
	if q.where != nil {
		ok := q.where(f)
		if f.err != nil {
			return Result{JSON: dst}, f.err
		}
		if !ok {
			return Result{JSON: dst}, nil
		}
	}
	r := Result{Matched: true}
	if q.passes {
		r.JSON = append(dst, f.m.payload...)
		r.Binary = f.m.read() == notJSON
		return r, nil
	}
	out, some := q.emit(f, dst)
	if f.err != nil {
		return Result{JSON: dst}, f.err
	}
	r.JSON, r.Undefined = out, !some
	return r, nil
}
