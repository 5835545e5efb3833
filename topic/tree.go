package topic

import "strings"

// Tree maps topic names to values and finds the names that a filter matches. It is what retained
// messages need; [Index] is the other direction. Not safe for concurrent use.
type Tree[V any] struct {
	rules Rules
	root  branch[V]
	size  int
}

type branch[V any] struct {
	children map[string]*branch[V]
	value    V
	set      bool
}

// NewTree returns an empty tree.
func NewTree[V any](rules Rules) *Tree[V] { return &Tree[V]{rules: rules} }

// Len is the number of names that have a value.
func (t *Tree[V]) Len() int { return t.size }

// Get returns the value of one name.
func (t *Tree[V]) Get(name string) (V, bool) {
	b := &t.root
	for more := true; more && b != nil; {
		var level string
		level, name, more = strings.Cut(name, "/")
		b = b.children[level]
	}
	if b == nil {
		var none V
		return none, false
	}
	return b.value, b.set
}

// Set stores a value under a name; it reports whether the name is new.
func (t *Tree[V]) Set(name string, value V) bool {
	b := &t.root
	for more := true; more; {
		var level string
		level, name, more = strings.Cut(name, "/")
		next := b.children[level]
		if next == nil {
			next = &branch[V]{}
			if b.children == nil {
				b.children = make(map[string]*branch[V])
			}
			b.children[strings.Clone(level)] = next
		}
		b = next
	}
	fresh := !b.set
	b.value, b.set = value, true
	if fresh {
		t.size++
	}
	return fresh
}

// Remove deletes the value of a name; it reports whether there was one.
func (t *Tree[V]) Remove(name string) bool {
	removed := t.root.remove(name)
	if removed {
		t.size--
	}
	return removed
}

func (b *branch[V]) remove(name string) bool {
	level, rest, more := strings.Cut(name, "/")
	child := b.children[level]
	if child == nil {
		return false
	}
	var removed bool
	if more {
		removed = child.remove(rest)
	} else {
		var none V
		removed = child.set
		child.value, child.set = none, false
	}
	if !child.set && len(child.children) == 0 {
		delete(b.children, level)
	}
	return removed
}

// Match calls yield for the value of every name that a valid filter, not shared, matches.
func (t *Tree[V]) Match(filter string, yield func(V)) {
	t.root.match(filter, true, t.rules.ParentMatch, yield)
}

func (b *branch[V]) match(filter string, first, parent bool, yield func(V)) {
	level, rest, more := strings.Cut(filter, "/")
	visit := func(name string, c *branch[V]) {
		if first && name != "" && name[0] == '$' && (level == "+" || level == "#") {
			return // [MQTT-4.7.2-1]
		}
		switch {
		case level == "#":
			c.all(yield)
		case !more:
			c.self(yield)
		default:
			if rest == "#" && parent {
				c.self(yield)
			}
			c.match(rest, false, parent, yield)
		}
	}
	if level == "+" || level == "#" {
		for name, c := range b.children {
			visit(name, c)
		}
	} else if c := b.children[level]; c != nil {
		visit(level, c)
	}
}

func (b *branch[V]) self(yield func(V)) {
	if b.set {
		yield(b.value)
	}
}

func (b *branch[V]) all(yield func(V)) {
	b.self(yield)
	for _, c := range b.children {
		c.all(yield)
	}
}
