package shadow

import (
	"encoding/json"
	"strings"
)

// LeafKind is the type of a leaf.
type LeafKind uint8

// Kinds of leaves. Null is not one of them.
const (
	StringLeaf LeafKind = iota
	NumberLeaf
	BoolLeaf
)

// Reader walks through documents one after another without allocating for each. It is for one
// goroutine. The zero value is ready.
type Reader struct {
	w    draft
	path []byte
}

// Leaves visits the strings, numbers and booleans of a document: those of desired, reported and
// delta. path is "desired.a.b", with the names of members joined by full stops; it is valid during the
// call only. text is a string's content, a number as it was sent, or true or false. The elements of
// an array are visited under its path, unless one of them is not simple. It reports whether there is
// a delta. An error means that the document was not written by this package.
func (r *Reader) Leaves(d *Document, visit func(path []byte, kind LeafKind, text string)) (delta bool, err error) {
	w := &r.w
	w.reset()
	if !d.Live || d.State == "" {
		return false, nil
	}
	root, err := w.parse(d.State)
	if err != nil {
		return false, err
	}
	desired, reported := w.member(root, `"desired"`), w.member(root, `"reported"`)
	if desired != 0 {
		r.path = append(r.path[:0], "desired"...)
		r.walk(desired, visit)
	}
	if reported != 0 {
		r.path = append(r.path[:0], "reported"...)
		r.walk(reported, visit)
	}
	if desired == 0 {
		return false, nil
	}
	r.path = append(r.path[:0], "delta"...)
	if reported == 0 {
		r.walk(desired, visit)
		return true, nil
	}
	return r.walkDelta(desired, reported, visit), nil
}

// unquote returns the content of a JSON string with its quotation marks.
func unquote(token string) string {
	if !strings.Contains(token, `\`) {
		return token[1 : len(token)-1]
	}
	var s string
	if json.Unmarshal([]byte(token), &s) != nil {
		return token
	}
	return s
}

func (r *Reader) walk(n int32, visit func([]byte, LeafKind, string)) {
	w := &r.w
	nd := &w.nodes[n]
	switch nd.kind {
	case object:
		for c := nd.first; c != 0; c = w.nodes[c].next {
			length := len(r.path)
			r.path = append(append(r.path, '.'), unquote(w.nodes[c].key)...)
			r.walk(c, visit)
			r.path = r.path[:length]
		}
	case array:
		for c := nd.first; c != 0; c = w.nodes[c].next {
			if k := w.nodes[c].kind; k == object || k == array {
				return
			}
		}
		for c := nd.first; c != 0; c = w.nodes[c].next {
			r.walk(c, visit)
		}
	case number:
		visit(r.path, NumberLeaf, nd.text)
	case scalar:
		if nd.text[0] == '"' {
			visit(r.path, StringLeaf, unquote(nd.text))
		} else {
			visit(r.path, BoolLeaf, nd.text)
		}
	}
}

// walkDelta visits what appendDelta writes.
func (r *Reader) walkDelta(desired, reported int32, visit func([]byte, LeafKind, string)) (differs bool) {
	w := &r.w
	nd := &w.nodes[desired]
	f := w.finder(reported, nd.count)
	for c := nd.first; c != 0; c = w.nodes[c].next {
		length := len(r.path)
		r.path = append(append(r.path, '.'), unquote(w.nodes[c].key)...)
		other := f.find(w.nodes[c].key)
		switch {
		case other != 0 && w.nodes[c].kind == object && w.nodes[other].kind == object:
			differs = r.walkDelta(c, other, visit) || differs
		case other != 0 && w.equal(c, other):
		default:
			r.walk(c, visit)
			differs = true
		}
		r.path = r.path[:length]
	}
	return differs
}
