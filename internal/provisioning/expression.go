package provisioning

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// value is what an expression comes to: a text or a list of texts.
type value struct {
	text   string
	list   []string
	isList bool
}

// scope is what expressions are evaluated in.
type scope struct {
	parameters map[string]string
	mappings   mappings
	steps      int // evaluations so far

	foreign  map[string]string // those of parameters that are a device's own words
	document bool              // a policy document is being made
}

// special are the characters that would make something else of a policy document: the end of a string of
// JSON, wildcards, the beginning of a policy variable. Policy variables do not take the latter either (AWS
// IoT developer guide, "X.509 Certificate policy variable limitations").
const special = `"\*?$+#`

// maxSteps bounds the evaluations of one expansion: names that stand for texts with names can
// double the work with every level.
const maxSteps = 20_000

func (s *scope) step() error {
	if s.steps++; s.steps > maxSteps {
		return refuse(ErrParameters, "the template takes more than %d steps", maxSteps)
	}
	return nil
}

// expression is a value that may depend on parameters. A nil expression is one that is absent.
type expression func(s *scope) (value, error)

func literal(v value) expression { return func(*scope) (value, error) { return v, nil } }

// scalar is the text of a JSON string, number or boolean.
func scalar(raw any) (string, bool) {
	switch v := raw.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// expression parses a text, a list, or a function, which is an object with one member.
func (t *Template) expression(raw any) (expression, error) {
	if s, ok := scalar(raw); ok {
		return literal(value{text: s}), nil
	}
	switch v := raw.(type) {
	case []any:
		return t.listOf(v)
	case map[string]any:
		if x, ok, err := t.function(v); ok {
			return x, err
		}
		return nil, refuse(ErrTemplate, "an object here must be one function: Ref, Fn::Join, Fn::Select, Fn::Split, Fn::Sub or Fn::FindInMap")
	}
	return nil, refuse(ErrTemplate, "null is not a value")
}

// listOf is a list whose items are texts; items that are lists are added as such.
func (t *Template) listOf(raw []any) (expression, error) {
	items, err := t.expressions(raw)
	if err != nil {
		return nil, err
	}
	return func(s *scope) (value, error) {
		out := value{isList: true, list: []string{}}
		for _, x := range items {
			v, err := x(s)
			if err != nil {
				return value{}, err
			}
			if v.isList {
				out.list = append(out.list, v.list...)
			} else {
				out.list = append(out.list, v.text)
			}
		}
		return out, nil
	}, nil
}

func (t *Template) expressions(raw []any) ([]expression, error) {
	out := make([]expression, len(raw))
	for i := range raw {
		var err error
		if out[i], err = t.expression(raw[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// function parses an object that is a function; ok is false for one that is none.
func (t *Template) function(object map[string]any) (x expression, ok bool, err error) {
	if len(object) != 1 {
		return nil, false, nil
	}
	for name, arg := range object {
		switch name {
		case "Ref":
			x, err = t.ref(arg)
		case "Fn::Join":
			x, err = t.join(arg)
		case "Fn::Select":
			x, err = t.selection(arg)
		case "Fn::Split":
			x, err = t.split(arg)
		case "Fn::Sub":
			x, err = t.sub(arg)
		case "Fn::FindInMap":
			x, err = t.findInMap(arg)
		default:
			if strings.HasPrefix(name, "Fn::") {
				return nil, true, refuse(ErrTemplate, "function %s is not known", name)
			}
			return nil, false, nil
		}
		if err != nil {
			return nil, true, fmt.Errorf("%s: %w", name, err)
		}
	}
	return x, true, nil
}

// known refuses parameters that nobody can give.
func (t *Template) known(name string) error {
	if _, ok := t.parameters[name]; !ok && !strings.HasPrefix(name, certificateParameters) {
		return refuse(ErrTemplate, "parameter %q is not declared", name)
	}
	return nil
}

func (s *scope) parameter(name string) (value, error) {
	v, ok := s.parameters[name]
	if !ok {
		return value{}, refuse(ErrParameters, "parameter %q is missing", name)
	}
	if _, foreign := s.foreign[name]; foreign && s.document &&
		strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || strings.ContainsRune(special, r) }) {
		return value{}, refuse(ErrParameters, "parameter %q goes into a policy document and holds one of %s or a control character", name, special)
	}
	return value{text: v}, nil
}

func (t *Template) ref(arg any) (expression, error) {
	name, ok := arg.(string)
	if !ok {
		return nil, refuse(ErrTemplate, "the name of a parameter is needed")
	}
	if err := t.known(name); err != nil {
		return nil, err
	}
	return func(s *scope) (value, error) { return s.parameter(name) }, nil
}

// arguments parses a list of n arguments.
func (t *Template) arguments(arg any, n int, what string) ([]expression, error) {
	list, ok := arg.([]any)
	if !ok || len(list) != n {
		return nil, refuse(ErrTemplate, "wants [%s]", what)
	}
	return t.expressions(list)
}

func (x expression) textIn(s *scope) (string, error) {
	if err := s.step(); err != nil {
		return "", err
	}
	v, err := x(s)
	if err == nil && v.isList {
		err = refuse(ErrParameters, "a list stands where a text is needed")
	}
	return v.text, err
}

func (x expression) listIn(s *scope) ([]string, error) {
	if err := s.step(); err != nil {
		return nil, err
	}
	v, err := x(s)
	if err == nil && !v.isList {
		err = refuse(ErrParameters, "a text stands where a list is needed")
	}
	return v.list, err
}

// maxText bounds what an expression comes to: functions within functions could grow without end.
const maxText = 64 << 10

func bounded(v value) (value, error) {
	n := len(v.text)
	for _, s := range v.list {
		n += len(s) + 1
	}
	if n > maxText {
		return value{}, refuse(ErrParameters, "an expression comes to more than %d bytes", maxText)
	}
	return v, nil
}

func (t *Template) join(arg any) (expression, error) {
	a, err := t.arguments(arg, 2, "delimiter, list")
	if err != nil {
		return nil, err
	}
	return func(s *scope) (value, error) {
		delimiter, err := a[0].textIn(s)
		if err != nil {
			return value{}, err
		}
		list, err := a[1].listIn(s)
		if err != nil {
			return value{}, err
		}
		if len(delimiter)*len(list) > maxText {
			return value{}, refuse(ErrParameters, "an expression comes to more than %d bytes", maxText)
		}
		return bounded(value{text: strings.Join(list, delimiter)})
	}, nil
}

func (t *Template) selection(arg any) (expression, error) {
	a, err := t.arguments(arg, 2, "index, list")
	if err != nil {
		return nil, err
	}
	return func(s *scope) (value, error) {
		text, err := a[0].textIn(s)
		if err != nil {
			return value{}, err
		}
		list, err := a[1].listIn(s)
		if err != nil {
			return value{}, err
		}
		i, err := strconv.Atoi(text)
		if err != nil || i < 0 || i >= len(list) {
			return value{}, refuse(ErrParameters, "Fn::Select: index %q is not in a list of %d", text, len(list))
		}
		return value{text: list[i]}, nil
	}, nil
}

func (t *Template) split(arg any) (expression, error) {
	a, err := t.arguments(arg, 2, "delimiter, text")
	if err != nil {
		return nil, err
	}
	return func(s *scope) (value, error) {
		delimiter, err := a[0].textIn(s)
		if err != nil {
			return value{}, err
		}
		text, err := a[1].textIn(s)
		if err != nil {
			return value{}, err
		}
		if delimiter == "" {
			return value{}, refuse(ErrParameters, "Fn::Split: the delimiter is empty")
		}
		return bounded(value{isList: true, list: strings.Split(text, delimiter)})
	}, nil
}

func (t *Template) findInMap(arg any) (expression, error) {
	a, err := t.arguments(arg, 3, "map name, first key, second key")
	if err != nil {
		return nil, err
	}
	return func(s *scope) (value, error) {
		var keys [3]string
		for i := range a {
			var err error
			if keys[i], err = a[i].textIn(s); err != nil {
				return value{}, err
			}
		}
		v, ok := s.mappings[keys[0]][keys[1]][keys[2]]
		if !ok {
			return value{}, refuse(ErrParameters, "Fn::FindInMap: mapping %q has no %q %q", keys[0], keys[1], keys[2])
		}
		return v, nil
	}, nil
}

// sub is Fn::Sub: a text with ${NAME}, or a list of the text and an object of further names. ${!X}
// stands for ${X}. Policy variables such as ${iot:ClientId} stay as they are.
func (t *Template) sub(arg any) (expression, error) {
	text, ok := arg.(string)
	names := map[string]expression{}
	if list, isList := arg.([]any); isList && len(list) == 2 {
		var object map[string]any
		if text, ok = list[0].(string); ok {
			object, ok = list[1].(map[string]any)
		}
		if ok {
			var err error
			if names, err = t.flat(object); err != nil {
				return nil, err
			}
		}
	}
	if !ok {
		return nil, refuse(ErrTemplate, "wants a text, or [text, {name: value}]")
	}
	parts, err := t.parts(text, names)
	if err != nil {
		return nil, err
	}
	return func(s *scope) (value, error) {
		var b strings.Builder
		for _, x := range parts {
			text, err := x.textIn(s)
			if err != nil {
				return value{}, err
			}
			if b.WriteString(text); b.Len() > maxText {
				break
			}
		}
		return bounded(value{text: b.String()})
	}, nil
}

func (t *Template) parts(text string, names map[string]expression) ([]expression, error) {
	var parts []expression
	for {
		before, after, found := strings.Cut(text, "${")
		parts = append(parts, literal(value{text: before}))
		if !found {
			return parts, nil
		}
		name, rest, closed := strings.Cut(after, "}")
		if !closed {
			return nil, refuse(ErrTemplate, "${%s is not closed", after)
		}
		text = rest
		if escaped, ok := strings.CutPrefix(name, "!"); ok {
			parts = append(parts, literal(value{text: "${" + escaped + "}"}))
			continue
		}
		if x, ok := names[name]; ok {
			parts = append(parts, x)
			continue
		}
		if strings.HasPrefix(name, "iot:") {
			parts = append(parts, literal(value{text: "${" + name + "}"}))
			continue
		}
		if err := t.known(name); err != nil {
			return nil, err
		}
		parts = append(parts, func(s *scope) (value, error) { return s.parameter(name) })
	}
}

// document parses a policy document: a text, a function, or an object with functions anywhere
// inside. It comes to the document's text.
func (t *Template) document(raw any) (expression, error) {
	object, ok := raw.(map[string]any)
	if !ok {
		return t.expression(raw)
	}
	if x, ok, err := t.function(object); ok {
		return x, err
	}
	build, err := t.tree(object)
	if err != nil {
		return nil, err
	}
	return func(s *scope) (value, error) {
		v, err := build(s)
		if err != nil {
			return value{}, err
		}
		b, err := json.Marshal(v)
		return value{text: string(b)}, err
	}, nil
}

// tree is a JSON value with functions inside.
func (t *Template) tree(raw any) (func(s *scope) (any, error), error) {
	switch v := raw.(type) {
	case map[string]any:
		if x, ok, err := t.function(v); ok {
			return func(s *scope) (any, error) {
				v, err := x(s)
				if v.isList {
					return v.list, err
				}
				return v.text, err
			}, err
		}
		members := make(map[string]func(*scope) (any, error), len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			var err error
			if members[name], err = t.tree(v[name]); err != nil {
				return nil, err
			}
		}
		return func(s *scope) (any, error) {
			out := make(map[string]any, len(members))
			for _, name := range slices.Sorted(maps.Keys(members)) {
				var err error
				if out[name], err = members[name](s); err != nil {
					return nil, err
				}
			}
			return out, nil
		}, nil
	case []any:
		items := make([]func(*scope) (any, error), len(v))
		for i := range v {
			var err error
			if items[i], err = t.tree(v[i]); err != nil {
				return nil, err
			}
		}
		return func(s *scope) (any, error) {
			out := make([]any, len(items))
			for i := range items {
				var err error
				if out[i], err = items[i](s); err != nil {
					return nil, err
				}
			}
			return out, nil
		}, nil
	}
	return func(*scope) (any, error) { return raw, nil }, nil
}
