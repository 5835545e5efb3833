package iotsql

import "unsafe"

// shape is what a payload is.
type shape uint8

const (
	unread shape = iota
	empty
	jsonObject
	jsonOther // an array or a scalar
	notJSON
)

// Message is a payload with its context, ready for any number of queries, which share the index of
// the payload's top level. It is not for concurrent use.
type Message struct {
	ctx     *Context
	payload []byte
	// src is payload without a copy, which is why the payload must not change.
	src    string
	shape  shape
	odd    bool // a key has escapes
	fields []field
	frame  frame
}

// NewMessage returns a message. The payload must not change while the message or values of it are
// in use; nothing is read before a query needs it.
func NewMessage(ctx *Context, payload []byte) *Message {
	m := new(Message)
	m.Reset(ctx, payload)
	return m
}

// Reset makes the message another one and keeps its memory.
func (m *Message) Reset(ctx *Context, payload []byte) {
	if cap(m.fields) > 1024 { // after an unusually large one
		m.fields = nil
	}
	m.ctx, m.payload, m.shape, m.odd, m.fields = ctx, payload, unread, false, m.fields[:0]
	m.src = unsafe.String(unsafe.SliceData(payload), len(payload))
	m.frame = frame{vars: m.frame.vars[:0]}
}

// IsJSON reports whether the payload is JSON.
func (m *Message) IsJSON() bool {
	s := m.read()
	return s == jsonObject || s == jsonOther
}

func (m *Message) read() shape {
	if m.shape != unread {
		return m.shape
	}
	i := skipSpace(m.src, 0)
	if i == len(m.src) {
		m.shape = empty
		return empty
	}
	v := validator{s: m.src, fields: m.fields, index: true}
	ok := v.check()
	m.fields = v.fields
	switch {
	case !ok:
		m.shape = notJSON
		m.fields = m.fields[:0]
	case m.src[i] == '{':
		m.shape = jsonObject
		for _, f := range m.fields {
			for j := f.key; j < f.keyEnd; j++ {
				m.odd = m.odd || m.src[j] == '\\'
			}
		}
	default:
		m.shape = jsonOther
		m.fields = m.fields[:0]
	}
	return m.shape
}

// raw returns the text of a member of the payload.
func (m *Message) raw(key string) (string, bool) {
	for i := len(m.fields) - 1; i >= 0; i-- { // the last of duplicates
		f := &m.fields[i]
		if k := m.src[f.key:f.keyEnd]; k == key && !m.odd || m.odd && keyEqual(k, key) {
			return m.src[f.val:f.valEnd], true
		}
	}
	return "", false
}

// whole returns the payload as *: JSON without white space around it, or Binary.
func (m *Message) whole(asInt bool) value {
	switch m.read() {
	case jsonObject, jsonOther:
		return fromJSON(trimSpace(m.src), asInt)
	}
	return value{kind: Binary, str: m.src}
}

func trimSpace(s string) string {
	end := len(s)
	for end > 0 && skipSpace(s[end-1:end], 0) == 1 {
		end--
	}
	return s[min(skipSpace(s, 0), end):end]
}

// frame is the state of one evaluation.
type frame struct {
	m   *Message
	ctx *Context
	q   *Query
	// asInt is the difference between the versions: whole numbers are Int.
	asInt bool
	// lenient makes fields of a payload that is not JSON Undefined instead of an error.
	lenient bool
	nested  bool
	// scope is what a nested query looks at.
	scope value
	vars  []value
	have  uint16
	err   error
	steps int
	trace *tracer
}

// fn is a compiled expression.
type fn func(f *frame) value

func (f *frame) field(key string) value {
	if f.nested {
		return f.scope.get(key, f.asInt)
	}
	if f.m.read() == notJSON && !f.lenient {
		f.fail(ErrPayload)
		return undefined
	}
	raw, ok := f.m.raw(key)
	if !ok {
		return undefined
	}
	return fromJSON(raw, f.asInt)
}

// fail notes the first error.
func (f *frame) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// begin prepares the message's frame for a query. Variables stay if it is the same query again, so
// that templates see the values that the statement saw.
func (m *Message) begin(q *Query) *frame {
	f := &m.frame
	if f.q != q {
		f.have = 0
	}
	f.m, f.ctx, f.q, f.asInt, f.lenient = m, m.ctx, q, q.version != V2015, q.passes
	f.nested, f.scope, f.err, f.trace, f.steps = false, undefined, nil, nil, 0
	if len(q.vars) > 0 && len(f.vars) < len(q.vars) {
		f.vars = append(f.vars, make([]value, len(q.vars)-len(f.vars))...)
	}
	return f
}
