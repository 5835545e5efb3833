// Package throttle holds back whoever guesses secrets.
package throttle

import (
	"net/netip"
	"sync"
	"time"
)

// Limits of a Throttle. Failed attempts are answered at once, but beyond Free each makes its source wait
// before the next, twice as long as the one before. All sources together wait a little too, so that many
// addresses are worth little.
type Limits struct {
	Free      int           // of one source, without waiting
	First     time.Duration // the first wait
	Longest   time.Duration
	PerMinute int // failures of all sources together; 0 for any
}

const (
	forgetAfter = 30 * time.Minute
	maxSources  = 4096
)

// Throttle counts failures by source. It may be used concurrently.
type Throttle struct {
	Limits

	mu      sync.Mutex
	sources map[guesser]*failures
	all     int // failures since the minute began
	minute  time.Time
}

// guesser is a source with what it tries to be, if that is known.
type guesser struct {
	source netip.Prefix
	as     string
}

type failures struct {
	count int
	last  time.Time
}

func (l *Limits) until(f *failures) time.Time {
	if f.count < l.Free {
		return f.last
	}
	delay := l.Longest
	if n := f.count - l.Free; n < 16 {
		delay = min(l.First<<n, l.Longest)
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

// Wait returns how long an address has to wait before it may try to be somebody, an access key for example
// or "" for the one there is; zero for not at all.
func (t *Throttle) Wait(addr netip.Addr, as string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.PerMinute > 0 && t.all >= t.PerMinute && now.Sub(t.minute) < time.Minute {
		return t.minute.Add(time.Minute).Sub(now)
	}
	if f := t.sources[guesser{source(addr), as}]; f != nil {
		return max(0, t.until(f).Sub(now))
	}
	return 0
}

// Failed notes a failure.
func (t *Throttle) Failed(addr netip.Addr, as string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.minute) >= time.Minute {
		t.minute, t.all = now, 0
	}
	t.all++
	if t.sources == nil || len(t.sources) >= maxSources {
		kept := make(map[guesser]*failures)
		for p, f := range t.sources {
			if now.Sub(f.last) < t.Longest && len(kept) < maxSources/2 {
				kept[p] = f
			}
		}
		t.sources = kept
	}
	f := t.sources[guesser{source(addr), as}]
	if f == nil || now.Sub(f.last) > forgetAfter {
		f = new(failures)
		t.sources[guesser{source(addr), as}] = f
	}
	f.count++
	f.last = now
}

// Succeeded forgets the failures of an address.
func (t *Throttle) Succeeded(addr netip.Addr, as string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sources, guesser{source(addr), as})
}
