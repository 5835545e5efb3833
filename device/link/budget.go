package link

import (
	"encoding/binary"
	"time"
)

// Limits are the message budget of a device. A zero means no limit.
type Limits struct {
	PerSecond float64 // messages per second, averaged
	Burst     int     // messages at once; 0 means one second's, at least 1
	PerDay    int     // messages per day, days of UTC
}

// Budget counts messages against limits. It is pure: the time comes in.
type Budget struct {
	limits Limits
	tokens float64
	last   time.Time
	day    int64
	used   int
}

// NewBudget returns a full budget.
func NewBudget(l Limits) *Budget {
	if l.Burst <= 0 {
		l.Burst = max(1, int(l.PerSecond))
	}
	return &Budget{limits: l, tokens: float64(l.Burst)}
}

// Take spends one message if the budget allows it. Otherwise it returns how long to wait before
// asking again; daily says that the day's messages are used up.
func (b *Budget) Take(now time.Time) (wait time.Duration, daily bool) {
	b.advance(now)
	if b.limits.PerDay > 0 && b.used >= b.limits.PerDay {
		return time.Unix((b.day+1)*86400, 0).Sub(now), true
	}
	if b.limits.PerSecond > 0 {
		if b.tokens < 1 {
			return time.Duration((1-b.tokens)/b.limits.PerSecond*float64(time.Second)) + 1, false
		}
		b.tokens--
	}
	b.used++
	return 0, false
}

// Spend counts a message that must not wait: answers to jobs and shadows, for example.
func (b *Budget) Spend(now time.Time) {
	b.advance(now)
	b.tokens = max(0, b.tokens-1)
	b.used++
}

// Used is the number of messages of the current day.
func (b *Budget) Used() int { return b.used }

func (b *Budget) advance(now time.Time) {
	// A day that lies before the one counted means that the clock was put back, not that a new
	// budget begins.
	if day := floorDay(now); day > b.day {
		b.day, b.used = day, 0
	}
	if elapsed := now.Sub(b.last); !b.last.IsZero() && elapsed > 0 {
		b.tokens = min(float64(b.limits.Burst), b.tokens+elapsed.Seconds()*b.limits.PerSecond)
	}
	b.last = now
}

func floorDay(t time.Time) int64 {
	s := t.Unix()
	if s < 0 {
		return 0
	}
	return s / 86400
}

// AppendState and RestoreState carry the day's count over a restart: 8 bytes of the day and 4 of
// the count, little endian. A state that is not of this form is ignored.
func (b *Budget) AppendState(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.day))
	return binary.LittleEndian.AppendUint32(dst, uint32(b.used))
}

func (b *Budget) RestoreState(state []byte) {
	if len(state) != 12 {
		return
	}
	if day := int64(binary.LittleEndian.Uint64(state)); day >= 0 {
		b.day, b.used = day, int(binary.LittleEndian.Uint32(state[8:]))
	}
}
