package commands

import (
	"encoding/base64"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Value is the value of a parameter: exactly one member is set.
type Value struct {
	S   *string  `json:"S,omitempty"`
	B   *bool    `json:"B,omitempty"`
	I   *int32   `json:"I,omitempty"`
	L   *int64   `json:"L,omitempty"`
	D   *float64 `json:"D,omitempty"`
	BIN []byte   `json:"BIN,omitempty"`
	UL  *string  `json:"UL,omitempty"` // 0 to 18446744073709551615 in decimal digits
}

// Types of parameters.
const (
	typeString       = "STRING"
	typeInteger      = "INTEGER"
	typeDouble       = "DOUBLE"
	typeLong         = "LONG"
	typeUnsignedLong = "UNSIGNEDLONG"
	typeBoolean      = "BOOLEAN"
	typeBinary       = "BINARY"
)

// kind returns the type of the one member that is set.
func (v *Value) kind() (string, error) {
	kind, n := "", 0
	for _, m := range []struct {
		kind string
		set  bool
	}{
		{typeString, v.S != nil}, {typeBoolean, v.B != nil}, {typeInteger, v.I != nil}, {typeLong, v.L != nil},
		{typeDouble, v.D != nil}, {typeBinary, v.BIN != nil}, {typeUnsignedLong, v.UL != nil},
	} {
		if m.set {
			kind = m.kind
			n++
		}
	}
	if n != 1 {
		return "", invalid("a parameter value has exactly one of S, B, I, L, D, BIN and UL, this one has %d", n)
	}
	if v.S != nil && *v.S == "" || v.BIN != nil && len(v.BIN) == 0 {
		return "", invalid("a parameter value of type %s is empty", kind)
	}
	if v.UL != nil {
		if _, err := strconv.ParseUint(*v.UL, 10, 64); err != nil {
			return "", invalid("%q is not an unsigned long", *v.UL)
		}
	}
	return kind, nil
}

// plain is the value as it is put into a payload.
func (v *Value) plain() any {
	switch {
	case v.S != nil:
		return *v.S
	case v.B != nil:
		return *v.B
	case v.I != nil:
		return int64(*v.I)
	case v.L != nil:
		return *v.L
	case v.D != nil:
		return *v.D
	case v.UL != nil:
		n, _ := strconv.ParseUint(*v.UL, 10, 64)
		return n
	}
	return v.BIN
}

// text is the value inside a longer string.
func (v *Value) text() string {
	switch p := v.plain().(type) {
	case string:
		return p
	case bool:
		return strconv.FormatBool(p)
	case int64:
		return strconv.FormatInt(p, 10)
	case uint64:
		return strconv.FormatUint(p, 10)
	case float64:
		return strconv.FormatFloat(p, 'g', -1, 64)
	case []byte:
		return base64.StdEncoding.EncodeToString(p)
	}
	return ""
}

// number is nil for a value that is none.
func (v *Value) number() *big.Rat {
	switch p := v.plain().(type) {
	case int64:
		return new(big.Rat).SetInt64(p)
	case uint64:
		return new(big.Rat).SetUint64(p)
	case float64:
		return new(big.Rat).SetFloat64(p)
	}
	return nil
}

// Operand is what a condition compares with. Numbers are in decimal notation.
type Operand struct {
	Number  string   `json:"number,omitempty"`
	Numbers []string `json:"numbers,omitempty"`
	String  string   `json:"string,omitempty"`
	Strings []string `json:"strings,omitempty"`
	Range   *Range   `json:"numberRange,omitempty"`
}

// Range is a range with both its ends.
type Range struct {
	Min string `json:"min"`
	Max string `json:"max"`
}

// Condition is what a value must satisfy. Booleans and binary values have none.
type Condition struct {
	Operator string  `json:"comparisonOperator"`
	Operand  Operand `json:"operand"`
}

// Parameter is a parameter that an execution of the command needs.
type Parameter struct {
	Name        string      `json:"name"`
	Type        string      `json:"type,omitempty"` // "" for that of the values, or any
	Value       *Value      `json:"value,omitempty"`
	Default     *Value      `json:"defaultValue,omitempty"`
	Conditions  []Condition `json:"valueConditions,omitempty"`
	Description string      `json:"description,omitempty"`
}

var parameterName = regexp.MustCompile(`^[.$a-zA-Z0-9_-]{1,192}$`)

// kind is the type that values must have, "" for any.
func (p *Parameter) kind() string {
	for _, v := range []*Value{p.Value, p.Default} {
		if v != nil && p.Type == "" {
			k, _ := v.kind()
			return k
		}
	}
	return p.Type
}

func (p *Parameter) check() error {
	if !parameterName.MatchString(p.Name) {
		return invalid("parameter name %q is not 1 to 192 of a-z, A-Z, 0-9, ., $, _ and -", p.Name)
	}
	types := []string{typeString, typeInteger, typeDouble, typeLong, typeUnsignedLong, typeBoolean, typeBinary}
	if p.Type != "" && !slices.Contains(types, p.Type) {
		return invalid("parameter %s: type %q is not one of %v", p.Name, p.Type, types)
	}
	if err := checkText("description of parameter "+p.Name, p.Description, maxDescription); err != nil {
		return err
	}
	for _, c := range p.Conditions {
		if err := c.check(p.Name, p.kind()); err != nil {
			return err
		}
	}
	for _, v := range []*Value{p.Value, p.Default} {
		if v != nil {
			if err := p.accept(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// accept returns what is wrong with a value for the parameter.
func (p *Parameter) accept(v *Value) error {
	kind, err := v.kind()
	if err != nil {
		return invalid("parameter %s: %v", p.Name, err)
	}
	if want := p.kind(); want != "" && kind != want {
		return invalid("parameter %s: the value is of type %s, not %s", p.Name, kind, want)
	}
	for _, c := range p.Conditions {
		if !c.holds(v) {
			return invalid("parameter %s: the value %q does not satisfy the condition %s", p.Name, v.text(), c.Operator)
		}
	}
	return nil
}

var decimal = regexp.MustCompile(`^[+-]?[0-9]{1,64}$`)

// parseNumber bounds what an exponent can cost.
func parseNumber(s string) *big.Rat {
	if decimal.MatchString(s) {
		r, _ := new(big.Rat).SetString(s)
		return r
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || len(s) > 64 {
		return nil
	}
	return new(big.Rat).SetFloat64(f) // nil for infinities
}

// maxOperands is the length of a set.
const maxOperands = 10

func (c *Condition) check(name, kind string) error {
	o := &c.Operand
	bad := func(need string) error {
		return invalid("parameter %s: the operator %s needs the operand %s", name, c.Operator, need)
	}
	if kind == typeBoolean || kind == typeBinary {
		return invalid("parameter %s: a parameter of type %s has no conditions", name, kind)
	}
	text := kind == typeString || kind == "" && (o.String != "" || o.Strings != nil)
	numbers := o.Numbers
	switch c.Operator {
	case "EQUALS", "NOT_EQUALS":
		if text {
			if o.String == "" {
				return bad("string")
			}
			return nil
		}
		numbers = []string{o.Number}
	case "IN_SET", "NOT_IN_SET":
		if text {
			if len(o.Strings) == 0 || len(o.Strings) > maxOperands {
				return bad("strings, 1 to 10")
			}
			return nil
		}
		if len(numbers) == 0 || len(numbers) > maxOperands {
			return bad("numbers, 1 to 10")
		}
	case "LESS_THAN", "LESS_THAN_EQUALS", "GREATER_THAN", "GREATER_THAN_EQUALS":
		numbers = []string{o.Number}
	case "IN_RANGE", "NOT_IN_RANGE":
		if o.Range == nil {
			return bad("numberRange")
		}
		numbers = []string{o.Range.Min, o.Range.Max}
	default:
		return invalid("parameter %s: there is no comparison operator %q", name, c.Operator)
	}
	if text {
		return invalid("parameter %s: the operator %s is for numbers", name, c.Operator)
	}
	for _, n := range numbers {
		if parseNumber(n) == nil {
			return bad("number, and " + strconv.Quote(n) + " is none")
		}
	}
	return nil
}

// holds is for conditions that have been checked.
func (c *Condition) holds(v *Value) bool {
	o := &c.Operand
	n := v.number()
	if n == nil {
		s := v.text()
		switch c.Operator {
		case "EQUALS":
			return s == o.String
		case "NOT_EQUALS":
			return s != o.String
		case "IN_SET":
			return slices.Contains(o.Strings, s)
		case "NOT_IN_SET":
			return !slices.Contains(o.Strings, s)
		}
		return false
	}
	compare := func(s string) int {
		if r := parseNumber(s); r != nil {
			return n.Cmp(r)
		}
		return 2 // unlike any number
	}
	equal := func(s string) bool { return compare(s) == 0 }
	within := func() bool { return compare(o.Range.Min) >= 0 && compare(o.Range.Max) <= 0 }
	switch c.Operator {
	case "EQUALS":
		return equal(o.Number)
	case "NOT_EQUALS":
		return !equal(o.Number)
	case "LESS_THAN":
		return compare(o.Number) < 0
	case "LESS_THAN_EQUALS":
		return compare(o.Number) <= 0
	case "GREATER_THAN":
		return compare(o.Number) == 1
	case "GREATER_THAN_EQUALS":
		return compare(o.Number) >= 0
	case "IN_SET":
		return slices.ContainsFunc(o.Numbers, equal)
	case "NOT_IN_SET":
		return !slices.ContainsFunc(o.Numbers, equal)
	case "IN_RANGE":
		return o.Range != nil && within()
	case "NOT_IN_RANGE":
		return o.Range != nil && !within()
	}
	return false
}

const (
	maxDescription = 2028
	maxDisplayName = 64
)

// checkText refuses control characters and what is longer than max characters.
func checkText(what, s string, max int) error {
	if n := utf8.RuneCountInString(s); n > max {
		return invalid("%s has %d characters, at most %d are allowed", what, n, max)
	}
	for _, c := range s {
		if unicode.Is(unicode.C, c) {
			return invalid("%s holds a control character", what)
		}
	}
	return nil
}
