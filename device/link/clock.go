package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// TimeSource asks somebody for the time, before there is a connection whose certificate could be
// checked with it: an SNTP server, a modem, a GPS receiver.
type TimeSource interface {
	Time(ctx context.Context) (time.Time, error)
}

// Clock is a clock that may not be set: a chip without a battery starts in 1970. Its methods may be
// called concurrently.
type Clock struct {
	// Now reads the hardware; nil means time.Now.
	now func() time.Time
	// earliest is a time that has certainly passed, such as that of the build.
	earliest time.Time

	mu     sync.Mutex
	offset time.Duration
}

// Earliest is the default for NewClock: no firmware with this library is older.
var Earliest = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// NewClock returns a clock over a hardware clock; nil means time.Now. It counts as set when it shows
// earliest or later; the zero time means Earliest.
func NewClock(now func() time.Time, earliest time.Time) *Clock {
	if now == nil {
		now = time.Now
	}
	if earliest.IsZero() {
		earliest = Earliest
	}
	return &Clock{now: now, earliest: earliest}
}

// Now is the time, right if Set reports so.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Add(c.offset)
}

// Set reports whether the clock shows a time that can be.
func (c *Clock) Set() bool { return !c.Now().Before(c.earliest) }

// Adjust makes the clock show a time from now on. A time before the earliest is refused.
func (c *Clock) Adjust(t time.Time) error {
	if t.Before(c.earliest) {
		return fmt.Errorf("set clock: %s is before %s", t.UTC().Format(time.RFC3339), c.earliest.UTC().Format(time.RFC3339))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = t.Sub(c.now())
	return nil
}

// ErrClock is the reason of a failure that the clock is to blame for. The remedy is to set it: give
// the link a TimeSource, or call Adjust.
var ErrClock = errors.New("the device's clock is not set")
