package awsiot

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/mqtt"
)

// ShadowConfig is what a shadow is made from.
type ShadowConfig struct {
	Link  *link.Link
	Loop  *event.Loop
	Thing string
	Name  string // of a named shadow; "" is the classic one

	// OnDelta is told, on the loop, what is desired and not reported. What it returns is reported,
	// and so the answer to the delta; nil reports nothing.
	OnDelta func(Delta) (reported []byte, err error)
	// Reported is asked for the whole reported state after every connect; may be nil.
	Reported func() []byte
	// OnError hears of deltas that could not be handled, on the loop; may be nil.
	OnError func(error)

	Batch    time.Duration // reports wait so long for others; 0 means 200 ms
	Interval time.Duration // between two updates; 0 means 1 s
	Timeout  time.Duration // of a request; 0 means 10 s
	Store    *flash.Store  // keeps reports that wait over a restart; nil: memory only
	Presence bool          // report "connected": true after every connect; see Will
}

// Delta is what is desired and differs from what is reported.
type Delta struct {
	State   []byte // a JSON object, all differences, not only new ones
	Version int64  // of the shadow
}

// maxReport is the largest state document (AWS IoT Device Shadow quotas).
const maxReport = 8 << 10

// ErrReport is returned for a report that is no JSON object, or larger than a shadow may be.
var ErrReport = errors.New("a report must be a JSON object of at most 8 KiB")

// Shadow keeps a thing's shadow and the device in step. After every connect it gets the shadow, has
// the delta applied and reports, in this order; then deltas are applied as they come. Reports are
// gathered, merged and sent at a limited rate; while there is no connection they wait, in flash too if
// there is a store. A loss of power may forget what was reported in the last ten seconds.
type Shadow struct {
	cfg    ShadowConfig
	caller *caller
	prefix string

	mu       sync.Mutex
	phase    shadowPhase
	epoch    uint64 // counts connections
	version  int64  // of the newest delta that was handed out
	next     *Delta // came while another one was being handled
	pending  jsondoc.Value
	done     []func(error) // of pending
	sending  bool
	last     time.Time // of the last update
	failures int
	timer    *time.Timer
	closed   bool
	kept     bool        // reports are in flash
	keptAt   time.Time   // when they were written
	keeper   *time.Timer // writes them
}

type shadowPhase uint8

const (
	shadowOffline shadowPhase = iota
	shadowGetting
	shadowApplying // the application handles a delta
	shadowReady
)

// ShadowPrefix is the beginning of a shadow's topics; name is "" for the classic shadow.
func ShadowPrefix(thing, name string) string {
	if name == "" {
		return "$aws/things/" + thing + "/shadow/"
	}
	return "$aws/things/" + thing + "/shadow/name/" + name + "/"
}

// Will is a will that sets "connected" to false in the classic shadow's reported state. berth takes
// it on the shadow's own topic, which an empty topic stands for. AWS IoT ignores wills there: give a
// topic such as my/things/T/update, and republish from it with a rule (AWS IoT developer guide,
// "Detecting a device is connected").
func Will(thing, topic string) *mqtt.Will {
	if topic == "" {
		topic = ShadowPrefix(thing, "") + "update"
	}
	return &mqtt.Will{Topic: topic, QoS: 1, Payload: []byte(`{"state":{"reported":{"connected":false}}}`)}
}

// NewShadow starts to follow a shadow. Call it before the link is started.
func NewShadow(cfg ShadowConfig) (*Shadow, error) {
	if cfg.Batch <= 0 {
		cfg.Batch = 200 * time.Millisecond
	}
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	s := &Shadow{cfg: cfg, prefix: ShadowPrefix(cfg.Thing, cfg.Name), caller: newCaller(cfg.Link, "s"+cfg.Name+"-", cfg.Timeout)}
	if len(s.caller.prefix) > 50 {
		s.caller.prefix = s.caller.prefix[:50]
	}
	s.restore()
	for _, topic := range []string{"get/+", "update/accepted", "update/rejected", "update/delta"} {
		if err := cfg.Link.Subscribe(s.prefix+topic, 1, nil); err != nil {
			return nil, fmt.Errorf("follow shadow of %q: %w", cfg.Thing, err)
		}
		cfg.Link.Route(s.prefix+topic, s.message)
	}
	cfg.Link.Watch(link.Watcher{Restored: s.connected, Lost: s.lost})
	return s, nil
}

// Close ends what the shadow has begun. Reports that were not accepted end with link.ErrClosed.
func (s *Shadow) Close() {
	s.mu.Lock()
	s.closed = true
	s.phase = shadowOffline
	s.stop()
	s.mu.Unlock()
	s.caller.cancel(link.ErrClosed)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep()
	s.finish(s.done, link.ErrClosed)
	s.done, s.pending = nil, jsondoc.Value{}
}

// Report merges a JSON object into what is reported: null removes a key. It returns at once; done,
// if not nil, gets the result on the loop.
func (s *Shadow) Report(patch []byte, done func(error)) error {
	v, err := jsondoc.Parse(patch)
	if err != nil || !v.IsObject() || len(patch) > maxReport {
		return fmt.Errorf("report to shadow of %q: %w", s.cfg.Thing, ErrReport)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return link.ErrClosed
	}
	merged := v
	if s.pending.Exists() {
		merged = jsondoc.Merge(s.pending, v)
	}
	if len(merged.Append(nil)) > maxReport {
		return fmt.Errorf("report to shadow of %q: too much is waiting: %w", s.cfg.Thing, ErrReport)
	}
	s.pending = merged
	if done != nil {
		s.done = append(s.done, done)
	}
	s.keepSoon()
	s.schedule(s.cfg.Batch)
	return nil
}

// connected begins with a get.
func (s *Shadow) connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.phase, s.failures, s.next = shadowGetting, 0, nil
	s.epoch++
	s.get(s.epoch)
}

func (s *Shadow) lost(error) {
	s.mu.Lock()
	s.phase = shadowOffline
	s.stop()
	s.mu.Unlock()
	s.caller.cancel(link.ErrOffline)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending.Exists() && !s.closed {
		s.keepSoon()
	}
}

func (s *Shadow) stop() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// get asks for the whole shadow. The lock is held; the answer comes without it.
func (s *Shadow) get(epoch uint64) {
	s.caller.call(s.prefix+"get", jsondoc.Object(), func(answer jsondoc.Value, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed || s.epoch != epoch || s.phase != shadowGetting {
			return
		}
		var r *Rejection
		switch {
		case err == nil:
			s.failures = 0
			s.version, _ = answer.Get("version").Int()
			var d *Delta
			if delta := answer.Get("state", "delta"); delta.IsObject() {
				d = &Delta{State: delta.Append(nil), Version: s.version}
			}
			s.apply(d, true)
		case errors.As(err, &r) && r.Code == "404":
			s.version = 0
			s.apply(nil, true)
		case errors.As(err, &r) && r.Code != "429" && r.Code != "500":
			s.report(fmt.Errorf("get shadow of %q: %w", s.cfg.Thing, err))
			s.apply(nil, true)
		default:
			s.failures++
			s.after(s.retry(), func() {
				if s.phase == shadowGetting {
					s.get(epoch)
				}
			})
		}
	})
}

// retry is how long to wait after failures in a row.
func (s *Shadow) retry() time.Duration {
	return max(s.cfg.Interval, min(time.Second<<min(s.failures, 6), time.Minute))
}

func (s *Shadow) report(err error) {
	if s.cfg.OnError != nil {
		s.cfg.Loop.Post("shadow error", func() { s.cfg.OnError(err) })
	}
}

// apply hands a delta to the application, and its answer to the next report. first is after a get,
// when the whole reported state follows; the delta may then be nil.
func (s *Shadow) apply(d *Delta, first bool) {
	s.phase = shadowApplying
	if d != nil {
		s.version = max(s.version, d.Version)
	}
	epoch := s.epoch
	handled := s.cfg.Loop.Post("shadow delta", func() {
		if d != nil && s.cfg.OnDelta != nil {
			s.ask("apply delta", func() ([]byte, error) { return s.cfg.OnDelta(*d) })
		}
		if first && s.cfg.Reported != nil {
			s.ask("reported state", func() ([]byte, error) { return s.cfg.Reported(), nil })
		}
		if first && s.cfg.Presence {
			s.ask("presence", func() ([]byte, error) { return []byte(`{"connected":true}`), nil })
		}
		s.applied(epoch)
	})
	if !handled {
		s.phase = shadowOffline // the loop has ended, so the device has
	}
}

// ask reports what the application answers, on the loop.
func (s *Shadow) ask(what string, f func() ([]byte, error)) {
	var reported []byte
	var err error
	if crash := event.Contain(what, func() { reported, err = f() }); crash != nil {
		err = crash
	}
	if err == nil && reported != nil {
		err = s.Report(reported, nil)
	}
	if err != nil && s.cfg.OnError != nil {
		s.cfg.OnError(fmt.Errorf("%s of shadow of %q: %w", what, s.cfg.Thing, err))
	}
}

func (s *Shadow) applied(epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.epoch != epoch || s.phase != shadowApplying {
		return // the connection has ended meanwhile: the next begins with a get
	}
	if d := s.next; d != nil {
		s.next = nil
		s.apply(d, false)
		return
	}
	s.phase = shadowReady
	s.schedule(0)
}

// schedule sends what is pending after a while, not before the interval has passed.
func (s *Shadow) schedule(wait time.Duration) {
	if s.phase != shadowReady || s.sending || !s.pending.Exists() || s.timer != nil {
		return
	}
	if left := s.cfg.Interval - time.Since(s.last); !s.last.IsZero() && left > wait {
		wait = left
	}
	s.after(wait, s.send)
}

// after runs a function under the lock, unless the connection ends first.
func (s *Shadow) after(wait time.Duration, f func()) {
	s.stop()
	epoch := s.epoch
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.timer == timer {
			s.timer = nil
		}
		if !s.closed && s.epoch == epoch && s.phase != shadowOffline {
			f()
		}
	})
	s.timer = timer
}

// send sends what is pending as one update.
func (s *Shadow) send() {
	if s.phase != shadowReady || s.sending || !s.pending.Exists() {
		return
	}
	patch, done := s.pending, s.done
	s.pending, s.done = jsondoc.Value{}, nil
	s.sending, s.last = true, time.Now()
	state, body := jsondoc.Object(), jsondoc.Object()
	state.Set("reported", patch)
	body.Set("state", state)
	s.caller.call(s.prefix+"update", body, func(_ jsondoc.Value, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sending = false
		var r *Rejection
		final := errors.As(err, &r) && r.Code != "409" && r.Code != "429" && r.Code != "500"
		switch {
		case err == nil:
			s.failures = 0
			s.finish(done, nil)
		case s.closed:
			s.unsent(patch, done)
			return
		case final:
			s.finish(done, fmt.Errorf("report to shadow of %q: %w", s.cfg.Thing, err))
		default:
			s.unsent(patch, done)
			s.failures++
			s.schedule(s.retry())
			return
		}
		if s.kept {
			s.keep() // without what was taken, so that it does not come again after a restart
		}
		s.schedule(0)
	})
}

func (s *Shadow) finish(done []func(error), err error) {
	for _, f := range done {
		s.cfg.Loop.Post("report", func() { f(err) })
	}
}

// message takes answers and deltas on the network's goroutine.
func (s *Shadow) message(m link.Message) {
	if !strings.HasSuffix(m.Topic, "/delta") {
		s.caller.answer(m)
		return
	}
	v, err := jsondoc.Parse(m.Payload)
	state := v.Get("state")
	version, ok := v.Get("version").Int()
	if err != nil || !state.IsObject() || !ok {
		return
	}
	d := Delta{State: state.Append(nil), Version: version}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || version <= s.version:
		// Older than what is known: it came late.
	case s.phase == shadowReady:
		s.apply(&d, false)
	case s.phase == shadowApplying && (s.next == nil || s.next.Version < version):
		s.next = &d
	}
	// While the shadow is being got, its answer will hold the delta.
}
