package topic

import "strings"

// Tree maps topic names to values and finds the names that a filter matches. It is what retained
// messages need; [Index] is the other direction. It keeps the names. Not safe for concurrent use.
type Tree[V any] struct {
	rules Rules
	root  branch[V]
	size  int
}

// branch is a level of names. Below the first levels most topics share none: a branch through which one
// name goes has that name's value and its rest instead of more branches.
type branch[V any] struct {
	children map[string]*branch[V]
	value    V
	set      bool
	rest     string // "/" and further levels of the name whose value this is; empty if it ends here
}

// NewTree returns an empty tree.
func NewTree[V any](rules Rules) *Tree[V] { return &Tree[V]{rules: rules} }

// Len is the number of names that have a value.
func (t *Tree[V]) Len() int { return t.size }

// Get returns the value of one name.
func (t *Tree[V]) Get(name string) (V, bool) {
	var none V
	b := &t.root
	for more := true; more; {
		if b.rest != "" {
			if b.rest[1:] == name {
				return b.value, true
			}
			return none, false
		}
		var level string
		level, name, more = strings.Cut(name, "/")
		if b = b.children[level]; b == nil {
			return none, false
		}
	}
	if b.rest != "" {
		return none, false
	}
	return b.value, b.set
}

// Set stores a value under a name; it reports whether the name is new.
func (t *Tree[V]) Set(name string, value V) bool {
	b := &t.root
	for more := true; more; {
		if b.rest != "" {
			if b.rest[1:] == name {
				b.value = value
				return false
			}
			b.split()
		}
		var level string
		tail := name
		level, name, more = strings.Cut(name, "/")
		next := b.children[level]
		if next == nil {
			b.add(level, &branch[V]{value: value, set: true, rest: tail[len(level):]})
			t.size++
			return true
		}
		b = next
	}
	if b.rest != "" {
		b.split()
	}
	fresh := !b.set
	b.value, b.set = value, true
	if fresh {
		t.size++
	}
	return fresh
}

func (b *branch[V]) add(level string, child *branch[V]) {
	if b.children == nil {
		b.children = make(map[string]*branch[V])
	}
	b.children[level] = child
}

// split moves the value of a name that goes on below a branch one level down, for another to go there too.
func (b *branch[V]) split() {
	level, _, _ := strings.Cut(b.rest[1:], "/")
	b.add(level, &branch[V]{value: b.value, set: true, rest: b.rest[1+len(level):]})
	var none V
	b.value, b.set, b.rest = none, false, ""
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
	switch {
	case child.rest != "":
		if removed = child.rest == name[len(level):]; !removed {
			return false
		}
		child.set = false
	case more:
		removed = child.remove(rest)
	default:
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
		case c.rest != "":
			if matchLevels(rest, c.rest[1:], parent) {
				yield(c.value)
			}
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
	if b.set && b.rest == "" {
		yield(b.value)
	}
}

func (b *branch[V]) all(yield func(V)) {
	if b.set {
		yield(b.value)
	}
	for _, c := range b.children {
		c.all(yield)
	}
}
