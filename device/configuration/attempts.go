package configuration

import (
	"crypto/rand"
	"io"
	"time"

	"github.com/berth-iot/berth/device/flash"
)

// freeAttempts are answered without delay: people mistype.
const freeAttempts = 3

// longestDelay bounds the delay between attempts: 24 a day, so that a code of eight digits stands for
// thousands of years on average. There is no final lock, which would hand every passer-by a way to
// make a device unusable.
const longestDelay = time.Hour

// Delay is how long a device waits after so many failed attempts in a row before it takes the next.
func Delay(failures int) time.Duration {
	if failures < freeAttempts {
		return 0
	}
	if n := failures - freeAttempts; n < 12 {
		return min(longestDelay, time.Second<<n)
	}
	return longestDelay
}

const attemptsKey = "conf.tries"

// attempts counts failed attempts in flash. Every attempt counts as failed until it has succeeded: the
// power may be cut in between.
type attempts struct {
	store    *flash.Store // nil: in memory only
	failures int
	next     time.Time // when the next attempt is taken
}

// openAttempts begins with the whole delay of what is in flash: the device does not know how long it
// was off.
func openAttempts(store *flash.Store, now time.Time) *attempts {
	a := &attempts{store: store}
	if store != nil {
		if b, ok := store.Get(attemptsKey); ok && len(b) == 1 {
			a.failures = int(b[0])
		}
	}
	a.next = now.Add(Delay(a.failures))
	return a
}

// wait is how long the next attempt has to wait.
func (a *attempts) wait(now time.Time) time.Duration { return max(0, a.next.Sub(now)) }

// begin counts an attempt. It returns when the count is in flash.
func (a *attempts) begin(now time.Time) error {
	a.failures = min(a.failures+1, 255)
	a.next = now.Add(Delay(a.failures))
	return a.save()
}

// succeeded clears the count.
func (a *attempts) succeeded() error {
	a.failures, a.next = 0, time.Time{}
	return a.save()
}

func (a *attempts) save() error {
	if a.store == nil {
		return nil
	}
	done := make(chan error, 1)
	written := func(err error) { done <- err }
	var err error
	if a.failures == 0 {
		err = a.store.Delete(attemptsKey, written)
	} else {
		err = a.store.Set(attemptsKey, []byte{byte(a.failures)}, written)
	}
	if err != nil {
		return err
	}
	return <-done
}

// NewCode makes a random code for a label: ten digits, as 12345-67890. Ten instead of eight cost
// nothing and make guessing a hundred times as long.
func NewCode() string {
	const digits = 10
	code := make([]byte, 0, digits+1)
	var b [1]byte
	for len(code) < digits+1 {
		if len(code) == digits/2 {
			code = append(code, '-')
		}
		if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
			panic(err) // the system's random numbers do not fail
		}
		if b[0] < 250 { // every digit as likely
			code = append(code, '0'+b[0]%10)
		}
	}
	return string(code)
}
