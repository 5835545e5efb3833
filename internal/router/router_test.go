package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/topic"
)

// sink remembers what it got.
type sink struct {
	mu       sync.Mutex
	got      []string
	offline  bool
	durable  bool
	hold     []*Receipt
	holds    bool
	flushes  int
	lastQoS  byte
	lastIDs  []uint32
	lastKept *Message
}

func (s *sink) Deliver(p *Publication, t *Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, p.Topic+"="+string(p.Payload))
	s.lastQoS, s.lastIDs = min(p.QoS, t.QoS), t.IDs
	if s.holds {
		s.hold = append(s.hold, p.Hold())
		s.lastKept = p.Keep()
	}
	p.Dirty(s)
}
func (s *sink) Online() bool  { return !s.offline }
func (s *sink) Durable() bool { return s.durable }
func (s *sink) Flush()        { s.flushes++ }

func newRouter(t testing.TB, rules topic.Rules) *Router {
	t.Helper()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	r, err := New(context.Background(), rules, db)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOverlappingSubscriptionsAreOne(t *testing.T) {
	t.Parallel()
	r := newRouter(t, topic.Standard)
	s := &sink{}
	for i := range 40 { // enough to find duplicates through a map
		r.Subscribe(&sink{}, fmt.Sprintf("%s/#", "a"), Subscription{QoS: byte(i % 3)})
	}
	r.Subscribe(s, "a/b", Subscription{QoS: 0, ID: 1})
	r.Subscribe(s, "a/+", Subscription{QoS: 2, ID: 2})
	r.Subscribe(s, "a/#", Subscription{QoS: 1, ID: 3})
	pub := r.NewPublisher()
	pub.Publish(&Publication{Topic: "a/b", Payload: []byte("x"), QoS: 2})
	if len(s.got) != 1 || s.lastQoS != 2 || len(s.lastIDs) != 3 {
		t.Errorf("%v at QoS %d with identifiers %v", s.got, s.lastQoS, s.lastIDs)
	}
	if s.flushes != 0 {
		t.Error("flushed before the batch ended")
	}
	pub.Flush()
	if s.flushes != 1 {
		t.Errorf("%d flushes", s.flushes)
	}
	if !r.Unsubscribe(s, "a/+") || r.Unsubscribe(s, "a/+") {
		t.Error("unsubscribe does not say whether there was one")
	}
	pub.Publish(&Publication{Topic: "a/b", Payload: []byte("y"), QoS: 2}) // the route is found again
	if s.lastQoS != 1 {
		t.Errorf("QoS %d after the change", s.lastQoS)
	}
}

func TestReceiptWaitsForAll(t *testing.T) {
	t.Parallel()
	r := newRouter(t, topic.AWS)
	a, b := &sink{holds: true}, &sink{holds: true}
	r.Subscribe(a, "t", Subscription{QoS: 1})
	r.Subscribe(b, "+", Subscription{QoS: 1})
	payload := []byte("x")
	var result error
	calls := 0
	r.Publish(&Publication{Topic: "t", Payload: payload, QoS: 1}, func(err error) { calls++; result = err })
	payload[0] = 'y' // the publisher's buffer is used again
	if a.lastKept != b.lastKept || string(a.lastKept.Payload) != "x" {
		t.Errorf("kept %v and %v", a.lastKept, b.lastKept)
	}
	a.hold[0].Release(errors.New("disk full"))
	if calls != 0 {
		t.Fatal("acknowledged before everybody was done")
	}
	b.hold[0].Release(nil)
	if calls != 1 || result == nil {
		t.Errorf("%d calls, %v", calls, result)
	}
	r.Publish(&Publication{Topic: "no/body", QoS: 1}, func(err error) { calls++ })
	if calls != 2 {
		t.Error("a message without subscribers was not acknowledged")
	}
}

func TestSharedPrefersOnlineThenDurable(t *testing.T) {
	t.Parallel()
	r := newRouter(t, topic.AWS)
	on, off, kept := &sink{}, &sink{offline: true}, &sink{offline: true, durable: true}
	for _, s := range []*sink{off, kept, on} {
		r.Subscribe(s, "$share/g/t", Subscription{QoS: 1})
	}
	for range 50 {
		r.Publish(&Publication{Topic: "t", QoS: 1}, nil)
	}
	if len(on.got) != 50 {
		t.Errorf("the online member got %d of 50", len(on.got))
	}
	on.offline = true
	r.Publish(&Publication{Topic: "t", QoS: 1}, nil)
	if len(kept.got) != 1 || len(off.got) != 0 {
		t.Errorf("durable %d, other %d", len(kept.got), len(off.got))
	}
	for _, s := range []*sink{off, kept, on} {
		r.Unsubscribe(s, "$share/g/t")
	}
	if r.Subscriptions() != 0 || len(r.groups) != 0 {
		t.Error("an empty group is kept")
	}
}

func TestRetainedExpires(t *testing.T) {
	t.Parallel()
	r := newRouter(t, topic.Standard)
	r.Publish(&Publication{Topic: "a/b", Payload: []byte("1"), Retain: true, Expires: time.Now().Add(time.Hour)}, nil)
	r.Publish(&Publication{Topic: "a/c", Payload: []byte("2"), Retain: true}, nil)
	if n := len(r.RetainedMatching("a/+")); n != 2 {
		t.Errorf("%d retained", n)
	}
	r.ExpireRetained(time.Now().Add(2 * time.Hour))
	if m := r.RetainedMatching("#"); len(m) != 1 || m[0].Topic != "a/c" {
		t.Errorf("%v after the expiry", m)
	}
}

// TestRetainedHaveBounds fills the number and then the bytes of retained messages: what is new is refused,
// what replaces and removes is not, and what was removed or has expired makes room.
func TestRetainedHaveBounds(t *testing.T) {
	t.Parallel()
	r := newRouter(t, topic.Standard)
	put := func(name, payload string, expires time.Time) {
		r.Publish(&Publication{Topic: name, Payload: []byte(payload), Retain: true, Expires: expires}, nil)
	}
	has := func(want ...string) {
		t.Helper()
		var got []string
		for _, m := range r.RetainedMatching("#") {
			got = append(got, m.Topic+"="+string(m.Payload))
		}
		if !slices.Equal(got, want) {
			t.Errorf("retained %q, want %q", got, want)
		}
	}
	r.LimitRetained(2, 0)
	put("a", "1", time.Now().Add(time.Hour))
	put("b", "1", time.Time{})
	put("c", "1", time.Time{})
	put("b", "22", time.Time{})
	has("a=1", "b=22")
	if r.MayRetain("c", 1) || !r.MayRetain("a", 100) || !r.MayRetain("c", 0) || r.RetainedRefused() != 2 {
		t.Errorf("the bound of numbers does not hold; %d refused", r.RetainedRefused())
	}
	put("b", "", time.Time{})
	r.ExpireRetained(time.Now().Add(2 * time.Hour))
	put("c", "1", time.Time{})
	put("d", "1", time.Time{})
	has("c=1", "d=1")

	r.LimitRetained(0, 10)
	put("c", "1234567", time.Time{}) // 8 and 2
	put("e", "", time.Time{})
	put("d", "12", time.Time{})
	put("f", "", time.Time{})
	has("c=1234567", "d=1")
	put("c", "123456", time.Time{})
	put("d", "12", time.Time{})
	has("c=123456", "d=12")
	if n := r.RetainedBytes(); n != 10 {
		t.Errorf("%d bytes, want 10", n)
	}
	if err := r.retained.db.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.RefreshRetained([]string{"c", "unknown"}); err != nil {
		t.Fatal(err)
	}
	if n := r.RetainedBytes(); n != 10 {
		t.Errorf("%d bytes after reading one again, want 10", n)
	}
	r.LimitRetained(1, 1) // less than there is
	put("c", "12345", time.Time{})
	has("c=12345", "d=12")
}

func TestBasicIngestReachesNoSubscriber(t *testing.T) {
	t.Parallel()
	r := newRouter(t, topic.AWS)
	s := &sink{}
	r.Subscribe(s, "$aws/rules/#", Subscription{})
	r.Publish(&Publication{Topic: "$aws/rules/r/a"}, nil)
	if len(s.got) != 0 {
		t.Error(s.got)
	}
}

// writer is a subscriber that does what a session does on its fast path.
type writer struct{ out []byte }

func (w *writer) Deliver(p *Publication, t *Target) {
	packet, _ := p.Packet(mqtt.V311, 0)
	w.out = append(w.out[:0], packet...)
}
func (w *writer) Online() bool  { return true }
func (w *writer) Durable() bool { return false }

func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{1, 200} {
		b.Run(fmt.Sprint(subscribers, " subscribers"), func(b *testing.B) {
			r := newRouter(b, topic.AWS)
			for range subscribers {
				r.Subscribe(&writer{}, "fleet/+/state", Subscription{})
			}
			pub := r.NewPublisher()
			p := &Publication{Payload: make([]byte, 128)}
			name := []byte("fleet/4711/state")
			b.ReportAllocs()
			for b.Loop() {
				rt := pub.Route(name)
				p.Topic = rt.Topic
				pub.PublishTo(rt, p)
			}
		})
	}
}

// TestRemovalThatFailed: a retained message that could not be removed from disk is removed there by the
// next attempt, although it is no longer in memory.
func TestRemovalThatFailed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := storetest.Open(t, t.TempDir())
	defer db.Close()
	r, err := New(ctx, topic.AWS, db)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(payload string) error {
		done := make(chan error, 1)
		r.Publish(&Publication{Topic: "a", Payload: []byte(payload), QoS: 1, Retain: true,
			Acknowledger: AcknowledgeFunc(func(err error) { done <- err })}, nil)
		return <-done
	}
	rename := func(from, to string) {
		if err := db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec("ALTER TABLE " + from + " RENAME TO " + to)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := publish("kept"); err != nil {
		t.Fatal(err)
	}
	rename("retained_message", "hidden")
	if err := publish(""); err == nil {
		t.Error("a removal that failed is acknowledged")
	}
	rename("hidden", "retained_message")
	if err := publish(""); err != nil {
		t.Error(err)
	}
	n := 0
	if err := db.QueryRow(ctx, `SELECT count(*) FROM retained_message`, nil, &n); err != nil || n != 0 {
		t.Errorf("%d rows are left, %v", n, err)
	}
}

// Bounds can be set while the retained messages are still being read: the start goes on meanwhile.
func TestLimitRetainedDoesNotWait(t *testing.T) {
	t.Parallel()
	r := newRouter(t, topic.Standard)
	r.retained.mu.Lock() // as while they are read
	set := make(chan struct{})
	go func() {
		r.LimitRetained(1, 0)
		close(set)
	}()
	select {
	case <-set:
	case <-time.After(10 * time.Second):
		t.Error("setting bounds waits for the retained messages")
	}
	r.retained.mu.Unlock()
	<-set
	r.Publish(&Publication{Topic: "a", Payload: []byte("1"), Retain: true}, nil)
	if r.MayRetain("b", 1) {
		t.Error("the bound does not hold")
	}
}
