package transfer

import (
	"context"
	"slices"
	"strings"
	"sync"
)

func readBillingGroups(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListBillingGroups", nil, "billingGroups", "groupName")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "DescribeBillingGroup", args{"billingGroupName": name})
		if err != nil {
			return nil, err
		}
		return r.tagged(ctx, pick(out, "billingGroupProperties"), str(out, "billingGroupArn"))
	})
}

func writeBillingGroup(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	properties := obj(want, "billingGroupProperties")
	if properties == nil {
		properties = object{}
	}
	op := "CreateBillingGroup"
	if have != nil {
		op = "UpdateBillingGroup"
	}
	if _, err := w.call(ctx, op, args{"billingGroupName": name, "billingGroupProperties": properties}); err != nil {
		return "", err
	}
	return "", w.tag(ctx, w.arn("billinggroup/"+name), want, have)
}

func readThingTypes(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListThingTypes", nil, "thingTypes", "thingTypeName")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "DescribeThingType", args{"thingTypeName": name})
		if err != nil {
			return nil, err
		}
		o := pick(out, "thingTypeProperties")
		if p := obj(o, "thingTypeProperties"); p != nil {
			found := strs(p, "searchableAttributes")
			slices.Sort(found)
			p["searchableAttributes"] = list(found)
		}
		return r.tagged(ctx, o, str(out, "thingTypeArn"))
	})
}

func writeThingType(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	properties := obj(want, "thingTypeProperties")
	if properties == nil {
		properties = object{}
	}
	op := "CreateThingType"
	if have != nil {
		op = "UpdateThingType"
	}
	if have == nil || !equal(properties, obj(have, "thingTypeProperties")) {
		if _, err := w.call(ctx, op, args{"thingTypeName": name, "thingTypeProperties": properties}); err != nil {
			return "", err
		}
	}
	return "", w.tag(ctx, w.arn("thingtype/"+name), want, have)
}

// readDeprecations reads which thing types are deprecated. They are a kind of their own because no
// thing can be made of a deprecated type.
func readDeprecations(ctx context.Context, r *reader) (map[string]object, error) {
	all, err := r.pages(ctx, "ListThingTypes", nil, "thingTypes")
	out := make(map[string]object)
	for _, x := range all {
		if t, ok := x.(object); ok && r.keeps(str(t, "thingTypeName")) && truth(obj(t, "thingTypeMetadata"), "deprecated") {
			out[str(t, "thingTypeName")] = object{"deprecated": true}
		}
	}
	return out, err
}

func writeDeprecation(ctx context.Context, w *writer, name string, _, _ object) (string, error) {
	_, err := w.call(ctx, "DeprecateThingType", args{"thingTypeName": name})
	return "", err
}

// allGroups reads static and dynamic groups.
func (r *reader) allGroups(ctx context.Context) (map[string]object, error) {
	return r.groups.get(func() (map[string]object, error) {
		names, err := r.names(ctx, "ListThingGroups", args{"recursive": true}, "thingGroups", "groupName")
		if err != nil {
			return nil, err
		}
		return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
			out, err := r.call(ctx, "DescribeThingGroup", args{"thingGroupName": name})
			if err != nil {
				return nil, err
			}
			o := pick(out, "thingGroupProperties", "indexName", "queryString", "queryVersion")
			meta := obj(out, "thingGroupMetadata")
			if parent := str(meta, "parentGroupName"); parent != "" {
				o["parentGroupName"] = parent
			}
			o["above"] = list(above(meta))
			return r.tagged(ctx, o, str(out, "thingGroupArn"))
		})
	})
}

// above are the ancestors of a group, the root first.
func above(meta object) []string {
	var names []string
	for _, g := range objects(meta, "rootToParentThingGroups") {
		names = append(names, str(g, "groupName"))
	}
	if len(names) == 0 && str(meta, "parentGroupName") != "" {
		names = []string{str(meta, "parentGroupName")}
	}
	return names
}

func depth(o object) int { return len(strs(o, "above")) }

func (r *reader) someGroups(ctx context.Context, dynamic bool) (map[string]object, error) {
	all, err := r.allGroups(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]object)
	for name, o := range all {
		if (str(o, "queryString") != "") == dynamic {
			out[name] = o
		}
	}
	return out, nil
}

func readStaticGroups(ctx context.Context, r *reader) (map[string]object, error) {
	return r.someGroups(ctx, false)
}

func readDynamicGroups(ctx context.Context, r *reader) (map[string]object, error) {
	return r.someGroups(ctx, true)
}

func sameGroup(want, have object) bool {
	fields := func(o object) object {
		return pick(o, "thingGroupProperties", "indexName", "queryString", "queryVersion", "parentGroupName", "tags")
	}
	return equal(fields(want), fields(have))
}

func groupProperties(want object) object {
	p := object{}
	for k, v := range obj(want, "thingGroupProperties") {
		p[k] = v
	}
	attributes := obj(obj(want, "thingGroupProperties"), "attributePayload")
	if len(obj(attributes, "attributes")) == 0 {
		delete(p, "attributePayload")
	}
	return p
}

func writeStaticGroup(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	in := args{"thingGroupName": name, "thingGroupProperties": groupProperties(want)}
	op := "CreateThingGroup"
	if have != nil {
		op = "UpdateThingGroup"
	} else if parent := str(want, "parentGroupName"); parent != "" {
		in["parentGroupName"] = parent
	}
	if _, err := w.call(ctx, op, in); err != nil {
		return "", err
	}
	if err := w.tag(ctx, w.arn("thinggroup/"+name), want, have); err != nil {
		return "", err
	}
	if have != nil && str(want, "parentGroupName") != str(have, "parentGroupName") {
		return "", unchangeable("its parent differs and cannot be changed: delete the group in the target, then run again")
	}
	return "", nil
}

func writeDynamicGroup(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	in := args{"thingGroupName": name, "thingGroupProperties": groupProperties(want)}
	for k, v := range pick(want, "indexName", "queryString", "queryVersion") {
		in[k] = v
	}
	op := "CreateDynamicThingGroup"
	if have != nil {
		op = "UpdateDynamicThingGroup"
	}
	if _, err := w.call(ctx, op, in); err != nil {
		return "", err
	}
	return "", w.tag(ctx, w.arn("thinggroup/"+name), want, have)
}

// allThings reads things with their billing groups, which are read by group: there are fewer of them.
func (r *reader) allThings(ctx context.Context) (map[string]object, error) {
	return r.things.get(func() (map[string]object, error) {
		all, err := r.pages(ctx, "ListThings", args{"maxResults": 250}, "things")
		if err != nil {
			return nil, err
		}
		out := make(map[string]object, len(all))
		for _, x := range all {
			if t, ok := x.(object); ok && r.keeps(str(t, "thingName")) {
				out[str(t, "thingName")] = pick(t, "thingTypeName", "attributes")
			}
		}
		groups, err := r.pages(ctx, "ListBillingGroups", nil, "billingGroups")
		if lacking(err) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			o, _ := g.(object)
			name := str(o, "groupName")
			members, err := r.pages(ctx, "ListThingsInBillingGroup", args{"billingGroupName": name, "maxResults": 250}, "things")
			if err != nil && !is(err, "ResourceNotFoundException") {
				return nil, err
			}
			for _, thing := range members {
				if t, ok := thing.(string); ok && out[t] != nil {
					out[t]["billingGroupName"] = name
				}
			}
		}
		return out, nil
	})
}

func readThings(ctx context.Context, r *reader) (map[string]object, error) { return r.allThings(ctx) }

func writeThing(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	attributes := obj(want, "attributes")
	if attributes == nil {
		attributes = object{}
	}
	in := args{"thingName": name, "attributePayload": object{"attributes": attributes}}
	if t := str(want, "thingTypeName"); t != "" {
		in["thingTypeName"] = t
	}
	if have == nil {
		if g := str(want, "billingGroupName"); g != "" {
			in["billingGroupName"] = g
		}
		_, err := w.call(ctx, "CreateThing", in)
		return "", err
	}
	if str(want, "thingTypeName") == "" && str(have, "thingTypeName") != "" {
		in["removeThingType"] = true
	}
	if !equal(pick(want, "thingTypeName", "attributes"), pick(have, "thingTypeName", "attributes")) {
		if _, err := w.call(ctx, "UpdateThing", in); err != nil {
			return "", err
		}
	}
	g, old := str(want, "billingGroupName"), str(have, "billingGroupName")
	if g == old {
		return "", nil
	}
	if old != "" {
		if _, err := w.call(ctx, "RemoveThingFromBillingGroup", args{"billingGroupName": old, "thingName": name}); err != nil || g == "" {
			return "", err
		}
	}
	_, err := w.call(ctx, "AddThingToBillingGroup", args{"billingGroupName": g, "thingName": name})
	return "", err
}

func thingNames(things map[string]object) []string {
	names := make([]string, 0, len(things))
	for name := range things {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// exclusive is the thing principal type of a principal that may belong to one thing only.
const exclusive = "EXCLUSIVE_THING"

// allPrincipals reads what is attached to things, as "THING PRINCIPAL".
func (r *reader) allPrincipals(ctx context.Context) (map[string]object, error) {
	return r.principals.get(func() (map[string]object, error) {
		things, err := r.allThings(ctx)
		if err != nil {
			return nil, err
		}
		out := make(map[string]object)
		var mu sync.Mutex
		_, err = r.describe(ctx, thingNames(things), func(ctx context.Context, name string) (object, error) {
			attached, err := r.pages(ctx, "ListThingPrincipalsV2", args{"thingName": name}, "thingPrincipalObjects")
			if lacking(err) {
				attached, err = r.pages(ctx, "ListThingPrincipals", args{"thingName": name}, "principals")
			}
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, x := range attached {
				arn, ok := x.(string)
				o := object{"kind": "NON_EXCLUSIVE_THING"}
				if p, isObject := x.(object); isObject {
					arn, ok = str(p, "principal"), true
					if str(p, "thingPrincipalType") == exclusive {
						o["kind"] = exclusive
					}
				}
				if ok {
					out[name+" "+principal(arn, r.fingerprint)] = o
				}
			}
			return nil, nil
		})
		return out, err
	})
}

func readPrincipals(ctx context.Context, r *reader) (map[string]object, error) {
	return r.allPrincipals(ctx)
}

func writePrincipal(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	thing, arn, _ := strings.Cut(name, " ")
	in := args{"thingName": thing, "@x-amzn-principal": principal(arn, w.identifier)}
	if have != nil {
		if _, err := w.call(ctx, "DetachThingPrincipal", in); err != nil {
			return "", err
		}
	}
	if str(want, "kind") == exclusive {
		in["?thingPrincipalType"] = exclusive
	}
	_, err := w.call(ctx, "AttachThingPrincipal", in)
	return "", err
}

// readMembers reads what static groups hold, as "GROUP THING".
func readMembers(ctx context.Context, r *reader) (map[string]object, error) {
	groups, err := readStaticGroups(ctx, r)
	if err != nil {
		return nil, err
	}
	out := make(map[string]object)
	var mu sync.Mutex
	_, err = r.describe(ctx, thingNames(groups), func(ctx context.Context, name string) (object, error) {
		things, err := r.names(ctx, "ListThingsInThingGroup", args{"thingGroupName": name, "maxResults": 250}, "things", "")
		mu.Lock()
		defer mu.Unlock()
		for _, thing := range things {
			out[name+" "+thing] = object{}
		}
		return nil, err
	})
	return out, err
}

func writeMember(ctx context.Context, w *writer, name string, _, _ object) (string, error) {
	group, thing, _ := strings.Cut(name, " ")
	_, err := w.call(ctx, "AddThingToThingGroup", args{"thingGroupName": group, "thingName": thing})
	return "", err
}
