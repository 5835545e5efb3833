package commands

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

const prefix = "arn:aws:iot:us-east-1:000000000000:"

// bench is a service over a database of its own, with a subscriber that hears everything. Under
// synctest its clock is the bubble's.
type bench struct {
	*Service
	t      testing.TB
	dir    string
	db     *store.DB
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
	reg, err := registry.Open(ctx, b.db, registry.Config{})
	b.check(err)
	if _, err := reg.CreateThing(ctx, registry.NewThing{Name: "lamp"}); !errors.Is(err, registry.ErrAlreadyExists) {
		b.check(err)
	}
	b.router, err = router.New(ctx, topic.AWS, b.db)
	b.check(err)
	b.Service, err = Open(ctx, Config{Store: b.db, Router: b.router, Registry: reg})
	b.check(err)
	b.router.Own(b.Owner)
	b.router.Subscribe(b, "$aws/#", router.Subscription{QoS: 1})
}

func (b *bench) close() {
	b.Service.Close()
	b.db.Close()
}

func (b *bench) command(id string) string {
	c, err := b.CreateCommand(context.Background(), Command{ID: id, Definition: Definition{Payload: &Payload{[]byte(`{"on":true}`), contentJSON}}})
	b.check(err)
	return c.ARN
}

func (b *bench) start(command, target string, seconds int64) string {
	b.t.Helper()
	id, err := b.StartCommandExecution(context.Background(), Start{Command: command, Target: prefix + target, TimeoutSeconds: &seconds})
	b.check(err)
	return id
}

// next waits for a message whose topic ends in one of these ways.
func (b *bench) next(suffixes ...string) *router.Message {
	b.t.Helper()
	for {
		select {
		case m := <-b.heard:
			for _, s := range suffixes {
				if strings.HasSuffix(m.Topic, s) {
					return m
				}
			}
		case <-time.After(time.Minute):
			b.t.Fatalf("no message on %v", suffixes)
		}
	}
}

// answer publishes as a device and returns the code of the rejection, "" if it was accepted.
func (b *bench) answer(topic, payload string) string {
	b.t.Helper()
	b.router.Publish(&router.Publication{Topic: topic, Payload: []byte(payload), QoS: 1, Origin: &router.Origin{}}, nil)
	m := b.next("accepted/json", "rejected/json")
	var r rejected
	b.check(json.Unmarshal(m.Payload, &r))
	return r.Code
}

func (b *bench) get(id, target string) *Execution {
	b.t.Helper()
	e, err := b.GetCommandExecution(context.Background(), id, prefix+target)
	b.check(err)
	return e
}

func TestExecution(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		c := b.command("on")
		id := b.start(c, "thing/lamp", 60)
		if m := b.next("commandExecution/on/CREATED"); !strings.Contains(string(m.Payload), id) {
			t.Errorf("%s", m.Payload)
		}
		m := b.next("/request/json")
		if m.Topic != "$aws/commands/things/lamp/executions/"+id+"/request/json" || string(m.Payload) != `{"on":true}` || m.Properties.ContentType != contentJSON ||
			time.Until(m.Expires) != time.Minute {
			t.Errorf("%+v", m)
		}
		topic := strings.Replace(m.Topic, "request", "response", 1)
		for _, step := range []struct{ payload, code string }{
			{`{"status":"IN_PROGRESS","statusReason":{"reasonCode":"200"}}`, ""},
			{`{"status":"CREATED"}`, "InvalidRequest"},
			{`nonsense`, "InvalidJson"},
			{`{"status":"SUCCEEDED","result":{"lux":{"s":"300"}}}`, ""},
			{`{"status":"FAILED"}`, "InvalidStateTransition"},
		} {
			if code := b.answer(topic, step.payload); code != step.code {
				t.Errorf("%s: %q", step.payload, code)
			}
		}
		if code := b.answer(strings.Replace(topic, "things/lamp", "clients/lamp", 1), `{"status":"FAILED"}`); code != "ResourceNotFound" {
			t.Errorf("another target: %q", code)
		}
		e := b.get(id, "thing/lamp")
		if e.State != (State{Succeeded, true}) || e.Completed.IsZero() || *e.Result["lux"].S != "300" || e.Reason != nil || e.Expires != e.Created.AddDate(0, 6, 0) {
			t.Errorf("%+v", e)
		}
	})
}

// TestTimeoutSurvivesRestart: what is due while the service is away times out when it is back, and a
// late answer still counts.
func TestTimeoutSurvivesRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		c := b.command("on")
		first, second := b.start(c, "client/anything", 10), b.start(c, "thing/lamp", 100)
		b.close()
		time.Sleep(time.Minute)
		b.open()
		defer b.close()
		m := b.next("commandExecution/on/TIMED_OUT")
		if !strings.Contains(string(m.Payload), first) || !strings.Contains(string(m.Payload), noResponse) {
			t.Errorf("%s", m.Payload)
		}
		if e := b.get(second, "thing/lamp"); e.State.Status != Created {
			t.Errorf("%+v", e)
		}
		b.next("commandExecution/on/TIMED_OUT")
		if e := b.get(second, "thing/lamp"); e.State != (State{Status: TimedOut}) || !e.Completed.IsZero() || time.Since(e.Created) != 100*time.Second {
			t.Errorf("%+v after %v", e, time.Since(e.Created))
		}
		topic := "$aws/commands/things/lamp/executions/" + second + "/response/json"
		if err := b.DeleteCommandExecution(context.Background(), second, prefix+"thing/lamp"); !errors.Is(err, ErrConflict) {
			t.Errorf("delete: %v", err)
		}
		if code := b.answer(topic, `{"status":"IN_PROGRESS"}`); code != "InvalidStateTransition" {
			t.Errorf("progress: %q", code)
		}
		if code := b.answer(topic, `{"status":"TIMED_OUT","statusReason":{"reasonCode":"SLOW"}}`); code != "" {
			t.Errorf("late: %q", code)
		}
		if code := b.answer(topic, `{"status":"SUCCEEDED"}`); code != "InvalidStateTransition" {
			t.Errorf("too late: %q", code)
		}
		if e := b.get(second, "thing/lamp"); e.State != (State{TimedOut, true}) || e.Reason.Code != "SLOW" {
			t.Errorf("%+v", e)
		}
		b.check(b.DeleteCommandExecution(context.Background(), second, prefix+"thing/lamp"))
		if _, err := b.GetCommandExecution(context.Background(), second, prefix+"thing/lamp"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		// After six months it is forgotten.
		time.Sleep(190 * 24 * time.Hour)
		if _, err := b.GetCommandExecution(context.Background(), first, prefix+"client/anything"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestStartIsIdempotent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		ctx := context.Background()
		in := Start{Command: b.command("on"), Target: prefix + "thing/lamp", Token: "t-1"}
		id, err := b.StartCommandExecution(ctx, in)
		b.check(err)
		if again, err := b.StartCommandExecution(ctx, in); err != nil || again != id {
			t.Errorf("%s, then %s %v", id, again, err)
		}
		in.TimeoutSeconds = pointer(int64(11))
		if _, err := b.StartCommandExecution(ctx, in); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
		if list, _, err := b.ListCommandExecutions(ctx, ExecutionFilter{Target: in.Target}, Page{}); err != nil || len(list) != 1 {
			t.Errorf("%v %v", list, err)
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		ctx := context.Background()
		c, lamp := b.command("on"), prefix+"thing/lamp"
		for name, tc := range map[string]struct {
			in   Start
			want error
		}{
			"thing":     {Start{Command: c, Target: prefix + "thing/none"}, ErrNotFound},
			"command":   {Start{Command: prefix + "command/none", Target: lamp}, ErrNotFound},
			"target":    {Start{Command: c, Target: prefix + "thinggroup/g"}, ErrInvalid},
			"wildcard":  {Start{Command: c, Target: prefix + "client/a/+"}, ErrInvalid},
			"account":   {Start{Command: c, Target: "arn:aws:iot:us-east-1:111111111111:thing/lamp"}, ErrInvalid},
			"time-out":  {Start{Command: c, Target: lamp, TimeoutSeconds: pointer(int64(43201))}, ErrInvalid},
			"token":     {Start{Command: c, Target: lamp, Token: "a b"}, ErrInvalid},
			"parameter": {Start{Command: c, Target: lamp, Parameters: map[string]Value{"p": {B: pointer(true)}}}, ErrInvalid},
		} {
			if _, err := b.StartCommandExecution(ctx, tc.in); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := b.CreateCommand(ctx, Command{ID: "on", Definition: Definition{Payload: &Payload{Content: []byte("x")}}}); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
		for range maxActive {
			b.start(c, "client/busy", 60)
		}
		if _, err := b.StartCommandExecution(ctx, Start{Command: c, Target: prefix + "client/busy"}); !errors.Is(err, ErrQuota) {
			t.Error(err)
		}
		time.Sleep(time.Minute + time.Second)
		b.start(c, "client/busy", 60)
		for _, f := range []ExecutionFilter{{}, {Command: c, Target: lamp}, {Command: c, Status: "DONE"}, {Command: c, Started: &TimeFilter{}, Completed: &TimeFilter{}}, {Command: "x"}, {Target: "x"}} {
			if _, _, err := b.ListCommandExecutions(ctx, f, Page{}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%+v: %v", f, err)
			}
		}
	})
}

func TestCommandLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		ctx := context.Background()
		arns := []string{b.command("a"), b.command("b"), b.command("c")}
		startFails := func(arn string) {
			t.Helper()
			if _, err := b.StartCommandExecution(ctx, Start{Command: arn, Target: prefix + "thing/lamp"}); !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		}
		c, err := b.UpdateCommand(ctx, "a", Update{Deprecated: pointer(true), DisplayName: pointer("A")})
		if err != nil || c.Deprecated.IsZero() || c.DisplayName != "A" {
			t.Errorf("%+v %v", c, err)
		}
		startFails(arns[0])
		if c, err = b.UpdateCommand(ctx, "a", Update{Deprecated: pointer(false)}); err != nil || !c.Deprecated.IsZero() {
			t.Errorf("%+v %v", c, err)
		}
		b.start(arns[0], "thing/lamp", 1)
		// b has been deprecated for long: it goes at once. c has not: it goes in 12 hours.
		_, err = b.UpdateCommand(ctx, "b", Update{Deprecated: pointer(true)})
		b.check(err)
		time.Sleep(MaxTimeout)
		if pending, err := b.DeleteCommand(ctx, "b"); err != nil || pending {
			t.Errorf("b: %v %v", pending, err)
		}
		if pending, err := b.DeleteCommand(ctx, "c"); err != nil || !pending {
			t.Errorf("c: %v %v", pending, err)
		}
		startFails(arns[2])
		if _, err := b.UpdateCommand(ctx, "c", Update{}); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
		if list, _, err := b.ListCommands(ctx, Filter{}, Page{}); err != nil || len(list) != 1 || list[0].ID != "a" {
			t.Errorf("%v %v", list, err)
		}
		if c, err := b.GetCommand(ctx, "c"); err != nil || c.Deletion.IsZero() {
			t.Errorf("%+v %v", c, err)
		}
		time.Sleep(MaxTimeout + time.Second)
		if _, err := b.GetCommand(ctx, "c"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if pending, err := b.DeleteCommand(ctx, "c"); err != nil || pending {
			t.Errorf("nothing: %v %v", pending, err)
		}
	})
}

func TestListing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		ctx := context.Background()
		c := b.command("on")
		begin := time.Now()
		var ids []string
		for range 5 {
			ids = append(ids, b.start(c, "thing/lamp", 1000))
			time.Sleep(time.Second)
		}
		b.command("off")
		for _, up := range []bool{false, true} {
			var got []string
			for token := ""; ; {
				list, next, err := b.ListCommandExecutions(ctx, ExecutionFilter{Command: c, Ascending: up}, Page{Limit: 2, Token: token})
				b.check(err)
				for _, e := range list {
					got = append(got, e.ID)
				}
				if token = next; next == "" {
					break
				}
			}
			for i, id := range got {
				want := ids[i]
				if !up {
					want = ids[len(ids)-1-i]
				}
				if id != want || len(got) != len(ids) {
					t.Errorf("ascending %v: %v, want %v", up, got, ids)
					break
				}
			}
			list, next, err := b.ListCommands(ctx, Filter{Ascending: up}, Page{Limit: 1})
			if err != nil || len(list) != 1 || next == "" {
				t.Fatalf("%v %q %v", list, next, err)
			}
			more, next, err := b.ListCommands(ctx, Filter{Ascending: up}, Page{Limit: 1, Token: next})
			if err != nil || len(more) != 1 || next != "" || more[0].ID == list[0].ID {
				t.Errorf("%v %q %v", more, next, err)
			}
		}
		span := &TimeFilter{After: begin, Before: begin.Add(3 * time.Second)}
		if list, _, err := b.ListCommandExecutions(ctx, ExecutionFilter{Command: c, Started: span}, Page{}); err != nil || len(list) != 2 {
			t.Errorf("%d %v", len(list), err)
		}
		if list, _, err := b.ListCommandExecutions(ctx, ExecutionFilter{Command: c, Completed: span}, Page{}); err != nil || len(list) != 0 {
			t.Errorf("%d %v", len(list), err)
		}
		b.answer("$aws/commands/things/lamp/executions/"+ids[3]+"/response/json", `{"status":"REJECTED"}`)
		f := ExecutionFilter{Target: prefix + "thing/lamp", Status: Rejected, Completed: &TimeFilter{After: begin}}
		if list, _, err := b.ListCommandExecutions(ctx, f, Page{}); err != nil || len(list) != 1 || list[0].ID != ids[3] {
			t.Errorf("%v %v", list, err)
		}
		if _, _, err := b.ListCommands(ctx, Filter{}, Page{Token: "x"}); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	})
}
