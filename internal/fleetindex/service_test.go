package fleetindex_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// bench is an index with its sources over a database of its own.
type bench struct {
	*fleetindex.Service
	t       testing.TB
	dir     string
	db      *store.DB
	reg     *registry.Registry
	shadows *shadow.Service
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bench) open() {
	b.t.Helper()
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	var err error
	b.db = storetest.Open(b.t, b.dir)
	if b.reg, err = registry.Open(ctx, b.db, registry.Config{}); err != nil {
		b.t.Fatal(err)
	}
	routes, err := router.New(ctx, topic.AWS, b.db)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.shadows, err = shadow.Open(ctx, shadow.Config{Store: b.db, Router: routes, Inflight: -1}); err != nil {
		b.t.Fatal(err)
	}
	if b.Service, err = fleetindex.Open(ctx, fleetindex.Config{Store: b.db, Registry: b.reg, Shadows: b.shadows, Log: log}); err != nil {
		b.t.Fatal(err)
	}
	b.Start()
}

func (b *bench) close() {
	b.Service.Close()
	b.shadows.Close()
	b.db.Close()
}

func (b *bench) restart() {
	b.t.Helper()
	b.close()
	b.open()
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// all turns everything on, with the named shadows cfg and net.
func (b *bench) all(custom ...fleetindex.Field) {
	b.t.Helper()
	b.ok(b.Configure(context.Background(), &fleetindex.ThingConfiguration{Mode: fleetindex.RegistryAndShadow, Connectivity: fleetindex.Status,
		Defender: fleetindex.Violations, NamedShadows: fleetindex.On, Filter: &fleetindex.Filter{ShadowNames: []string{"cfg", "net"}}, Custom: custom},
		&fleetindex.GroupConfiguration{Mode: fleetindex.On}))
}

func (b *bench) thing(name string, attributes map[string]string) {
	b.t.Helper()
	_, err := b.reg.CreateThing(context.Background(), registry.NewThing{Name: name, Attributes: attributes})
	b.ok(err)
}

func (b *bench) update(thing, name, state string) {
	b.t.Helper()
	_, err := b.shadows.Update(context.Background(), shadow.ID{Thing: thing, Shadow: name}, []byte(`{"state":`+state+`}`))
	b.ok(err)
}

// ready waits until the index has been built.
func (b *bench) ready() {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if i, err := b.DescribeIndex(fleetindex.Things); err != nil || i.Status == "ACTIVE" {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatal("the index is not ready")
		}
	}
}

// find returns the names that a query finds, page by page.
func (b *bench) find(index, query string, page int) []string {
	b.t.Helper()
	b.ready()
	var names []string
	for token := ""; ; {
		res, err := b.Search(context.Background(), index, query, token, page)
		if err != nil {
			b.t.Fatalf("%s: %v", query, err)
		}
		if n := len(res.Things) + len(res.Groups); n > page {
			b.t.Fatalf("%s: %d results in a page of %d", query, n, page)
		}
		for _, th := range res.Things {
			names = append(names, th.Name)
		}
		for _, g := range res.Groups {
			names = append(names, g.Name)
		}
		if token = res.Next; token == "" {
			return names
		}
	}
}

func (b *bench) want(query string, want ...string) {
	b.t.Helper()
	if got := b.find(fleetindex.Things, query, 100); !slices.Equal(got, want) {
		b.t.Errorf("%s: %v, want %v", query, got, want)
	}
}

// members waits until a dynamic group has these members.
func (b *bench) members(group string, want ...string) {
	b.t.Helper()
	var got []string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var err error
		got, _, err = b.reg.ListThingsInThingGroup(context.Background(), group, false, registry.Page{})
		b.ok(err)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("group %s has %v, want %v", group, got, want)
		}
	}
}

func client(id string) session.Client {
	return session.Client{ClientID: id, SessionID: strings.Repeat("0", 31) + "1"}
}

func TestSwitchingOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.thing("a", map[string]string{"k": "v"})
	b.update("a", "", `{"reported":{"x":1}}`)
	b.update("a", "cfg", `{"desired":{"y":2}}`)
	b.Lifecycle().Connected(client("a"))
	if _, err := b.Search(ctx, fleetindex.Things, "*", "", 0); !errors.Is(err, fleetindex.ErrNotFound) {
		t.Errorf("off: %v", err)
	}
	if _, err := b.ThingConnectivity(ctx, "a"); !errors.Is(err, fleetindex.ErrNotReady) {
		t.Errorf("connectivity off: %v", err)
	}
	b.ok(b.Configure(ctx, &fleetindex.ThingConfiguration{Mode: fleetindex.Registry}, nil))
	b.want("attributes.k:v", "a")
	b.want("shadow.reported.x:1")
	b.ok(b.Configure(ctx, &fleetindex.ThingConfiguration{Mode: fleetindex.RegistryAndShadow}, nil))
	b.want("shadow.reported.x:1", "a")
	b.want("shadow.name.cfg.desired.y:2")
	b.want("connectivity.connected:true")
	b.all()
	b.want("shadow.name.cfg.desired.y:2", "a")
	b.want("connectivity.connected:true", "a")
	if names := b.ListIndices(); !slices.Equal(names, []string{fleetindex.ThingGroups, fleetindex.Things}) {
		t.Errorf("indices: %v", names)
	}
	res, err := b.Search(ctx, fleetindex.Things, "thingName:a", "", 0)
	b.ok(err)
	var doc struct {
		Reported map[string]int
		Version  int
		HasDelta bool
		Metadata map[string]any
		Name     map[string]struct {
			Desired  map[string]int
			HasDelta bool
		}
	}
	b.ok(json.Unmarshal(res.Things[0].Shadow, &doc))
	if doc.Reported["x"] != 1 || doc.Version != 1 || doc.HasDelta || doc.Metadata == nil || doc.Name["cfg"].Desired["y"] != 2 || !doc.Name["cfg"].HasDelta {
		t.Errorf("shadow: %s", res.Things[0].Shadow)
	}
	if c := res.Things[0].Connectivity; c == nil || !c.Connected {
		t.Errorf("connectivity: %+v", c)
	}
	b.ok(b.Configure(ctx, &fleetindex.ThingConfiguration{Mode: fleetindex.Off}, nil))
	if _, err := b.DescribeIndex(fleetindex.Things); !errors.Is(err, fleetindex.ErrNotFound) {
		t.Errorf("off again: %v", err)
	}
}

func TestConfigurationRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, c := range map[string]fleetindex.ThingConfiguration{
		"mode":            {Mode: "SOME"},
		"off with status": {Mode: fleetindex.Off, Connectivity: fleetindex.Status},
		"no names":        {Mode: fleetindex.Registry, NamedShadows: fleetindex.On},
		"names alone":     {Mode: fleetindex.Registry, Filter: &fleetindex.Filter{ShadowNames: []string{"a"}}},
		"name":            {Mode: fleetindex.Registry, NamedShadows: fleetindex.On, Filter: &fleetindex.Filter{ShadowNames: []string{"a.b"}}},
		"too many names":  {Mode: fleetindex.Registry, NamedShadows: fleetindex.On, Filter: &fleetindex.Filter{ShadowNames: strings.Split("abcdefghijk", "")}},
		"managed":         {Mode: fleetindex.Registry, Custom: []fleetindex.Field{{Name: "thingName", Type: fleetindex.String}}},
		"not indexed":     {Mode: fleetindex.Registry, Custom: []fleetindex.Field{{Name: "shadow.reported.x", Type: fleetindex.Number}}},
		"type":            {Mode: fleetindex.Registry, Custom: []fleetindex.Field{{Name: "attributes.x", Type: "Int"}}},
		"twice":           {Mode: fleetindex.Registry, Custom: []fleetindex.Field{{Name: "attributes.x", Type: fleetindex.Number}, {Name: "attributes.x", Type: fleetindex.String}}},
	} {
		if err := b.Configure(context.Background(), &c, nil); !errors.Is(err, fleetindex.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGroupIndex(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.all()
	for _, g := range []registry.NewThingGroup{{Name: "root"}, {Name: "mid", Parent: "root", Description: "the middle"}, {Name: "leaf", Parent: "mid", Attributes: map[string]string{"n": "5"}}} {
		_, err := b.reg.CreateThingGroup(ctx, g)
		b.ok(err)
	}
	for query, want := range map[string][]string{
		"*": {"leaf", "mid", "root"}, "thingGroupName:mi*": {"mid"}, "parentGroupNames:root": {"leaf", "mid"}, "parentGroupNames:(mid OR root)": {"leaf", "mid"},
		"description:middle": {"mid"}, "attributes.n<6": {"leaf"}, "middle": {"mid"}, "NOT attributes.n:5": {"mid", "root"}, "thingGroupNames:leaf": {"leaf"},
	} {
		if got := b.find(fleetindex.ThingGroups, query, 2); !slices.Equal(got, want) {
			t.Errorf("%s: %v", query, got)
		}
	}
	b.ok(b.reg.DeleteThingGroup(ctx, "leaf", nil))
	if got := b.find(fleetindex.ThingGroups, "attributes.n:5", 5); got != nil {
		t.Errorf("deleted: %v", got)
	}
}

func TestAggregations(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.all(fleetindex.Field{Name: "attributes.n", Type: fleetindex.Number}, fleetindex.Field{Name: "attributes.s", Type: fleetindex.String},
		fleetindex.Field{Name: "shadow.reported.on", Type: fleetindex.Boolean})
	for i, n := range []string{"-125", "75", "150", "many", "75.0"} {
		name := fmt.Sprint("t", i)
		b.thing(name, map[string]string{"n": n, "s": string('A' + rune(i/2))})
		b.update(name, "", fmt.Sprintf(`{"reported":{"on":%v}}`, i > 0))
	}
	statistics := func(query, field string) fleetindex.Statistics {
		t.Helper()
		b.ready()
		st, err := b.Statistics(ctx, fleetindex.Things, query, field)
		b.ok(err)
		return st
	}
	st := statistics("thingName:(t0 OR t1 OR t2)", "attributes.n")
	if st.Count != 3 || *st.Average != 100.0/3 || *st.Sum != 100 || *st.Minimum != -125 || *st.Maximum != 150 || *st.SumOfSquares != 43750 ||
		fmt.Sprintf("%.4f %.4f", *st.Variance, *st.StdDeviation) != "13472.2222 116.0699" {
		t.Errorf("numbers: %+v", st)
	}
	if st := statistics("*", "attributes.n"); st.Count != 4 {
		t.Errorf("a value of another type counts: %+v", st)
	}
	if st := statistics("*", "attributes.s"); st.Count != 5 || st.Sum != nil {
		t.Errorf("strings: %+v", st)
	}
	if st := statistics("*", "shadow.reported.on"); st.Count != 5 || *st.Average != 0.8 || *st.Minimum != 0 || *st.Maximum != 1 || *st.Sum != 4 {
		t.Errorf("booleans: %+v", st)
	}
	if st := statistics("*", ""); st.Count != 5 || *st.Sum != 5 {
		t.Errorf("versions: %+v", st)
	}
	if st := statistics("none", "attributes.n"); st.Count != 0 || st.Sum != nil {
		t.Errorf("nothing: %+v", st)
	}
	for field, want := range map[string]int64{"attributes.n": 3, "attributes.s": 3, "thingName": 5, "shadow.hasDelta": 1, "connectivity.connected": 0} {
		if n, err := b.Cardinality(ctx, fleetindex.Things, "*", field); err != nil || n != want {
			t.Errorf("cardinality of %s: %d %v", field, n, err)
		}
	}
	list, err := b.Percentiles(ctx, fleetindex.Things, "*", "attributes.n", []float64{100, 50, 0, 75, 50})
	b.ok(err)
	if fmt.Sprint(list) != "[{0 -125} {50 75} {75 93.75} {100 150}]" {
		t.Errorf("percentiles: %v", list)
	}
	if list, err := b.Percentiles(ctx, fleetindex.Things, "none", "attributes.n", nil); err != nil || list == nil || len(list) != 0 {
		t.Errorf("no percentiles: %v %v", list, err)
	}
	total, buckets, err := b.Buckets(ctx, fleetindex.Things, "*", "attributes.s", 2)
	b.ok(err)
	if total != 5 || fmt.Sprint(buckets) != "[{A 2} {B 2}]" {
		t.Errorf("buckets: %d %v", total, buckets)
	}
	for _, field := range []string{"attributes.other", "shadow.reported.x", "x"} {
		if _, err := b.Statistics(ctx, fleetindex.Things, "*", field); !errors.Is(err, fleetindex.ErrAggregation) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := b.Percentiles(ctx, fleetindex.Things, "*", "attributes.s", nil); !errors.Is(err, fleetindex.ErrAggregation) {
		t.Errorf("percentiles of strings: %v", err)
	}
	if _, err := b.Percentiles(ctx, fleetindex.Things, "*", "attributes.n", []float64{101}); !errors.Is(err, fleetindex.ErrInvalid) {
		t.Errorf("percent 101: %v", err)
	}
}

func TestDynamicGroups(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.all()
	b.ready()
	b.thing("a", map[string]string{"room": "kitchen"})
	b.thing("b", nil)
	group := func(name, query string) {
		t.Helper()
		b.ok(b.CheckDynamic(fleetindex.Things, query))
		_, err := b.reg.CreateDynamicThingGroup(ctx, registry.NewThingGroup{Name: name}, registry.DynamicGroup{Query: query, QueryVersion: fleetindex.QueryVersion, IndexName: fleetindex.Things})
		b.ok(err)
	}
	group("kitchen", "attributes.room:kitchen")
	group("warm", "shadow.reported.temp>60")
	group("online", "connectivity.connected:true")
	group("others", "NOT thingGroupNames:others") // a group cannot make its own members leave
	b.members("kitchen", "a")
	b.members("warm")
	b.members("others", "a", "b")
	b.update("b", "", `{"reported":{"temp":61}}`)
	b.members("warm", "b")
	b.update("b", "", `{"reported":{"temp":60}}`)
	b.members("warm")
	b.update("b", "", `{"reported":{"temp":70}}`)
	b.members("warm", "b")
	b.Lifecycle().Connected(client("b"))
	b.members("online", "b")
	b.want("thingGroupNames:warm", "b")
	_, err := b.reg.UpdateDynamicThingGroup(ctx, "warm", registry.GroupUpdate{}, registry.DynamicGroup{Query: "shadow.reported.temp>80"})
	b.ok(err)
	b.members("warm")
	b.ok(b.reg.UpdateThing(ctx, "b", registry.ThingUpdate{Attributes: map[string]string{"room": "Kitchen"}}))
	b.members("kitchen", "a", "b")
	b.ok(b.reg.DeleteThing(ctx, "a", nil))
	b.members("kitchen", "b")
	if err := b.Configure(ctx, &fleetindex.ThingConfiguration{Mode: fleetindex.Off}, nil); !errors.Is(err, fleetindex.ErrInvalid) {
		t.Errorf("off with dynamic groups: %v", err)
	}
	b.restart()
	b.members("kitchen", "b")
	b.members("online") // nobody is connected to the new server
	b.thing("c", map[string]string{"room": "kitchen"})
	b.members("kitchen", "b", "c")
	b.ok(b.reg.DeleteDynamicThingGroup(ctx, "kitchen", nil))
	b.want("thingGroupNames:kitchen")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		g, err := b.reg.DescribeThingGroup(ctx, "warm")
		b.ok(err)
		if g.Dynamic.Status == registry.GroupActive {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status %s", g.Dynamic.Status)
		}
	}
}

func TestConnectivity(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.all()
	b.ready()
	l := b.Lifecycle()
	l.Connected(client("late")) // before its thing is there
	b.thing("late", nil)
	b.thing("x", nil)
	b.want("connectivity.connected:true", "late")
	l.Connected(client("x"))
	second := client("x")
	second.SessionID = strings.Repeat("0", 15) + "2" + strings.Repeat("0", 16)
	l.Connected(second)
	l.Disconnected(client("x"), session.DuplicateClientID) // of the first, which has been replaced
	b.want("connectivity.connected:true", "late", "x")
	l.Disconnected(second, session.ClientInitiated)
	b.want("connectivity.disconnectReason:CLIENT_INITIATED_DISCONNECT", "x")
	alone := session.Client{ClientID: "anything", ThingName: "x", SessionID: strings.Repeat("3", 32)}
	l.Connected(alone)
	b.want("connectivity.connected:true thingName:x", "x")
	l.Disconnected(alone, session.KeepAliveTimeout)
	before, err := b.ThingConnectivity(ctx, "x")
	b.ok(err)
	b.restart()
	b.ready()
	after, err := b.ThingConnectivity(ctx, "x")
	b.ok(err)
	if after.Connected || after.Reason != string(session.KeepAliveTimeout) || !after.Timestamp.Equal(before.Timestamp) {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
	b.want("connectivity.disconnectReason:SERVER_ERROR", "late") // its connection broke with the server
	if _, err := b.ThingConnectivity(ctx, "none"); !errors.Is(err, fleetindex.ErrNotFound) {
		t.Errorf("unknown thing: %v", err)
	}
}

func TestViolations(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.all()
	b.thing("x", nil)
	b.SetViolations("x", 3)
	b.want("deviceDefender.violationCount>2", "x")
	b.SetViolations("x", -1)
	b.want("deviceDefender.violationCount:*")
}

func TestShadowsComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.all()
	b.ready()
	b.update("u", "", `{"reported":{"x":1}}`) // not registered yet
	b.update("u", "net", `{"reported":{"x":2}}`)
	b.want("shadow.reported.x:1")
	b.thing("u", nil)
	b.want("shadow.reported.x:1", "u")
	b.want("shadow.name.net.reported.x:2", "u")
	_, err := b.shadows.Delete(ctx, shadow.ID{Thing: "u", Shadow: "net"})
	b.ok(err)
	b.want("shadow.name.net.reported.x:*")
	b.restart()
	b.ready()
	b.want("shadow.reported.x:1", "u")
	b.ok(b.reg.DeleteThing(ctx, "u", nil))
	b.want("*")
}

func TestFleetMetrics(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.all(fleetindex.Field{Name: "attributes.n", Type: fleetindex.Number})
	b.ready()
	b.thing("a", map[string]string{"n": "10"})
	b.thing("b", map[string]string{"n": "20"})
	d := fleetindex.MetricDefinition{Query: "*", Period: 60, Field: "attributes.n", Unit: "Count",
		Aggregation: fleetindex.Aggregation{Name: fleetindex.AggregateStatistics, Values: []string{"sum", "count"}}}
	m, err := b.CreateMetric(ctx, "m", d, []registry.Tag{{Key: "k", Value: "v"}})
	b.ok(err)
	if tags, _, err := b.reg.ListTagsForResource(ctx, m.ARN, registry.Page{}); err != nil || len(tags) != 1 {
		t.Errorf("tags: %v %v", tags, err)
	}
	samples := func(want string) {
		t.Helper()
		got := ""
		for deadline := time.Now().Add(10 * time.Second); got != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("samples %s, want %s", got, want)
			}
			got = fmt.Sprint(b.Samples())
		}
	}
	samples("[{m sum Count 30} {m count Count 2}]")
	bad := func(kind error, change func(d *fleetindex.MetricDefinition)) {
		t.Helper()
		c := d
		change(&c)
		if _, err := b.CreateMetric(ctx, "n", c, nil); !errors.Is(err, kind) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	bad(fleetindex.ErrInvalid, func(d *fleetindex.MetricDefinition) { d.Period = 61 })
	bad(fleetindex.ErrInvalid, func(d *fleetindex.MetricDefinition) { d.Aggregation.Values = []string{"mean"} })
	bad(fleetindex.ErrInvalid, func(d *fleetindex.MetricDefinition) { d.Aggregation.Name = "Sum" })
	bad(fleetindex.ErrInvalid, func(d *fleetindex.MetricDefinition) { d.Unit = "Bananas" })
	bad(fleetindex.ErrAggregation, func(d *fleetindex.MetricDefinition) { d.Field = "attributes.none" })
	bad(fleetindex.ErrNotFound, func(d *fleetindex.MetricDefinition) { d.Index = "none" })
	if _, err := b.CreateMetric(ctx, "m", d, nil); !errors.Is(err, fleetindex.ErrAlreadyExists) {
		t.Errorf("again: %v", err)
	}
	if err := b.Configure(ctx, &fleetindex.ThingConfiguration{Mode: fleetindex.Registry}, nil); !errors.Is(err, fleetindex.ErrInvalid) {
		t.Errorf("field of a metric removed: %v", err)
	}
	one := int64(1)
	b.ok(b.UpdateMetric(ctx, "m", fleetindex.MetricUpdate{ExpectedVersion: &one, MetricDefinition: fleetindex.MetricDefinition{
		Aggregation: fleetindex.Aggregation{Name: fleetindex.AggregatePercentiles, Values: []string{"50", "p100"}}}}))
	samples("[{m p50 Count 15} {m p100 Count 20}]")
	if err := b.UpdateMetric(ctx, "m", fleetindex.MetricUpdate{ExpectedVersion: &one}); !errors.Is(err, fleetindex.ErrVersionConflict) {
		t.Errorf("old version: %v", err)
	}
	b.restart()
	samples("[{m p50 Count 15} {m p100 Count 20}]")
	if list, more := b.ListMetrics("", 10); len(list) != 1 || more || list[0].Version != 2 {
		t.Errorf("list: %v", list)
	}
	b.ok(b.DeleteMetric(ctx, "m", nil))
	b.ok(b.DeleteMetric(ctx, "m", nil))
	if _, err := b.DescribeMetric("m"); !errors.Is(err, fleetindex.ErrNotFound) || b.Samples() != nil {
		t.Errorf("deleted: %v", err)
	}
}
