package policy

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// quantifier is the set prefix of an operator.
type quantifier uint8

const (
	anyMatch quantifier = iota // no prefix
	forAllValues
	forAnyValue
)

// operator is one row of the table of condition operators.
type operator struct {
	name    string
	match   func(want pattern, got string) bool
	negated bool                    // holds if no wanted value matches
	wild    bool                    // * and ? are wildcards in wanted values
	check   func(value string) bool // nil: any value will do
	example string                  // of a value, for messages
}

// The operators of IAM. (IAM user guide, "IAM JSON policy elements: Condition
// operators".) Null is settled before match is asked.
var operators = [...]operator{
	{name: "StringEquals", match: equals},
	{name: "StringNotEquals", match: equals, negated: true},
	{name: "StringEqualsIgnoreCase", match: equalsFold},
	{name: "StringNotEqualsIgnoreCase", match: equalsFold, negated: true},
	{name: "StringLike", match: pattern.match, wild: true},
	{name: "StringNotLike", match: pattern.match, wild: true, negated: true},
	{name: "NumericEquals", match: numeric(func(c int) bool { return c == 0 }), check: isNumber, example: "10"},
	{name: "NumericNotEquals", match: numeric(func(c int) bool { return c == 0 }), negated: true, check: isNumber, example: "10"},
	{name: "NumericLessThan", match: numeric(func(c int) bool { return c < 0 }), check: isNumber, example: "10"},
	{name: "NumericLessThanEquals", match: numeric(func(c int) bool { return c <= 0 }), check: isNumber, example: "10"},
	{name: "NumericGreaterThan", match: numeric(func(c int) bool { return c > 0 }), check: isNumber, example: "10"},
	{name: "NumericGreaterThanEquals", match: numeric(func(c int) bool { return c >= 0 }), check: isNumber, example: "10"},
	{name: "DateEquals", match: date(func(c int) bool { return c == 0 }), check: isDate, example: "2026-01-31T00:00:00Z"},
	{name: "DateNotEquals", match: date(func(c int) bool { return c == 0 }), negated: true, check: isDate, example: "2026-01-31T00:00:00Z"},
	{name: "DateLessThan", match: date(func(c int) bool { return c < 0 }), check: isDate, example: "2026-01-31T00:00:00Z"},
	{name: "DateLessThanEquals", match: date(func(c int) bool { return c <= 0 }), check: isDate, example: "2026-01-31T00:00:00Z"},
	{name: "DateGreaterThan", match: date(func(c int) bool { return c > 0 }), check: isDate, example: "2026-01-31T00:00:00Z"},
	{name: "DateGreaterThanEquals", match: date(func(c int) bool { return c >= 0 }), check: isDate, example: "2026-01-31T00:00:00Z"},
	{name: "Bool", match: equalsFold, check: isBool, example: "true"},
	{name: "BinaryEquals", match: binaryEquals, check: isBase64, example: "QmluYXJ5"},
	{name: "IpAddress", match: inNetwork, check: isNetwork, example: "192.0.2.0/24"},
	{name: "NotIpAddress", match: inNetwork, negated: true, check: isNetwork, example: "192.0.2.0/24"},
	{name: "ArnEquals", match: arnMatch, wild: true},
	{name: "ArnNotEquals", match: arnMatch, wild: true, negated: true},
	{name: "ArnLike", match: arnMatch, wild: true},
	{name: "ArnNotLike", match: arnMatch, wild: true, negated: true},
	{name: "Null", check: isBool, example: "true"},
}

// test is an operator taken apart.
type test struct {
	*operator
	set      quantifier
	ifExists bool
}

// parseOperator takes "ForAllValues:StringLikeIfExists" apart.
func parseOperator(name string) (test, string) {
	var t test
	base := name
	if rest, ok := strings.CutPrefix(base, "ForAllValues:"); ok {
		t.set, base = forAllValues, rest
	} else if rest, ok := strings.CutPrefix(base, "ForAnyValue:"); ok {
		t.set, base = forAnyValue, rest
	}
	base, t.ifExists = strings.CutSuffix(base, "IfExists")
	for i := range operators {
		if operators[i].name == base {
			t.operator = &operators[i]
			if base == "Null" && (t.ifExists || t.set != anyMatch) {
				return t, fmt.Sprintf("operator %q: Null takes neither a set prefix nor IfExists", name)
			}
			return t, ""
		}
	}
	for i := range operators {
		if strings.EqualFold(operators[i].name, base) {
			return t, fmt.Sprintf("unknown operator %q; write %q", name, operators[i].name)
		}
	}
	return t, fmt.Sprintf("unknown operator %q; there are String, Numeric, Date, Arn, Bool, BinaryEquals, IpAddress and Null operators, such as \"StringEquals\"", name)
}

func parseConditions(n node, where string) ([]Condition, error) {
	if n.kind != nodeObject {
		return nil, n.wrong(where, "an object of operators")
	}
	var out []Condition
	for i, op := range n.keys {
		path, keys := under(where, op), n.kids[i]
		if _, reason := parseOperator(op); reason != "" {
			return nil, &SyntaxError{Where: path, Reason: reason}
		}
		if keys.kind != nodeObject {
			return nil, keys.wrong(path, "an object of condition keys")
		}
		for j, key := range keys.keys {
			path := under(path, key)
			if key == "" {
				return nil, &SyntaxError{Where: path, Reason: "the condition key is empty"}
			}
			c := Condition{Operator: op, Key: key}
			list := keys.kids[j : j+1]
			if list[0].kind == nodeArray {
				list = list[0].kids
			}
			for _, v := range list {
				if v.kind != nodeString && v.kind != nodeNumber && v.kind != nodeBool {
					return nil, v.wrong(path, "a string, a number, true, false or an array of those")
				}
				c.Values = append(c.Values, v.text)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// prepare splits operator and values.
func (c *Condition) prepare(variables bool, where string) error {
	var reason string
	if c.test, reason = parseOperator(c.Operator); reason != "" {
		return &SyntaxError{Where: under(where, c.Operator), Reason: reason}
	}
	where = under(under(where, c.Operator), c.Key)
	c.canonical = canonicalKey(c.Key)
	c.wanted = make([]template, len(c.Values))
	for i, v := range c.Values {
		t, err := parseTemplate(v, templateMode{variables: variables, wild: c.test.wild})
		if err != nil {
			return &SyntaxError{Where: where, Reason: err.Error()}
		}
		if c.test.check != nil && !t.hasVariables() && !c.test.check(v) {
			return &SyntaxError{Where: where, Reason: fmt.Sprintf("%q is not a value for %s; give one such as %q", v, c.test.name, c.test.example)}
		}
		c.wanted[i] = t
	}
	return nil
}

// holds evaluates the condition. missing names a key or variable that had no
// value, as the document spells it.
func (c *Condition) holds(f *facts) (ok bool, missing string) {
	got, present := f.values(c.canonical)
	if c.test.name == "Null" {
		for _, v := range c.wanted {
			p, missing, ok := v.resolve(f)
			if !ok {
				return false, missing
			}
			if strings.EqualFold(p.String(), "true") != present {
				return true, ""
			}
		}
		return false, ""
	}
	if !present {
		switch {
		case c.test.ifExists, c.test.set == forAllValues:
			return true, c.Key
		case c.test.set == forAnyValue:
			return false, c.Key
		}
		return c.test.negated, c.Key
	}
	wanted := make([]pattern, 0, len(c.wanted))
	for _, v := range c.wanted {
		p, name, ok := v.resolve(f)
		switch {
		case ok:
			wanted = append(wanted, p)
		case c.test.negated:
			// Comparing with the unreplaced text would hold for everybody.
			return false, name
		default:
			missing = name
		}
	}
	one := func(v string) bool {
		for _, w := range wanted {
			if c.test.match(w, v) {
				return !c.test.negated
			}
		}
		return c.test.negated
	}
	// Without a prefix, a negated operator asks that no value match, and a
	// plain one that some value match.
	all := c.test.set == forAllValues || c.test.set == anyMatch && c.test.negated
	for _, v := range got {
		if one(v) != all {
			return !all, missing
		}
	}
	return all, missing
}

// text is the literal of a pattern without wildcards.
func (p pattern) text() string {
	if len(p) == 0 {
		return ""
	}
	return p[0].text
}

func equals(want pattern, got string) bool     { return want.text() == got }
func equalsFold(want pattern, got string) bool { return strings.EqualFold(want.text(), got) }

func numeric(ok func(cmp int) bool) func(pattern, string) bool {
	return func(want pattern, got string) bool {
		w, err := strconv.ParseFloat(want.text(), 64)
		if err != nil {
			return false
		}
		g, err := strconv.ParseFloat(got, 64)
		if err != nil || w != w || g != g {
			return false
		}
		switch {
		case g < w:
			return ok(-1)
		case g > w:
			return ok(1)
		}
		return ok(0)
	}
}

func isNumber(s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	return err == nil && f == f
}

func date(ok func(cmp int) bool) func(pattern, string) bool {
	return func(want pattern, got string) bool {
		w, okWant := parseDate(want.text())
		g, okGot := parseDate(got)
		return okWant && okGot && ok(g.Compare(w))
	}
}

// parseDate reads a W3C date and time in one of its ISO 8601 forms, or epoch
// seconds.
func parseDate(s string) (time.Time, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), true
	}
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02", "2006-01"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func isDate(s string) bool {
	_, ok := parseDate(s)
	return ok
}

func isBool(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

func binaryEquals(want pattern, got string) bool {
	w, err := base64.StdEncoding.DecodeString(want.text())
	if err != nil {
		return false
	}
	g, err := base64.StdEncoding.DecodeString(got)
	return err == nil && string(w) == string(g)
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

// parseNetwork reads a prefix in CIDR form, or an address as the prefix of
// itself alone.
func parseNetwork(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

func isNetwork(s string) bool {
	_, ok := parseNetwork(s)
	return ok
}

func inNetwork(want pattern, got string) bool {
	net, ok := parseNetwork(want.text())
	if !ok {
		return false
	}
	addr, err := netip.ParseAddr(got)
	return err == nil && net.Contains(addr.Unmap())
}

// arnMatch compares the six parts of an ARN one by one: a wildcard does not
// cross a colon, except in the last part, the resource. A lone * fits every
// ARN.
func arnMatch(want pattern, got string) bool {
	if want.isStar() {
		return true
	}
	rest := want
	for range 5 {
		var head pattern
		var ok bool
		if head, rest, ok = rest.cutColon(); !ok {
			return false
		}
		part, tail, ok := strings.Cut(got, ":")
		if !ok || !head.match(part) {
			return false
		}
		got = tail
	}
	return rest.match(got)
}

// cutColon cuts a pattern at its first literal colon.
func (p pattern) cutColon() (before, after pattern, ok bool) {
	for i, e := range p {
		if e.kind != elemLiteral {
			continue
		}
		j := strings.IndexByte(e.text, ':')
		if j < 0 {
			continue
		}
		before = append(before, p[:i]...)
		if j > 0 {
			before = append(before, elem{text: e.text[:j]})
		}
		if j+1 < len(e.text) {
			after = append(after, elem{text: e.text[j+1:]})
		}
		return before, append(after, p[i+1:]...), true
	}
	return nil, nil, false
}
