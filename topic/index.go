package topic

import "strings"

// Index maps topic filters to values of one subscriber each and finds, for a topic name, the
// values of every matching filter. Filters without wildcards live in a map, the others in a trie
// by level. It is not safe for concurrent use; callers hold a read lock around Match and a write
// lock around Set and Remove.
type Index[K comparable, V any] struct {
	rules Rules
	exact map[string]*entries[K, V]
	wild  node[K, V]
	size  int
}

// entries holds the values of one filter, of which there is always one: most filters are those of one
// subscriber.
type entries[K comparable, V any] struct {
	key   K
	value V
	list  *list[K, V] // instead of key and value, since a second one came
}

// list holds the values of a filter with several subscribers. Slices serve few of them; from some size on,
// place tells where each is.
type list[K comparable, V any] struct {
	keys   []K
	values []V
	place  map[K]int
}

type node[K comparable, V any] struct {
	children map[string]*node[K, V]
	plus     *node[K, V]
	here     *entries[K, V] // filters that end at this node
	hash     *entries[K, V] // filters that end with # below this node
}

// NewIndex returns an empty index.
func NewIndex[K comparable, V any](rules Rules) *Index[K, V] {
	return &Index[K, V]{rules: rules, exact: make(map[string]*entries[K, V])}
}

// Len is the number of (filter, key) pairs.
func (x *Index[K, V]) Len() int { return x.size }

// Set stores a value under a filter and a key; it reports whether the pair is new.
func (x *Index[K, V]) Set(filter string, key K, value V) bool {
	fresh := true
	if !Wild(filter) {
		if e := x.exact[filter]; e != nil {
			fresh = e.set(key, value)
		} else {
			x.exact[filter] = &entries[K, V]{key: key, value: value}
		}
	} else if slot := x.wild.slot(filter); *slot != nil {
		fresh = (*slot).set(key, value)
	} else {
		*slot = &entries[K, V]{key: key, value: value}
	}
	if fresh {
		x.size++
	}
	return fresh
}

// Remove deletes the value under a filter and a key; it reports whether there was one.
func (x *Index[K, V]) Remove(filter string, key K) bool {
	removed := false
	if !Wild(filter) {
		e := x.exact[filter]
		if removed = take(&e, key); removed && e == nil {
			delete(x.exact, filter)
		}
	} else {
		removed = x.wild.remove(filter, key)
	}
	if removed {
		x.size--
	}
	return removed
}

// Match calls yield for every value whose filter matches the name.
func (x *Index[K, V]) Match(name string, yield func(K, V)) {
	x.exact[name].each(yield)
	if name == "" {
		return
	}
	if name[0] == '$' { // [MQTT-4.7.2-1]: wildcards of the first level do not match
		first, rest, more := strings.Cut(name, "/")
		if n := x.wild.children[first]; n != nil {
			n.match(rest, more, x.rules.ParentMatch, yield)
		}
		return
	}
	x.wild.match(name, true, x.rules.ParentMatch, yield)
}

// match walks the levels of name below n; more is false when n is where the name ended.
func (n *node[K, V]) match(name string, more, parent bool, yield func(K, V)) {
	for {
		if !more {
			n.here.each(yield)
			if parent {
				n.hash.each(yield)
			}
			return
		}
		n.hash.each(yield)
		level, rest, next := strings.Cut(name, "/")
		child := n.children[level]
		if n.plus != nil {
			if child == nil {
				child = n.plus
			} else {
				n.plus.match(rest, next, parent, yield)
			}
		}
		if child == nil {
			return
		}
		n, name, more = child, rest, next
	}
}

// slot returns where the entries of a wildcard filter are kept, making nodes on the way.
func (n *node[K, V]) slot(filter string) **entries[K, V] {
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return &n.hash
		}
		var next *node[K, V]
		if level == "+" {
			if n.plus == nil {
				n.plus = &node[K, V]{}
			}
			next = n.plus
		} else {
			if n.children == nil {
				n.children = make(map[string]*node[K, V])
			}
			next = n.children[level]
			if next == nil {
				next = &node[K, V]{}
				n.children[strings.Clone(level)] = next
			}
		}
		if !more {
			return &next.here
		}
		n, filter = next, rest
	}
}

// remove deletes a key below n and the nodes that became empty.
func (n *node[K, V]) remove(filter string, key K) bool {
	level, rest, more := strings.Cut(filter, "/")
	if level == "#" {
		return take(&n.hash, key)
	}
	child := n.plus
	if level != "+" {
		child = n.children[level]
	}
	if child == nil {
		return false
	}
	var removed bool
	if more {
		removed = child.remove(rest, key)
	} else {
		removed = take(&child.here, key)
	}
	if child.here == nil && child.hash == nil && child.plus == nil && len(child.children) == 0 {
		if level == "+" {
			n.plus = nil
		} else {
			delete(n.children, level)
		}
	}
	return removed
}

// take deletes a key from entries, and the entries with the last.
func take[K comparable, V any](slot **entries[K, V], key K) bool {
	switch e := *slot; {
	case e == nil:
		return false
	case e.list != nil:
		removed := e.list.remove(key)
		if len(e.list.keys) == 0 {
			*slot = nil
		}
		return removed
	case e.key != key:
		return false
	}
	*slot = nil
	return true
}

func (e *entries[K, V]) set(key K, value V) bool {
	if e.list == nil {
		if e.key == key {
			e.value = value
			return false
		}
		e.list = &list[K, V]{keys: []K{e.key}, values: []V{e.value}}
		var noKey K
		e.key = noKey
	}
	return e.list.set(key, value)
}

func (e *entries[K, V]) each(yield func(K, V)) {
	switch {
	case e == nil:
	case e.list == nil:
		yield(e.key, e.value)
	default:
		for i, k := range e.list.keys {
			yield(k, e.list.values[i])
		}
	}
}

// placeFrom is the number of subscribers of one filter from which a map beats a scan.
const placeFrom = 16

func (l *list[K, V]) find(key K) int {
	if l.place != nil {
		if i, ok := l.place[key]; ok {
			return i
		}
		return -1
	}
	for i, k := range l.keys {
		if k == key {
			return i
		}
	}
	return -1
}

func (l *list[K, V]) set(key K, value V) bool {
	if i := l.find(key); i >= 0 {
		l.values[i] = value
		return false
	}
	l.keys = append(l.keys, key)
	l.values = append(l.values, value)
	switch {
	case l.place != nil:
		l.place[key] = len(l.keys) - 1
	case len(l.keys) > placeFrom:
		l.place = make(map[K]int, 2*len(l.keys))
		for i, k := range l.keys {
			l.place[k] = i
		}
	}
	return true
}

func (l *list[K, V]) remove(key K) bool {
	i := l.find(key)
	if i < 0 {
		return false
	}
	last := len(l.keys) - 1
	l.keys[i], l.values[i] = l.keys[last], l.values[last]
	var noKey K
	var noValue V
	l.keys[last], l.values[last] = noKey, noValue
	l.keys, l.values = l.keys[:last], l.values[:last]
	if l.place != nil {
		delete(l.place, key)
		if i < last {
			l.place[l.keys[i]] = i
		}
	}
	return true
}
