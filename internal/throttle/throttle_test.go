package throttle

import (
	"net/netip"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	t.Parallel()
	th := Throttle{Limits: Limits{Free: 3, First: 500 * time.Millisecond, Longest: time.Minute, PerMinute: 60}}
	now := time.Unix(1_700_000_000, 0)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for range th.Free {
		if w := th.Wait(a, "", now); w != 0 {
			t.Fatalf("waits %v before it failed often", w)
		}
		th.Failed(a, "", now)
	}
	last := time.Duration(0)
	for range 12 {
		w := th.Wait(a, "", now)
		if w <= last && last < th.Longest {
			t.Fatalf("waits %v after %v", w, last)
		}
		if w > th.Longest {
			t.Fatalf("waits %v", w)
		}
		last = w
		now = now.Add(w)
		if th.Wait(a, "", now) != 0 {
			t.Fatal("has to wait again after waiting")
		}
		th.Failed(a, "", now)
	}
	if th.Wait(b, "", now) != 0 {
		t.Error("another address has to wait")
	}
	th.Failed(b, "", now)
	th.Failed(netip.MustParseAddr("2001:db8::2"), "", now)
	th.Failed(netip.MustParseAddr("2001:db8::3"), "", now)
	if th.Wait(netip.MustParseAddr("2001:db8::4"), "", now) == 0 {
		t.Error("an address of the same network need not wait")
	}
	th.Succeeded(a, "")
	if th.Wait(a, "", now) != 0 {
		t.Error("has to wait after success")
	}
}

func TestThrottleOfAllSources(t *testing.T) {
	t.Parallel()
	th := Throttle{Limits: Limits{Free: 3, First: 500 * time.Millisecond, Longest: time.Minute, PerMinute: 60}}
	now := time.Unix(1_700_000_000, 0)
	for i := range 2 * maxSources {
		th.Failed(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "", now)
	}
	if len(th.sources) > maxSources {
		t.Errorf("holds %d sources", len(th.sources))
	}
	fresh := netip.MustParseAddr("198.51.100.1")
	if w := th.Wait(fresh, "", now); w <= 0 || w > time.Minute {
		t.Errorf("a fresh address waits %v while all guess", w)
	}
	if th.Wait(fresh, "", now.Add(time.Minute)) != 0 {
		t.Error("still waits a minute later")
	}
}
