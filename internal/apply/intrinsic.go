package apply

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Place is where the resources are.
type Place struct{ Partition, Region, Account string }

// scope evaluates intrinsic functions (AWS CloudFormation user guide, "Intrinsic function reference").
type scope struct {
	*Template
	Place
	parameters map[string]string
	// refs and arns are those of resources, once they are planned.
	refs, arns map[string]string
	given      map[string]any // variables of Fn::Sub
	deciding   map[string]bool
}

// noValue is what AWS::NoValue leaves out.
type noValue struct{}

func (s *scope) fail(where, format string, args ...any) error { return bad(where, format, args...) }

// eval evaluates everything in a value. where is for messages.
func (s *scope) eval(where string, v any) (any, error) {
	switch v := v.(type) {
	case []any:
		out := make([]any, 0, len(v))
		for i, item := range v {
			e, err := s.eval(fmt.Sprintf("%s[%d]", where, i), item)
			if err != nil {
				return nil, err
			}
			if _, none := e.(noValue); !none {
				out = append(out, e)
			}
		}
		return out, nil
	case map[string]any:
		if len(v) == 1 {
			for key, argument := range v {
				if key == "Ref" || strings.HasPrefix(key, "Fn::") {
					return s.call(where, key, argument)
				}
			}
		}
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			e, err := s.eval(where+"."+key, v[key])
			if err != nil {
				return nil, err
			}
			if _, none := e.(noValue); !none {
				out[key] = e
			}
		}
		return out, nil
	}
	return v, nil
}

func (s *scope) call(where, name string, argument any) (any, error) {
	if name == "Fn::If" {
		return s.choose(where, argument)
	}
	if name == "Fn::Sub" {
		return s.sub(where, argument)
	}
	v, err := s.eval(where, argument)
	if err != nil {
		return nil, err
	}
	list, _ := v.([]any)
	switch name {
	case "Ref":
		if text, ok := v.(string); ok {
			return s.ref(where, text)
		}
	case "Fn::GetAtt":
		if words, ok := texts(list); ok && len(words) == 2 {
			return s.attribute(where, words[0], words[1])
		}
	case "Fn::Join":
		if len(list) == 2 {
			by, ok := list[0].(string)
			parts, all := list[1].([]any)
			if words, text := texts(parts); ok && all && text {
				return strings.Join(words, by), nil
			}
		}
	case "Fn::Split":
		if words, ok := texts(list); ok && len(words) == 2 && words[0] != "" {
			var out []any
			for part := range strings.SplitSeq(words[1], words[0]) {
				out = append(out, part)
			}
			return out, nil
		}
	case "Fn::Select":
		if len(list) == 2 {
			i, err := strconv.Atoi(fmt.Sprint(list[0]))
			from, ok := list[1].([]any)
			if err == nil && ok && i >= 0 && i < len(from) {
				return from[i], nil
			}
		}
	case "Fn::Base64":
		if text, ok := v.(string); ok {
			return base64.StdEncoding.EncodeToString([]byte(text)), nil
		}
	case "Fn::FindInMap":
		if words, ok := texts(list); ok && len(words) == 3 {
			first, _ := s.mappings[words[0]].(map[string]any)
			second, _ := first[words[1]].(map[string]any)
			if found, ok := second[words[2]]; ok {
				return found, nil
			}
			return nil, s.fail(where, "the mapping %s has no %s, %s", words[0], words[1], words[2])
		}
	case "Fn::File":
		if text, ok := v.(string); ok {
			content, err := s.file(text)
			if err != nil {
				return nil, s.fail(where, "%v", err)
			}
			return content, nil
		}
	default:
		return nil, s.fail(where, "%s is not known here: use Ref, Sub, GetAtt, Join, Split, Select, If, FindInMap, Base64 or File", name)
	}
	return nil, s.fail(where, "%s does not take these arguments", name)
}

func texts(list []any) ([]string, bool) {
	out := make([]string, 0, len(list))
	for _, item := range list {
		switch item := item.(type) {
		case string:
			out = append(out, item)
		case int, int64, float64, bool:
			out = append(out, fmt.Sprint(item))
		default:
			return nil, false
		}
	}
	return out, true
}

func (s *scope) ref(where, name string) (any, error) {
	if v, ok := s.given[name]; ok {
		return v, nil
	}
	switch name {
	case "AWS::Region":
		return s.Region, nil
	case "AWS::AccountId":
		return s.Account, nil
	case "AWS::Partition":
		return s.Partition, nil
	case "AWS::URLSuffix":
		return "amazonaws.com", nil
	case "AWS::StackName", "AWS::StackId":
		return "berth", nil
	case "AWS::NoValue":
		return noValue{}, nil
	}
	if v, ok := s.refs[name]; ok {
		return v, nil
	}
	if p, ok := s.Template.parameters[name]; ok {
		return s.parameter(name, p)
	}
	return nil, s.fail(where, "there is no resource or parameter %s", name)
}

func (s *scope) parameter(name string, declared any) (any, error) {
	m, _ := declared.(map[string]any)
	text, given := s.parameters[name]
	if !given {
		v, ok := m["Default"]
		if !ok {
			return nil, s.fail("Parameters."+name, "it has no value and no Default: give --parameter %s=…", name)
		}
		text = fmt.Sprint(v)
	}
	if allowed, ok := m["AllowedValues"].([]any); ok {
		if words, _ := texts(allowed); !slices.Contains(words, text) {
			return nil, s.fail("Parameters."+name, "%q is none of %s", text, strings.Join(words, ", "))
		}
	}
	if kind, _ := m["Type"].(string); kind == "CommaDelimitedList" || strings.HasPrefix(kind, "List<") {
		var list []any
		for part := range strings.SplitSeq(text, ",") {
			list = append(list, strings.TrimSpace(part))
		}
		return list, nil
	}
	return text, nil
}

func (s *scope) attribute(where, name, attribute string) (any, error) {
	arn, ok := s.arns[name]
	if !ok {
		return nil, s.fail(where, "there is no resource %s", name)
	}
	if attribute == "Arn" || strings.HasSuffix(attribute, "Arn") {
		return arn, nil
	}
	if attribute == "Id" || attribute == "Name" {
		return s.refs[name], nil
	}
	return nil, s.fail(where, "the attribute %s of %s is not known here, Arn is", attribute, name)
}

// placeholders are the names in ${…} of a text for Fn::Sub. ${!…} is none, and neither are variables of
// policies and rules, such as ${iot:ClientId} and ${topic()}, which CloudFormation wants written with an
// exclamation mark: a name has letters, digits, colons of AWS:: and points only.
func placeholders(text string) (names []string) {
	for {
		_, after, found := strings.Cut(text, "${")
		if !found {
			return names
		}
		name, rest, closed := strings.Cut(after, "}")
		if !closed {
			return names
		}
		if isName(name) {
			names = append(names, name)
		}
		text = rest
	}
}

func isName(s string) bool {
	s = strings.TrimPrefix(s, "AWS::")
	if s == "" {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' {
			return false
		}
	}
	return true
}

func (s *scope) sub(where string, argument any) (any, error) {
	text, ok := argument.(string)
	inner := *s
	if list, isList := argument.([]any); isList && len(list) == 2 {
		text, ok = list[0].(string)
		given, err := s.eval(where, list[1])
		if err != nil {
			return nil, err
		}
		inner.given, _ = given.(map[string]any)
	}
	if !ok {
		return nil, s.fail(where, "Fn::Sub wants a text, or a text and its variables")
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, rest, closed := strings.Cut(after, "}")
		switch {
		case !closed:
			out.WriteString("${" + after)
			return out.String(), nil
		case strings.HasPrefix(name, "!"):
			out.WriteString("${" + name[1:] + "}")
		case !isName(name):
			out.WriteString("${" + name + "}")
		default:
			var v any
			var err error
			if base, attribute, dotted := strings.Cut(name, "."); dotted {
				v, err = inner.attribute(where, base, attribute)
			} else {
				v, err = inner.ref(where, name)
			}
			if err != nil {
				return nil, err
			}
			fmt.Fprint(&out, v)
		}
		text = rest
	}
}

func (s *scope) choose(where string, argument any) (any, error) {
	list, ok := argument.([]any)
	if !ok || len(list) != 3 {
		return nil, s.fail(where, "Fn::If wants a condition and two values")
	}
	name, _ := list[0].(string)
	yes, err := s.condition(name)
	if err != nil {
		return nil, err
	}
	if yes {
		return s.eval(where, list[1])
	}
	return s.eval(where, list[2])
}

func (s *scope) condition(name string) (bool, error) {
	c, ok := s.conditions[name]
	if !ok {
		return false, s.fail("Conditions", "there is no condition %s", name)
	}
	if s.deciding[name] {
		return false, s.fail("Conditions."+name, "it needs itself")
	}
	s.deciding[name] = true
	defer delete(s.deciding, name)
	return s.decide("Conditions."+name, c)
}

func (s *scope) decide(where string, v any) (bool, error) {
	m, _ := v.(map[string]any)
	for key, argument := range m {
		list, _ := argument.([]any)
		switch key {
		case "Condition":
			name, _ := argument.(string)
			return s.condition(name)
		case "Fn::Equals":
			if len(list) != 2 {
				break
			}
			a, err := s.eval(where, list[0])
			if err != nil {
				return false, err
			}
			b, err := s.eval(where, list[1])
			return err == nil && fmt.Sprint(a) == fmt.Sprint(b), err
		case "Fn::Not":
			if len(list) != 1 {
				break
			}
			yes, err := s.decide(where, list[0])
			return !yes, err
		case "Fn::And", "Fn::Or":
			for _, part := range list {
				yes, err := s.decide(where, part)
				if err != nil || yes == (key == "Fn::Or") {
					return yes, err
				}
			}
			return key == "Fn::And", nil
		}
	}
	return false, s.fail(where, "want Condition, Fn::Equals, Fn::Not, Fn::And or Fn::Or")
}
