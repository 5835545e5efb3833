package link

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/mqtt"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	most := func(n int64) int64 { return n - 1 }
	b := Backoff{Base: time.Second, Cap: time.Minute}
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 100: time.Minute, 1 << 30: time.Minute} {
		if got := b.Wait(failures, HintNone, most); got != want {
			t.Errorf("%d failures: at most %v, want %v", failures, got, want)
		}
		if got := b.Wait(failures, HintNone, func(int64) int64 { return 0 }); got != 0 {
			t.Errorf("%d failures: at least %v", failures, got)
		}
		if got := b.Wait(failures, HintBusy, func(int64) int64 { return 0 }); got != want/2 {
			t.Errorf("%d failures, busy: at least %v", failures, got)
		}
	}
	if got := b.Wait(1, HintLater, most); got != time.Minute {
		t.Errorf("later: at most %v", got)
	}
	if got := (Backoff{}).Wait(60, HintNone, most); got != 5*time.Minute {
		t.Errorf("by default at most %v", got)
	}
	// The jitter is full: the waits of many devices fill the window evenly.
	rnd := rand.New(rand.NewPCG(1, 2))
	var buckets [4]int
	for range 4000 {
		buckets[min(3, b.Wait(7, HintNone, rnd.Int64N)/(15*time.Second))]++
	}
	for _, n := range buckets {
		if n < 900 || n > 1100 {
			t.Errorf("waits are not even: %v", buckets)
		}
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 23, 59, 0, 0, time.UTC)
	b := NewBudget(Limits{PerSecond: 2, Burst: 3, PerDay: 5})
	for i := range 3 {
		if wait, _ := b.Take(now); wait != 0 {
			t.Errorf("message %d of the burst waits %v", i, wait)
		}
	}
	if wait, daily := b.Take(now); daily || wait <= 0 || wait > 501*time.Millisecond {
		t.Errorf("beyond the burst: %v %v", wait, daily)
	}
	now = now.Add(time.Second)
	b.Take(now)
	b.Spend(now)
	now = now.Add(10 * time.Second)
	if wait, daily := b.Take(now); !daily || wait != 49*time.Second {
		t.Errorf("beyond the day: %v %v", wait, daily)
	}
	again := NewBudget(Limits{PerDay: 5})
	again.RestoreState(b.AppendState(nil))
	if _, daily := again.Take(now); !daily {
		t.Error("a restart forgets the day's messages")
	}
	again.RestoreState([]byte("damaged"))
	if _, daily := again.Take(now.Add(-48 * time.Hour)); !daily {
		t.Error("a clock that is put back gives a new budget")
	}
	if wait, _ := again.Take(now.Add(time.Minute)); wait != 0 || again.Used() != 1 {
		t.Errorf("the next day: %v, used %d", wait, again.Used())
	}
	free := NewBudget(Limits{})
	for range 1000 {
		if wait, _ := free.Take(now); wait != 0 {
			t.Fatal("no limit, but a wait")
		}
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	msg := func(id uint16, size int) received {
		m := received{Message: Message{Topic: "t", Payload: make([]byte, size)}, packetID: id}
		if id > 0 {
			m.QoS = 1
		}
		return m
	}
	r := newRing(3, 100)
	for i, put := range []struct {
		m       received
		dropped int
		ok      bool
	}{{msg(1, 10), 0, true}, {msg(0, 10), 0, true}, {msg(2, 10), 0, true}, {msg(3, 10), 1, true}, {msg(4, 10), 0, false}, {msg(0, 10), 1, false}} {
		if dropped, ok := r.put(put.m); dropped != put.dropped || ok != put.ok {
			t.Errorf("put %d: %d %v", i, dropped, ok)
		}
	}
	var ids []uint16
	for m, ok := r.take(); ok; m, ok = r.take() {
		ids = append(ids, m.packetID)
	}
	if !slices.Equal(ids, []uint16{1, 2, 3}) || r.bytes != 0 {
		t.Errorf("took %v, %d bytes remain", ids, r.bytes)
	}
	if _, ok := r.put(msg(5, 1000)); !ok {
		t.Error("an empty ring refuses a large message")
	}
	if dropped, ok := r.put(msg(0, 1)); dropped != 1 || ok {
		t.Error("the bound in bytes does not hold")
	}
}

func TestQueueOverflow(t *testing.T) {
	t.Parallel()
	for overflow, want := range map[Overflow]string{DropOldest: "cde", DropNewest: "abc"} {
		q, _ := openQueue(QueueOptions{Messages: 3, Bytes: 1000, Overflow: overflow}, nil)
		var gone, left []byte
		for _, c := range []byte("abcde") {
			for _, e := range q.put(&entry{topic: "t", payload: []byte{c}}) {
				gone = append(gone, e.payload...)
			}
		}
		for _, e := range q.entries {
			left = append(left, e.payload...)
		}
		if string(left) != want || len(gone) != 2 {
			t.Errorf("overflow %d keeps %s, drops %s", overflow, left, gone)
		}
	}
	q, _ := openQueue(QueueOptions{Bytes: 10}, nil)
	q.put(&entry{topic: "t", payload: []byte("small")})
	if gone := q.put(&entry{topic: "t", payload: make([]byte, 20)}); len(gone) != 1 || len(q.entries) != 1 {
		t.Error("a message larger than the queue throws others out")
	}
	q.entries[0].packetID = 1
	if gone := q.put(&entry{topic: "t", payload: make([]byte, 9)}); len(gone) != 1 || len(q.entries) != 1 {
		t.Error("a message that is on its way is dropped")
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	c := NewClock(func() time.Time { return time.Unix(100, 0) }, time.Time{})
	if c.Set() {
		t.Error("1970 is taken for the time")
	}
	if err := c.Adjust(time.Unix(200, 0)); err == nil {
		t.Error("the clock takes a time that cannot be")
	}
	right := Earliest.Add(time.Hour)
	if err := c.Adjust(right); err != nil || !c.Set() || !c.Now().Equal(right) {
		t.Errorf("adjusted: %v, %v", c.Now(), err)
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(appendEntry(nil, &entry{topic: "a/b", payload: []byte("x"), retain: true}))
	e := &entry{topic: "a", payload: []byte("x"), urgent: true, deadline: 1 << 31}
	e.properties.MessageExpiry, e.properties.ContentType = 60, "text/plain"
	e.properties.Mark(mqtt.PropMessageExpiry, mqtt.PropContentType)
	f.Add(appendEntry(nil, e))
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 5, 0, 1, 'a', 0, 'x'})
	f.Add([]byte{1, 0, 0, 0})
	f.Add([]byte{1, 0, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := decodeEntry(b); ok && !bytes.Equal(appendEntry(nil, e), b) {
			t.Errorf("%x does not come back", b)
		}
	})
}

// TestQueueSurvives: what is in flash comes back in order, numbered on.
func TestQueueSurvives(t *testing.T) {
	t.Parallel()
	m := flash.NewMemory()
	store, err := flash.Open(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		e := &entry{number: uint64(i + 250), topic: "t", payload: []byte{byte(i)}}
		store.Set(queueKey(e.number), appendEntry(nil, e), nil)
	}
	store.Set("q.xyz", []byte{9}, nil)
	store.Close()
	store, err = flash.Open(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	q, damaged := openQueue(QueueOptions{}, store)
	if damaged != 1 || len(q.entries) != 20 || q.next != 270 {
		t.Fatalf("%d entries, %d damaged, next %d", len(q.entries), damaged, q.next)
	}
	for i, e := range q.entries {
		if e.payload[0] != byte(i) {
			t.Errorf("entry %d is %d", i, e.payload)
		}
	}
}
