package server_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
)

// TestRegistryEvents checks every kind of event: its topic, and its fields and no others.
func TestRegistryEvents(t *testing.T) {
	t.Parallel()
	f := start(t)
	w := f.connect(nil, "w", 5)
	w.sub(1, "$aws/events/thing/#", "$aws/events/thingType/#", "$aws/events/thingTypeAssociation/#", "$aws/events/thingGroup/#",
		"$aws/events/thingGroupMembership/#", "$aws/events/thingGroupHierarchy/#")
	f.api("POST", "/things/before", map[string]any{}, nil)
	on := map[string]bool{"Enabled": true}
	f.api("PATCH", "/event-configurations", map[string]any{"eventConfigurations": map[string]any{"THING": on, "THING_TYPE": on,
		"THING_GROUP": on, "THING_GROUP_MEMBERSHIP": on, "THING_GROUP_HIERARCHY": on, "THING_TYPE_ASSOCIATION": on}}, nil)

	want := func(topic, kind, operation string, fields map[string]any) {
		t.Helper()
		ev := w.event("$aws/events/" + topic)
		if ev["eventType"] != kind+"_EVENT" || ev["operation"] != operation || len(ev["eventId"].(string)) != 36 || ev["timestamp"].(float64) < 1e12 {
			t.Errorf("%s: %v", topic, ev)
		}
		if kind == "THING_TYPE_ASSOCIATION" {
			fields["accountId"] = nil
		} else if ev["accountId"] != "000000000000" {
			t.Errorf("%s: account %v", topic, ev["accountId"])
		}
		for name, value := range fields {
			if have, _ := json.Marshal(ev[name]); value != "*" && string(have) != mustJSON(value) {
				t.Errorf("%s: %s is %s, want %s", topic, name, have, mustJSON(value))
			}
		}
		expected := []string{"eventType", "eventId", "timestamp", "operation", "accountId"}
		if kind == "THING_TYPE_ASSOCIATION" {
			expected = expected[:4]
			delete(fields, "accountId")
		}
		expected = slices.Sorted(slices.Values(slices.AppendSeq(expected, maps.Keys(fields))))
		if got := slices.Sorted(maps.Keys(ev)); !slices.Equal(got, expected) {
			t.Errorf("%s has %v, want %v", topic, got, expected)
		}
	}
	thingType := func(deprecated bool, date any) map[string]any {
		return map[string]any{"thingTypeId": "*", "thingTypeName": "bulb", "isDeprecated": deprecated, "deprecationDate": date,
			"searchableAttributes": []string{"room"}, "description": "a bulb"}
	}
	f.api("POST", "/thing-types/bulb", map[string]any{"thingTypeProperties": map[string]any{"thingTypeDescription": "a bulb", "searchableAttributes": []string{"room"}}}, nil)
	want("thingType/bulb/created", "THING_TYPE", "CREATED", thingType(false, nil))

	thing := func(version int, kind any, attributes map[string]string) map[string]any {
		return map[string]any{"thingId": "*", "thingName": "lamp", "versionNumber": version, "thingTypeName": kind, "attributes": attributes}
	}
	association := map[string]any{"thingId": "*", "thingName": "lamp", "thingTypeName": "bulb"}
	f.api("POST", "/things/lamp", map[string]any{"attributePayload": map[string]any{"attributes": map[string]string{"room": "hall"}}}, nil)
	want("thing/lamp/created", "THING", "CREATED", thing(1, nil, map[string]string{"room": "hall"}))
	f.api("PATCH", "/things/lamp", map[string]any{"thingTypeName": "bulb"}, nil)
	want("thing/lamp/updated", "THING", "UPDATED", thing(2, "bulb", map[string]string{"room": "hall"}))
	want("thingTypeAssociation/thing/lamp/thingType/bulb/added", "THING_TYPE_ASSOCIATION", "ADDED", association)

	group := func(name string, version int, parent, parentID any, description string) map[string]any {
		return map[string]any{"thingGroupId": "*", "thingGroupName": name, "versionNumber": version, "parentGroupName": parent, "parentGroupId": parentID,
			"description": description, "rootToParentThingGroups": "*", "attributes": map[string]string{}, "dynamicGroupMappingId": nil}
	}
	hierarchy := map[string]any{"thingGroupId": "*", "thingGroupName": "house", "childGroupId": "*", "childGroupName": "floor"}
	membership := map[string]any{"groupArn": arn + "thinggroup/floor", "groupId": "*", "thingArn": arn + "thing/lamp", "thingId": "*", "membershipId": "*"}
	f.api("POST", "/thing-groups/house", map[string]any{}, nil)
	want("thingGroup/house/created", "THING_GROUP", "CREATED", group("house", 1, nil, nil, ""))
	f.api("POST", "/thing-groups/floor", map[string]any{"parentGroupName": "house"}, nil)
	want("thingGroup/floor/created", "THING_GROUP", "CREATED", group("floor", 1, "house", "*", ""))
	want("thingGroupHierarchy/thingGroup/house/childThingGroup/floor/added", "THING_GROUP_HIERARCHY", "ADDED", hierarchy)
	f.api("PATCH", "/thing-groups/floor", map[string]any{"thingGroupProperties": map[string]string{"thingGroupDescription": "first"}}, nil)
	want("thingGroup/floor/updated", "THING_GROUP", "UPDATED", group("floor", 2, "house", "*", "first"))
	member := map[string]string{"thingName": "lamp", "thingGroupName": "floor"}
	f.api("PUT", "/thing-groups/addThingToThingGroup", member, nil)
	want("thingGroupMembership/thingGroup/floor/thing/lamp/added", "THING_GROUP_MEMBERSHIP", "ADDED", membership)
	f.api("PUT", "/thing-groups/addThingToThingGroup", member, nil) // changes nothing
	f.api("PUT", "/thing-groups/removeThingFromThingGroup", member, nil)
	want("thingGroupMembership/thingGroup/floor/thing/lamp/removed", "THING_GROUP_MEMBERSHIP", "REMOVED", membership)
	f.api("PUT", "/thing-groups/removeThingFromThingGroup", member, nil) // changes nothing
	f.api("PUT", "/thing-groups/addThingToThingGroup", member, nil)
	want("thingGroupMembership/thingGroup/floor/thing/lamp/added", "THING_GROUP_MEMBERSHIP", "ADDED", membership)
	f.api("DELETE", "/thing-groups/floor", nil, nil)
	want("thingGroupMembership/thingGroup/floor/thing/lamp/removed", "THING_GROUP_MEMBERSHIP", "REMOVED", membership)
	want("thingGroupHierarchy/thingGroup/house/childThingGroup/floor/removed", "THING_GROUP_HIERARCHY", "REMOVED", hierarchy)
	want("thingGroup/floor/deleted", "THING_GROUP", "DELETED", group("floor", 2, "house", "*", "first"))

	f.api("POST", "/thing-types/bulb/deprecate", map[string]any{}, nil)
	want("thingType/bulb/updated", "THING_TYPE", "UPDATED", thingType(true, "*"))
	f.api("DELETE", "/things/lamp", nil, nil)
	want("thingTypeAssociation/thing/lamp/thingType/bulb/removed", "THING_TYPE_ASSOCIATION", "REMOVED", association)
	want("thing/lamp/deleted", "THING", "DELETED", thing(2, "bulb", map[string]string{"room": "hall"}))

	f.api("PATCH", "/event-configurations", map[string]any{"eventConfigurations": map[string]any{"THING": map[string]bool{"Enabled": false}}}, nil)
	f.api("DELETE", "/things/before", nil, nil)
	f.api("POST", "/thing-groups/last", map[string]any{}, nil)
	w.event("$aws/events/thingGroup/last/created")
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
