package link

import (
	"context"
	"errors"
	"time"

	"github.com/berth-iot/berth/topic"
)

func (r *route) matches(name string) bool { return topic.Standard.Match(r.filter, name) }

// timeTimeout bounds one question for the time.
const timeTimeout = 15 * time.Second

// run connects again and again until Close.
func (l *Link) run() {
	defer close(l.stopped)
	failures := 0
	askTime := false
	var last time.Time // when the last attempt began
	for l.released() {
		l.checkClock(askTime)
		l.pause(minSpacing-time.Since(last), func() bool { return l.closed || l.held })
		if !l.released() {
			return
		}
		l.mu.Lock()
		l.dropped = false
		l.mu.Unlock()
		last = time.Now()
		c, connack, err := l.connect()
		var f *Failure
		if err != nil {
			errors.As(err, &f)
		} else {
			began := time.Now()
			f = l.serve(c, connack)
			if f == nil || time.Since(began) >= l.cfg.Stable {
				failures = 0
			}
			var why error
			if f != nil {
				why = f
			}
			l.tell(Event{Kind: Disconnected, Err: why})
		}
		l.lost(f)
		if f == nil {
			continue
		}
		if l.ctx.Err() != nil {
			return
		}
		askTime = f.Kind == WrongClock
		failures++
		wait := max(l.cfg.Backoff.Wait(failures, f.hint(), l.cfg.Random), minSpacing-time.Since(last))
		l.tell(Event{Kind: Waiting, Err: f, Wait: wait})
		l.pause(wait, func() bool { return l.closed || l.held || l.dropped })
	}
}

func (l *Link) lost(f *Failure) {
	l.mu.Lock()
	watchers := l.watchers
	l.mu.Unlock()
	var err error
	if f != nil {
		err = f
	}
	for _, w := range watchers {
		if w.Lost != nil {
			w.Lost(err)
		}
	}
}

// released waits while the link is held. It reports false after Close.
func (l *Link) released() bool {
	for {
		l.mu.Lock()
		held, closed := l.held, l.closed
		l.mu.Unlock()
		if closed {
			return false
		}
		if !held {
			return true
		}
		select {
		case <-l.kick:
		case <-l.ctx.Done():
		}
	}
}

// pause waits, until interrupted says so at most. That is asked with the lock held.
func (l *Link) pause(d time.Duration, interrupted func() bool) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-l.ctx.Done():
			return
		case <-l.kick:
		}
		l.mu.Lock()
		stop := interrupted()
		l.mu.Unlock()
		if stop {
			return
		}
	}
}

// checkClock asks for the time when the clock cannot be right, or a certificate says so.
func (l *Link) checkClock(doubted bool) {
	clock := l.cfg.Clock
	set := clock.Set()
	if set && !doubted {
		return
	}
	if !set {
		l.tell(Event{Kind: ClockNotSet, Err: ErrClock})
	}
	if l.cfg.Time == nil {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, timeTimeout)
	defer cancel()
	t, err := l.cfg.Time.Time(ctx)
	before := clock.Now()
	if err == nil {
		err = clock.Adjust(t)
	}
	if err != nil {
		l.tell(Event{Kind: ClockNotSet, Err: err})
		return
	}
	l.tell(Event{Kind: ClockSet, Offset: t.Sub(before)})
}
