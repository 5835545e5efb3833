package apply

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Change is a member of a resource that differs from what the template says.
type Change struct {
	Path   string `json:"path"`
	Before any    `json:"before,omitempty"` // nil where there is nothing yet
	After  any    `json:"after"`
}

func (c Change) String() string {
	return fmt.Sprintf("%s: %s → %s", c.Path, short(c.Before), short(c.After))
}

func short(v any) string {
	if v == nil {
		return "none"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if s := string(b); len(s) <= 120 {
		return s
	}
	return strings.ToValidUTF8(string(b[:117]), "") + "…"
}

// wholes are members that a template gives whole: what is not in them is not wanted.
var wholes = map[string]bool{"policyDocument": true, "templateBody": true, "attributes": true, "actions": true, "errorAction": true, "registrationConfig": true}

// compare lists where now differs from what is wanted. Members that are not wanted are left alone unless
// whole: the server knows more of a resource than a template says.
func compare(path string, now, wanted any, whole bool) []Change {
	if m, ok := wanted.(map[string]any); ok {
		has, _ := now.(map[string]any)
		keys := slices.Collect(maps.Keys(m))
		if whole {
			for key := range has {
				if _, ok := m[key]; !ok {
					keys = append(keys, key)
				}
			}
		}
		slices.Sort(keys)
		var out []Change
		for _, key := range keys {
			p := key
			if path != "" {
				p = path + "." + key
			}
			out = append(out, compare(p, has[key], m[key], whole || wholes[key])...)
		}
		return out
	}
	if list, ok := wanted.([]any); ok {
		if has, _ := now.([]any); len(has) == len(list) {
			var out []Change
			for i := range list {
				out = append(out, compare(fmt.Sprintf("%s[%d]", path, i), has[i], list[i], whole)...)
			}
			return out
		}
	}
	if same(now, wanted) {
		return nil
	}
	return []Change{{Path: path, Before: now, After: wanted}}
}

// same compares scalars as CloudFormation passes them on: 5 and "5", true and "true" are the same, and
// what is not there is empty.
func same(now, wanted any) bool {
	if reflect.DeepEqual(now, wanted) {
		return true
	}
	empty := func(v any) bool {
		switch v := v.(type) {
		case nil:
			return true
		case string:
			return v == ""
		case bool:
			return !v
		case []any:
			return len(v) == 0
		}
		return false
	}
	if empty(now) && empty(wanted) {
		return true
	}
	scalar := func(v any) bool {
		switch v.(type) {
		case string, bool, int, int64, float64, json.Number:
			return true
		}
		return false
	}
	return scalar(now) && scalar(wanted) && fmt.Sprint(now) == fmt.Sprint(wanted)
}

// document reads a JSON text, for comparing; another text stays as it is.
func document(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	var out any
	if json.Unmarshal([]byte(s), &out) != nil {
		return s
	}
	return out
}

// normal brings a value to the types of encoding/json.
func normal(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out any
	if json.Unmarshal(b, &out) != nil {
		return v
	}
	return out
}
