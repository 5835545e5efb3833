package fleetindex_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/shadow"
)

// model is what a plain program knows of a thing: its values by field. A string of a shadow has a
// quotation mark in front: it is no number, whatever it looks like.
type model map[string][]string

func content(v string) string { return strings.TrimPrefix(v, `"`) }

// condition is a random query with a plain way to evaluate it.
type condition struct {
	text string
	test func(m model) bool
}

func pick(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

func words() []string { return []string{"red", "Green", "blue", "5", "10", "7.5", "true"} }

func randomCondition(r *rand.Rand, terms *int) condition {
	if *terms > 1 && r.IntN(3) > 0 {
		*terms--
		a, b := randomCondition(r, terms), randomCondition(r, terms)
		if r.IntN(2) == 0 {
			return condition{"(" + a.text + pick(r, " AND ", " ") + b.text + ")", func(m model) bool { return a.test(m) && b.test(m) }}
		}
		return condition{"(" + a.text + " OR " + b.text + ")", func(m model) bool { return a.test(m) || b.test(m) }}
	}
	if r.IntN(5) == 0 {
		a := randomCondition(r, terms)
		return condition{pick(r, "NOT ", "-") + a.text, func(m model) bool { return !a.test(m) }}
	}
	field := pick(r, "attributes.a", "attributes.b", "shadow.reported.x", "shadow.reported.list", "shadow.desired.x", "shadow.name.cfg.reported.deep.y",
		"thingGroupNames", "thingTypeName", "connectivity.connected", "shadow.hasDelta")
	some := func(test func(v string) bool) func(m model) bool {
		return func(m model) bool { return slices.ContainsFunc(m[field], test) }
	}
	number := func(v string) (float64, bool) {
		n, err := strconv.ParseFloat(v, 64)
		return n, err == nil
	}
	switch word := pick(r, words()...); r.IntN(5) {
	case 0:
		return condition{field + ":*", func(m model) bool { return len(m[field]) > 0 }}
	case 1:
		return condition{field + ":" + word[:1] + "*", some(func(v string) bool { return strings.HasPrefix(strings.ToLower(content(v)), strings.ToLower(word[:1])) })}
	case 2:
		return condition{field + ">6", some(func(v string) bool { n, ok := number(v); return ok && n > 6 })}
	case 3:
		return condition{field + ":{5 TO 10]", some(func(v string) bool { n, ok := number(v); return ok && n > 5 && n <= 10 })}
	default:
		return condition{field + ":" + word, some(func(v string) bool { return strings.EqualFold(content(v), word) })}
	}
}

// TestIndexAgreesWithModel changes a fleet at random and compares what random queries find with what
// a plain evaluator does, also after a restart.
func TestIndexAgreesWithModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			compare(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func compare(t *testing.T, r *rand.Rand) {
	ctx := context.Background()
	b := newBench(t)
	b.all()
	b.ready()
	for _, g := range []string{"red", "blue"} {
		_, err := b.reg.CreateThingGroup(ctx, registry.NewThingGroup{Name: g})
		b.ok(err)
	}
	_, err := b.reg.CreateThingType(ctx, "Green", registry.ThingTypeProperties{}, nil)
	b.ok(err)
	fleet := make(map[string]model)
	states := make(map[string]map[string]map[string]any) // by thing and shadow: the state
	online := make(map[string]bool)
	check := func() {
		for range 25 {
			terms := 1 + r.IntN(6)
			c := randomCondition(r, &terms)
			var want []string
			for _, name := range slices.Sorted(maps.Keys(fleet)) {
				if c.test(fleet[name]) {
					want = append(want, name)
				}
			}
			if got := b.find(fleetindex.Things, c.text, 3); !slices.Equal(got, want) {
				t.Fatalf("%s: %v, want %v", c.text, got, want)
			}
		}
	}
	for range 120 {
		name := "t" + strconv.Itoa(r.IntN(12))
		m := fleet[name]
		value := func() string { return pick(r, words()...) }
		switch kind := r.IntN(8); {
		case m == nil && kind < 4:
			b.thing(name, nil)
			m = model{"shadow.hasDelta": nil}
			fleet[name] = m
			for s, st := range states[name] {
				m.shadow(s, st)
			}
			if online[name] {
				m["connectivity.connected"] = []string{"true"}
			}
		case kind < 2 && m != nil:
			v := value()
			key := pick(r, "a", "b")
			b.ok(b.reg.UpdateThing(ctx, name, registry.ThingUpdate{Attributes: map[string]string{key: v}, Merge: true}))
			m["attributes."+key] = []string{v}
		case kind == 2 && m != nil:
			g := pick(r, "red", "blue")
			if slices.Contains(m["thingGroupNames"], g) {
				b.ok(b.reg.RemoveThingFromThingGroup(ctx, g, name))
				m["thingGroupNames"] = slices.DeleteFunc(m["thingGroupNames"], func(x string) bool { return x == g })
			} else {
				b.ok(b.reg.AddThingToThingGroup(ctx, g, name))
				m["thingGroupNames"] = append(m["thingGroupNames"], g)
			}
		case kind == 3 && m != nil:
			up := registry.ThingUpdate{Type: "Green"}
			m["thingTypeName"] = []string{"Green"}
			if r.IntN(2) == 0 {
				up = registry.ThingUpdate{RemoveType: true}
				delete(m, "thingTypeName")
			}
			b.ok(b.reg.UpdateThing(ctx, name, up))
		case kind == 4 && m != nil && r.IntN(3) == 0:
			b.ok(b.reg.DeleteThing(ctx, name, nil))
			delete(fleet, name)
			m = nil
		case kind == 5:
			c := session.Client{ClientID: name, SessionID: strings.Repeat("0", 31) + "1"}
			if online[name] {
				b.Lifecycle().Disconnected(c, session.ConnectionLost)
			} else {
				b.Lifecycle().Connected(c)
			}
			if online[name] = !online[name]; m != nil {
				m["connectivity.connected"] = []string{strconv.FormatBool(online[name])}
			}
		default:
			s := pick(r, "", "", "cfg")
			var v, w any = value(), value()
			if n, err := strconv.ParseFloat(v.(string), 64); err == nil && r.IntN(2) == 0 {
				v = n
			}
			st := map[string]any{"reported": map[string]any{"x": v, "list": []any{w, 5, true}, "deep": map[string]any{"y": w}}, "desired": map[string]any{"x": w}}
			if r.IntN(4) == 0 {
				st["desired"] = nil
			}
			raw, err := json.Marshal(map[string]any{"state": st})
			b.ok(err)
			_, err = b.shadows.Update(ctx, shadow.ID{Thing: name, Shadow: s}, raw)
			b.ok(err)
			if states[name] == nil {
				states[name] = make(map[string]map[string]any)
			}
			states[name][s] = st
			if m != nil {
				m.shadow(s, st)
			}
		}
		if r.IntN(10) == 0 {
			check()
		}
	}
	check()
	b.restart()
	for _, m := range fleet {
		if m["connectivity.connected"] != nil {
			m["connectivity.connected"] = []string{"false"}
		}
	}
	check()
}

// shadow notes a state.
func (m model) shadow(name string, st map[string]any) {
	prefix := "shadow."
	if name != "" {
		prefix += "name." + name + "."
	}
	text := func(v any) string {
		if s, ok := v.(string); ok {
			return `"` + s
		}
		return fmt.Sprint(v)
	}
	reported := st["reported"].(map[string]any)
	m[prefix+"reported.x"] = []string{text(reported["x"])}
	var list []string
	for _, v := range reported["list"].([]any) {
		list = append(list, text(v))
	}
	m[prefix+"reported.list"] = list
	m[prefix+"reported.deep.y"] = []string{text(reported["deep"].(map[string]any)["y"])}
	delete(m, prefix+"desired.x")
	delta := false
	if d, ok := st["desired"].(map[string]any); ok {
		m[prefix+"desired.x"] = []string{text(d["x"])}
		delta = d["x"] != reported["x"]
	}
	m[prefix+"hasDelta"] = []string{strconv.FormatBool(delta)}
}
