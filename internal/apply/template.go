// Package apply brings a server to the state that a template describes: a template of AWS
// CloudFormation with resources of AWS::IoT, which works here unchanged, applied again and again
// (AWS CloudFormation user guide, "AWS IoT resource type reference").
package apply

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Bounds of a template, CloudFormation's own (AWS CloudFormation quotas).
const (
	maxTemplate  = 1 << 20 // bytes
	maxResources = 500
	maxDepth     = 100
)

// ErrTemplate is wrapped by all errors about what a template says.
var ErrTemplate = errors.New("template")

func bad(where, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrTemplate, where, fmt.Sprintf(format, args...))
}

// Template is a parsed template. Values are those of JSON; intrinsic functions are maps with one key,
// as in the long form.
type Template struct {
	parameters map[string]any
	mappings   map[string]any
	conditions map[string]any
	resources  map[string]*resource
	order      []string // of resources, each after those that it refers to
	dir        string   // that !File is relative to
}

type resource struct {
	name       string // logical
	kind       string
	properties map[string]any
	condition  string
	after      []string
}

// Parse reads a template in YAML or JSON. Files that it names with !File are relative to dir.
func Parse(b []byte, dir string) (*Template, error) {
	if len(b) > maxTemplate {
		return nil, bad("file", "%d bytes are more than %d", len(b), maxTemplate)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrTemplate, err)
	}
	if len(doc.Content) != 1 {
		return nil, bad("file", "it is empty")
	}
	v, err := value(doc.Content[0], 0)
	if err != nil {
		return nil, err
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, bad("file", "it is no mapping")
	}
	t := &Template{resources: make(map[string]*resource), dir: dir}
	for section, into := range map[string]*map[string]any{"Parameters": &t.parameters, "Mappings": &t.mappings, "Conditions": &t.conditions} {
		if *into, err = mapping(section, root[section]); err != nil {
			return nil, err
		}
	}
	list, err := mapping("Resources", root["Resources"])
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, bad("Resources", "there are none; a template has a section Resources with, for example, a resource of Type AWS::IoT::Policy")
	}
	if len(list) > maxResources {
		return nil, bad("Resources", "%d are more than %d", len(list), maxResources)
	}
	for name, v := range list {
		if t.resources[name], err = readResource(name, v); err != nil {
			return nil, err
		}
	}
	return t, t.sort()
}

func readResource(name string, v any) (*resource, error) {
	m, err := mapping(name, v)
	if err != nil {
		return nil, err
	}
	r := &resource{name: name}
	r.kind, _ = m["Type"].(string)
	if r.kind == "" {
		return nil, bad(name, "it has no Type")
	}
	if r.properties, err = mapping(name+".Properties", m["Properties"]); err != nil {
		return nil, err
	}
	r.condition, _ = m["Condition"].(string)
	switch after := m["DependsOn"].(type) {
	case nil:
	case string:
		r.after = []string{after}
	case []any:
		for _, a := range after {
			s, ok := a.(string)
			if !ok {
				return nil, bad(name, "DependsOn names resources")
			}
			r.after = append(r.after, s)
		}
	default:
		return nil, bad(name, "DependsOn names resources")
	}
	return r, nil
}

func mapping(where string, v any) (map[string]any, error) {
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, bad(where, "it is no mapping")
	}
	return m, nil
}

// value turns YAML into values of JSON, and short forms of functions into long ones.
func value(n *yaml.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, bad("file", "it is nested more than %d deep", maxDepth)
	}
	var v any
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				return nil, bad(fmt.Sprintf("line %d", key.Line), "a key is no text")
			}
			if _, twice := m[key.Value]; twice {
				return nil, bad(fmt.Sprintf("line %d", key.Line), "%s is there twice", key.Value)
			}
			var err error
			if m[key.Value], err = value(n.Content[i+1], depth+1); err != nil {
				return nil, err
			}
		}
		v = m
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			item, err := value(c, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		v = list
	case yaml.AliasNode:
		return nil, bad(fmt.Sprintf("line %d", n.Line), "aliases are not taken")
	default:
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			v = n.Value
			break
		}
		switch n.Tag {
		case "!!timestamp", "!!str": // 2012-10-17 is a policy version
			v = n.Value
		default:
			if err := n.Decode(&v); err != nil {
				return nil, bad(fmt.Sprintf("line %d", n.Line), "%v", err)
			}
		}
	}
	tag := strings.TrimPrefix(n.Tag, "!")
	if !strings.HasPrefix(n.Tag, "!") || strings.HasPrefix(n.Tag, "!!") || tag == "" {
		return v, nil
	}
	switch tag {
	case "Ref", "Condition":
	case "GetAtt":
		if s, ok := v.(string); ok {
			name, attribute, _ := strings.Cut(s, ".")
			v = []any{name, attribute}
		}
		tag = "Fn::GetAtt"
	default:
		tag = "Fn::" + tag
	}
	return map[string]any{tag: v}, nil
}

// sort orders the resources: each after those that it needs.
func (t *Template) sort() error {
	const entered, done = 1, 2
	state := make(map[string]int)
	var visit func(name, from string) error
	visit = func(name, from string) error {
		r, ok := t.resources[name]
		switch {
		case !ok:
			return bad(from, "there is no resource %s", name)
		case state[name] == done:
			return nil
		case state[name] == entered:
			return bad(name, "it needs itself")
		}
		state[name] = entered
		needs := make(map[string]bool)
		for _, a := range r.after {
			needs[a] = true
		}
		t.references(r.properties, needs)
		for _, n := range slices.Sorted(maps.Keys(needs)) {
			if err := visit(n, name); err != nil {
				return err
			}
		}
		state[name] = done
		t.order = append(t.order, name)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(t.resources)) {
		if err := visit(name, name); err != nil {
			return err
		}
	}
	return nil
}

// references collects the resources that a value refers to.
func (t *Template) references(v any, into map[string]bool) {
	add := func(name string) {
		if _, ok := t.resources[name]; ok {
			into[name] = true
		}
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			t.references(item, into)
		}
	case map[string]any:
		for key, item := range v {
			switch s, text := item.(string); {
			case key == "Ref" && text:
				add(s)
			case key == "Fn::Sub":
				if list, ok := item.([]any); ok && len(list) > 0 {
					s, _ = list[0].(string)
				}
				for _, name := range placeholders(s) {
					base, _, _ := strings.Cut(name, ".")
					add(base)
				}
			case key == "Fn::GetAtt":
				if list, ok := item.([]any); ok && len(list) > 0 {
					if name, ok := list[0].(string); ok {
						add(name)
					}
				}
			}
			t.references(item, into)
		}
	}
}

// file reads a file that a template names.
func (t *Template) file(name string) (string, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(t.dir, name)
	}
	b, err := os.ReadFile(name)
	return string(b), err
}
