package shadow

// maxLevels is how many keys deep a value in desired or reported may lie. An element of an array
// that is an object or array itself counts as one level.
const maxLevels = 8

// checkSection refuses a desired or reported section of a request that cannot be stored.
func (t *tree) checkSection(n int32, level int) *Error {
	nd := &t.nodes[n]
	for c := nd.first; c != 0; c = t.nodes[c].next {
		k := t.nodes[c].kind
		if nd.kind == array && k == null {
			return errInvalidNode()
		}
		if nd.kind == array && k != object && k != array {
			continue
		}
		if level == maxLevels {
			return errTooDeep()
		}
		if err := t.checkSection(c, level+1); err != nil {
			return err
		}
	}
	return nil
}

// merge brings a section of a document up to date with one of a request: null deletes, objects are
// merged, everything else, arrays included, replaces (AWS IoT developer guide, "Updating a
// shadow"). The nodes of the request are used up. An object that loses its last member goes too.
func (t *tree) merge(into, from int32, now int64) {
	f := t.finder(into, t.nodes[from].count)
	for next := t.nodes[from].first; next != 0; {
		c := next
		next = t.nodes[c].next
		d := f.find(t.nodes[c].key)
		if d != 0 && t.nodes[c].kind == object && t.nodes[d].kind == object {
			had := t.nodes[d].count > 0
			t.merge(d, c, now)
			if had && t.nodes[d].count == 0 {
				t.unlink(into, d)
			}
			continue
		}
		stays := t.settle(c, now)
		switch {
		case d == 0 && stays:
			t.link(into, c)
		case d != 0 && stays:
			t.become(d, c)
		case d != 0:
			t.unlink(into, d)
		}
	}
}

// settle makes a value of a request one of a document: it drops nulls and sets timestamps. It
// reports whether anything stays.
func (t *tree) settle(n int32, now int64) bool {
	nd := &t.nodes[n]
	switch nd.kind {
	case null:
		return false
	case object:
		had := nd.count > 0
		for next := nd.first; next != 0; {
			c := next
			next = t.nodes[c].next
			if !t.settle(c, now) {
				t.unlink(n, c)
			}
		}
		return !had || nd.count > 0
	}
	nd.stamp = now
	return true
}
