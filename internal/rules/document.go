package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-iot/berth/internal/plainjson"
	"github.com/berth-iot/berth/iotsql"
)

// document is the JSON of an action whose strings are substitution templates.
type document struct {
	parts  []part
	source string   // of the templates, in small letters
	called []string // functions of the templates
}

// part is text as it is, or a template that becomes a JSON string.
type part struct {
	text     []byte
	template *iotsql.Template
}

// parseDocument reads the fields of an action. roleArn takes no templates (developer guide,
// "Substitution templates").
func parseDocument(q *iotsql.Query, b []byte) (*document, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	d := new(document)
	return d, d.add(q, "", v)
}

func (d *document) literal(text string) {
	if n := len(d.parts); n > 0 && d.parts[n-1].template == nil {
		d.parts[n-1].text = append(d.parts[n-1].text, text...)
		return
	}
	d.parts = append(d.parts, part{text: []byte(text)})
}

func (d *document) add(q *iotsql.Query, key string, v any) error {
	switch v := v.(type) {
	case map[string]any:
		before := "{"
		for _, name := range slices.Sorted(maps.Keys(v)) {
			label, err := plainjson.Marshal(name)
			if err != nil {
				return err
			}
			d.literal(before + string(label) + ":")
			before = ","
			if err := d.add(q, name, v[name]); err != nil {
				return err
			}
		}
		if len(v) == 0 {
			d.literal("{")
		}
		d.literal("}")
		return nil
	case []any:
		d.literal("[")
		for i := range v {
			if i > 0 {
				d.literal(",")
			}
			if err := d.add(q, key, v[i]); err != nil {
				return err
			}
		}
		d.literal("]")
		return nil
	case string:
		if key != "roleArn" && strings.Contains(v, "${") {
			t, err := q.Template(v)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			d.parts = append(d.parts, part{template: t})
			d.source += strings.ToLower(v)
			d.called = append(d.called, t.Functions()...)
			return nil
		}
	}
	text, err := plainjson.Marshal(v)
	if err != nil {
		return err
	}
	d.literal(string(text))
	return nil
}

// fill returns the JSON with the templates filled in for a message.
func (d *document) fill(m *iotsql.Message) ([]byte, error) {
	var out, text []byte
	for _, p := range d.parts {
		if p.template == nil {
			out = append(out, p.text...)
			continue
		}
		var err error
		if text, err = p.template.Eval(m, text[:0]); err != nil {
			return nil, err
		}
		quoted, err := plainjson.Marshal(string(text))
		if err != nil {
			return nil, err
		}
		out = append(out, bytes.TrimSpace(quoted)...)
	}
	return out, nil
}
