package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Lint returns warnings about a document that is valid but probably not what
// its author means, each a sentence that begins with the place. Nil means
// that there are none.
func Lint(doc *Document) []string {
	l := linter{doc: doc.prepared()}
	for i := range l.doc.Statements {
		l.statement(at("Statement", i), &l.doc.Statements[i])
	}
	l.document()
	return l.warnings
}

type linter struct {
	doc      *Document
	sids     []string
	warnings []string
}

func (l *linter) warn(where, format string, args ...any) {
	w := where + ": " + fmt.Sprintf(format, args...)
	if !slices.Contains(l.warnings, w) {
		l.warnings = append(l.warnings, w)
	}
}

func (l *linter) statement(where string, s *Statement) {
	if s.Sid != "" {
		if slices.Contains(l.sids, s.Sid) {
			l.warn(where, "the Sid %q is used twice", s.Sid)
		}
		l.sids = append(l.sids, s.Sid)
	}
	for _, list := range [2][]string{s.Actions, s.NotActions} {
		for _, a := range list {
			if matchActions([]string{a}) == 0 {
				l.warn(where, "%s is not an action that the data plane checks; it has no effect", a)
			}
		}
	}
	if s.Effect == Allow && s.Conditions == nil {
		switch {
		case s.NotActions != nil:
			l.warn(where, "Allow with NotAction allows every action that is not listed, also ones to come; list what is needed")
		case s.NotResources != nil:
			l.warn(where, "Allow with NotResource allows every resource that is not listed; list what is needed")
		case s.actions == allActions && slices.Contains(s.Resources, "*"):
			l.warn(where, "allows every action on every resource: one stolen certificate reads and commands the whole fleet")
			return
		}
	}
	for i, r := range s.Resources {
		l.resource(where, s, r, s.resources[i])
	}
	for i, r := range s.NotResources {
		l.variables(where, r, s.resources[i])
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if !knownKey(c.canonical) && strings.HasPrefix(c.canonical, "iot:") {
			l.warn(where, "condition key %s is unknown", c.Key)
		}
		for j, t := range c.wanted {
			l.variables(where, c.Values[j], t)
		}
	}
}

// topicActions are checked against topic/.
const topicActions = actionSet(1<<Publish | 1<<RetainPublish | 1<<Receive | 1<<GetRetainedMessage)

func (l *linter) resource(where string, s *Statement, written string, t template) {
	l.variables(where, written, t)
	p, ok := t.loose().lastPart()
	if !ok || len(p) == 0 {
		return
	}
	word, name, _ := strings.Cut(p.String(), "/")
	kind, known := ParseKind(word)
	switch {
	case p[0].kind != elemLiteral || kind == KindAny:
		if !known && !strings.ContainsAny(word, "*?") {
			l.warn(where, "%s names no kind of resource that the data plane checks (client/, topic/, topicfilter/, thing/, rolealias/)", written)
		}
	case kind == KindTopic && s.actions.has(Subscribe) && !s.actions.has(Publish) && !s.actions.has(Receive):
		l.warn(where, "%s: iot:Subscribe is checked against topicfilter/, not topic/", written)
	case kind == KindTopicFilter && s.actions&topicActions != 0 && !s.actions.has(Subscribe):
		l.warn(where, "%s: iot:Publish and iot:Receive are checked against topic/, not topicfilter/", written)
	case kind != KindTopicFilter && strings.ContainsAny(name, "+#"):
		l.warn(where, "%s: + and # are plain characters in a policy; use *", written)
	}
	if s.Effect != Allow || s.Conditions != nil || name != "*" || !strings.HasSuffix(written, "/*") {
		return
	}
	switch {
	case kind == KindClient && s.actions.has(Connect):
		l.warn(where, "allows any client identifier: one device can take over the connection of another; use client/${iot:Connection.Thing.ThingName}")
	case kind == KindTopicFilter && s.actions.has(Subscribe):
		l.warn(where, "allows subscribing to every topic; begin the filter with the device's own topics")
	case kind == KindTopic && s.actions.has(Publish):
		l.warn(where, "allows publishing to every topic, also those of other devices")
	case kind == KindTopic && s.actions.has(Receive):
		l.warn(where, "allows receiving from every topic, also those of other devices")
	}
}

func (l *linter) variables(where, written string, t template) {
	if l.doc.Version != VersionCurrent && strings.Contains(written, "${") {
		l.warn(where, "%s: variables need \"Version\": \"%s\"", written, VersionCurrent)
	}
	for i := range t {
		switch key := t[i].variable; {
		case key == "":
		case strings.HasSuffix(key, ".list"):
			l.warn(where, "${%s}: a list cannot be substituted, it is for conditions", t[i].source)
		case !knownKey(key) && (strings.HasPrefix(key, "iot:") || !strings.Contains(key, ":")):
			l.warn(where, "${%s} is not a variable; what it stands in never matches", t[i].source)
		}
	}
}

// knownKey reports whether the key is one that this package can give a value.
func knownKey(key string) bool {
	switch key {
	case "iot:clientid", "aws:sourceip", "iot:domainname", "iot:certificateid", "iot:connectattributes",
		"iot:lastwilltopic", "aws:currenttime", "aws:epochtime", "iot:connection.thing.thingname",
		"iot:connection.thing.thingtypename", "iot:connection.thing.isattached",
		"iot:certificate.serialnumber", "iot:certificate.availablekeys":
		return true
	}
	if strings.HasPrefix(key, attributesPrefix) {
		return strings.HasSuffix(key, "]")
	}
	base, _ := splitIndex(key)
	if base == "iot:certificate.availablekeys" {
		return true
	}
	for _, side := range [...]string{"iot:certificate.subject.", "iot:certificate.issuer."} {
		field, ok := strings.CutPrefix(base, side)
		if !ok {
			continue
		}
		for _, f := range nameFields {
			if strings.EqualFold(f.name, field) {
				return true
			}
		}
		for _, a := range alternativeNames {
			if strings.EqualFold("alternativename."+a.name, field) {
				return true
			}
		}
	}
	return false
}

// document looks at what the statements are together.
func (l *linter) document() {
	var allowed, denied actionSet
	for i := range l.doc.Statements {
		s := &l.doc.Statements[i]
		if s.Effect == Allow {
			allowed |= s.actions
		} else {
			denied |= s.actions
		}
	}
	if allowed.has(Subscribe) && !allowed.has(Receive) {
		l.warn("Statement", "iot:Subscribe is allowed and iot:Receive is not: no message will arrive, unless another policy allows it")
	}
	if denied.has(Subscribe) && !denied.has(Receive) {
		l.warn("Statement", "iot:Subscribe is denied and iot:Receive is not: a wider filter such as # still receives those topics")
	}
}
