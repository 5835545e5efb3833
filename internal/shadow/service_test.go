package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// bench is a service over a database of its own.
type bench struct {
	*Service
	db     *store.DB
	router *router.Router
	dir    string
	clock  *atomic.Int64 // milliseconds
}

func newBench(t testing.TB, cfg Config) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), clock: new(atomic.Int64)}
	b.clock.Store(1700000000000)
	cfg.Now = func() time.Time { return time.UnixMilli(b.clock.Load()) }
	b.open(t, cfg)
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) open(t testing.TB, cfg Config) {
	t.Helper()
	ctx := context.Background()
	var err error
	b.db = storetest.Open(t, b.dir)
	if b.router, err = router.New(ctx, topic.AWS, b.db); err != nil {
		t.Fatal(err)
	}
	cfg.Store, cfg.Router = b.db, b.router
	if b.Service, err = Open(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	b.router.Own(b.Owner)
}

func (b *bench) close() {
	b.Service.Close()
	b.db.Close()
}

func (b *bench) publish(name, payload string) {
	b.router.Publish(&router.Publication{Topic: name, Payload: []byte(payload), QoS: 1}, nil)
}

// listener is a subscriber that hands on what it gets.
type listener chan [2]string

func (b *bench) listen(filters ...string) listener {
	l := make(listener, 100000)
	for _, f := range filters {
		b.router.Subscribe(l, f, router.Subscription{QoS: 1})
	}
	return l
}

func (l listener) Deliver(p *router.Publication, _ *router.Target) {
	l <- [2]string{p.Topic, string(p.Payload)}
}
func (l listener) Online() bool  { return true }
func (l listener) Durable() bool { return false }

func (l listener) next(t testing.TB) (name, payload string) {
	t.Helper()
	select {
	case m := <-l:
		return m[0], m[1]
	case <-time.After(20 * time.Second):
		t.Fatal("no message")
		return "", ""
	}
}

func (l listener) want(t testing.TB, name, payload string) {
	t.Helper()
	if n, p := l.next(t); n != name || p != payload {
		t.Fatalf("got %s %s\nwant %s %s", n, p, name, payload)
	}
}

func (l listener) silent(t testing.TB) {
	t.Helper()
	select {
	case m := <-l:
		t.Fatalf("unexpected %s %s", m[0], m[1])
	default:
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	for _, prefix := range []string{"$aws/things/T/shadow", "$aws/things/T/shadow/name/S"} {
		name := "T"
		if strings.HasSuffix(prefix, "S") {
			name = "S"
		}
		l := b.listen(prefix+"/#", prefix+"/+/+")
		ask := func(op, payload string) {
			b.publish(prefix+"/"+op, payload)
			l.want(t, prefix+"/"+op, payload) // requests reach ordinary subscribers too
		}
		ask("get", ``)
		l.want(t, prefix+"/get/rejected", `{"code":404,"message":"No shadow exists with name: '`+name+`'"}`)
		ask("delete", `{"clientToken":"d0"}`)
		l.want(t, prefix+"/delete/rejected", `{"code":404,"message":"No shadow exists with name: '`+name+`'","clientToken":"d0"}`)
		ask("update", `{"state":{"desired":{"a":1}},"clientToken":"u1"}`)
		l.want(t, prefix+"/update/accepted", `{"state":{"desired":{"a":1}},"metadata":{"desired":{"a":{"timestamp":1700000000}}},"version":1,"timestamp":1700000000,"clientToken":"u1"}`)
		l.want(t, prefix+"/update/delta", `{"version":1,"timestamp":1700000000,"state":{"a":1},"metadata":{"a":{"timestamp":1700000000}},"clientToken":"u1"}`)
		if n, _ := l.next(t); n != prefix+"/update/documents" {
			t.Fatalf("got %s", n)
		}
		ask("update", strings.Repeat("x", MaxDocument+1))
		l.want(t, prefix+"/update/rejected", `{"code":413,"message":"The payload exceeds the maximum size allowed"}`)
		ask("get", `{"clientToken":"g"}`)
		l.want(t, prefix+"/get/accepted", `{"state":{"desired":{"a":1},"delta":{"a":1}},"metadata":{"desired":{"a":{"timestamp":1700000000}}},"version":1,"timestamp":1700000000,"clientToken":"g"}`)
		ask("delete", `anything`)
		l.want(t, prefix+"/delete/accepted", `{"version":1,"timestamp":1700000000}`)
		ask("get", `{}`)
		l.want(t, prefix+"/get/rejected", `{"code":404,"message":"No shadow exists with name: '`+name+`'"}`)
		b.router.Unsubscribe(l, prefix+"/#")
		b.router.Unsubscribe(l, prefix+"/+/+")
	}
}

// TestPayloadOfC: firmware in C sends the zero byte that ends its strings.
func TestPayloadOfC(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	l := b.listen("$aws/things/T/shadow/update/accepted", "$aws/things/T/shadow/get/accepted")
	b.publish("$aws/things/T/shadow/update", "{\"state\":{\"desired\":{\"on\":1}},\"clientToken\":\"1\"}\x00")
	if name, _ := l.next(t); name != "$aws/things/T/shadow/update/accepted" {
		t.Error(name)
	}
	b.publish("$aws/things/T/shadow/get", "\x00")
	if name, _ := l.next(t); name != "$aws/things/T/shadow/get/accepted" {
		t.Error(name)
	}
}

// TestWill: a will updates a shadow and does nothing else to it.
func TestWill(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	l := b.listen("$aws/things/T/shadow/update", "$aws/things/T/shadow/get/+")
	b.router.Publish(&router.Publication{Topic: "$aws/things/T/shadow/update", Payload: []byte(`{"state":{"reported":{"connected":false}}}`), Will: true}, nil)
	l.want(t, "$aws/things/T/shadow/update", `{"state":{"reported":{"connected":false}}}`)
	b.router.Publish(&router.Publication{Topic: "$aws/things/T/shadow/delete", Will: true}, nil)
	b.publish("$aws/things/T/shadow/get", "")
	if name, payload := l.next(t); name != "$aws/things/T/shadow/get/accepted" || !strings.HasPrefix(payload, `{"state":{"reported":{"connected":false}}`) {
		t.Errorf("got %s %s", name, payload)
	}
}

func TestREST(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	ctx := context.Background()
	l := b.listen("$aws/things/T/shadow/#")
	id := ID{Thing: "T"}
	refused := func(err error, code int) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || e.Code != code {
			t.Fatalf("got %v, want %d", err, code)
		}
		l.silent(t)
	}
	_, err := b.Get(ctx, id)
	refused(err, 404)
	_, err = b.Delete(ctx, id)
	refused(err, 404)
	_, err = b.Update(ctx, id, []byte(`{`))
	refused(err, 400)
	_, err = b.Update(ctx, id, []byte(strings.Repeat(" ", MaxDocument+1)))
	refused(err, 413)
	answer, err := b.Update(ctx, id, []byte(`{"state":{"reported":{"a":1}}}`))
	if want := `{"state":{"reported":{"a":1}},"metadata":{"reported":{"a":{"timestamp":1700000000}}},"version":1,"timestamp":1700000000}`; err != nil || string(answer) != want {
		t.Fatalf("got %s, %v", answer, err)
	}
	l.want(t, "$aws/things/T/shadow/update/accepted", string(answer))
	if n, _ := l.next(t); n != "$aws/things/T/shadow/update/documents" {
		t.Fatalf("got %s", n)
	}
	if answer, err = b.Get(ctx, id); err != nil || !strings.HasPrefix(string(answer), `{"state":{"reported":{"a":1}},`) {
		t.Fatalf("got %s, %v", answer, err)
	}
	l.silent(t)
	if answer, err = b.Delete(ctx, id); err != nil || string(answer) != `{"version":1,"timestamp":1700000000}` {
		t.Fatalf("got %s, %v", answer, err)
	}
	l.want(t, "$aws/things/T/shadow/delete/accepted", string(answer))
}

// version returns the version of an accepted update.
func version(t testing.TB, answer []byte, err error) int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Version int }
	if err := json.Unmarshal(answer, &v); err != nil {
		t.Fatal(err)
	}
	return v.Version
}

func TestVersionAfterDelete(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	ctx := context.Background()
	id := ID{"T", "S"}
	update := func() int {
		a, err := b.Update(ctx, id, []byte(`{"state":{"reported":{"a":1}}}`))
		return version(t, a, err)
	}
	remove := func() {
		t.Helper()
		if _, err := b.Delete(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	update()
	update()
	remove()
	b.clock.Add((48*time.Hour - time.Millisecond).Milliseconds())
	if err := b.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if v := update(); v != 3 {
		t.Errorf("version %d within 48 hours", v)
	}
	remove()
	b.clock.Add((48 * time.Hour).Milliseconds())
	if v := update(); v != 1 {
		t.Errorf("version %d after 48 hours, not yet swept", v)
	}
	remove()
	b.clock.Add((48 * time.Hour).Milliseconds())
	if err := b.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	var rows int
	if err := b.db.QueryRow(ctx, `SELECT count(*) FROM shadow`, nil, &rows); err != nil || rows != 0 {
		t.Errorf("%d rows, %v", rows, err)
	}
	if v := update(); v != 1 {
		t.Errorf("version %d after the sweep", v)
	}
}

func TestListNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	ctx := context.Background()
	for _, name := range []string{"", "c", "a", "b", "gone"} {
		if _, err := b.Update(ctx, ID{"T", name}, []byte(`{"state":{}}`)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Delete(ctx, ID{"T", "gone"}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		thing, after string
		n            int
		want         string
	}{{"T", "", 10, "[a b c]"}, {"T", "", 2, "[a b]"}, {"T", "b", 2, "[c]"}, {"U", "", 10, "[]"}} {
		if names, err := b.List(ctx, tc.thing, tc.after, tc.n); err != nil || fmt.Sprint(names) != tc.want {
			t.Errorf("%+v: %v, %v", tc, names, err)
		}
	}
}

// TestConcurrentWriters has many writers on few shadows: every update gets a version of its own,
// the accepted messages of a shadow come in the order of their versions, and all that was accepted
// is there after reopening.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	const writers, each, shadows = 16, 50, 3
	b := newBench(t, Config{Inflight: -1})
	ctx := context.Background()
	l := b.listen("$aws/things/+/shadow/update/accepted", "$aws/things/+/shadow/name/+/update/accepted")
	ids := [shadows]ID{{"T", ""}, {"T", "S"}, {"U", ""}}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_, err := b.Update(ctx, ids[i%shadows], fmt.Appendf(nil, `{"state":{"reported":{"w%d":%d}}}`, w, i))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last := map[string]int{}
	for range writers * each {
		name, payload := l.next(t)
		if v := version(t, []byte(payload), nil); v != last[name]+1 {
			t.Fatalf("%s: version %d after %d", name, v, last[name])
		}
		last[name]++
	}
	before := make([]string, shadows)
	for i, id := range ids {
		a, err := b.Get(ctx, id)
		if v := version(t, a, err); v != last[id.prefix()+"/update/accepted"] {
			t.Errorf("%v: version %d, %d were accepted", id, v, last[id.prefix()+"/update/accepted"])
		}
		before[i] = string(a)
	}
	b.close()
	b.open(t, Config{Now: b.cfg.Now})
	for i, id := range ids {
		if a, err := b.Get(ctx, id); err != nil || string(a) != before[i] {
			t.Errorf("%v after reopening: %s, %v\nbefore %s", id, a, err, before[i])
		}
	}
}

// TestInflight asks for more than a thing may have in flight while nothing can be written.
func TestInflight(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	l := b.listen("$aws/things/+/shadow/update/accepted", "$aws/things/+/shadow/name/+/update/accepted", "$aws/things/+/shadow/name/+/update/rejected")
	hold := make(chan struct{})
	b.db.Submit(func(*store.Tx) error { <-hold; return nil }, nil)
	for i := range 12 {
		prefix := ID{Thing: "T", Shadow: []string{"", "S"}[i/6]}.prefix() // both count for the thing
		b.publish(prefix+"/update", fmt.Sprintf(`{"state":{},"clientToken":"%d"}`, i))
	}
	b.publish("$aws/things/U/shadow/update", `{"state":{},"clientToken":"other"}`)
	close(hold)
	accepted, throttled := 0, 0
	for range 13 {
		name, payload := l.next(t)
		switch {
		case strings.HasSuffix(name, "accepted"):
			accepted++
		case strings.HasPrefix(payload, `{"code":429,`):
			throttled++
		}
	}
	if accepted != 11 || throttled != 2 {
		t.Errorf("%d accepted, %d throttled", accepted, throttled)
	}
	if c := b.Counts(); c.Accepted != 11 || c.Rejected != 2 {
		t.Errorf("%+v", c)
	}
	b.publish("$aws/things/T/shadow/update", `{"state":{},"clientToken":"again"}`)
	if _, payload := l.next(t); !strings.Contains(payload, `"clientToken":"again"`) || strings.Contains(payload, "code") {
		t.Errorf("afterwards: %s", payload)
	}
}

// TestFailedWrite makes the database refuse: nobody is told that it worked, and the shadow goes on
// from where it was.
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	ctx := context.Background()
	id := ID{Thing: "T"}
	if _, err := b.Update(ctx, id, []byte(`{"state":{"reported":{"a":1}}}`)); err != nil {
		t.Fatal(err)
	}
	exec := func(query string) {
		t.Helper()
		if err := b.db.Write(ctx, func(tx *store.Tx) error { _, err := tx.Exec(query); return err }); err != nil {
			t.Fatal(err)
		}
	}
	exec(`ALTER TABLE shadow RENAME TO elsewhere`)
	l := b.listen("$aws/things/T/shadow/#")
	b.publish("$aws/things/T/shadow/update", `{"state":{"reported":{"a":2}},"clientToken":"x"}`)
	l.next(t)
	l.want(t, "$aws/things/T/shadow/update/rejected", `{"code":500,"message":"Internal service failure","clientToken":"x"}`)
	exec(`ALTER TABLE elsewhere RENAME TO shadow`)
	a, err := b.Update(ctx, id, []byte(`{"state":{"reported":{"b":3}}}`))
	if v := version(t, a, err); v != 2 {
		t.Errorf("version %d", v)
	}
	if a, err = b.Get(ctx, id); err != nil || !strings.HasPrefix(string(a), `{"state":{"reported":{"a":1,"b":3}},`) {
		t.Errorf("got %s, %v", a, err)
	}
}

// TestFlood sends far more to one shadow than it may, of what is large when parsed, while nothing
// can be written: everything is answered, and no more is remembered than for one request.
func TestFlood(t *testing.T) {
	t.Parallel()
	for _, inflight := range []int{DefaultInflight, -1} {
		b := newBench(t, Config{Inflight: inflight})
		l := b.listen("$aws/things/T/shadow/update/accepted", "$aws/things/T/shadow/update/rejected")
		hold := make(chan struct{})
		b.db.Submit(func(*store.Tx) error { <-hold; return nil }, nil)
		payload := `{"state":{"reported":{"a":[` + strings.Repeat("1,", 3000) + `1]}}}`
		const requests = 300
		for range requests {
			b.publish("$aws/things/T/shadow/update", payload)
		}
		close(hold)
		accepted := 0
		for range requests {
			if name, _ := l.next(t); strings.HasSuffix(name, "accepted") {
				accepted++
			}
		}
		if want := max(inflight, 10); inflight > 0 && accepted != want || inflight < 0 && accepted != requests {
			t.Errorf("%d in flight allowed: %d accepted", inflight, accepted)
		}
		b.Service.Close()
		for _, sh := range b.shards {
			if n := len(sh.draft.nodes); n > 2*maxNodes {
				t.Errorf("%d in flight allowed: %d nodes", inflight, n)
			}
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{CacheBytes: 4096})
	ctx := context.Background()
	for round := 1; round <= 2; round++ {
		for i := range 40 {
			a, err := b.Update(ctx, ID{Thing: fmt.Sprint("t", i)}, []byte(`{"state":{"reported":{"a":1}}}`))
			if v := version(t, a, err); v != round {
				t.Fatalf("thing %d: version %d in round %d", i, v, round)
			}
		}
	}
	b.Service.Close()
	for _, sh := range b.shards {
		if sh.cache.bytes > sh.cache.limit || len(sh.cache.entries) == 0 {
			t.Errorf("%d bytes in %d entries, limit %d", sh.cache.bytes, len(sh.cache.entries), sh.cache.limit)
		}
		if len(sh.active) != 0 || len(sh.inflight) != 0 {
			t.Errorf("%d shadows active, %d things in flight at the end", len(sh.active), len(sh.inflight))
		}
	}
}

// BenchmarkUpdateDurable is 64 writers, every update on disk before its answer; accepted, delta and
// documents are published to a subscriber. With 64 things each writer has its own, with more they
// go round.
func BenchmarkUpdateDurable(b *testing.B) {
	for _, things := range []int{64, 20000} {
		b.Run(fmt.Sprint("things=", things), func(b *testing.B) { benchmarkUpdate(b, things) })
	}
}

func benchmarkUpdate(b *testing.B, things int) {
	s := newBench(b, Config{})
	counted := &counter{}
	ctx := context.Background()
	body := strings.Repeat("x", 80)
	const writers = 64
	thing := func(n int) ID { return ID{Thing: fmt.Sprint("thing-", n%things)} }
	all := func(n int, update func(i int) error) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
					if err := update(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	all(things, func(i int) error {
		_, err := s.Update(ctx, thing(i), fmt.Appendf(nil,
			`{"state":{"desired":{"target":-1,"note":%q},"reported":{"a":%q,"b":%q,"c":%q,"d":{"e":1,"f":[1,2,3]}}}}`, body, body, body, body))
		return err
	})
	s.router.Subscribe(counted, "$aws/things/+/shadow/update/+", router.Subscription{QoS: 1})
	b.ReportAllocs()
	b.ResetTimer()
	all(b.N, func(i int) error {
		_, err := s.Update(ctx, thing(i), fmt.Appendf(nil, `{"state":{"reported":{"target":%d,"d":{"e":%d}}},"clientToken":"t%d"}`, i, i, i))
		return err
	})
	b.StopTimer()
	s.Service.Close()
	if got := counted.n.Load(); got != 3*int64(b.N) {
		b.Errorf("%d messages for %d updates", got, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

type counter struct{ n atomic.Int64 }

func (c *counter) Deliver(*router.Publication, *router.Target) { c.n.Add(1) }
func (c *counter) Online() bool                                { return true }
func (c *counter) Durable() bool                               { return false }

// BenchmarkApply is the pure part of one update of a document of about 600 bytes.
func BenchmarkApply(b *testing.B) {
	body := strings.Repeat("x", 100)
	w := newWorld()
	w.update(fmt.Sprintf(`{"state":{"desired":{"target":-1,"note":%q},"reported":{"a":%q,"b":%q,"c":%q,"d":{"e":1,"f":[1,2,3]}}}}`, body, body, body, body))
	request := `{"state":{"reported":{"target":4711,"d":{"e":1234}}},"clientToken":"t1"}`
	var d draft
	var out answers
	doc := w.doc
	b.ReportAllocs()
	for b.Loop() {
		out.buf, out.list = out.buf[:0], out.list[:0]
		if err := d.open(doc); err != nil {
			b.Fatal(err)
		}
		u, err := d.parseUpdate(request)
		if err == nil {
			err = d.apply(&u, w.now, &out)
		}
		if err != nil {
			b.Fatal(err)
		}
		doc = d.document()
	}
}
