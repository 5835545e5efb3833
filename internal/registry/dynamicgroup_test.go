package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store/storetest"
)

func dynamicOf(query string) registry.DynamicGroup {
	return registry.DynamicGroup{Query: query, QueryVersion: "2017-09-30", IndexName: "AWS_Things"}
}

func groupsOf(t *testing.T, r *registry.Registry, thing string) (names []string) {
	t.Helper()
	m, err := r.DescribeMember(ctx, thing)
	if err != nil {
		t.Fatal(err)
	}
	return append(m.Static, m.Dynamic...)
}

// TestDynamicGroupRefusals checks what can be done to static groups only, and to dynamic ones.
func TestDynamicGroupRefusals(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	check(t,
		second(r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: "d"}, dynamicOf("*"))),
		second(r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: "d"}, dynamicOf("*"))), // again
		second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "s"})),
		second(r.CreateThing(ctx, registry.NewThing{Name: "t"})),
		second(r.CreatePolicy(ctx, "p", []byte(document), nil)))
	for name, c := range map[string]struct{ err, want error }{
		"add":             {r.AddThingToThingGroup(ctx, "d", "t"), registry.ErrInvalid},
		"remove":          {r.RemoveThingFromThingGroup(ctx, "d", "t"), registry.ErrInvalid},
		"update static":   {second(r.UpdateThingGroup(ctx, "d", registry.GroupUpdate{})), registry.ErrInvalid},
		"delete static":   {r.DeleteThingGroup(ctx, "d", nil), registry.ErrInvalid},
		"child":           {second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "c", Parent: "d"})), registry.ErrInvalid},
		"parent":          {second(r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: "c", Parent: "s"}, dynamicOf("*"))), registry.ErrInvalid},
		"policy":          {r.AttachPolicy(ctx, "p", r.ARN("thinggroup/d")), registry.ErrInvalid},
		"other query":     {second(r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: "d"}, dynamicOf("a"))), registry.ErrAlreadyExists},
		"static of name":  {second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "d"})), registry.ErrAlreadyExists},
		"dynamic of name": {second(r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: "s"}, dynamicOf("*"))), registry.ErrAlreadyExists},
		"update dynamic":  {second(r.UpdateDynamicThingGroup(ctx, "s", registry.GroupUpdate{}, dynamicOf("a"))), registry.ErrInvalid},
		"delete dynamic":  {r.DeleteDynamicThingGroup(ctx, "s", nil), registry.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	wrong := int64(7)
	if err := r.DeleteDynamicThingGroup(ctx, "d", &wrong); !errors.Is(err, registry.ErrVersionConflict) {
		t.Errorf("wrong version: %v", err)
	}
	check(t, r.DeleteDynamicThingGroup(ctx, "d", nil), r.DeleteDynamicThingGroup(ctx, "d", nil))
	for i := range 100 {
		check(t, second(r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: fmt.Sprint("g", i)}, dynamicOf("*"))))
	}
	if _, err := r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: "g100"}, dynamicOf("*")); !errors.Is(err, registry.ErrLimit) {
		t.Errorf("too many: %v", err)
	}
}

// TestDynamicGroupStatus follows a group from its making over a new query to its end.
func TestDynamicGroupStatus(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	status := func(want string) {
		t.Helper()
		g, err := r.DescribeThingGroup(ctx, "d")
		if check(t, err); g.Dynamic.Status != want {
			t.Errorf("status %s, want %s", g.Dynamic.Status, want)
		}
	}
	check(t, second(r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: "d"}, dynamicOf("*"))))
	status(registry.GroupBuilding)
	check(t, r.ActivateDynamicGroup(ctx, "d", 1))
	status(registry.GroupActive)
	check(t, second(r.UpdateDynamicThingGroup(ctx, "d", registry.GroupUpdate{}, registry.DynamicGroup{})))
	status(registry.GroupActive) // the query is the same
	check(t, second(r.UpdateDynamicThingGroup(ctx, "d", registry.GroupUpdate{}, registry.DynamicGroup{Query: "a"})))
	check(t, r.ActivateDynamicGroup(ctx, "d", 1)) // of an older version
	status(registry.GroupRebuilding)
	check(t, r.ActivateDynamicGroup(ctx, "d", 3))
	status(registry.GroupActive)
}

// TestDynamicMembershipLimit fills a thing's groups: older dynamic groups displace younger ones, and
// static groups displace dynamic ones when they are told to.
func TestDynamicMembershipLimit(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	now := time.Unix(1700000000, 0)
	r, err := registry.Open(ctx, db, registry.Config{Now: func() time.Time { return now }})
	check(t, err)
	check(t, second(r.CreateThing(ctx, registry.NewThing{Name: "t"})))
	var static []string
	for i := range 9 {
		name := fmt.Sprint("s", i)
		check(t, second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: name})))
		if static = append(static, name); i < 8 {
			check(t, r.AddThingToThingGroup(ctx, name, "t"))
		}
	}
	for _, name := range []string{"old", "mid", "new"} {
		check(t, second(r.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: name}, dynamicOf("*"))))
		now = now.Add(time.Second)
	}
	set := func(refused int, groups ...string) {
		t.Helper()
		n, err := r.SetDynamicGroups(ctx, []registry.Membership{{Thing: "gone", Groups: groups}, {Thing: "t", Groups: groups}})
		if check(t, err); n != refused {
			t.Errorf("%v: refused %d, want %d", groups, n, refused)
		}
	}
	want := func(groups ...string) {
		t.Helper()
		if got := groupsOf(t, r, "t"); !slices.Equal(got, append(slices.Clone(static[:len(got)-len(groups)]), groups...)) {
			t.Errorf("groups %v, want the static ones and %v", got, groups)
		}
	}
	set(0, "mid", "new")
	want("mid", "new")
	set(1, "old", "mid", "new") // the older one in, the youngest out, which is then refused or displaced
	want("mid", "old")
	if err := r.AddThingToThingGroup(ctx, "s8", "t"); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("an eleventh group: %v", err)
	}
	check(t, r.UpdateMembership(ctx, "t", registry.MembershipUpdate{Add: []string{"s8"}, OverrideDynamic: true}))
	want("old")
	set(0)
	want()
}
