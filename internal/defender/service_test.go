package defender

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// bench is a service over a database of its own, with a subscriber of its answers. Under synctest its
// clock is the bubble's.
type bench struct {
	*Service
	t      testing.TB
	dir    string
	db     *store.DB
	reg    *registry.Registry
	router *router.Router
	heard  chan *router.Message
}

func (b *bench) Deliver(p *router.Publication, _ *router.Target) { b.heard <- p.Keep() }
func (b *bench) Online() bool                                    { return true }
func (b *bench) Durable() bool                                   { return false }

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir(), heard: make(chan *router.Message, 1000)}
	b.open()
	return b
}

func (b *bench) open() {
	ctx := context.Background()
	var err error
	b.db = storetest.Open(b.t, b.dir)
	b.reg, err = registry.Open(ctx, b.db, registry.Config{})
	b.check(err)
	b.router, err = router.New(ctx, topic.AWS, b.db)
	b.check(err)
	b.Service, err = Open(ctx, Config{Store: b.db, Router: b.router, Registry: b.reg})
	b.check(err)
	b.router.Own(b.Owner)
	b.router.Subscribe(b, "$aws/things/+/defender/metrics/+/+", router.Subscription{QoS: 1})
}

func (b *bench) close() {
	b.Service.Close()
	b.db.Close()
}

// report publishes a report and returns the answer.
func (b *bench) report(thing, payload string) string {
	b.t.Helper()
	b.router.Publish(&router.Publication{Topic: "$aws/things/" + thing + "/defender/metrics/json", Payload: []byte(payload), QoS: 1, Origin: &router.Origin{}}, nil)
	select {
	case m := <-b.heard:
		return string(m.Payload)
	case <-time.After(time.Minute):
		b.t.Fatal("no answer")
		return ""
	}
}

func ports(id int, list string) string {
	return fmt.Sprintf(`{"header":{"report_id":%d,"version":"1.0"},"metrics":{"listening_tcp_ports":{"ports":[%s]},"network_stats":{"bytes_out":600}}}`, id, list)
}

// TestViolations follows a violation from its beginning to its end, over a restart.
func TestViolations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx := context.Background()
		begin := time.Now()
		_, err := b.reg.CreateThing(ctx, registry.NewThing{Name: "lamp"})
		b.check(err)
		_, err = b.reg.CreateThingGroup(ctx, registry.NewThingGroup{Name: "house"})
		b.check(err)
		_, err = b.reg.CreateThingGroup(ctx, registry.NewThingGroup{Name: "lamps", Parent: "house"})
		b.check(err)
		b.check(b.reg.AddThingToThingGroup(ctx, "lamps", "lamp"))
		b.check(b.CreateSecurityProfile(ctx, Profile{Name: "p", Behaviors: []Behavior{
			{Name: "ssh", Metric: "aws:listening-tcp-ports", Criteria: &Criteria{Operator: "in-port-set", Value: &Value{Ports: &[]int{22}}, ToAlarm: 2}},
			{Name: "bytes", Metric: "aws:all-bytes-out", Criteria: &Criteria{Operator: "less-than", Value: &Value{Count: pointer(int64(1500))}, Duration: 900}},
		}}))
		const group = "arn:aws:iot:us-east-1:000000000000:thinggroup/house"
		b.check(b.AttachSecurityProfile(ctx, "p", group))
		var mu sync.Mutex
		var told []string
		b.ObserveViolations(func(thing string, n int) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(thing, n))
		})
		names := func() (list []string) {
			active, _, err := b.ListActiveViolations(ctx, ViolationFilter{Thing: "lamp"}, Page{})
			b.check(err)
			for _, v := range active {
				list = append(list, v.Behavior.Name)
			}
			if n := b.ViolationCount("lamp"); n != len(list) {
				t.Errorf("%d violations are counted, %v are there", n, list)
			}
			return list
		}
		for i, step := range []struct{ payload, answer, active string }{
			{ports(10, `{"port":22}`), "ACCEPTED", "[]"},
			{ports(11, `{"port":22}`), "ACCEPTED", "[]"}, // too early: see below
			{ports(12, `{"port":22},{"port":23}`), "ACCEPTED", "[bytes]"},
			{ports(13, `{"port":23}`), "ACCEPTED", "[ssh bytes]"},
		} {
			if answer := b.report("lamp", step.payload); !strings.Contains(answer, step.answer) {
				t.Errorf("step %d: %s", i, answer)
			}
			if got := fmt.Sprint(names()); len(got) != len(step.active) {
				t.Errorf("step %d: %s, want %s", i, got, step.active)
			}
			if answer := b.report("lamp", ports(100, "")); !strings.Contains(answer, "Throttled") {
				t.Errorf("step %d: %s", i, answer)
			}
			time.Sleep(5 * time.Minute)
		}
		if answer := b.report("lamp", ports(1, "")); !strings.Contains(answer, "InvalidPayload") {
			t.Errorf("%s", answer)
		}
		if answer := b.report("lamp", `{`); !strings.Contains(answer, "InvalidJson") || !strings.Contains(answer, `"status":"REJECTED"`) {
			t.Errorf("%s", answer)
		}
		b.close()
		b.open()
		defer b.close()
		if n := b.ViolationCount("lamp"); n != 2 {
			t.Errorf("%d violations after a restart", n)
		}
		time.Sleep(time.Hour)
		b.report("lamp", ports(14, `{"port":22}`))
		if got := names(); len(got) != 0 {
			t.Errorf("%v", got)
		}
		events, _, err := b.ListViolationEvents(ctx, ViolationFilter{Start: begin, End: time.Now()}, Page{})
		b.check(err)
		kinds := map[string]int{}
		for _, e := range events {
			kinds[e.Type]++
		}
		if kinds[eventInAlarm] != 2 || kinds[eventCleared] != 2 || len(events) != 4 {
			t.Errorf("%v", kinds)
		}
		values, _, err := b.ListMetricValues(ctx, "lamp", "aws:listening-tcp-ports", begin, time.Now(), Page{})
		if err != nil || len(values) != 5 || (*values[0].Value.Ports)[0] != 22 {
			t.Errorf("%d %v", len(values), err)
		}
		mu.Lock()
		if fmt.Sprint(told) != "[lamp1 lamp2]" {
			t.Errorf("%v", told)
		}
		mu.Unlock()
		// A profile that goes away takes its violations along.
		b.report("lamp", ports(15, ""))
		for i := range 3 {
			time.Sleep(5 * time.Minute)
			b.report("lamp", ports(16+i, `{"port":23}`))
		}
		if len(names()) == 0 {
			t.Error("no violation")
		}
		b.check(b.DeleteSecurityProfile(ctx, "p", nil))
		if got := names(); len(got) != 0 {
			t.Errorf("%v", got)
		}
	})
}

func TestReportsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		for i := range MaxReports + 20 {
			if answer := b.report("loose", ports(i+1, "")); !strings.Contains(answer, "ACCEPTED") {
				t.Fatal(answer)
			}
			time.Sleep(5 * time.Minute)
		}
		n := 0
		b.check(b.db.QueryRow(context.Background(), `SELECT count(*) FROM defender_report`, nil, &n))
		if n != MaxReports {
			t.Errorf("%d reports are kept", n)
		}
		time.Sleep(reportsKept + 2*time.Hour)
		b.check(b.db.QueryRow(context.Background(), `SELECT count(*) FROM defender_report`, nil, &n))
		if n != 0 {
			t.Errorf("%d old reports are kept", n)
		}
	})
}

// finished waits for the end of a task.
func (b *bench) finished(id string) *Task {
	b.t.Helper()
	for {
		task, err := b.DescribeAuditTask(context.Background(), id)
		b.check(err)
		if task.Status != TaskInProgress {
			return task
		}
		time.Sleep(time.Second)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		ctx := context.Background()
		if _, err := b.StartOnDemandAuditTask(ctx, []string{checkPermissive}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a check that is not enabled: %v", err)
		}
		all := AuditConfiguration{Checks: map[string]CheckConfiguration{}}
		var names []string
		for _, c := range Checks() {
			all.Checks[c.Name] = CheckConfiguration{Enabled: true}
			names = append(names, c.Name)
		}
		b.check(b.UpdateAccountAuditConfiguration(ctx, all))
		_, err := b.reg.CreatePolicy(ctx, "wide", []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`), nil)
		b.check(err)
		// Two certificates fight for one client identifier.
		for i := range 2 {
			c := session.Client{ClientID: "c", Principal: strings.Repeat(fmt.Sprint(i), 64)}
			b.Connected(c)
			b.Disconnected(c, session.DuplicateClientID)
			synctest.Wait() // the first is written at once, the other a second later, unless somebody asks
		}
		id, err := b.StartOnDemandAuditTask(ctx, names)
		b.check(err)
		task := b.finished(id)
		if n := task.Statistics(); task.Status != TaskCompleted || n.Total != len(names) || n.NonCompliant != 2 || n.Failed != 4 || n.InProgress != 0 {
			t.Errorf("%s %+v", task.Status, n)
		}
		list, _, err := b.ListAuditFindings(ctx, FindingFilter{Task: id}, Page{})
		if err != nil || len(list) != 2 {
			t.Fatalf("%d %v", len(list), err)
		}
		found := map[string]*Finding{}
		for _, f := range list {
			found[f.Check] = f
		}
		f := found[checkPermissive]
		if f == nil || f.Severity != Critical || f.Resource.Resource.Policy.Name != "wide" {
			t.Fatalf("%+v", f)
		}
		if c := found[checkConflicting]; c == nil || c.Resource.Resource.Client != "c" || len(c.Related) != 2 {
			t.Errorf("%+v", c)
		}
		if got, err := b.DescribeAuditFinding(ctx, f.ID); err != nil || got.Code != f.Code {
			t.Errorf("%+v %v", got, err)
		}
		// What is suppressed is not found again.
		x := Suppression{Check: checkPermissive, Resource: f.Resource.Resource, Expires: Moment{time.Now().Add(time.Hour)}}
		b.check(b.CreateAuditSuppression(ctx, x))
		id, err = b.StartOnDemandAuditTask(ctx, []string{checkPermissive})
		b.check(err)
		if d := b.finished(id).Details[checkPermissive]; !d.Compliant || d.Suppressed != 1 || d.NonCompliant != 0 {
			t.Errorf("%+v", d)
		}
		if list, _, err := b.ListAuditFindings(ctx, FindingFilter{Task: id, Suppressed: true}, Page{}); err != nil || len(list) != 1 {
			t.Errorf("%d %v", len(list), err)
		}
		if list, _, err := b.ListAuditSuppressions(ctx, checkPermissive, Resource{}, Page{}); err != nil || len(list) != 1 {
			t.Errorf("%d %v", len(list), err)
		}
		time.Sleep(2 * time.Hour)
		id, err = b.StartOnDemandAuditTask(ctx, []string{checkPermissive})
		b.check(err)
		if d := b.finished(id).Details[checkPermissive]; d.Compliant {
			t.Errorf("an old suppression still holds: %+v", d)
		}
		if err := b.CancelAuditTask(ctx, id); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
		// A scheduled audit that came due while the service was away is run when it is back.
		_, err = b.CreateScheduledAudit(ctx, Schedule{Name: "daily", Frequency: "DAILY", Checks: []string{checkLogging}})
		b.check(err)
		b.close()
		time.Sleep(50 * time.Hour)
		begin := time.Now()
		b.open()
		synctest.Wait()
		tasks, _, err := b.ListAuditTasks(ctx, begin.Add(-time.Minute), begin.Add(time.Minute), scheduled, "", Page{})
		if err != nil || len(tasks) != 1 || b.finished(tasks[0].ID).Status != TaskCompleted {
			t.Errorf("%v %v", tasks, err)
		}
		if err := b.DeleteAccountAuditConfiguration(ctx, false); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
		b.check(b.DeleteScheduledAudit(ctx, "daily"))
		b.check(b.DeleteAccountAuditConfiguration(ctx, false))
	})
}

func TestObjects(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	defer b.close()
	ctx := context.Background()
	_, err := b.CreateCustomMetric(ctx, CustomMetric{Name: "heat", Type: "number"})
	b.check(err)
	_, err = b.CreateCustomMetric(ctx, CustomMetric{Name: "heat", Type: "number"})
	b.check(err) // the same again
	if _, err := b.CreateCustomMetric(ctx, CustomMetric{Name: "heat", Type: "number-list"}); !errors.Is(err, ErrAlreadyExists) {
		t.Error(err)
	}
	b.check(b.UpdateCustomMetric(ctx, "heat", "Heat"))
	b.check(b.CreateDimension(ctx, Dimension{Name: "d", Type: "TOPIC_FILTER", Values: []string{"a/+"}}))
	b.check(b.UpdateDimension(ctx, "d", []string{"b/+"}))
	limit := &Criteria{Operator: "less-than", Value: &Value{Number: pointer(50.0)}}
	b.check(b.CreateSecurityProfile(ctx, Profile{Name: "p", Behaviors: []Behavior{{Name: "cool", Metric: "heat", Dimension: &MetricDimension{Name: "d"}, Criteria: limit}}}))
	for _, err := range []error{b.DeleteCustomMetric(ctx, "heat"), b.DeleteDimension(ctx, "d"), b.AttachSecurityProfile(ctx, "p", "arn:aws:iot:us-east-1:000000000000:thing/x")} {
		if !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	}
	if err := b.UpdateSecurityProfile(ctx, "p", ProfileUpdate{DeleteBehaviors: true, Expected: pointer(int64(7))}); !errors.Is(err, ErrVersionConflict) {
		t.Error(err)
	}
	b.check(b.AttachSecurityProfile(ctx, "p", "arn:aws:iot:us-east-1:000000000000:all/things"))
	answer := b.report("loose", `{"header":{"report_id":1,"version":"1.0"},"custom_metrics":{"heat":[{"number":70}],"unknown":[{"number":1}]}}`)
	if !strings.Contains(answer, "ACCEPTED") || b.ViolationCount("loose") != 1 {
		t.Errorf("%s, %d violations", answer, b.ViolationCount("loose"))
	}
	if answer := b.report("other", `{"header":{"report_id":1,"version":"1.0"},"custom_metrics":{"heat":[{"string_list":[]}]}}`); !strings.Contains(answer, "InvalidPayload") {
		t.Error(answer)
	}
	list, _, err := b.ListActiveViolations(ctx, ViolationFilter{}, Page{})
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	b.check(b.PutVerificationState(ctx, list[0].ID, "TRUE_POSITIVE", "it is hot"))
	if list, _, err := b.ListActiveViolations(ctx, ViolationFilter{State: "TRUE_POSITIVE", Kind: Static}, Page{}); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	b.check(b.UpdateSecurityProfile(ctx, "p", ProfileUpdate{DeleteBehaviors: true, Expected: pointer(int64(1))}))
	if b.ViolationCount("loose") != 0 {
		t.Error("the violation of a behaviour that is gone stays")
	}
	b.check(errors.Join(b.DeleteCustomMetric(ctx, "heat"), b.DeleteDimension(ctx, "d")))
}
