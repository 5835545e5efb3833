package commands

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/internal/plainjson"
)

// Placeholders of payload templates (AWS IoT developer guide, "Create a command resource").
const (
	placeholder        = "${aws:iot:commandexecution::"
	placeholderValue   = "parameter:"
	placeholderTimeout = "executionTimeoutSec"
)

// parseTemplate reads a payload template and returns the names of its parameters.
func parseTemplate(text string) (tree any, names map[string]bool, err error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, nil, invalid("payloadTemplate is not JSON: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, nil, invalid("payloadTemplate goes on after the JSON value")
	}
	names, found := make(map[string]bool), false
	_, err = substitute(tree, func(name string) (any, string, error) {
		found = true
		if name == placeholderTimeout {
			return nil, "", nil
		}
		p, ok := strings.CutPrefix(name, placeholderValue)
		if !ok || !parameterName.MatchString(p) {
			return nil, "", invalid("payloadTemplate: %s%s} is no placeholder for a parameter or the time-out", placeholder, name)
		}
		names[p] = true
		return nil, "", nil
	})
	if err == nil && !found {
		err = invalid("payloadTemplate has no placeholder")
	}
	return tree, names, err
}

// substitute returns a copy of a JSON tree with its placeholders replaced. A string that is one
// placeholder becomes the value; inside a longer string the value's text is put. Names of members stay
// as they are.
func substitute(tree any, value func(name string) (any, string, error)) (any, error) {
	switch t := tree.(type) {
	case map[string]any:
		out := make(map[string]any, len(t))
		for k, v := range t {
			var err error
			if out[k], err = substitute(v, value); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(t))
		for i, v := range t {
			var err error
			if out[i], err = substitute(v, value); err != nil {
				return nil, err
			}
		}
		return out, nil
	case string:
		return substituteString(t, value)
	}
	return tree, nil
}

func substituteString(s string, value func(name string) (any, string, error)) (any, error) {
	var b strings.Builder
	for rest := s; ; {
		before, after, ok := strings.Cut(rest, placeholder)
		if !ok {
			b.WriteString(rest)
			return b.String(), nil
		}
		name, after, ok := strings.Cut(after, "}")
		if !ok {
			return nil, invalid("payloadTemplate: a placeholder has no }")
		}
		v, text, err := value(name)
		if err != nil {
			return nil, err
		}
		if rest == s && before == "" && after == "" {
			return v, nil
		}
		b.WriteString(before)
		b.WriteString(text)
		rest = after
	}
}

// Payload returns the payload of an execution, its content type, and the values of all parameters: of
// the request, else the parameter's value, else its default. ErrInvalid for a value that is missing,
// of the wrong type or against a condition.
func (c *Command) Payload(parameters map[string]Value, timeoutSeconds int64) (payload []byte, contentType string, values map[string]Value, err error) {
	d := &c.Definition
	var tree any
	names := make(map[string]bool)
	if d.Template != "" {
		if tree, names, err = parseTemplate(d.Template); err != nil {
			return nil, "", nil, err
		}
	}
	values = make(map[string]Value)
	for i := range d.Parameters {
		p := &d.Parameters[i]
		names[p.Name] = true
		v, ok := parameters[p.Name]
		switch {
		case ok:
		case p.Value != nil:
			v = *p.Value
		case p.Default != nil:
			v = *p.Default
		default:
			return nil, "", nil, invalid("parameter %s is missing", p.Name)
		}
		if err := p.accept(&v); err != nil {
			return nil, "", nil, err
		}
		values[p.Name] = v
	}
	for name, v := range parameters {
		if !names[name] {
			return nil, "", nil, invalid("command %s has no parameter %s", c.ID, name)
		}
		if err := (&Parameter{Name: name}).accept(&v); err != nil {
			return nil, "", nil, err
		}
		values[name] = v
	}
	if d.Template == "" {
		if d.Payload == nil {
			return nil, "", nil, invalid("command %s has no payload", c.ID)
		}
		return d.Payload.Content, d.Payload.ContentType, values, nil
	}
	tree, err = substitute(tree, func(name string) (any, string, error) {
		if name == placeholderTimeout {
			return timeoutSeconds, strconv.FormatInt(timeoutSeconds, 10), nil
		}
		name = strings.TrimPrefix(name, placeholderValue)
		v, ok := values[name]
		if !ok {
			return nil, "", invalid("parameter %s is missing", name)
		}
		return v.plain(), v.text(), nil
	})
	if err != nil {
		return nil, "", nil, err
	}
	if d.Preprocessor.Substitution.OutputFormat == "CBOR" {
		payload, err = cbor.Marshal(numbers(tree))
		return payload, contentCBOR, values, err
	}
	payload, err = plainjson.Marshal(tree)
	return payload, contentJSON, values, err
}

// numbers makes numbers of the template what CBOR has for them: whole ones integers.
func numbers(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		for k, v := range t {
			t[k] = numbers(v)
		}
	case []any:
		for i, v := range t {
			t[i] = numbers(v)
		}
	case json.Number:
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return n
		}
		if n, err := strconv.ParseUint(t.String(), 10, 64); err == nil {
			return n
		}
		f, _ := t.Float64()
		return f
	}
	return tree
}
