package cluster

import (
	"fmt"
	"strings"
)

// counts is what happened from one fault to the next.
type counts struct {
	times        int
	acknowledged int // messages
	lost         int // of those, in one session or more
	disordered   int // first deliveries that did not follow the one before
	repeated     int
	resumed      int // sessions
	connects     int
	twice        int // answers to a connection whose client identifier was taken over
	wills        int // that were due
	refused      int // certificates and policies that were changed and checked
	accepted     int // connects and messages that they no longer allowed
}

// tally has the counts by fault, in the order in which they first happened.
type tally struct {
	names  []string
	counts map[string]*counts
}

func (t *tally) of(name string) *counts {
	if t.counts == nil {
		t.counts = make(map[string]*counts)
	}
	n := t.counts[name]
	if n == nil {
		n = &counts{}
		t.counts[name] = n
		t.names = append(t.names, name)
	}
	return n
}

func (n *counts) add(m *counts) {
	n.times += m.times
	n.acknowledged += m.acknowledged
	n.lost += m.lost
	n.disordered += m.disordered
	n.repeated += m.repeated
	n.resumed += m.resumed
	n.connects += m.connects
	n.twice += m.twice
	n.wills += m.wills
	n.refused += m.refused
	n.accepted += m.accepted
}

// String is the table of the documentation.
func (t *tally) String() string {
	var b strings.Builder
	b.WriteString("| fault | times | acknowledged | lost | out of order | repeated | identifiers twice | wills | permissions taken back | used after that |\n|---|---|---|---|---|---|---|---|---|---|\n")
	all := &counts{}
	row := func(name string, n *counts) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", name, n.times, n.acknowledged, n.lost, n.disordered, n.repeated, n.twice, n.wills, n.refused, n.accepted)
	}
	for _, name := range t.names {
		row(name, t.counts[name])
		all.add(t.counts[name])
	}
	row("all", all)
	fmt.Fprintf(&b, "%d connects, %d sessions resumed\n", all.connects, all.resumed)
	return b.String()
}
