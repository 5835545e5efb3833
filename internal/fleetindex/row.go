package fleetindex

import (
	"maps"
	"slices"
	"strconv"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
)

// part is a section of a row: each source has its own, so that a change of one leaves the others.
type part uint8

const (
	partRegistry part = iota
	partDynamic       // names of dynamic groups
	partShadow        // classic
	partLive          // connectivity
	partDefender
	parts
	partNamed = parts // in row.named
	partAny   = parts + 1
)

// row is what the index holds of a thing or group. Its fields change under the table's lock.
type row struct {
	name  string
	parts [parts]fields
	named []namedShadow // by name
	gone  bool

	connection connection
	asked      string // the dynamic groups that the registry was last asked to put the thing into
}

type namedShadow struct {
	name   string
	fields fields
}

func (r *row) thingID() string {
	list := r.parts[partRegistry].from(fieldThingID)
	if list == "" {
		return ""
	}
	v, _ := list.next()
	return v.text
}

func (w *writer) thing(t *registry.Thing, groups []string) fields {
	w.reset()
	w.text(fieldThingName, t.Name)
	w.text(fieldThingID, t.ID)
	if t.Type != "" {
		w.text(fieldTypeName, t.Type)
	}
	for _, g := range groups {
		w.text(fieldGroups, g)
	}
	w.number(fieldVersion, t.Version, strconv.FormatInt(t.Version, 10))
	for _, name := range slices.Sorted(maps.Keys(t.Attributes)) {
		w.attribute(name, t.Attributes[name])
	}
	return w.fields()
}

func (w *writer) dynamicGroups(names []string) fields {
	w.reset()
	for _, g := range names {
		w.text(fieldGroups, g)
	}
	return w.fields()
}

func (w *writer) group(g *registry.ThingGroup) fields {
	w.reset()
	w.text(fieldGroupName, g.Name)
	w.text(fieldGroupID, g.ID)
	if g.Description != "" {
		w.text(fieldDescription, g.Description)
	}
	for _, above := range g.RootToParent {
		w.text(fieldParents, above.Name)
	}
	w.number(fieldGroupVersion, g.Version, strconv.FormatInt(g.Version, 10))
	for _, name := range slices.Sorted(maps.Keys(g.Attributes)) {
		w.attribute(name, g.Attributes[name])
	}
	return w.fields()
}

func (w *writer) violations(n int) fields {
	w.reset()
	w.buf = appendValue(w.buf, value{field: fieldViolations, kind: numberValue, number: float64(n), text: strconv.Itoa(n)})
	return w.fields()
}

func (w *writer) connection(c connection) fields {
	w.reset()
	if !c.known {
		return ""
	}
	w.bool(fieldConnected, c.connected)
	w.number(fieldTimestamp, c.timestamp, strconv.FormatInt(c.timestamp, 10))
	w.number(fieldConnectionVersion, c.version, strconv.FormatInt(c.version, 10))
	if c.reason != "" && !c.connected {
		w.buf = appendValue(w.buf, value{field: fieldReason, text: c.reason, hidden: true})
	}
	return w.fields()
}

// shadow writes a document; name is empty for the classic shadow.
func (w *writer) shadow(reader *shadow.Reader, name string, d *shadow.Document) (fields, error) {
	w.reset()
	if !d.Live {
		return "", nil
	}
	prefix := "shadow."
	if name != "" {
		prefix = "shadow.name." + name + "."
	}
	field := func(path []byte) uint32 {
		w.path = append(append(w.path[:0], prefix...), path...)
		return w.dictionary.number(w.path)
	}
	delta, err := reader.Leaves(d, func(path []byte, k shadow.LeafKind, text string) {
		v := value{field: field(path), text: text}
		switch k {
		case shadow.NumberLeaf:
			if n, ok := number(text); ok {
				v.kind, v.number = numberValue, n
			}
		case shadow.BoolLeaf:
			v.kind = boolValue
		}
		w.buf = appendValue(w.buf, v)
	})
	w.number(field([]byte("version")), d.Version, strconv.FormatInt(d.Version, 10))
	w.bool(field([]byte("hasDelta")), delta)
	return w.fields(), err
}

// setNamed gives a row the fields of a named shadow, or takes them away. It does not change a slice
// that others may be reading.
func (r *row) setNamed(name string, f fields) {
	i, there := slices.BinarySearchFunc(r.named, name, func(s namedShadow, name string) int {
		switch {
		case s.name < name:
			return -1
		case s.name > name:
			return 1
		}
		return 0
	})
	switch {
	case there && f == "":
		r.named = slices.Delete(slices.Clone(r.named), i, i+1)
		if len(r.named) == 0 {
			r.named = nil
		}
	case there:
		r.named[i].fields = f
	case f != "":
		r.named = slices.Insert(slices.Clip(r.named), i, namedShadow{name, f})
	}
}
