package policy

import (
	"slices"
	"strings"
	"time"
)

// facts is what a Set remembers of its Context: the values of the keys that
// its policies name, and what messages need.
type facts struct {
	known []fact

	prefix      string
	clientID    string
	thing       string // name of the associated thing
	protocol    Protocol
	certificate bool // the client has one
}

type fact struct {
	key  string // canonical
	vals []string
}

// values returns the values of a canonical key that a policy of the Set names.
func (f *facts) values(key string) ([]string, bool) {
	for i := range f.known {
		if f.known[i].key == key {
			return f.known[i].vals, true
		}
	}
	return nil, false
}

// learn remembers the values of a key.
func (f *facts) learn(ctx *Context, key string) {
	if _, ok := f.values(key); ok {
		return
	}
	if vals, ok := ctx.values(key); ok {
		f.known = append(f.known, fact{key: strings.Clone(key), vals: slices.Clone(vals)})
	}
}

// gather collects the values that the policies name, and the moment after
// which they are no longer true.
func gather(policies []Named, ctx *Context) (f *facts, until time.Time) {
	f = &facts{
		prefix:      ctx.ARNPrefix,
		clientID:    ctx.ClientID,
		protocol:    ctx.Protocol,
		certificate: ctx.Certificate != nil,
	}
	if ctx.Thing != nil {
		f.thing = ctx.Thing.Name
	}
	change := func(t time.Time) {
		if t.After(ctx.Now) && (until.IsZero() || t.Before(until)) {
			until = t
		}
	}
	read := func(t template) {
		for i := range t {
			if t[i].variable == "" {
				continue
			}
			f.learn(ctx, t[i].variable)
			if isClock(t[i].variable) {
				change(ctx.Now.Add(time.Second))
			}
		}
	}
	for _, p := range policies {
		for i := range p.Doc.Statements {
			s := &p.Doc.Statements[i]
			for _, t := range s.resources {
				read(t)
			}
			for j := range s.Conditions {
				c := &s.Conditions[j]
				f.learn(ctx, c.canonical)
				for _, t := range c.wanted {
					read(t)
				}
				if isClock(c.canonical) && !ctx.Now.IsZero() {
					c.changes(ctx.Now, change)
				}
			}
		}
	}
	return f, until
}

func isClock(key string) bool { return key == "aws:currenttime" || key == "aws:epochtime" }

// changes reports the moments at which a condition on the clock may turn. Keys
// of the clock count whole seconds.
func (c *Condition) changes(now time.Time, change func(time.Time)) {
	for i := range c.wanted {
		at, ok := parseDate(c.Values[i])
		if !ok || c.test.name == "Null" || !strings.HasPrefix(c.test.name, "Date") && !strings.HasPrefix(c.test.name, "Numeric") {
			change(now.Add(time.Second))
			continue
		}
		change(at)
		change(at.Add(time.Second))
	}
}
