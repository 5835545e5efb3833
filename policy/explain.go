package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Match is a statement that took part in a decision.
type Match struct {
	Policy        string // name
	PolicyVersion string // policy version identifier
	Target        string // ARN of what the policy is attached to
	Sid           string
	Statement     int // index in the document, from 0
}

// String names the statement, for a sentence.
func (m Match) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy %q", m.Policy)
	if m.PolicyVersion != "" {
		fmt.Fprintf(&b, " version %s", m.PolicyVersion)
	}
	fmt.Fprintf(&b, " Statement[%d]", m.Statement)
	if m.Sid != "" {
		fmt.Fprintf(&b, " %q", m.Sid)
	}
	return b.String()
}

// Decision is the answer to one question, with its reason.
type Decision struct {
	Action   Action
	Resource string // kind and name, such as "topic/a/b"

	Allowed bool
	// Explicit is set if a Deny statement decided.
	Explicit bool

	// Match is the first statement that decided; it is empty if nothing
	// matched.
	Match

	// AllowedBy and DeniedBy are all statements that match, in order. An
	// explicit denial may have both.
	AllowedBy, DeniedBy []Match

	// Policies are the names of the policies that were asked, in order.
	Policies []string
	// MissingContextValues are the condition keys and variables without a
	// value, of statements that speak of the action.
	MissingContextValues []string
	// NearMisses are, for an implicit denial, sentences about what comes close
	// to allowing it and what would have to change.
	NearMisses []string
}

// matches evaluates a statement as it is written. missing holds the names
// without a value that it came across.
func (f *facts) matches(s *Statement, a Action, text string) (ok bool, missing []string) {
	if int(a) >= numActions || !s.actions.has(a) {
		return false, nil
	}
	ok = true
	for i := range s.Conditions {
		holds, name := s.Conditions[i].holds(f)
		if name != "" {
			missing = append(missing, name)
		}
		ok = ok && holds
	}
	found, unresolved := false, false
	for _, t := range s.resources {
		p, name, resolved := t.resolve(f)
		if !resolved {
			missing = append(missing, name)
			unresolved = true
			continue
		}
		found = found || p.match(text)
	}
	if s.Resources == nil {
		found = !found && (s.Effect == Deny || !unresolved)
	}
	return ok && found, missing
}

// decide is Explain without the reasons.
func (s *Set) decide(a Action, kind Kind, name string) bool {
	text := resourceText(s.facts.prefix, kind, name)
	allowed := false
	for _, p := range s.policies {
		for i := range p.Doc.Statements {
			st := &p.Doc.Statements[i]
			if ok, _ := s.facts.matches(st, a, text); ok {
				if st.Effect == Deny {
					return false
				}
				allowed = true
			}
		}
	}
	return allowed
}

// Explain gives the decision of [Set.Allows] with its reason.
func (s *Set) Explain(a Action, kind Kind, name string) Decision {
	d := Decision{Action: a, Resource: resourceText("", kind, name)}
	text := resourceText(s.facts.prefix, kind, name)
	for _, p := range s.policies {
		if !slices.Contains(d.Policies, p.Name) {
			d.Policies = append(d.Policies, p.Name)
		}
		for i := range p.Doc.Statements {
			st := &p.Doc.Statements[i]
			ok, missing := s.facts.matches(st, a, text)
			for _, name := range missing {
				if !slices.Contains(d.MissingContextValues, name) {
					d.MissingContextValues = append(d.MissingContextValues, name)
				}
			}
			if !ok {
				continue
			}
			m := Match{Policy: p.Name, PolicyVersion: p.Version, Target: p.Target, Sid: st.Sid, Statement: i}
			if st.Effect == Deny {
				d.DeniedBy = append(d.DeniedBy, m)
			} else {
				d.AllowedBy = append(d.AllowedBy, m)
			}
		}
	}
	switch {
	case len(d.DeniedBy) > 0:
		d.Explicit, d.Match = true, d.DeniedBy[0]
	case len(d.AllowedBy) > 0:
		d.Allowed, d.Match = true, d.AllowedBy[0]
	default:
		d.NearMisses = s.nearMisses(a, kind, name)
	}
	return d
}

// String gives the decision in one sentence, and the near misses after it.
func (d Decision) String() string {
	var b strings.Builder
	switch {
	case d.Allowed:
		fmt.Fprintf(&b, "allowed: %v allows %v on %s", d.Match, d.Action, d.Resource)
	case d.Explicit:
		fmt.Fprintf(&b, "denied: %v denies %v on %s", d.Match, d.Action, d.Resource)
	case len(d.Policies) == 0:
		fmt.Fprintf(&b, "denied: no policy is attached that could allow %v on %s", d.Action, d.Resource)
	default:
		fmt.Fprintf(&b, "denied: no statement allows %v on %s (policies: %s)", d.Action, d.Resource, strings.Join(d.Policies, ", "))
	}
	for _, m := range d.NearMisses {
		b.WriteString("; ")
		b.WriteString(m)
	}
	return b.String()
}
