package console

import (
	"net/netip"
	"sync"
	"time"
)

// Failed attempts to sign in are answered at once, but each makes its source wait before the next,
// twice as long as the one before. All sources together wait a little too, so that many addresses
// are worth little.
const (
	firstDelay  = 500 * time.Millisecond
	longestWait = time.Minute
	forgetAfter = 30 * time.Minute
	maxSources  = 4096
	freeTries   = 3 // of one source, without waiting
	perMinute   = 60
)

// throttle holds back whoever guesses. Its zero value is ready.
type throttle struct {
	mu      sync.Mutex
	sources map[netip.Prefix]*failures
	all     int // failures since the minute began
	minute  time.Time
}

type failures struct {
	count int
	last  time.Time
}

func (f *failures) until() time.Time {
	if f.count < freeTries {
		return f.last
	}
	delay := longestWait
	if n := f.count - freeTries; n < 8 {
		delay = min(firstDelay<<n, longestWait)
	}
	return f.last.Add(delay)
}

// source is an IPv4 address or the /64 that an IPv6 address is in.
func source(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}

// wait returns how long an address has to wait before it may try; zero for not at all.
func (t *throttle) wait(addr netip.Addr, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= perMinute && now.Sub(t.minute) < time.Minute {
		return t.minute.Add(time.Minute).Sub(now)
	}
	if f := t.sources[source(addr)]; f != nil {
		return max(0, f.until().Sub(now))
	}
	return 0
}

// failed notes a failure.
func (t *throttle) failed(addr netip.Addr, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.minute) >= time.Minute {
		t.minute, t.all = now, 0
	}
	t.all++
	if t.sources == nil || len(t.sources) >= maxSources {
		kept := make(map[netip.Prefix]*failures)
		for p, f := range t.sources {
			if now.Sub(f.last) < longestWait && len(kept) < maxSources/2 {
				kept[p] = f
			}
		}
		t.sources = kept
	}
	f := t.sources[source(addr)]
	if f == nil || now.Sub(f.last) > forgetAfter {
		f = new(failures)
		t.sources[source(addr)] = f
	}
	f.count++
	f.last = now
}

// succeeded forgets the failures of an address.
func (t *throttle) succeeded(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sources, source(addr))
}
