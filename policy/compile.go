package policy

import (
	"slices"
	"time"
)

// Named is a document with where it came from, for explanations.
type Named struct {
	Name    string // of the policy
	Version string // policy version identifier, such as "3"
	Target  string // ARN of the certificate or thing group it is attached to
	Doc     *Document
}

// Set is the compiled form of all policies of one connection. It is immutable
// and may be used concurrently.
type Set struct {
	// index leads from an action to its table; table 0 allows nothing.
	index  [numActions]uint8
	tables []table

	policies []Named
	facts    *facts
	until    time.Time
}

// live is a statement that may match on this connection.
type live struct {
	deny, except bool
	actions      actionSet
	patterns     []pattern

	// rests are the patterns without the ARN prefix and kind.
	rests [numKinds][]pattern
	done  [numKinds]bool
}

// Compile puts the values of ctx into the policies, drops the statements that
// can never match on this connection, and arranges the rest by action. The
// documents must not be changed afterwards. A nil ctx is an empty one; without
// ARNPrefix only Resource "*" and the like match.
//
// What the policies say may change with the clock: see [Set.Until].
func Compile(policies []Named, ctx *Context) *Set {
	if ctx == nil {
		ctx = &Context{}
	}
	set := &Set{policies: make([]Named, len(policies))}
	n := 0
	for i, p := range policies {
		p.Doc = p.Doc.prepared()
		set.policies[i] = p
		n += len(p.Doc.Statements)
	}
	set.facts, set.until = gather(set.policies, ctx)

	lives := make([]live, 0, n)
	for i := range set.policies {
		doc := set.policies[i].Doc
		for j := range doc.Statements {
			if l, ok := set.facts.settle(&doc.Statements[j]); ok {
				lives = append(lives, l)
			}
		}
	}

	set.tables = make([]table, 1, 8)
	var members [numActions + 1][]uint32 // statements of each table
	var kinds [numActions + 1]Kind
	for a := range Action(numActions) {
		kind := a.Kind()
		var own []uint32
		for i := range lives {
			if lives[i].actions.has(a) && lives[i].applies(kind, set.facts.prefix) {
				own = append(own, uint32(i))
			}
		}
		if own == nil {
			continue
		}
		t := 1
		for t < len(set.tables) && (kinds[t] != kind || !slices.Equal(members[t], own)) {
			t++
		}
		if t == len(set.tables) {
			members[t], kinds[t] = own, kind
			set.tables = append(set.tables, newTable(lives, own, kind))
		}
		set.index[a] = uint8(t)
	}
	return set
}

// Until returns the moment at which a condition on aws:CurrentTime or
// aws:EpochTime may change a decision, so that the policies have to be compiled
// anew; zero if none does.
func (s *Set) Until() time.Time { return s.until }

// settle evaluates the conditions and resolves the resources of a statement.
// ok is false if it can never match.
//
// A resource whose variable has no value matches nothing. In NotResource the
// same would make an Allow match everything, so that the statement is left
// out; in a Deny it is kept, and denies.
func (f *facts) settle(s *Statement) (l live, ok bool) {
	for i := range s.Conditions {
		if holds, _ := s.Conditions[i].holds(f); !holds {
			return live{}, false
		}
	}
	l = live{deny: s.Effect == Deny, except: s.Resources == nil, actions: s.actions}
	l.patterns = make([]pattern, 0, len(s.resources))
	for _, t := range s.resources {
		p, _, ok := t.resolve(f)
		switch {
		case ok:
			l.patterns = append(l.patterns, p)
		case l.except && !l.deny:
			return live{}, false
		}
	}
	return l, l.actions != 0 && (l.except || len(l.patterns) > 0)
}

// applies takes the ARN up to the name off the patterns and reports whether
// the statement can match any resource of that kind.
func (l *live) applies(kind Kind, prefix string) bool {
	if !l.done[kind] {
		l.done[kind] = true
		text := resourceText(prefix, kind, "")
		for _, p := range l.patterns {
			l.rests[kind] = append(l.rests[kind], p.after(text)...)
		}
	}
	return l.except || len(l.rests[kind]) > 0
}

// newTable joins the statements numbered in own.
func newTable(lives []live, own []uint32, kind Kind) table {
	var t table
	for _, i := range own {
		l := &lives[i]
		r := &t.allow
		if l.deny {
			if t.deny == nil {
				t.deny = &rule{}
			}
			r = t.deny
		}
		if !l.except {
			r.add(l.rests[kind])
			continue
		}
		var no rule
		no.add(l.rests[kind])
		no.finish()
		if !no.all {
			r.except = append(r.except, no)
		}
	}
	t.allow.finish()
	if t.deny != nil {
		t.deny.finish()
	}
	return t
}
