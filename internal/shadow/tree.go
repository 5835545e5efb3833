package shadow

import "strconv"

// kind is the type of a JSON value. Strings, true and false need not be told apart.
type kind uint8

const (
	null kind = iota
	scalar
	number
	object
	array
)

// node is one JSON value in a tree. Members and elements are a list in the order of the text.
type node struct {
	key         string // of a member: the canonical token, quotes included
	text        string // of a scalar: the canonical token, so that numbers survive as they were sent
	stamp       int64  // of a scalar or an array of a document: when it was set, in epoch seconds
	first, last int32
	prev, next  int32
	count       int32
	kind        kind
}

// tree holds nodes by number, so that parsing a document into a used tree allocates nothing. Number
// 0 is no node. Several texts may be parsed into one tree; their nodes can then be moved about.
type tree struct {
	nodes []node
}

func (t *tree) reset() {
	if cap(t.nodes) > 4096 {
		t.nodes = nil
	}
	clear(t.nodes) // lets go of the texts
	t.nodes = append(t.nodes[:0], node{})
}

// truncate drops the nodes added since there were n.
func (t *tree) truncate(n int) {
	clear(t.nodes[n:])
	t.nodes = t.nodes[:n]
}

func (t *tree) add(n node) int32 {
	t.nodes = append(t.nodes, n)
	return int32(len(t.nodes) - 1)
}

// link appends a node to an object or array.
func (t *tree) link(parent, n int32) {
	p := &t.nodes[parent]
	t.nodes[n].prev, t.nodes[n].next = p.last, 0
	if p.last != 0 {
		t.nodes[p.last].next = n
	} else {
		p.first = n
	}
	p.last = n
	p.count++
}

func (t *tree) unlink(parent, n int32) {
	p, c := &t.nodes[parent], &t.nodes[n]
	if c.prev != 0 {
		t.nodes[c.prev].next = c.next
	} else {
		p.first = c.next
	}
	if c.next != 0 {
		t.nodes[c.next].prev = c.prev
	} else {
		p.last = c.prev
	}
	p.count--
}

// become gives a member the value of another node and keeps its key and place.
func (t *tree) become(n, value int32) {
	d, v := &t.nodes[n], &t.nodes[value]
	d.text, d.stamp, d.kind = v.text, v.stamp, v.kind
	d.first, d.last, d.count = v.first, v.last, v.count
}

// finder looks members of one object up. Members asked for in the order they have cost one
// comparison each; for large objects a map bounds the work when they are not.
type finder struct {
	t      *tree
	parent int32
	cursor int32
	index  map[string]int32
}

func (t *tree) finder(parent int32, lookups int32) finder {
	f := finder{t: t, parent: parent}
	p := &t.nodes[parent]
	if p.count > 32 && lookups > 8 {
		f.index = make(map[string]int32, p.count)
		for c := p.first; c != 0; c = t.nodes[c].next {
			f.index[t.nodes[c].key] = c
		}
	}
	return f
}

// find returns the member with a key, or 0. Members may be appended while the finder is in use, but
// not under a key that is asked for again, and no member but the last found may be removed.
func (f *finder) find(key string) int32 {
	if f.index != nil {
		return f.index[key]
	}
	start := f.cursor
	if start == 0 {
		start = f.t.nodes[f.parent].first
	}
	for c := start; c != 0; c = f.t.nodes[c].next {
		if f.t.nodes[c].key == key {
			f.cursor = f.t.nodes[c].next
			return c
		}
	}
	for c := f.t.nodes[f.parent].first; c != start; c = f.t.nodes[c].next {
		if f.t.nodes[c].key == key {
			f.cursor = f.t.nodes[c].next
			return c
		}
	}
	return 0
}

// member returns the member of an object with a quoted key, or 0.
func (t *tree) member(parent int32, key string) int32 {
	for c := t.nodes[parent].first; c != 0; c = t.nodes[c].next {
		if t.nodes[c].key == key {
			return c
		}
	}
	return 0
}

// appendValue writes a value as compact JSON.
func (t *tree) appendValue(dst []byte, n int32) []byte {
	nd := &t.nodes[n]
	switch nd.kind {
	case object:
		dst = append(dst, '{')
		for c := nd.first; c != 0; c = t.nodes[c].next {
			if c != nd.first {
				dst = append(dst, ',')
			}
			dst = append(append(dst, t.nodes[c].key...), ':')
			dst = t.appendValue(dst, c)
		}
		return append(dst, '}')
	case array:
		dst = append(dst, '[')
		for c := nd.first; c != 0; c = t.nodes[c].next {
			if c != nd.first {
				dst = append(dst, ',')
			}
			dst = t.appendValue(dst, c)
		}
		return append(dst, ']')
	}
	return append(dst, nd.text...)
}

// appendMetadata writes the metadata of a value: its shape with a timestamp for every leaf. A stamp
// other than 0 stands for those of the nodes; the elements of an array have the array's.
func (t *tree) appendMetadata(dst []byte, n int32, stamp int64) []byte {
	nd := &t.nodes[n]
	switch nd.kind {
	case object:
		dst = append(dst, '{')
		for c := nd.first; c != 0; c = t.nodes[c].next {
			if c != nd.first {
				dst = append(dst, ',')
			}
			dst = append(append(dst, t.nodes[c].key...), ':')
			dst = t.appendMetadata(dst, c, stamp)
		}
		return append(dst, '}')
	case array:
		if stamp == 0 {
			stamp = nd.stamp
		}
		dst = append(dst, '[')
		for c := nd.first; c != 0; c = t.nodes[c].next {
			if c != nd.first {
				dst = append(dst, ',')
			}
			dst = t.appendMetadata(dst, c, stamp)
		}
		return append(dst, ']')
	}
	if stamp == 0 {
		stamp = nd.stamp
	}
	dst = append(dst, `{"timestamp":`...)
	dst = strconv.AppendInt(dst, stamp, 10)
	return append(dst, '}')
}

// eachStamp visits the timestamps of a document's value in order.
func (t *tree) eachStamp(n int32, visit func(stamp *int64)) {
	nd := &t.nodes[n]
	if nd.kind != object {
		visit(&nd.stamp)
		return
	}
	for c := nd.first; c != 0; c = t.nodes[c].next {
		t.eachStamp(c, visit)
	}
}
