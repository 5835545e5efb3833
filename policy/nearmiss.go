package policy

import (
	"fmt"
	"slices"
	"strings"
)

// maxNearMisses keeps a denial record short.
const maxNearMisses = 8

// nearMisses says which Allow statements come close and what is amiss. It is
// asked after an implicit denial only.
func (s *Set) nearMisses(a Action, kind Kind, name string) []string {
	var out []string
	add := func(m Match, format string, args ...any) {
		line := m.String() + " " + fmt.Sprintf(format, args...)
		if len(out) < maxNearMisses && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	spoken := false
	for _, p := range s.policies {
		for i := range p.Doc.Statements {
			st := &p.Doc.Statements[i]
			if st.Effect != Allow || int(a) >= numActions || !st.actions.has(a) {
				continue
			}
			spoken = true
			m := Match{Policy: p.Name, PolicyVersion: p.Version, Target: p.Target, Sid: st.Sid, Statement: i}
			s.nearConditions(st, a, kind, name, m, add)
			for j, t := range st.resources {
				if st.Resources != nil {
					s.nearResource(p.Doc, st.Resources[j], t, a, kind, name, m, add)
				}
			}
		}
	}
	if !spoken && len(s.policies) > 0 {
		line := fmt.Sprintf("no Allow statement names %v", a)
		switch {
		case a == RetainPublish && s.Allows(Publish, KindTopic, name):
			line += "; iot:Publish is allowed, a message with RETAIN needs iot:RetainPublish as well"
		case a == Receive:
			line += "; iot:Subscribe alone delivers nothing, messages need iot:Receive on topic/"
		case a == Connect:
			line += "; every device needs iot:Connect on client/ with its client identifier"
		}
		out = append(out, line)
	}
	return out
}

type addMiss func(m Match, format string, args ...any)

// nearConditions names the conditions that fail where the rest fits.
func (s *Set) nearConditions(st *Statement, a Action, kind Kind, name string, m Match, add addMiss) {
	if len(st.Conditions) == 0 {
		return
	}
	bare := *st
	bare.Conditions = nil
	if ok, _ := s.facts.matches(&bare, a, resourceText(s.facts.prefix, kind, name)); !ok {
		return
	}
	for i := range st.Conditions {
		c := &st.Conditions[i]
		if ok, _ := c.holds(s.facts); ok {
			continue
		}
		value := "has no value here"
		if vals, ok := s.facts.values(c.canonical); ok {
			value = fmt.Sprintf("is %q", strings.Join(vals, `", "`))
		}
		add(m, "would allow it, but its condition %s %s does not hold: the key %s", c.Operator, c.Key, value)
	}
}

// nearResource looks for the classic mistakes in one resource.
func (s *Set) nearResource(doc *Document, written string, t template, a Action, kind Kind, name string, m Match, add addMiss) {
	text := resourceText(s.facts.prefix, kind, name)
	p, missing, ok := t.resolve(s.facts)
	if !ok {
		if t.loose().match(text) {
			add(m, "would allow it with a value for ${%s}, but %s", missing, s.facts.why(missing))
		}
		return
	}
	if p.match(text) {
		return // a condition failed
	}
	if kind == KindAny {
		add(m, "names %s, but %v has no resource of its own: write Resource \"*\"", written, a)
		return
	}
	if doc.Version != VersionCurrent && strings.Contains(written, "${") {
		add(m, "has a variable, but variables need \"Version\": \"%s\" in the document", VersionCurrent)
		return
	}
	for k := KindTopic; k < numKinds; k++ {
		if k != kind && p.match(resourceText(s.facts.prefix, k, name)) {
			add(m, "names %s/, but %v is checked against %s/", k, a, kind)
			return
		}
	}
	if loose := p.mqttWildcards(); loose != nil && loose.match(text) {
		add(m, "has + or # in %s, which policies take literally: use *", written)
		return
	}
	if last, ok := p.lastPart(); ok {
		here := kind.String() + "/" + name
		switch {
		case last.match(here):
			add(m, "is for %s, but the resources here begin with %s", strings.TrimSuffix(written, partAfter(written)), s.facts.prefix)
			return
		case last.match(name):
			add(m, "names %s without %s/ before the name", written, kind)
			return
		}
	}
	if foldPattern(p).match(strings.ToLower(text)) {
		add(m, "names %s, which differs in upper and lower case only", written)
	}
}

// loose is the template with * for every variable.
func (t template) loose() pattern {
	var p pattern
	for _, e := range t {
		if e.variable != "" {
			e.elem = elem{kind: elemStar}
		}
		p = p.add(e.elem)
	}
	return p
}

// mqttWildcards reads + and # in the literals as * and returns nil if there
// are none.
func (p pattern) mqttWildcards() pattern {
	var out pattern
	found := false
	for _, e := range p {
		if e.kind != elemLiteral {
			out = out.add(e)
			continue
		}
		for text := e.text; ; {
			i := strings.IndexAny(text, "+#")
			if i < 0 {
				out = out.add(elem{text: text})
				break
			}
			found = true
			out = out.add(elem{text: text[:i]}).add(elem{kind: elemStar})
			text = text[i+1:]
		}
	}
	if !found {
		return nil
	}
	return out
}

// lastPart is what follows the fifth colon.
func (p pattern) lastPart() (pattern, bool) {
	for range 5 {
		var ok bool
		if _, p, ok = p.cutColon(); !ok {
			return nil, false
		}
	}
	return p, true
}

func partAfter(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	return parts[len(parts)-1]
}

func foldPattern(p pattern) pattern {
	out := slices.Clone(p)
	for i := range out {
		out[i].text = strings.ToLower(out[i].text)
	}
	return out
}

// why says in words why a variable has no value.
func (f *facts) why(name string) string {
	key := canonicalKey(name)
	if vals, ok := f.values(key); ok {
		if len(vals) != 1 {
			return "it has several values, which only conditions can use"
		}
		return fmt.Sprintf("its value %q is not substituted: it is longer than %d characters or holds one of * $ + ? #", vals[0], maxVariable)
	}
	switch {
	case strings.HasPrefix(key, "iot:connection.thing."):
		switch {
		case f.protocol != MQTT:
			return "thing variables exist for MQTT only"
		case f.thing != "":
			return fmt.Sprintf("thing %q has none", f.thing)
		}
		return fmt.Sprintf("the certificate is not attached to a thing named like the client identifier %q", f.clientID)
	case strings.HasPrefix(key, certificatePrefix):
		if !f.certificate {
			return "the client presented no certificate"
		}
		return "the certificate does not have it"
	case key == "iot:clientid":
		return "there is no client identifier here"
	}
	return "it has no value here"
}
