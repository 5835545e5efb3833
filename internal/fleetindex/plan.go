package fleetindex

import "strings"

// view is what of the index can be seen: the sources that are switched on.
type view struct {
	shadow, live, defender bool
	named                  map[string]bool // shadows
	static                 bool            // dynamic groups are left out of thingGroupNames
}

// plan is a query made ready for a table.
type plan struct {
	*expr
	sub   []*plan
	view  *view
	part  part
	named string // with partNamed: the shadow
	field uint32
	none  bool // the field is not there
}

// plan makes a query ready. The table is locked for reading for as long as the plan is used.
func (t *table) plan(q *Query, v *view) *plan { return t.planOf(q.root, v) }

func (t *table) planOf(e *expr, v *view) *plan {
	p := &plan{expr: e, view: v, part: partAny}
	for _, sub := range e.sub {
		p.sub = append(p.sub, t.planOf(sub, v))
	}
	if e.op < opWords || e.field == "" {
		return p
	}
	p.part, p.named, p.field, p.none = t.locate(e.field, v)
	return p
}

// locate finds where a field is; none says that it is nowhere.
func (t *table) locate(name string, v *view) (_ part, shadow string, field uint32, none bool) {
	name = alias(name, t.groups)
	field, known := t.dictionary.numbers[name]
	if !known {
		return 0, "", 0, true
	}
	if rest, ok := strings.CutPrefix(name, "shadow.name."); ok {
		shadow, _, _ = strings.Cut(rest, ".")
		return partNamed, shadow, field, !v.named[shadow]
	}
	source, _, _ := strings.Cut(name, ".")
	switch source {
	case "shadow":
		return partShadow, "", field, !v.shadow
	case "connectivity":
		return partLive, "", field, !v.live
	case "deviceDefender":
		return partDefender, "", field, !v.defender
	}
	return partRegistry, "", field, false
}

func (p *plan) match(r *row) bool {
	switch p.op {
	case opAnd:
		for _, sub := range p.sub {
			if !sub.match(r) {
				return false
			}
		}
		return true
	case opOr:
		for _, sub := range p.sub {
			if sub.match(r) {
				return true
			}
		}
		return false
	case opNot:
		return !p.sub[0].match(r)
	}
	if p.none {
		return false
	}
	if p.part == partAny {
		return p.matchAny(r)
	}
	found := false
	p.values(r, func(v value) bool {
		found = p.matchValue(v)
		return !found
	})
	return found
}

// values calls each with a row's values of the plan's field until it returns false.
func (p *plan) values(r *row, each func(v value) bool) {
	if p.part == partNamed {
		for _, s := range r.named {
			if s.name == p.named {
				p.valuesIn(s.fields, each)
			}
		}
		return
	}
	if p.valuesIn(r.parts[p.part], each) && p.field == fieldGroups && !p.view.static {
		p.valuesIn(r.parts[partDynamic], each)
	}
}

func (p *plan) valuesIn(list fields, each func(v value) bool) bool {
	for list = list.from(p.field); list != ""; list = list.from(p.field) {
		var v value
		if v, list = list.next(); !each(v) {
			return false
		}
	}
	return true
}

func (p *plan) matchValue(v value) bool {
	if v.kind == numberValue {
		return p.matchNumber(v.number, v.text)
	}
	return p.matchText(v.text)
}

// matchAny looks into all fields that can be seen.
func (p *plan) matchAny(r *row) bool {
	if p.op == opExists {
		return true // the lone star
	}
	for i, list := range r.parts {
		switch part(i) {
		case partDynamic:
			if p.view.static {
				continue
			}
		case partShadow:
			if !p.view.shadow {
				continue
			}
		case partLive:
			continue
		case partDefender:
			if !p.view.defender {
				continue
			}
		}
		if p.matchList(list) {
			return true
		}
	}
	for _, s := range r.named {
		if p.view.named[s.name] && p.matchList(s.fields) {
			return true
		}
	}
	return false
}

func (p *plan) matchList(list fields) bool {
	for list != "" {
		var v value
		if v, list = list.next(); !v.hidden && p.matchValue(v) {
			return true
		}
	}
	return false
}
