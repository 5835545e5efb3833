package cluster

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/topic"
)

func messages() []router.Publication {
	props := &mqtt.Properties{ContentType: "text/plain"}
	props.Mark(mqtt.PropContentType)
	return []router.Publication{
		{Topic: "a"},
		{Topic: "a/b", Payload: []byte("x"), QoS: 1, Retain: true},
		{Topic: "w", Payload: make([]byte, 1000), QoS: 2, Will: true, Expires: time.UnixMilli(1_800_000_000_000), Properties: props},
	}
}

func TestMessageRoundTrip(t *testing.T) {
	t.Parallel()
	for _, p := range messages() {
		for _, share := range []string{"", "g/a/#"} {
			gotShare, got, err := DecodeMessage(AppendMessage(nil, share, &p))
			if err != nil {
				t.Fatal(err)
			}
			if gotShare != share || got.Topic != p.Topic || !bytes.Equal(got.Payload, p.Payload) || got.QoS != p.QoS || got.Retain != p.Retain ||
				got.Will != p.Will || !got.Expires.Equal(p.Expires) || (got.Properties == nil) != (p.Properties == nil) {
				t.Errorf("%+v became %+v for %q", p, *got, gotShare)
			}
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, p := range messages() {
		f.Add(AppendMessage(nil, "", &p))
		f.Add(AppendMessage(nil, "g/a/#", &p))
	}
	f.Add([]byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		share, p, err := DecodeMessage(b)
		if err != nil {
			return
		}
		again, q, err := DecodeMessage(AppendMessage(nil, share, p))
		if err != nil || again != share || q.Topic != p.Topic || !bytes.Equal(q.Payload, p.Payload) || q.QoS != p.QoS {
			t.Fatalf("%+v became %+v, %v", p, q, err)
		}
	})
}

// listening returns an interest that hears and says nothing.
func listening(t testing.TB) *Interest {
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	r, err := router.New(t.Context(), topic.AWS, db)
	if err != nil {
		t.Fatal(err)
	}
	return &Interest{router: r, counts: make(map[string]int), adds: make(map[string]bool), peers: make(map[string]*peer), wake: make(chan struct{}, 1), ask: func(string) {}, self: "self"}
}

// Announcements that were missed make a node ask; what is announced twice or taken back leaves no trace.
func TestInterestFollowsAnnouncements(t *testing.T) {
	t.Parallel()
	i := listening(t)
	asked := 0
	i.ask = func(string) { asked++ }
	say := func(a announcement) {
		t.Helper()
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		i.heard(b)
	}
	known := func(want int) {
		t.Helper()
		if _, n := i.Filters(); n != want {
			t.Errorf("%d filters are known, want %d", n, want)
		}
	}
	say(announcement{Node: "n", Number: 4, Add: []string{"a/#"}}) // the beginning is missing
	known(0)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	say(announcement{Node: "n", Number: 7, Reset: true, Add: []string{"a/#", "$share/g/b", "!$share/g/b"}})
	known(3)
	say(announcement{Node: "n", Number: 8, Add: []string{"c"}, Remove: []string{"a/#", "never"}})
	known(3)
	say(announcement{Node: "n", Number: 8})
	say(announcement{Node: "n", Number: 10, Add: []string{"d"}})
	known(3)
	say(announcement{Node: "n", Number: 11, Reset: true})
	known(0)
	if n := i.router.Subscriptions(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	say(announcement{Node: "self", Number: 1, Reset: true, Add: []string{"e"}})
	known(0)
}

func FuzzAnnouncement(f *testing.F) {
	f.Add([]byte(`{"node":"n","number":1,"reset":true,"add":["a/#","$share/g/b","!$share/g/b"]}`))
	f.Add([]byte(`{"node":"n","number":2,"remove":["a/#"],"add":["#","+/+","$share/g","!","$share//","\u0000"]}`))
	i := listening(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		i.heard(b)
		for _, p := range i.peers {
			p.forget()
		}
		clear(i.peers)
		if n := i.router.Subscriptions(); n != 0 {
			t.Fatalf("%d subscriptions are left", n)
		}
	})
}

// One filter stands for everything below a thing.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		"$aws/things/T/shadow/update/accepted": "$aws/things/T/#", "$aws/things/T/#": "$aws/things/T/#", "$aws/things/+/shadow/#": "$aws/things/+/shadow/#",
		"$aws/things/T": "$aws/things/T", "a/b": "a/b", "#": "#",
	} {
		if got := announced(filter); got != want {
			t.Errorf("%s is announced as %s, want %s", filter, got, want)
		}
	}
}

func TestCheckURLs(t *testing.T) {
	t.Parallel()
	for urls, ok := range map[string]bool{"nats://a:4222": true, "nats://a,tls://b": true, "": false, "a:4222": false, "nats://": false, "nats://a,": false, "http://a": false} {
		if err := CheckURLs(urls); (err == nil) != ok {
			t.Errorf("%q: %v", urls, err)
		}
	}
}
