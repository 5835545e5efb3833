// Package event runs an application's handlers: one after another, on a goroutine of their own,
// never on the network's. A handler that panics is reported and the next one runs.
package event

import (
	"fmt"
	"sync"
)

// Loop runs functions in the order in which they were posted. The zero value is not usable.
type Loop struct {
	crashed func(error)

	mu      sync.Mutex
	queue   []entry
	closed  bool
	wake    chan struct{}
	stopped chan struct{}
}

type entry struct {
	name string
	run  func()
}

// CrashError is a handler that panicked.
type CrashError struct {
	Handler string // what ran, such as "message"
	Value   any    // what it panicked with
}

func (e *CrashError) Error() string {
	return fmt.Sprintf("%s handler crashed: %v", e.Handler, e.Value)
}

// NewLoop returns a loop that works until Close. crashed is called on the loop's goroutine with a
// *CrashError; nil means nobody wants to know.
func NewLoop(crashed func(error)) *Loop {
	if crashed == nil {
		crashed = func(error) {}
	}
	l := &Loop{crashed: crashed, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	go l.work()
	return l
}

// Post queues a function and returns at once; name says in a crash what it was. The queue has no
// bound of its own: what posts is bounded where it arises. It reports false after Close.
func (l *Loop) Post(name string, run func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, entry{name, run})
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// Close lets the functions that were posted run, and ends the loop. Wait for Done to know that the
// last has returned; a handler may call Close itself.
func (l *Loop) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.wake)
	}
}

// Done is closed when the loop has ended.
func (l *Loop) Done() <-chan struct{} { return l.stopped }

func (l *Loop) work() {
	defer close(l.stopped)
	for {
		l.mu.Lock()
		batch, closed := l.queue, l.closed
		l.queue = nil
		l.mu.Unlock()
		for _, e := range batch {
			if err := Contain(e.name, e.run); err != nil {
				// Whoever listens to crashes may crash as well; that is nobody's business.
				_ = Contain("crash", func() { l.crashed(err) })
			}
		}
		if len(batch) == 0 {
			if closed {
				return
			}
			<-l.wake
		}
	}
}

// Contain runs a function and returns its panic as a *CrashError.
func Contain(name string, run func()) (err error) {
	finished := false
	defer func() {
		if v := recover(); v != nil || !finished {
			if v == nil {
				v = "it ended its goroutine"
			}
			err = &CrashError{Handler: name, Value: v}
		}
	}()
	run()
	finished = true
	return nil
}
