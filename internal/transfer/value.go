package transfer

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

func str(o object, key string) string { s, _ := o[key].(string); return s }

func obj(o object, key string) object { m, _ := o[key].(object); return m }

func truth(o object, key string) bool { b, _ := o[key].(bool); return b }

// objects are the objects of a list.
func objects(o object, key string) []object {
	list, _ := o[key].([]any)
	out := make([]object, 0, len(list))
	for _, x := range list {
		if m, ok := x.(object); ok {
			out = append(out, m)
		}
	}
	return out
}

// strs are the strings of a list.
func strs(o object, key string) []string {
	list, _ := o[key].([]any)
	out := make([]string, 0, len(list))
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// list is the opposite of strs.
func list(texts []string) []any {
	out := make([]any, len(texts))
	for i, s := range texts {
		out[i] = s
	}
	return out
}

// pick takes fields over that are there and say something.
func pick(from object, keys ...string) object {
	out := make(object)
	for _, k := range keys {
		if v, ok := from[k]; ok && !empty(v) {
			out[k] = v
		}
	}
	return out
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case object:
		for _, x := range v {
			if !empty(x) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return false
}

// equal compares as JSON does, but fields that say nothing count as missing.
func equal(a, b object) bool { return reflect.DeepEqual(reduced(a), reduced(b)) }

func reduced(v any) any {
	switch v := v.(type) {
	case object:
		out := make(object)
		for k, x := range v {
			if !empty(x) {
				out[k] = reduced(x)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = reduced(x)
		}
		return out
	case json.Number:
		if f, err := v.Float64(); err == nil { // 1 and 1.0
			return f
		}
	}
	return v
}

// exactly compares as JSON does.
func exactly(a, b object) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// canonical is the text of a JSON document without blanks and order; of any other text, itself.
func canonical(text string) string {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return text
	}
	b, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(b)
}

// rewrite makes ARNs of one account those of another, in names and in every text of the values.
func rewrite(all map[string]object, from, to string) map[string]object {
	if from == to || from == "" || to == "" {
		return all
	}
	out := make(map[string]object, len(all))
	for name, o := range all {
		out[strings.ReplaceAll(name, from, to)] = renamed(o, from, to).(object)
	}
	return out
}

func renamed(v any, from, to string) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, from, to)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = renamed(x, from, to)
		}
		return out
	case object:
		out := make(object, len(v))
		for k, x := range v {
			out[strings.ReplaceAll(k, from, to)] = renamed(x, from, to)
		}
		return out
	}
	return v
}
