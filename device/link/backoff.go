package link

import "time"

// Backoff spaces attempts to connect: exponential with full jitter, as in "Exponential Backoff And
// Jitter" (AWS Architecture Blog): the wait before attempt n is uniform between 0 and
// min(Cap, Base·2ⁿ). It is pure: randomness comes in.
type Backoff struct {
	Base time.Duration // of the first wait; 0 means 1 s
	Cap  time.Duration // of every wait; 0 means 5 min
	// Scheme replaces full jitter, so that others can be compared with it; nil for none. It returns the
	// wait after a number of failures in a row, 1 or more.
	Scheme func(failures int, random func(n int64) int64) time.Duration
}

// minSpacing is kept between two connects of one client identifier: AWS IoT takes one a second
// (AWS IoT Core quotas, "Connect requests per second per client ID").
const minSpacing = time.Second

func (b Backoff) filled() Backoff {
	if b.Base <= 0 {
		b.Base = time.Second
	}
	if b.Cap <= 0 {
		b.Cap = 5 * time.Minute
	}
	return b
}

// Wait returns how long to wait after a number of failures in a row, 1 or more. random returns a
// number in [0, n). hint shifts or widens the wait by what the server has said.
func (b Backoff) Wait(failures int, hint Hint, random func(n int64) int64) time.Duration {
	b = b.filled()
	if b.Scheme != nil {
		return max(b.Scheme(failures, random), 0)
	}
	ceiling := b.Cap
	if n := failures - 1; hint != HintLater && n < 40 && b.Base<<n>>n == b.Base && b.Base<<n < b.Cap {
		ceiling = b.Base << max(n, 0)
	}
	wait := time.Duration(random(int64(ceiling) + 1))
	if hint == HintBusy {
		// A busy server is not asked again before half of the window has passed.
		wait = ceiling/2 + wait/2
	}
	return max(wait, 0)
}

// Hint is what the end of a connection says about the next attempt.
type Hint uint8

const (
	HintNone  Hint = iota
	HintBusy       // the server asks for time: Server Busy, Server Unavailable, Quota Exceeded
	HintLater      // trying soon cannot help: not authorized, taken over by another client
)
