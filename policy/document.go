package policy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSize is the most characters a document may have, white space not
// counted. (AWS IoT Core limits, "Maximum policy document size".)
const MaxSize = 2048

// maxRawSize is the most bytes that [Parse] reads, as in the API model.
const maxRawSize = 404600

// Versions of the policy language. Variables exist in VersionCurrent only; in
// other documents ${...} is plain text.
const (
	VersionCurrent = "2012-10-17"
	VersionOld     = "2008-10-17"
)

// Effect is what a statement does to the requests that it matches.
type Effect string

// The effects.
const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Document is a parsed policy document. One that [Parse] returned must not be
// changed; it may be used concurrently.
type Document struct {
	Version    string // "2012-10-17", "2008-10-17" or ""
	ID         string
	Statements []Statement

	ready bool
}

// Statement is one statement. Either Actions or NotActions is set, and either
// Resources or NotResources.
type Statement struct {
	Sid                     string
	Effect                  Effect
	Actions, NotActions     []string
	Resources, NotResources []string
	Conditions              []Condition

	actions   actionSet  // that it speaks of
	resources []template // of Resources or NotResources
}

// Condition is one operator with one key and its values. The conditions of a
// statement must all hold; one value is enough for a condition.
type Condition struct {
	Operator string // as written, such as "ForAllValues:StringEquals"
	Key      string
	Values   []string

	test      test
	canonical string
	wanted    []template
}

// SyntaxError says what is wrong with a document, and where.
type SyntaxError struct {
	// Where is the path of the offending value, such as
	// "Statement[1].Action", or a line and column; "" for the whole document.
	Where string
	// Reason is one sentence without a full stop that names the remedy where
	// there is one.
	Reason string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	if e.Where == "" {
		return "policy document: " + e.Reason
	}
	return "policy document: " + e.Where + ": " + e.Reason
}

// CheckSize returns a *SyntaxError if the document has more than [MaxSize]
// characters without white space.
func CheckSize(doc []byte) error {
	n := 0
	for i := 0; i < len(doc); {
		r, size := utf8.DecodeRune(doc[i:])
		if i += size; !unicode.IsSpace(r) {
			n++
		}
	}
	if n > MaxSize {
		return &SyntaxError{Reason: fmt.Sprintf("%d characters without white space, the limit is %d; use wildcards or split it into several policies", n, MaxSize)}
	}
	return nil
}

// Parse reads and checks a policy document. Every error is a *SyntaxError.
// The size limit of AWS IoT is checked by [CheckSize], not here.
func Parse(doc []byte) (*Document, error) {
	if len(doc) > maxRawSize {
		return nil, &SyntaxError{Reason: fmt.Sprintf("%d bytes, the limit is %d", len(doc), maxRawSize)}
	}
	if !utf8.Valid(doc) {
		return nil, &SyntaxError{Reason: "not valid UTF-8"}
	}
	root, err := parseJSON(doc)
	if err != nil {
		return nil, err
	}
	if root.kind != nodeObject {
		return nil, &SyntaxError{Reason: "is " + nodeKinds[root.kind] + "; give an object with Version and Statement"}
	}
	d := &Document{}
	for i, key := range root.keys {
		kid := root.kids[i]
		switch key {
		case "Version":
			d.Version, err = kid.string("Version")
			if err == nil && d.Version != VersionCurrent && d.Version != VersionOld {
				err = &SyntaxError{Where: "Version", Reason: fmt.Sprintf("unknown version %q; use %q", d.Version, VersionCurrent)}
			}
		case "Id":
			d.ID, err = kid.string("Id")
		case "Statement":
			d.Statements, err = parseStatements(kid)
		default:
			err = unknownKey("", key, "Version", "Id", "Statement")
		}
		if err != nil {
			return nil, err
		}
	}
	if d.Statements == nil {
		return nil, &SyntaxError{Where: "Statement", Reason: "missing; give at least one statement"}
	}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	return d, nil
}

func parseStatements(n node) ([]Statement, error) {
	switch n.kind {
	case nodeObject:
		s, err := parseStatement(n, "Statement")
		return []Statement{s}, err
	case nodeArray:
		if len(n.kids) == 0 {
			return nil, &SyntaxError{Where: "Statement", Reason: "empty; give at least one statement"}
		}
		out := make([]Statement, len(n.kids))
		for i, kid := range n.kids {
			where := at("Statement", i)
			if kid.kind != nodeObject {
				return nil, kid.wrong(where, "an object")
			}
			var err error
			if out[i], err = parseStatement(kid, where); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, n.wrong("Statement", "an object or an array of objects")
}

func parseStatement(n node, where string) (Statement, error) {
	var s Statement
	var err error
	for i, key := range n.keys {
		kid, path := n.kids[i], under(where, key)
		switch key {
		case "Sid":
			s.Sid, err = kid.string(path)
		case "Effect":
			var effect string
			effect, err = kid.string(path)
			s.Effect = Effect(effect)
			if err == nil && s.Effect != Allow && s.Effect != Deny {
				err = &SyntaxError{Where: path, Reason: fmt.Sprintf("is %q; give \"Allow\" or \"Deny\"", effect)}
			}
		case "Action":
			s.Actions, err = kid.strings(path, checkAction)
		case "NotAction":
			s.NotActions, err = kid.strings(path, checkAction)
		case "Resource":
			s.Resources, err = kid.strings(path, checkResource)
		case "NotResource":
			s.NotResources, err = kid.strings(path, checkResource)
		case "Condition":
			s.Conditions, err = parseConditions(kid, path)
		case "Principal", "NotPrincipal":
			err = &SyntaxError{Where: path, Reason: "AWS IoT policies have no principal; take it out, a policy applies to what it is attached to"}
		default:
			err = unknownKey(where, key, "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
		}
		if err != nil {
			return s, err
		}
	}
	missing := func(key, remedy string) error {
		return &SyntaxError{Where: under(where, key), Reason: "missing; " + remedy}
	}
	switch {
	case s.Effect == "":
		return s, missing("Effect", `give "Allow" or "Deny"`)
	case s.Actions == nil && s.NotActions == nil:
		return s, missing("Action", `give an action such as "iot:Publish"`)
	case s.Actions != nil && s.NotActions != nil:
		return s, &SyntaxError{Where: under(where, "NotAction"), Reason: "stands beside Action; a statement has one of the two"}
	case s.Resources == nil && s.NotResources == nil:
		return s, missing("Resource", `give an ARN such as "arn:aws:iot:us-east-1:000000000000:topic/a" or "*"`)
	case s.Resources != nil && s.NotResources != nil:
		return s, &SyntaxError{Where: under(where, "NotResource"), Reason: "stands beside Resource; a statement has one of the two"}
	}
	return s, nil
}

// checkAction accepts "*" and service:operation with wildcards.
func checkAction(s string) string {
	if s == "*" {
		return ""
	}
	service, op, ok := strings.Cut(s, ":")
	if !ok {
		if _, known := ParseAction("iot:" + s); known {
			return fmt.Sprintf("%q lacks the service; write \"iot:%s\"", s, s)
		}
		return fmt.Sprintf("%q is not an action; write service and operation, such as \"iot:Publish\", or \"*\"", s)
	}
	for _, r := range service + op {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("*?-_", r) {
			return fmt.Sprintf("%q is not an action: unexpected character %q", s, r)
		}
	}
	if service == "" || op == "" {
		return fmt.Sprintf("%q is not an action; write service and operation, such as \"iot:Publish\"", s)
	}
	return ""
}

// checkResource accepts "*" and what looks like an ARN: six parts, or fewer if
// a wildcard stands for the rest.
func checkResource(s string) string {
	if s == "*" {
		return ""
	}
	if !strings.HasPrefix(s, "arn:") {
		return fmt.Sprintf("%q is not an ARN; write arn:aws:iot:REGION:ACCOUNT:topic/NAME (or client/, topicfilter/, thing/) or \"*\"", s)
	}
	if strings.Count(s, ":") < 5 && !strings.HasSuffix(s, "*") {
		return fmt.Sprintf("%q has too few parts; write arn:aws:iot:REGION:ACCOUNT:topic/NAME", s)
	}
	return ""
}

// prepare fills the split forms of actions, resources and conditions.
func (d *Document) prepare() error {
	variables := d.Version == VersionCurrent
	for i := range d.Statements {
		s := &d.Statements[i]
		where := at("Statement", i)
		if s.actions = matchActions(s.Actions); s.Actions == nil {
			s.actions = allActions &^ matchActions(s.NotActions)
		}
		list, key := s.Resources, "Resource"
		if list == nil {
			list, key = s.NotResources, "NotResource"
		}
		s.resources = make([]template, len(list))
		for j, text := range list {
			var err error
			if s.resources[j], err = parseTemplate(text, templateMode{variables: variables, wild: true}); err != nil {
				return &SyntaxError{Where: at(under(where, key), j), Reason: err.Error()}
			}
		}
		for j := range s.Conditions {
			if err := s.Conditions[j].prepare(variables, under(where, "Condition")); err != nil {
				return err
			}
		}
	}
	d.ready = true
	return nil
}

// prepared returns d, or a prepared copy of a document that was put together
// without Parse. Statements of one that cannot be prepared are dropped if they
// allow; if one denies, the whole document denies everything.
func (d *Document) prepared() *Document {
	if d == nil {
		return &Document{ready: true}
	}
	if d.ready {
		return d
	}
	c := &Document{Version: d.Version, ID: d.ID}
	for _, s := range d.Statements {
		s.Conditions = append([]Condition(nil), s.Conditions...)
		one := &Document{Version: d.Version, Statements: []Statement{s}}
		if err := one.prepare(); err != nil || s.Effect != Allow && s.Effect != Deny {
			if s.Effect == Allow {
				continue
			}
			one.Statements[0] = Statement{Sid: s.Sid, Effect: Deny, actions: allActions, Resources: []string{"*"}, resources: []template{{{elem: elem{kind: elemStar}}}}}
		}
		c.Statements = append(c.Statements, one.Statements[0])
	}
	c.ready = true
	return c
}

func (n node) string(where string) (string, error) {
	if n.kind != nodeString {
		return "", n.wrong(where, "a string")
	}
	return n.text, nil
}

// strings reads a string or an array of strings with at least one element.
func (n node) strings(where string, check func(string) string) ([]string, error) {
	list := []node{n}
	if n.kind == nodeArray {
		list = n.kids
	}
	if len(list) == 0 {
		return nil, &SyntaxError{Where: where, Reason: "empty; give at least one"}
	}
	out := make([]string, len(list))
	for i, kid := range list {
		path := where
		if n.kind == nodeArray {
			path = at(where, i)
		}
		if kid.kind != nodeString {
			return nil, kid.wrong(path, "a string or an array of strings")
		}
		if reason := check(kid.text); reason != "" {
			return nil, &SyntaxError{Where: path, Reason: reason}
		}
		out[i] = kid.text
	}
	return out, nil
}

func (n node) wrong(where, want string) error {
	return &SyntaxError{Where: where, Reason: "is " + nodeKinds[n.kind] + "; give " + want}
}

func unknownKey(where, key string, known ...string) error {
	reason := fmt.Sprintf("unknown key %q; the keys here are %s", key, strings.Join(known, ", "))
	for _, k := range known {
		if strings.EqualFold(k, key) || strings.EqualFold(k+"s", key) {
			reason = fmt.Sprintf("unknown key %q; write %q", key, k)
		}
	}
	return &SyntaxError{Where: under(where, key), Reason: reason}
}
