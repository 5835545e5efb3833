package shadow

import "strings"

// appendDelta writes what of an object in desired is missing from or different in reported, and its
// metadata. Objects are compared member by member, arrays as a whole; what only reported has does
// not matter (AWS IoT developer guide, "Delta state"). differs tells whether there is anything;
// otherwise nothing is written.
func (t *tree) appendDelta(state, meta []byte, desired, reported int32) (_, _ []byte, differs bool) {
	nd := &t.nodes[desired]
	state0, meta0 := len(state), len(meta)
	f := t.finder(reported, nd.count)
	for c := nd.first; c != 0; c = t.nodes[c].next {
		child := &t.nodes[c]
		stateBack, metaBack := len(state), len(meta)
		open := byte('{')
		if differs {
			open = ','
		}
		state = append(append(append(state, open), child.key...), ':')
		meta = append(append(append(meta, open), child.key...), ':')
		r := f.find(child.key)
		differ := true
		switch {
		case r != 0 && child.kind == object && t.nodes[r].kind == object:
			state, meta, differ = t.appendDelta(state, meta, c, r)
		case r != 0 && t.equal(c, r):
			differ = false
		default:
			state = t.appendValue(state, c)
			meta = t.appendMetadata(meta, c, 0)
		}
		if !differ {
			state, meta = state[:stateBack], meta[:metaBack]
			continue
		}
		differs = true
	}
	if !differs {
		return state[:state0], meta[:meta0], false
	}
	return append(state, '}'), append(meta, '}'), true
}

// equal reports whether two values are the same. The order of members does not matter, nor how a
// number is written: 1, 1.0 and 10e-1 are one value, or a device whose JSON writer drops the
// fraction would never settle its delta.
func (t *tree) equal(a, b int32) bool {
	x, y := &t.nodes[a], &t.nodes[b]
	if x.kind != y.kind || x.count != y.count {
		return false
	}
	switch x.kind {
	case number:
		return x.text == y.text || sameNumber(x.text, y.text)
	case array:
		for c, d := x.first, y.first; c != 0; c, d = t.nodes[c].next, t.nodes[d].next {
			if !t.equal(c, d) {
				return false
			}
		}
		return true
	case object:
		f := t.finder(b, x.count)
		for c := x.first; c != 0; c = t.nodes[c].next {
			d := f.find(t.nodes[c].key)
			if d == 0 || !t.equal(c, d) {
				return false
			}
		}
		return true
	}
	return x.text == y.text
}

// sameNumber compares two JSON numbers exactly.
func sameNumber(a, b string) bool {
	x, okX := parseDecimal(a)
	y, okY := parseDecimal(b)
	return okX && okY && x == y
}

// decimal is digits × 10^exponent, the digits without zeros at either end; zero has none.
type decimal struct {
	digits   string
	exponent int
	negative bool
}

// parseDecimal reads a JSON number; ok is false when the exponent is beyond reason.
func parseDecimal(s string) (d decimal, ok bool) {
	d.negative = strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e := strings.TrimPrefix(s[i+1:], "+")
		minus := strings.HasPrefix(e, "-")
		e = strings.TrimLeft(strings.TrimPrefix(e, "-"), "0")
		if len(e) > 9 {
			return d, false
		}
		for _, c := range []byte(e) {
			d.exponent = d.exponent*10 + int(c-'0')
		}
		if minus {
			d.exponent = -d.exponent
		}
		s = s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	d.exponent -= len(fraction)
	d.digits = strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(d.digits, "0")
	d.exponent += len(d.digits) - len(short)
	if d.digits = short; short == "" {
		return decimal{}, true
	}
	return d, true
}
