package policy

import "strings"

// table answers for one action.
type table struct {
	allow rule
	deny  *rule // nil if nothing denies
}

// rule fits a name if any of its members does. The members are sorted by what
// they cost.
type rule struct {
	all    bool
	exact  []string
	index  map[string]struct{} // instead of exact, if there are many
	prefix []string            // prefix*
	globs  []glob
	except []rule // NotResource: fits what the rule does not
}

// manyExact is the number of plain names from which a map is faster than
// comparing one by one.
const manyExact = 12

// glob is a pattern that is neither plain nor a prefix.
type glob struct {
	least      int // bytes that a name has at least
	head, tail string
	parts      []string // between stars
	inner      pattern  // instead of parts, if the pattern has a ?
}

// Allows reports whether the policies allow the action on the resource of that
// kind and name, the rest of its ARN: Allows(Publish, KindTopic, "a/b"). It
// does not allocate if the kind is the action's own ([Action.Kind]); other
// kinds are looked up in the documents. For [KindAny] the name is ignored.
func (s *Set) Allows(a Action, kind Kind, name string) bool {
	if int(a) >= numActions || kind != actions[a].kind {
		return s.decide(a, kind, name)
	}
	t := &s.tables[s.index[a]]
	if kind == KindAny {
		name = ""
	}
	return t.allow.match(name) && (t.deny == nil || !t.deny.match(name))
}

func (r *rule) match(name string) bool {
	if r.all {
		return true
	}
	for _, p := range r.prefix {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	for _, e := range r.exact {
		if name == e {
			return true
		}
	}
	if r.index != nil {
		if _, ok := r.index[name]; ok {
			return true
		}
	}
	for i := range r.globs {
		if r.globs[i].match(name) {
			return true
		}
	}
	for i := range r.except {
		if !r.except[i].match(name) {
			return true
		}
	}
	return false
}

func (g *glob) match(name string) bool {
	if len(name) < g.least || !strings.HasPrefix(name, g.head) || !strings.HasSuffix(name, g.tail) {
		return false
	}
	mid := name[len(g.head) : len(name)-len(g.tail)]
	if g.inner != nil {
		return g.inner.match(mid)
	}
	for _, part := range g.parts {
		i := strings.Index(mid, part)
		if i < 0 {
			return false
		}
		mid = mid[i+len(part):]
	}
	return true
}

// add takes patterns in.
func (r *rule) add(patterns []pattern) {
	for _, p := range patterns {
		switch {
		case len(p) == 0:
			r.exact = append(r.exact, "")
		case p.isStar():
			r.all = true
		case len(p) == 1 && p[0].kind == elemLiteral:
			r.exact = append(r.exact, p[0].text)
		case len(p) == 2 && p[0].kind == elemLiteral && p[1].kind == elemStar:
			r.prefix = append(r.prefix, p[0].text)
		default:
			r.globs = append(r.globs, newGlob(p))
		}
	}
}

// finish drops what is covered by something else.
func (r *rule) finish() {
	if r.all {
		*r = rule{all: true}
		return
	}
	kept := r.prefix[:0]
	for i, p := range r.prefix {
		covered := false
		for j, q := range r.prefix {
			if i != j && strings.HasPrefix(p, q) && (p != q || j < i) {
				covered = true
			}
		}
		if !covered {
			kept = append(kept[:len(kept):len(kept)], p)
		}
	}
	r.prefix = kept
	if len(r.exact) >= manyExact {
		r.index = make(map[string]struct{}, len(r.exact))
		for _, e := range r.exact {
			r.index[e] = struct{}{}
		}
		r.exact = nil
	}
}

func newGlob(p pattern) glob {
	var g glob
	questions := 0
	for _, e := range p {
		if e.kind == elemOne {
			questions++
		}
		g.least += len(e.text)
	}
	g.least += questions
	if p[0].kind == elemLiteral {
		g.head, p = p[0].text, p[1:]
	}
	if last := len(p) - 1; last >= 0 && p[last].kind == elemLiteral {
		g.tail, p = p[last].text, p[:last]
	}
	if questions > 0 {
		g.inner = p
		return g
	}
	for _, e := range p {
		if e.kind == elemLiteral {
			g.parts = append(g.parts, e.text)
		}
	}
	return g
}
