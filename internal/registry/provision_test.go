package registry_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// TestProvisionOverrides: what becomes of a thing that exists already.
func TestProvisionOverrides(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		attributes, thingType, groups string
		wantAttributes                map[string]string
		wantType                      string
		wantGroups                    string
		fails                         bool
	}{
		{registry.DoNothing, registry.DoNothing, registry.DoNothing, map[string]string{"a": "1"}, "old", "[g1]", false},
		{registry.Merge, registry.Replace, registry.Merge, map[string]string{"a": "1", "b": "2"}, "new", "[g1 g2]", false},
		{registry.Replace, registry.DoNothing, registry.Replace, map[string]string{"b": "2"}, "old", "[g2]", false},
		{registry.Fail, registry.DoNothing, registry.DoNothing, map[string]string{"a": "1"}, "old", "[g1]", true},
		{registry.Merge, registry.Fail, registry.Merge, map[string]string{"a": "1"}, "old", "[g1]", true},
		{registry.Merge, registry.Replace, registry.Fail, map[string]string{"a": "1"}, "old", "[g1]", true},
	} {
		r, _ := open(t)
		for _, name := range []string{"old", "new"} {
			if _, err := r.CreateThingType(ctx, name, registry.ThingTypeProperties{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"g1", "g2"} {
			if _, err := r.CreateThingGroup(ctx, registry.NewThingGroup{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		first := registry.Provisioning{Thing: &registry.ProvisionThing{Name: "t", Type: "old", Attributes: map[string]string{"a": "1"}, Groups: []string{"g1"}}}
		if _, err := r.Provision(ctx, first, nil); err != nil {
			t.Fatal(err)
		}
		second := registry.Provisioning{Thing: &registry.ProvisionThing{Name: "t", Type: "new", Attributes: map[string]string{"b": "2"}, Groups: []string{"g2"},
			OverrideAttributes: tc.attributes, OverrideType: tc.thingType, OverrideGroups: tc.groups}}
		var version int64
		for again := range 2 {
			out, err := r.Provision(ctx, second, nil)
			if tc.fails != errors.Is(err, registry.ErrAlreadyExists) || !tc.fails && err != nil {
				t.Errorf("%v: %v", tc, err)
			}
			if err == nil && again == 1 && out.Thing.Version != version {
				t.Errorf("%v: doing it again changed the thing", tc)
			}
			if err == nil {
				version = out.Thing.Version
			}
		}
		thing, err := r.DescribeThing(ctx, "t")
		if err != nil {
			t.Fatal(err)
		}
		refs, _, err := r.ListThingGroupsForThing(ctx, "t", registry.Page{})
		if err != nil {
			t.Fatal(err)
		}
		groups := []string{}
		for _, g := range refs {
			groups = append(groups, g.Name)
		}
		if !maps.Equal(thing.Attributes, tc.wantAttributes) || thing.Type != tc.wantType || fmt.Sprint(groups) != tc.wantGroups {
			t.Errorf("%v: thing %+v groups %v", tc, thing, groups)
		}
	}
}

// TestProvisionIsWhole: what fails late leaves nothing, the caller's own part included.
func TestProvisionIsWhole(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	failure := errors.New("the caller's part fails")
	in := registry.Provisioning{Thing: &registry.ProvisionThing{Name: "t"}, Policies: []registry.ProvisionPolicy{{Name: "p",
		Document: []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`)}}}
	if _, err := r.Provision(ctx, in, func(*store.Tx, *registry.Provisioned) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if _, err := r.DescribeThing(ctx, "t"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("thing: %v", err)
	}
	if _, err := r.GetPolicy(ctx, "p"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("policy: %v", err)
	}
	in.Policies[0].Document = nil
	if _, err := r.Provision(ctx, in, nil); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a policy that does not exist: %v", err)
	}
}
