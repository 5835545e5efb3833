package registry_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store/storetest"
)

var ctx = context.Background()

// recorder collects what live connections are told.
type recorder struct {
	mu    sync.Mutex
	calls [][]string
}

func (r *recorder) PrincipalsChanged(ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, ids)
}

// take returns and forgets the certificates announced since the last call; all is a nil slice.
func (r *recorder) take() (ids []string, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, call := range r.calls {
		all = all || call == nil
		ids = append(ids, call...)
	}
	r.calls = nil
	slices.Sort(ids)
	return slices.Compact(ids), all
}

func open(t testing.TB) (*registry.Registry, *recorder) {
	t.Helper()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	r, err := registry.Open(ctx, db, registry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	live := new(recorder)
	r.SetLive(live)
	return r, live
}

var testKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return key
})

// certificate adds a certificate and returns its identifier.
func certificate(t testing.TB, r *registry.Registry, status string) string {
	t.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{SerialNumber: serial, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &testKey().PublicKey, testKey())
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.AddCertificate(ctx, registry.NewCertificate{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), Status: status})
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func check(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }

const document = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`

func TestIdentity(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	none, shared, own := certificate(t, r, registry.Active), certificate(t, r, registry.Active), certificate(t, r, registry.Inactive)
	check(t,
		second(r.CreateThingType(ctx, "lamp", registry.ThingTypeProperties{}, nil)),
		second(r.CreateThing(ctx, registry.NewThing{Name: "t1", Type: "lamp", Attributes: map[string]string{"room": "hall"}})),
		second(r.CreateThing(ctx, registry.NewThing{Name: "t2"})),
		r.AttachThingPrincipal(ctx, "t1", r.ARN("cert/"+shared), ""),
		r.AttachThingPrincipal(ctx, "t2", r.ARN("cert/"+shared), ""),
		r.AttachThingPrincipal(ctx, "t1", r.ARN("cert/"+own), registry.ExclusiveThing),
	)
	for _, group := range [][2]string{{"root", ""}, {"leaf", "root"}, {"other", ""}} {
		check(t, second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: group[0], Parent: group[1]})))
	}
	for _, name := range []string{"onCert", "onRoot", "onLeaf", "onOther"} {
		check(t, second(r.CreatePolicy(ctx, name, []byte(document), nil)))
	}
	check(t,
		r.AddThingToThingGroup(ctx, "leaf", "t1"),
		r.AttachPolicy(ctx, "onCert", r.ARN("cert/"+shared)),
		r.AttachPolicy(ctx, "onRoot", r.ARN("thinggroup/root")),
		r.AttachPolicy(ctx, "onLeaf", r.ARN("thinggroup/leaf")),
		r.AttachPolicy(ctx, "onCert", r.ARN("thinggroup/leaf")),
		r.AttachPolicy(ctx, "onOther", r.ARN("thinggroup/other")),
	)
	tests := []struct {
		name, certificate, client string
		thing                     string
		exclusive                 bool
		policies                  []string
	}{
		{"attached to nothing", none, "t1", "", false, nil},
		{"client identifier is an attached thing", shared, "t1", "t1", false, []string{"onCert", "onLeaf", "onRoot"}},
		{"client identifier is another attached thing", shared, "t2", "t2", false, []string{"onCert"}},
		{"client identifier is no attached thing", shared, "t3", "", false, []string{"onCert"}},
		{"exclusive, any client identifier", own, "whatever", "t1", true, []string{"onCert", "onLeaf", "onRoot"}},
	}
	for _, test := range tests {
		for range 2 { // from the store and from memory
			id, err := r.Identity(ctx, test.certificate, test.client)
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			thing := ""
			if id.Thing != nil {
				thing = id.Thing.Name
			}
			var policies []string
			for _, p := range id.Policies {
				policies = append(policies, p.Name)
				if p.Version != "1" || string(p.Body) != document || p.Target == "" {
					t.Errorf("%s: %+v", test.name, p)
				}
			}
			slices.Sort(policies)
			if thing != test.thing || id.Exclusive != test.exclusive || id.ThingAttached != (thing != "") || !slices.Equal(policies, test.policies) {
				t.Errorf("%s: thing %q, exclusive %v, attached %v, policies %v", test.name, thing, id.Exclusive, id.ThingAttached, policies)
			}
		}
	}
	id, err := r.Identity(ctx, own, "x")
	if err != nil || id.Status != registry.Inactive || id.Thing.Type != "lamp" || id.Thing.Attributes["room"] != "hall" {
		t.Errorf("%+v %v", id, err)
	}
	if _, err := r.Identity(ctx, "nosuch", "x"); !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
}

// TestChangesAreAnnounced checks for each kind of change that the right connections hear of it and
// that the next Identity shows it.
func TestChangesAreAnnounced(t *testing.T) {
	t.Parallel()
	r, live := open(t)
	one, two := certificate(t, r, registry.Active), certificate(t, r, registry.Active)
	check(t,
		second(r.CreateThingType(ctx, "lamp", registry.ThingTypeProperties{}, nil)),
		second(r.CreateThing(ctx, registry.NewThing{Name: "t"})),
		second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "root"})),
		second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "leaf", Parent: "root"})),
		second(r.CreatePolicy(ctx, "p", []byte(document), nil)),
		second(r.CreatePolicy(ctx, "g", []byte(document), nil)),
	)
	live.take()
	identity := func() *registry.Identity {
		t.Helper()
		id, err := r.Identity(ctx, one, "t")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	steps := []struct {
		name string
		do   func() error
		want []string
		see  func(id *registry.Identity) bool
	}{
		{"attach policy", func() error { return r.AttachPolicy(ctx, "p", r.ARN("cert/"+one)) }, []string{one},
			func(id *registry.Identity) bool { return len(id.Policies) == 1 }},
		{"attach thing", func() error { return r.AttachThingPrincipal(ctx, "t", r.ARN("cert/"+one), "") }, []string{one},
			func(id *registry.Identity) bool { return id.Thing != nil }},
		{"attach thing to another", func() error { return r.AttachThingPrincipal(ctx, "t", r.ARN("cert/"+two), "") }, []string{two},
			func(id *registry.Identity) bool { return id.Thing != nil }},
		{"attributes", func() error {
			return r.UpdateThing(ctx, "t", registry.ThingUpdate{Attributes: map[string]string{"a": "b"}})
		}, []string{one, two}, func(id *registry.Identity) bool { return id.Thing.Attributes["a"] == "b" }},
		{"type", func() error { return r.UpdateThing(ctx, "t", registry.ThingUpdate{Type: "lamp"}) }, []string{one, two},
			func(id *registry.Identity) bool { return id.Thing.Type == "lamp" }},
		{"group policy before anybody is in the group", func() error { return r.AttachPolicy(ctx, "g", r.ARN("thinggroup/root")) }, nil,
			func(id *registry.Identity) bool { return len(id.Policies) == 1 }},
		{"join group", func() error { return r.AddThingToThingGroup(ctx, "leaf", "t") }, []string{one, two},
			func(id *registry.Identity) bool { return len(id.Policies) == 2 }},
		{"new default of a group's policy", func() error { return second(r.CreatePolicyVersion(ctx, "g", []byte(document), true)) }, []string{"", one, two},
			func(id *registry.Identity) bool { return id.Policies[1].Version == "2" }},
		{"version that is not the default", func() error { return second(r.CreatePolicyVersion(ctx, "p", []byte(document), false)) }, nil,
			func(id *registry.Identity) bool { return id.Policies[0].Version == "1" }},
		{"default of a certificate's policy", func() error { return r.SetDefaultPolicyVersion(ctx, "p", "2") }, []string{"", one},
			func(id *registry.Identity) bool { return id.Policies[0].Version == "2" }},
		{"delete group", func() error { return r.DeleteThingGroup(ctx, "leaf", nil) }, []string{one, two},
			func(id *registry.Identity) bool { return len(id.Policies) == 1 }},
		{"deactivate", func() error { return r.UpdateCertificate(ctx, one, registry.Inactive) }, []string{one},
			func(id *registry.Identity) bool { return id.Status == registry.Inactive }},
		{"the same status again", func() error { return r.UpdateCertificate(ctx, one, registry.Inactive) }, nil,
			func(id *registry.Identity) bool { return true }},
		{"detach thing", func() error { return r.DetachThingPrincipal(ctx, "t", r.ARN("cert/"+one)) }, []string{one},
			func(id *registry.Identity) bool { return id.Thing == nil }},
		{"detach policy", func() error { return r.DetachPolicy(ctx, "p", r.ARN("cert/"+one)) }, []string{one},
			func(id *registry.Identity) bool { return len(id.Policies) == 0 }},
	}
	for _, step := range steps {
		identity() // is in memory when the change comes
		check(t, step.do())
		got, all := live.take()
		want := slices.Clone(step.want)
		slices.Sort(want)
		if !slices.Equal(got, want) || all {
			t.Errorf("%s: announced %q, want %q", step.name, got, want)
		}
		if !step.see(identity()) {
			t.Errorf("%s: the identity does not show it: %+v", step.name, identity())
		}
	}
	check(t, r.DeleteCertificate(ctx, one, false))
	if got, _ := live.take(); !slices.Equal(got, []string{one}) {
		t.Errorf("delete certificate announced %q", got)
	}
	if _, err := r.Identity(ctx, one, "t"); !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
}

func TestWideChangeIsAnnouncedToAll(t *testing.T) {
	t.Parallel()
	r, live := open(t)
	check(t, second(r.CreatePolicy(ctx, "p", []byte(document), nil)))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 130 {
				if err := r.AttachPolicy(ctx, "p", r.ARN("cert/"+certificate(t, r, registry.Active))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	live.take()
	check(t, second(r.CreatePolicyVersion(ctx, "p", []byte(document), true)))
	if _, all := live.take(); !all {
		t.Error("a change for 1,040 certificates was announced one by one")
	}
}

// TestIdentityIsNeverStale changes and reads at once: a reader that begins after a change was
// answered must see it.
func TestIdentityIsNeverStale(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	id := certificate(t, r, registry.Active)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := r.Identity(ctx, id, "c"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range 200 {
		want := []string{registry.Inactive, registry.Active}[i%2]
		check(t, r.UpdateCertificate(ctx, id, want))
		if got, err := r.Identity(ctx, id, "c"); err != nil || got.Status != want {
			t.Fatalf("change %d: %v %v, want %s", i, got, err, want)
		}
	}
	close(stop)
	wg.Wait()
}

func TestCreateThingOnce(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	var wg sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wg.Go(func() {
			thing, err := r.CreateThing(ctx, registry.NewThing{Name: "same"})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = thing.ID
		})
	}
	wg.Wait()
	if slices.Sort(ids); ids[0] != ids[15] {
		t.Error("one name became several things")
	}
}

func TestPagesOfAGroupTree(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	check(t, second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "root"})))
	want := map[string]bool{}
	for g := range 5 {
		group := fmt.Sprint("g", g)
		check(t, second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: group, Parent: "root"})))
		for i := range g { // g0 stays empty
			name := fmt.Sprintf("t%d%d", g, i)
			check(t, second(r.CreateThing(ctx, registry.NewThing{Name: name})), r.AddThingToThingGroup(ctx, group, name))
			want[name] = true
		}
	}
	for limit := 1; limit <= 11; limit++ {
		got := map[string]bool{}
		page := registry.Page{Limit: limit}
		for range 20 {
			things, next, err := r.ListThingsInThingGroup(ctx, "root", true, page)
			if err != nil {
				t.Fatal(err)
			}
			if len(things) > limit {
				t.Errorf("%d things on a page of %d", len(things), limit)
			}
			for _, name := range things {
				if got[name] {
					t.Errorf("%s came twice", name)
				}
				got[name] = true
			}
			if page.Token = next; next == "" {
				break
			}
		}
		if len(got) != len(want) {
			t.Errorf("page size %d: %d things of %d", limit, len(got), len(want))
		}
	}
}

func TestListThings(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	check(t, second(r.CreateThingType(ctx, "lamp", registry.ThingTypeProperties{}, nil)))
	for i := range 6 {
		kind := []string{"", "lamp"}[i%2]
		check(t, second(r.CreateThing(ctx, registry.NewThing{Name: fmt.Sprint("t", i), Type: kind, Attributes: map[string]string{"room": fmt.Sprint("r", i/2)}})))
	}
	tests := []struct {
		filter registry.ThingFilter
		want   []string
	}{
		{registry.ThingFilter{}, []string{"t0", "t1", "t2", "t3", "t4", "t5"}},
		{registry.ThingFilter{Type: "lamp"}, []string{"t1", "t3", "t5"}},
		{registry.ThingFilter{AttributeName: "room", AttributeValue: "r1"}, []string{"t2", "t3"}},
		{registry.ThingFilter{AttributeName: "room", AttributeValue: "r1", Type: "lamp"}, []string{"t3"}},
		{registry.ThingFilter{AttributeName: "room", AttributeValue: "r", Prefix: true}, []string{"t0", "t1", "t2", "t3", "t4", "t5"}},
		{registry.ThingFilter{AttributeName: "room", AttributeValue: "r", Prefix: true, Type: "lamp"}, []string{"t1", "t3", "t5"}},
		{registry.ThingFilter{AttributeName: "room"}, []string{"t0", "t1", "t2", "t3", "t4", "t5"}},
		{registry.ThingFilter{AttributeName: "floor"}, nil},
	}
	for _, test := range tests {
		for limit := 1; limit <= 7; limit++ {
			var got []string
			page := registry.Page{Limit: limit}
			for {
				things, next, err := r.ListThings(ctx, test.filter, page)
				if err != nil {
					t.Fatal(err)
				}
				for _, thing := range things {
					got = append(got, thing.Name)
				}
				if page.Token = next; next == "" {
					break
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%+v by %d: %v, want %v", test.filter, limit, got, test.want)
			}
		}
	}
	check(t, r.UpdateThing(ctx, "t0", registry.ThingUpdate{Attributes: map[string]string{"room": "attic"}}))
	if things, _, _ := r.ListThings(ctx, registry.ThingFilter{AttributeName: "room", AttributeValue: "r0"}, registry.Page{}); len(things) != 1 {
		t.Error("an attribute's old value is still found")
	}
}

func TestGroupLimit(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	check(t, second(r.CreateThing(ctx, registry.NewThing{Name: "t"})))
	for i := range 11 {
		group := fmt.Sprint("g", i)
		check(t, second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: group})))
		err := r.AddThingToThingGroup(ctx, group, "t")
		if (err == nil) != (i < 10) || err != nil && !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("group %d: %v", i+1, err)
		}
	}
}

func FuzzParseCertificate(f *testing.F) {
	r, _ := open(f)
	c, err := r.DescribeCertificate(ctx, certificate(f, r, registry.Active))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.PEM)
	f.Add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		cert, err := registry.ParseCertificate(text)
		if (cert == nil) == (err == nil) {
			t.Error("neither a certificate nor an error")
		}
	})
}

func BenchmarkIdentity(b *testing.B) {
	r, _ := open(b)
	check(b, second(r.CreatePolicy(ctx, "p", []byte(document), nil)), second(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "g"})))
	ids := make([]string, 64)
	for i := range ids {
		ids[i] = certificate(b, r, registry.Active)
		name := fmt.Sprint("t", i)
		check(b, second(r.CreateThing(ctx, registry.NewThing{Name: name})), r.AddThingToThingGroup(ctx, "g", name),
			r.AttachPolicy(ctx, "p", r.ARN("cert/"+ids[i])), r.AttachThingPrincipal(ctx, name, r.ARN("cert/"+ids[i]), ""))
	}
	b.Run("missed", func(b *testing.B) {
		i := 0
		for b.Loop() {
			// Each client identifier is new: the thing is not found, the policies are.
			if _, err := r.Identity(ctx, ids[i%64], fmt.Sprint("c", i)); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("cached", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if _, err := r.Identity(ctx, ids[i%64], fmt.Sprint("t", i%64)); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}
