package iotsql

// Explanation is what a statement does with one message, part by part.
type Explanation struct {
	// TopicMatched says whether FROM matches the message's topic; if not, nothing was evaluated.
	TopicMatched bool
	Result       Result
	// Err is the error that Eval would have returned.
	Err error
	// Steps are the parts in the order of the evaluation, each before its own parts. A variable
	// comes where it is used first. What AND in WHERE need not look at any more is missing.
	Steps []Step
	// Truncated is true when there were more steps than are listed.
	Truncated bool
}

// Step is the value that an expression had. Literals are not listed.
type Step struct {
	// Depth is 0 for the clauses' own expressions.
	Depth int `json:"depth"`
	// Clause is SET, WHERE or SELECT at depth 0.
	Clause string `json:"clause,omitempty"`
	// Expression is the part in its printed form, Line and Column its place in the statement.
	Expression string `json:"expression"`
	Line       int    `json:"line"`
	Column     int    `json:"column"`
	Type       Kind   `json:"type"`
	// Value is JSON; empty for Undefined.
	Value string `json:"value,omitempty"`
}

const maxTrace = 1000

type tracer struct {
	sets      []fn
	steps     []Step
	source    string
	depth     int
	clause    string
	truncated bool
}

// traced notes the value of every evaluation of x.
func traced(x expr, do fn) fn {
	if _, ok := x.(*literal); ok {
		return do
	}
	shown := printed(x)
	return func(f *frame) value {
		t := f.trace
		if t == nil {
			return do(f)
		}
		i := len(t.steps)
		if i >= maxTrace {
			t.truncated = true
			return do(f)
		}
		e := syntaxError(t.source, x.at(), "", "")
		s := Step{Depth: t.depth, Expression: shown, Line: e.Line, Column: e.Column}
		if t.depth == 0 {
			s.Clause = t.clause
		}
		t.steps = append(t.steps, s)
		t.depth++
		v := do(f)
		t.depth--
		t.steps[i].Type = v.kind
		out := string(v.appendJSON(nil, true, f.asInt))
		if len(out) > 4096 {
			out = out[:4096] + "…"
		}
		t.steps[i].Value = out
		return v
	}
}

// Explain evaluates the statement for a message and tells how every part of it came out. External
// functions are called as in [Query.Eval].
func (q *Query) Explain(m *Message) *Explanation {
	e := &Explanation{TopicMatched: q.Matches(m.ctx.Topic)}
	if !e.TopicMatched {
		return e
	}
	c := &compiler{version: q.version, tracing: true}
	slow := &Query{version: q.version, source: q.source, stmt: q.stmt}
	c.statement(slow)
	slow.sets = c.sets
	t := &tracer{sets: c.sets, source: q.source}
	f := m.begin(slow)
	f.have, f.trace = 0, t
	t.clause = "SELECT"
	if where := slow.where; where != nil {
		t.clause = "WHERE"
		slow.where = func(f *frame) bool {
			ok := where(f)
			t.clause = "SELECT"
			return ok
		}
	}
	e.Result, e.Err = slow.eval(f, nil)
	t.clause = "SET"
	for i := range slow.vars { // those that nothing has used
		if f.have&(1<<i) == 0 {
			f.set(i)
		}
	}
	e.Steps, e.Truncated = t.steps, t.truncated
	m.frame.q = nil
	return e
}
