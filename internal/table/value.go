package table

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what a value is.
type Kind uint8

// The kinds are bits, so that a set of them fits a byte.
const (
	KindNumber Kind = 1 << iota
	KindString
	KindBool
	KindJSON
)

// Names lists the kinds of a set: "number", "string", "bool", "json".
func (k Kind) Names() []string {
	var out []string
	for i, name := range []string{"number", "string", "bool", "json"} {
		if k&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// Value is one value of a measure. Values can be compared with ==.
type Value struct {
	kind   Kind
	number float64 // 0 or 1 for a bool
	text   string
}

// Number, String, Bool and JSON make values. A number must be finite, JSON must be valid.
func Number(v float64) Value { return Value{kind: KindNumber, number: v} }
func String(v string) Value  { return Value{kind: KindString, text: v} }
func JSON(raw string) Value  { return Value{kind: KindJSON, text: raw} }
func Bool(v bool) Value {
	if v {
		return Value{kind: KindBool, number: 1}
	}
	return Value{kind: KindBool}
}

// Kind returns the kind, 0 for the zero Value.
func (v Value) Kind() Kind { return v.kind }

// Float returns a number, or 0 and 1 for a bool; ok is false for other kinds.
func (v Value) Float() (f float64, ok bool) { return v.number, v.kind&(KindNumber|KindBool) != 0 }

// String is the value as people write it: strings without quotes, anything else as JSON.
func (v Value) String() string {
	switch v.kind {
	case KindNumber:
		return strconv.FormatFloat(v.number, 'g', -1, 64)
	case KindBool:
		return strconv.FormatBool(v.number != 0)
	}
	return v.text
}

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case KindNumber:
		return json.Marshal(v.number)
	case KindBool, KindJSON:
		return []byte(v.String()), nil
	case KindString:
		return json.Marshal(v.text)
	}
	return []byte("null"), nil
}

// UnmarshalJSON implements json.Unmarshaler: objects and arrays become JSON, null the zero Value.
// Numbers are IEEE 754 doubles; one that is too large for them is an error.
func (v *Value) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return invalid("a value is empty")
	}
	switch b[0] {
	case 'n':
		*v = Value{}
	case 't', 'f':
		*v = Bool(b[0] == 't')
	case '"':
		*v = Value{kind: KindString}
		return json.Unmarshal(b, &v.text)
	case '{', '[':
		var out bytes.Buffer
		if err := json.Compact(&out, b); err != nil {
			return err
		}
		*v = JSON(out.String())
	default:
		*v = Value{kind: KindNumber}
		return json.Unmarshal(b, &v.number)
	}
	return nil
}

// ValueOf makes a value of what encoding/json decodes into an any, or of any Go number; ok is false
// for nil, which is no reading.
func ValueOf(x any) (v Value, ok bool, err error) {
	switch x := x.(type) {
	case nil:
		return Value{}, false, nil
	case Value:
		return x, x.kind != 0, nil
	case bool:
		return Bool(x), true, nil
	case string:
		return String(x), true, nil
	case float64:
		return Number(x), true, nil
	}
	b, err := json.Marshal(x)
	if err != nil {
		return Value{}, false, invalid("value: %v", err)
	}
	err = v.UnmarshalJSON(b)
	return v, v.kind != 0, err
}

func (v Value) check() error {
	switch {
	case v.kind == KindNumber && (math.IsNaN(v.number) || math.IsInf(v.number, 0)):
		return invalid("the number is not finite")
	case v.kind == KindString && !utf8.ValidString(v.text):
		return invalid("the string is not UTF-8")
	case v.kind == KindJSON && !json.Valid([]byte(v.text)):
		return invalid("the value is not JSON")
	}
	return nil
}

// Measure is a name with a value.
type Measure struct {
	Name  string
	Value Value
}

// Measures are a JSON object. A name that comes twice has the value that came last; null is no
// reading and left out.
type Measures []Measure

// MarshalJSON implements json.Marshaler.
func (m Measures) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, e := range m {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := json.Marshal(e.Name)
		if err != nil {
			return nil, err
		}
		value, err := e.Value.MarshalJSON()
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Measures) UnmarshalJSON(b []byte) error {
	*m = (*m)[:0]
	dec := json.NewDecoder(bytes.NewReader(b))
	open, err := dec.Token()
	if err != nil {
		return err
	}
	if open == nil {
		return nil
	}
	if open != json.Delim('{') {
		return invalid("measures are not a JSON object")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var v Value
		if err := dec.Decode(&v); err != nil {
			return fmt.Errorf("measure %q: %w", name, err)
		}
		if v.kind != 0 {
			*m = append(*m, Measure{name.(string), v})
		}
	}
	_, err = dec.Token()
	return err
}

// Get returns the value of a name.
func (m Measures) Get(name string) (Value, bool) {
	for i := len(m) - 1; i >= 0; i-- {
		if m[i].Name == name {
			return m[i].Value, true
		}
	}
	return Value{}, false
}

// Row is what one thing measured at one time.
//
// A row with an ID is written once: another with the same table, thing, time and ID is taken for the
// same one delivered again and left out, which makes at-least-once delivery exact. Rows without ID
// are all kept.
type Row struct {
	Time     int64    `json:"time"`  // milliseconds since 1970; 0 for now
	Thing    string   `json:"thing"` // up to 256 bytes; may be empty
	ID       string   `json:"id,omitempty"`
	Measures Measures `json:"measures"` // at least one
}

// UnmarshalJSON implements json.Unmarshaler: the time is a number of milliseconds or RFC 3339.
func (r *Row) UnmarshalJSON(b []byte) error {
	type plain Row
	in := struct {
		*plain
		Time json.RawMessage `json:"time"`
	}{plain: (*plain)(r)}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	r.Time = 0
	if len(in.Time) == 0 || string(in.Time) == "null" {
		return nil
	}
	text := string(in.Time)
	if text[0] == '"' {
		if err := json.Unmarshal(in.Time, &text); err != nil {
			return err
		}
	}
	var err error
	r.Time, err = ParseTime(text)
	return err
}

// ParseTime reads milliseconds since 1970 (a fraction is cut off) or a time of RFC 3339.
func ParseTime(s string) (int64, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return checkTime(ms, s)
	}
	if ms, err := strconv.ParseFloat(s, 64); err == nil && ms >= 0 && ms <= MaxTime {
		return int64(ms), nil
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, invalid("time %q is neither milliseconds since 1970 nor like 2026-01-31T12:00:00Z", s)
	}
	return checkTime(at.UnixMilli(), s)
}

func checkTime(ms int64, s string) (int64, error) {
	if ms < 0 || ms > MaxTime {
		return 0, invalid("time %s is not between the years 1970 and 9999", s)
	}
	return ms, nil
}

// check validates a row and returns the memory it takes.
func (r *Row) check() (cost int, err error) {
	if _, err := checkTime(r.Time, strconv.FormatInt(r.Time, 10)); err != nil {
		return 0, err
	}
	for what, name := range map[string]string{"thing": r.Thing, "id": r.ID} {
		if len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
			return 0, invalid("%s %.40q is not UTF-8 of at most %d bytes without U+0000", what, name, MaxName)
		}
	}
	if len(r.Measures) == 0 {
		return 0, invalid("the row of %q has no measures", r.Thing)
	}
	cost = 96 + len(r.Thing) + len(r.ID)
	values := 0
	for _, m := range r.Measures {
		if m.Name == "" || len(m.Name) > MaxName || !utf8.ValidString(m.Name) || strings.ContainsRune(m.Name, 0) {
			return 0, invalid("measure %.40q is not UTF-8 of 1 to %d bytes without U+0000", m.Name, MaxName)
		}
		if m.Value.kind == 0 {
			return 0, invalid("measure %q has no value", m.Name)
		}
		if err := m.Value.check(); err != nil {
			return 0, fmt.Errorf("measure %q: %w", m.Name, err)
		}
		cost += 56 + len(m.Name) + len(m.Value.text)
		values += 12 + len(m.Value.text)
	}
	if values > MaxRow {
		return 0, invalid("the row of %q has more than %d bytes", r.Thing, MaxRow)
	}
	return cost, nil
}
