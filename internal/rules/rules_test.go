package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/internal/table"
	"github.com/berth-iot/berth/iotsql"
	"github.com/berth-iot/berth/topic"
)

// bench is a rules engine with a router of its own.
type bench struct {
	t      testing.TB
	db     *store.DB
	router *router.Router
	tables *table.Tables
	closed sync.Once
	*Service
}

func open(t testing.TB, dir string, pace Pace) *bench {
	t.Helper()
	ctx := context.Background()
	db := storetest.Open(t, dir)
	routes, err := router.New(ctx, topic.AWS, db)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(ctx, db, registry.Config{Account: "000000000000", Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := table.Open(ctx, dir, table.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(ctx, Config{Store: db, Router: routes, Registry: reg, Tables: tables, Topics: topic.AWS, Pace: pace})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, db: db, router: routes, tables: tables, Service: s}
	t.Cleanup(b.close)
	return b
}

func (b *bench) close() {
	b.closed.Do(func() {
		b.Service.Close()
		b.tables.Close()
		b.db.Close()
	})
}

func (b *bench) create(name, payload string) {
	b.t.Helper()
	var p Payload
	if err := json.Unmarshal([]byte(payload), &p); err != nil {
		b.t.Fatal(err)
	}
	if err := b.CreateTopicRule(context.Background(), name, p); err != nil {
		b.t.Fatal(err)
	}
}

// publish publishes and, with QoS 1, waits for the acknowledgement.
func (b *bench) send(qos byte, name, payload string) {
	b.t.Helper()
	done := make(chan error, 1)
	b.router.Publish(&router.Publication{Topic: name, Payload: []byte(payload), QoS: qos}, func(err error) { done <- err })
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("not in time: " + what)
		}
	}
}

// counter is a destination that counts bodies.
type counter struct {
	*httptest.Server
	mu   sync.Mutex
	down bool
	got  map[string]int
}

func newCounter(t testing.TB) *counter {
	c := &counter{got: make(map[string]int)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		json.NewDecoder(r.Body).Decode(&body)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.down {
			w.WriteHeader(500)
			return
		}
		if n, ok := body["n"]; ok {
			c.got[fmt.Sprint(n)]++
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *counter) set(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

// trust makes a server a destination that is confirmed.
func (b *bench) trust(address string) {
	b.t.Helper()
	ctx := context.Background()
	d, err := b.CreateTopicRuleDestination(ctx, address)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.ConfirmTopicRuleDestination(ctx, d.Token); err != nil {
		b.t.Fatal(err)
	}
}

var quick = Pace{First: time.Millisecond, Longest: 5 * time.Millisecond, Tries: 3, Age: time.Hour, ErrorAge: time.Hour}

// TestSpill fills a lane beyond its memory while its destination is down; another one goes on.
func TestSpill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, dir, quick)
	dead, alive := newCounter(t), newCounter(t)
	b.trust(dead.URL)
	b.trust(alive.URL)
	b.create("d", `{"sql":"SELECT n FROM 'n'","actions":[{"http":{"url":"`+dead.URL+`"}}]}`)
	b.create("a", `{"sql":"SELECT n FROM 'n'","actions":[{"http":{"url":"`+alive.URL+`"}}]}`)
	dead.set(true)
	const messages = maxLane + 500
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < messages; i += 4 {
				b.send(1, "n", fmt.Sprintf(`{"n":%d}`, i))
			}
		})
	}
	wg.Wait()
	b.eventually("the living destination has all", func() bool { return alive.count() == messages })
	b.close()
	b = open(t, dir, quick)
	dead.set(false)
	b.eventually("the dead destination has all", func() bool { return dead.count() == messages })
	b.eventually("nothing is left on disk", func() bool {
		waiting, buried, err := b.Waiting(context.Background(), "d")
		return err == nil && waiting == 0 && buried == 0
	})
}

func TestQoS0IsDropped(t *testing.T) {
	t.Parallel()
	b := open(t, t.TempDir(), quick)
	c := newCounter(t)
	b.trust(c.URL)
	c.set(true)
	b.create("r", `{"sql":"SELECT n FROM 'n'","actions":[{"http":{"url":"`+c.URL+`"}}]}`)
	b.send(0, "n", `{"n":1}`)
	b.eventually("it is given up", func() bool { v, _ := b.Stats("r"); return v.Dropped == 1 && v.Failed == 1 && v.Retried == 2 })
}

func TestAgeAndReplay(t *testing.T) {
	t.Parallel()
	pace := quick
	pace.Age = time.Millisecond
	b := open(t, t.TempDir(), pace)
	c := newCounter(t)
	b.trust(c.URL)
	c.set(true)
	b.create("r", `{"sql":"SELECT n FROM 'n'","actions":[{"http":{"url":"`+c.URL+`"}}]}`)
	b.send(1, "n", `{"n":1}`)
	ctx := context.Background()
	b.eventually("it is a dead letter", func() bool { l, _ := b.DeadLetters(ctx, "r", 10); return len(l) == 1 })
	c.set(false)
	if n, err := b.Replay(ctx, "r"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	b.eventually("it is delivered", func() bool { return c.count() == 1 })
}

func TestCompile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		payload string
		kind    error // nil: a syntax error
	}{
		{`{"sql":"SELECT","actions":[]}`, nil},
		{`{"sql":"SELECT * FROM 'a'","actions":[{"republish":{"roleArn":"r","topic":"${+}"}}]}`, nil},
		{`{"sql":"SELECT * FROM 'a'"}`, ErrInvalid},
		{`{"sql":"SELECT * FROM 'a'","awsIotSqlVersion":"1999","actions":[]}`, ErrInvalid},
		{`{"sql":"SELECT * FROM 'a'","actions":[{}]}`, ErrInvalid},
		{`{"sql":"SELECT * FROM 'a'","actions":[{"kafka":{}}]}`, ErrInvalid},
		{`{"sql":"SELECT * FROM 'a'","actions":[{"republish":{"roleArn":"r","topic":"$aws/x"}}]}`, ErrInvalid},
		{`{"sql":"SELECT * FROM 'a'","actions":[{"republish":{"roleArn":"r","topic":"x","qos":2}}]}`, ErrInvalid},
		{`{"sql":"SELECT * FROM 'a'","actions":[{"http":{"url":"ftp://x"}}]}`, ErrInvalid},
		{`{"sql":"SELECT * FROM 'a'","actions":[{"sqs":{"roleArn":"r"}}]}`, ErrInvalid},
		{`{"sql":"SELECT * FROM 'a'","actions":[{"s3":{"roleArn":"r","bucketName":"b","key":"k","cannedAcl":"x"}}]}`, ErrInvalid},
	} {
		var p Payload
		if err := json.Unmarshal([]byte(c.payload), &p); err != nil {
			t.Fatal(err)
		}
		_, err := compile(&p)
		syntax := (*iotsql.SyntaxError)(nil)
		if c.kind == nil && !errors.As(err, &syntax) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", c.payload, err)
		}
	}
}

// FuzzRule compiles documents and carries out what is accepted.
func FuzzRule(f *testing.F) {
	f.Add([]byte(`{"sql":"SELECT *, topic(1) AS t FROM 'a'","awsIotSqlVersion":"2016-03-23","actions":[{"republish":{"roleArn":"r","topic":"b/${t}","qos":"${q}","headers":{"contentType":"${c}","userProperties":[{"key":"k","value":"${v}"}]}}}]}`))
	f.Add([]byte(`{"sql":"SELECT a FROM 'a' WHERE b > 1","actions":[{"http":{"url":"https://x/${topic()}"}},{"dynamoDBv2":{"roleArn":"r","putItem":{"tableName":"t"}}}],"errorAction":{"sqs":{"roleArn":"r","queueUrl":"q"}}}`))
	f.Add([]byte(`{"sql":"","actions":[{"s3":null}]}`))
	f.Add([]byte(`{"sql":"SELECT * FROM 'a'","actions":[{"dynamoDB":{"tableName":"t","roleArn":"r","hashKeyField":"h","hashKeyValue":"${a}"}},{"lambda":{"functionArn":"${x}"}},null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Payload
		if json.Unmarshal(b, &p) != nil {
			return
		}
		r, err := compile(&p)
		if err != nil {
			return
		}
		again, err := json.Marshal(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		var q Payload
		if err := json.Unmarshal(again, &q); err != nil {
			t.Fatal(err)
		}
		if _, err := compile(&q); err != nil {
			t.Fatalf("%s is refused when it is loaded: %v", again, err)
		}
		m := iotsql.NewMessage(&iotsql.Context{Topic: "a"}, []byte(`{"a":1,"b":"\u0001\"","q":1}`))
		if _, err := r.query.Eval(m, nil); err != nil {
			return
		}
		for _, a := range r.actions {
			fields, err := a.fields.fill(m)
			if err != nil {
				continue
			}
			d, err := a.kind.Decode(fields)
			if err != nil {
				t.Fatalf("%s: %v", fields, err)
			}
			d.Destination()
		}
	})
}

// TestChangesOfRulesAddUp makes, replaces, switches and deletes rules at random, and compares what the router
// and the messages go by with what a start makes of the same rules.
func TestChangesOfRulesAddUp(t *testing.T) {
	t.Parallel()
	b, ctx := open(t, t.TempDir(), quick), context.Background()
	r := rand.New(rand.NewPCG(5, 6))
	payload := func() Payload {
		return Payload{SQL: fmt.Sprintf("SELECT * FROM 'a/%d/#'", r.IntN(4)), Actions: []ActionField{}, Disabled: r.IntN(4) == 0}
	}
	for range 300 {
		name := fmt.Sprint("r", r.IntN(6))
		switch r.IntN(4) {
		case 0:
			b.CreateTopicRule(ctx, name, payload())
		case 1:
			b.ReplaceTopicRule(ctx, name, payload())
		case 2:
			b.EnableTopicRule(ctx, name, r.IntN(2) == 0)
		default:
			b.DeleteTopicRule(ctx, name)
		}
		shape := func() (out map[string]string) {
			out = make(map[string]string)
			snap := b.rules.Load()
			for filter, id := range b.filters {
				for _, r := range snap.byFilter[id] {
					out[filter] += " " + r.Name
				}
			}
			if len(snap.byFilter) != len(b.filters) || b.router.Subscriptions() != len(b.filters) {
				t.Fatalf("%d lists and %d subscriptions for %d filters", len(snap.byFilter), b.router.Subscriptions(), len(b.filters))
			}
			return out
		}
		b.mu.Lock()
		got := shape()
		b.use(b.rules.Load().byName)
		if want := shape(); !maps.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		b.mu.Unlock()
	}
}

func BenchmarkMatching(b *testing.B) {
	e := open(b, b.TempDir(), quick)
	e.create("r", `{"sql":"SELECT temperature, topic(2) AS dev FROM 'dt/+/+' WHERE temperature > 30","awsIotSqlVersion":"2016-03-23","actions":[]}`)
	publisher := e.router.NewPublisher()
	p := &router.Publication{Topic: "dt/a/b", Payload: []byte(`{"temperature":20,"humidity":55}`)}
	b.ReportAllocs()
	for b.Loop() {
		publisher.Publish(p)
	}
}

// BenchmarkThousandRules publishes to topics of a tree of which a thousand rules have a part each: one
// message reaches the rule of its room and the one for all.
func BenchmarkThousandRules(b *testing.B) {
	e := open(b, b.TempDir(), quick)
	for i := range MaxRules - 1 {
		e.create(fmt.Sprint("r", i), fmt.Sprintf(`{"sql":"SELECT temperature, topic(3) AS dev FROM 'house/room%d/+/raw' WHERE temperature > 30","awsIotSqlVersion":"2016-03-23","actions":[]}`, i))
	}
	e.create("all", `{"sql":"SELECT temperature FROM 'house/+/+/raw' WHERE temperature > 30","awsIotSqlVersion":"2016-03-23","actions":[]}`)
	publisher := e.router.NewPublisher()
	p := make([]*router.Publication, 4096)
	for i := range p {
		p[i] = &router.Publication{Topic: fmt.Sprintf("house/room%d/k%d/raw", i%(MaxRules-1), i), Payload: []byte(`{"temperature":20,"humidity":55}`)}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		publisher.Publish(p[i%len(p)])
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// TestChangesOfTwoNodes: what another node has changed a moment ago is neither undone nor made twice by a node that has
// not heard of it.
func TestChangesOfTwoNodes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a := open(t, t.TempDir(), Pace{})
	reg, err := registry.Open(ctx, a.db, registry.Config{Account: "000000000000", Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(ctx, Config{Store: a.db, Router: a.router, Registry: reg, Tables: a.tables, Topics: topic.AWS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	a.create("r", `{"sql": "SELECT * FROM 'one'", "actions": []}`)
	if err := b.Reload(nil); err != nil {
		t.Fatal(err)
	}
	if err := a.ReplaceTopicRule(ctx, "r", Payload{SQL: "SELECT * FROM 'two'", Actions: []ActionField{}}); err != nil {
		t.Fatal(err)
	}
	if err := b.EnableTopicRule(ctx, "r", false); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Service{a.Service, b} {
		if r, err := s.GetTopicRule("r"); err != nil || r.SQL != "SELECT * FROM 'two'" || !r.Disabled {
			t.Errorf("%q, disabled %v, %v", r.SQL, r.Disabled, err)
		}
	}
	a.create("new", `{"sql": "SELECT * FROM 'a'", "actions": []}`)
	var e *Error
	if err := b.CreateTopicRule(ctx, "new", Payload{SQL: "SELECT * FROM 'b'", Actions: []ActionField{}}); !errors.As(err, &e) || !errors.Is(e.Kind, ErrExists) {
		t.Errorf("a rule that is there is created again: %v", err)
	}
	if err := b.EnableTopicRule(ctx, "new", false); err != nil {
		t.Errorf("a rule of which this node has not heard: %v", err)
	}
	if err := a.DeleteTopicRule(ctx, "r"); err != nil {
		t.Fatal(err)
	}
	if err := b.EnableTopicRule(ctx, "r", true); !errors.As(err, &e) || !errors.Is(e.Kind, ErrNotFound) {
		t.Errorf("a rule that another node has deleted comes back: %v", err)
	}
}
