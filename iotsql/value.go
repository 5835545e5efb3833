package iotsql

import (
	"math/big"
	"strings"
	"unicode/utf8"
)

// Kind is the type of a value (developer guide, "Data types").
type Kind uint8

// The types. Binary is a payload that is not JSON, as * gives it.
const (
	Undefined Kind = iota
	Null
	Boolean
	Int
	Decimal
	String
	Array
	Object
	Binary
)

var kindNames = [...]string{"Undefined", "Null", "Boolean", "Int", "Decimal", "String", "Array", "Object", "Binary"}

func (k Kind) String() string { return kindNames[k] }

// MarshalText writes the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// value is what an expression gives. Arrays and objects that come from JSON stay text until
// something looks inside.
type value struct {
	kind Kind
	// far is set for a number out of range: it can be passed on, but not computed with.
	far  bool
	exp  int32
	coef int64 // of a number, or 1 for true
	// str is a string's characters, the JSON text of an array or object, or the text that a number
	// came with.
	str string
	// ref is *big.Int for a big number, []value for a built array, []member for a built object.
	ref any
}

type member struct {
	key string
	val value
}

var (
	undefined = value{}
	null      = value{kind: Null}
)

func boolean(b bool) value {
	if b {
		return value{kind: Boolean, coef: 1}
	}
	return value{kind: Boolean}
}

func text(s string) value { return value{kind: String, str: s} }

func integer(i int64) value { return value{kind: Int, coef: i} }

func list(l []value) value { return value{kind: Array, ref: l} }

func object(m []member) value { return value{kind: Object, ref: m} }

// number makes a value of a result; not ok means out of range or not defined.
func number(kind Kind, n num, ok bool) value {
	if !ok {
		return undefined
	}
	if kind == Int && (n.exp != 0 || n.digits() > maxDigits) {
		kind = Decimal
		if i, ok := n.integer(towardsZero); ok && n.isWhole() && i.digits() <= maxDigits {
			kind, n = Int, i
		}
	}
	v := value{kind: kind, coef: n.coef, exp: n.exp}
	if n.big != nil {
		v.ref = n.big
	}
	return v
}

func double(f float64) value {
	n, ok := fromFloat(f)
	return number(Decimal, n, ok)
}

func (v value) num() num {
	n := num{coef: v.coef, exp: v.exp}
	if v.ref != nil {
		n.big, _ = v.ref.(*big.Int)
	}
	return n
}

func (v value) isNumber() bool { return v.kind == Int || v.kind == Decimal }

// fromJSON makes a value of checked JSON text without white space around it. With whole, numbers
// without fraction become Int however they are written, as from version 2016-03-23.
func fromJSON(s string, whole bool) value {
	if s == "" {
		return undefined
	}
	switch s[0] {
	case '{':
		return value{kind: Object, str: s}
	case '[':
		return value{kind: Array, str: s}
	case '"':
		return text(unescape(s[1 : len(s)-1]))
	case 't':
		return boolean(true)
	case 'f':
		return boolean(false)
	case 'n':
		return null
	}
	return numberFromText(s, whole)
}

func numberFromText(s string, whole bool) value {
	n, plain, ok := parseNum(s)
	v := value{kind: Decimal, str: s, far: !ok}
	if plain {
		v.kind = Int
	}
	if !ok {
		return v
	}
	if v.kind == Int && n.exp > 0 { // more than 34 digits
		if i, ok := n.integer(towardsZero); ok {
			n = i
		} else {
			v.kind = Decimal
		}
	}
	if whole && v.kind == Decimal && n.isWhole() {
		if i, ok := n.integer(towardsZero); ok {
			v.kind, v.str, n = Int, "", i
		}
	}
	v.coef, v.exp = n.coef, n.exp
	if n.big != nil {
		v.ref = n.big
	}
	return v
}

// toNumber converts to a number as operators and functions do. ok is false for anything but
// numbers and strings that look like one.
func (v value) toNumber() (value, bool) {
	switch v.kind {
	case Int, Decimal:
		return v, !v.far
	case String:
		if !numeric(v.str) {
			return undefined, false
		}
		n, _, ok := parseNum(v.str)
		return number(Decimal, n, ok), ok
	}
	return undefined, false
}

// numeric is the guide's pattern ^-?\d+(\.\d+)?((?i)E-?\d+)?$.
func numeric(s string) bool {
	i := 0
	digits := func() bool {
		start := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if !digits() {
		return false
	}
	if i < len(s) && s[i] == '.' {
		if i++; !digits() {
			return false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && s[i] == '-' {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(s)
}

// toInt converts to an integer in the given way of rounding; strings are truncated as the guide has
// it unless the way is down.
func (v value) toInt(mode rounding) (num, bool) {
	n, ok := v.toNumber()
	if !ok {
		return num{}, false
	}
	if v.kind == String && mode == halfAway {
		mode = towardsZero
	}
	return n.num().integer(mode)
}

// toBool converts to a Boolean: Booleans and the strings true and false in any case.
func (v value) toBool() (b, ok bool) {
	switch v.kind {
	case Boolean:
		return v.coef != 0, true
	case String:
		switch {
		case strings.EqualFold(v.str, "true"):
			return true, true
		case strings.EqualFold(v.str, "false"):
			return false, true
		}
	}
	return false, false
}

// toText converts to a string; Null and Undefined have none.
func (v value) toText() (string, bool) {
	switch v.kind {
	case Undefined, Null:
		return "", false
	case String:
		return v.str, true
	case Boolean:
		if v.coef != 0 {
			return "true", true
		}
		return "false", true
	case Binary:
		return strings.ToValidUTF8(v.str, "\ufffd"), true
	case Int, Decimal:
		if v.str != "" {
			return v.str, true
		}
	}
	var buf [64]byte
	return string(v.appendJSON(buf[:0], true, false)), true
}

// appendJSON writes the value; nothing for Undefined. compact takes the white space out of text
// that came with the payload; whole prints a computed 18.0 as 18.
func (v value) appendJSON(dst []byte, compact, whole bool) []byte {
	switch v.kind {
	case Null:
		return append(dst, "null"...)
	case Boolean:
		if v.coef != 0 {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case Int, Decimal:
		if v.str != "" {
			return append(dst, v.str...)
		}
		n := v.num()
		if whole && n.exp != 0 && n.isWhole() {
			if i, ok := n.integer(towardsZero); ok {
				n = i
			}
		}
		return n.append(dst)
	case String:
		return appendText(dst, v.str)
	case Binary:
		return appendText(dst, strings.ToValidUTF8(v.str, "\ufffd"))
	case Array:
		if v.ref == nil {
			return appendRaw(dst, v.str, compact)
		}
		dst = append(dst, '[')
		first := true
		for _, e := range v.ref.([]value) {
			if e.kind == Undefined {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = e.appendJSON(dst, compact, whole)
		}
		return append(dst, ']')
	case Object:
		if v.ref == nil {
			return appendRaw(dst, v.str, compact)
		}
		dst = append(dst, '{')
		first := true
		for _, m := range v.ref.([]member) {
			if m.val.kind == Undefined {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendText(dst, m.key), ':')
			dst = m.val.appendJSON(dst, compact, whole)
		}
		return append(dst, '}')
	}
	return dst
}

func appendRaw(dst []byte, s string, compact bool) []byte {
	if compact {
		return appendCompact(dst, s)
	}
	return append(dst, s...)
}

// get returns a member of an object.
func (v value) get(key string, whole bool) value {
	if v.kind != Object {
		return undefined
	}
	if v.ref == nil {
		raw, ok := lookup(v.str, key)
		if !ok {
			return undefined
		}
		return fromJSON(raw, whole)
	}
	for _, m := range v.ref.([]member) {
		if m.key == key {
			return m.val
		}
	}
	return undefined
}

// at returns an element of an array.
func (v value) at(i int64, whole bool) value {
	if v.kind != Array || i < 0 {
		return undefined
	}
	if v.ref != nil {
		if l := v.ref.([]value); i < int64(len(l)) {
			return l[i]
		}
		return undefined
	}
	found := undefined
	elements(v.str, func(raw string) bool {
		if i == 0 {
			found = fromJSON(raw, whole)
			return false
		}
		i--
		return true
	})
	return found
}

// each calls f with every element of an array.
func (v value) each(whole bool, f func(value)) {
	if v.kind != Array {
		return
	}
	if v.ref == nil {
		elements(v.str, func(raw string) bool { f(fromJSON(raw, whole)); return true })
		return
	}
	for _, e := range v.ref.([]value) {
		f(e)
	}
}

// list returns the elements of an array.
func (v value) list(whole bool) []value {
	if l, ok := v.ref.([]value); ok {
		return l
	}
	l := []value{}
	v.each(whole, func(e value) { l = append(l, e) })
	return l
}

// members returns those of an object, a duplicate key once, with its last value.
func (v value) members(whole bool) []member {
	if m, ok := v.ref.([]member); ok {
		return m
	}
	l := []member{}
	if v.kind != Object {
		return l
	}
	var at map[string]int // needed for large objects only
	members(v.str, func(key, raw string) bool {
		m := member{unescape(key), fromJSON(raw, whole)}
		if len(l) >= 16 {
			if at == nil {
				at = make(map[string]int, 32)
				for i := range l {
					at[l[i].key] = i
				}
			}
			if i, ok := at[m.key]; ok {
				l[i] = m
				return true
			}
			at[m.key] = len(l)
			l = append(l, m)
			return true
		}
		l = put(l, m)
		return true
	})
	return l
}

// put sets a member, in place if the key is there.
func put(l []member, m member) []member {
	for i := range l {
		if l[i].key == m.key {
			l[i] = m
			return l
		}
	}
	return append(l, m)
}

// merge returns a with the members of b put over it; neither changes.
func merge(a, b []member) []member {
	l := append(make([]member, 0, len(a)+len(b)), a...)
	if len(a) == 0 {
		return append(l, b...)
	}
	at := make(map[string]int, len(a))
	for i := range a {
		at[a[i].key] = i
	}
	for _, m := range b {
		if i, ok := at[m.key]; ok {
			l[i] = m
		} else {
			l = append(l, m)
		}
	}
	return l
}

// equal compares by value: numbers as numbers, arrays in order, objects without. Values of
// different types are not equal.
func equal(a, b value) bool {
	if a.isNumber() && b.isNumber() {
		if a.far || b.far {
			return a.far && b.far && a.str == b.str
		}
		return compare(a.num(), b.num()) == 0
	}
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case Boolean:
		return a.coef == b.coef
	case String, Binary:
		return a.str == b.str
	case Array:
		x, y := a.list(true), b.list(true)
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equal(x[i], y[i]) {
				return false
			}
		}
		return true
	case Object:
		x, y := a.members(true), b.members(true)
		if len(x) != len(y) {
			return false
		}
		other := make(map[string]value, len(y))
		for _, m := range y {
			other[m.key] = m.val
		}
		for _, m := range x {
			o, ok := other[m.key]
			if !ok || !equal(m.val, o) {
				return false
			}
		}
	}
	return true
}

// count is the number of characters.
func count(s string) int { return utf8.RuneCountInString(s) }
