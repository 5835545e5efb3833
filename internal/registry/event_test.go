package registry_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

// TestEventsOutliveTheirServer stops a server between the change and the publication, and makes a
// publication fail: each event is handed out, in order, until it was taken.
func TestEventsOutliveTheirServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() (*store.DB, *registry.Registry) {
		db := storetest.Open(t, dir)
		r, err := registry.Open(ctx, db, registry.Config{})
		if err != nil {
			t.Fatal(err)
		}
		r.SetEvents(func(kind string) bool { return kind == "THING" })
		return db, r
	}
	db, r := open()
	var want []string
	for _, name := range []string{"a", "b", "c"} {
		if _, err := r.CreateThing(ctx, registry.NewThing{Name: name}); err != nil {
			t.Fatal(err)
		}
		want = append(want, "$aws/events/thing/"+name+"/created")
	}
	if _, err := r.CreateThing(ctx, registry.NewThing{Name: "d", Type: "none"}); err == nil {
		t.Fatal("created")
	}
	db.Close()

	db, r = open()
	take := func(answers ...error) (topics []string) {
		loop, cancel := context.WithCancel(ctx)
		r.EventLoop(loop, func(list []registry.Event) error {
			for _, e := range list {
				topics = append(topics, e.Topic)
			}
			err := answers[0]
			if answers = answers[1:]; len(answers) == 0 {
				cancel()
			}
			return err
		})
		return topics
	}
	if got := take(errors.New("not now")); !slices.Equal(got, want) {
		t.Errorf("refused: %v", got)
	}
	if got := take(nil); !slices.Equal(got, want) {
		t.Errorf("taken: %v", got)
	}
	if _, err := r.CreateThing(ctx, registry.NewThing{Name: "e"}); err != nil {
		t.Fatal(err)
	}
	if got := take(nil); !slices.Equal(got, []string{"$aws/events/thing/e/created"}) {
		t.Errorf("then: %v", got)
	}
	db.Close()
}

// observer collects changes.
type observer struct{ list []registry.Change }

func (o *observer) RegistryChanged(list []registry.Change) { o.list = append(o.list, list...) }

func TestObserver(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	o := new(observer)
	r.Observe(o)
	if _, err := r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "G"}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		_, err := r.Provision(ctx, registry.Provisioning{Thing: &registry.ProvisionThing{Name: "T", Groups: []string{"G"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := r.DeleteThing(ctx, "T", nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range o.list {
		got = append(got, string(c.Kind)+" "+string(c.Operation))
	}
	want := []string{"THING_GROUP CREATED", "THING CREATED", "THING_GROUP_MEMBERSHIP ADDED", "THING_GROUP_MEMBERSHIP REMOVED", "THING DELETED"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
