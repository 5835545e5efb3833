package soak

import (
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/clocktest"
	"github.com/berth-iot/berth/mqtt"
)

// TestClockJumps sets the clock of the server forwards and backwards under writers.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir(), "")
	s.exe = clocktest.Build(t, "../../cmd/berth")
	clock := clocktest.New(t)
	set := func(d time.Duration) { t.Helper(); clock.Set(t, d) }
	s.env, s.now = []string{clock.Environment()}, clock.Now
	posts := newPosts(t)
	posts.replays = true
	writers := append([]writer{newThings(), newCertificates(), newShadows(), newJobs(), newRetained(), newReadings(), posts}, newMessages()...)
	s.open(writers)
	silent, err := dialLink(s, "silent") // with a keep-alive of ten minutes
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	slow := newExchange("slow", "QoS 1 to a receiver that does not acknowledge", 1, false)
	slow.prepare(s)
	for _, to := range []time.Duration{2 * time.Hour, -4 * time.Hour, 48 * time.Hour, -240 * time.Hour, 0} {
		s.progress(t, writers, "clock moved by "+to.String(), func() {
			time.Sleep(300 * time.Millisecond)
			set(to)
			time.Sleep(1200 * time.Millisecond)
		})
		s.check(writers, false)
		if err := silent.send(mqtt.AppendPingreq(nil)); err != nil {
			t.Errorf("moved by %v: the silent client is gone: %v", to, err)
		}
		silent.SetReadDeadline(time.Now().Add(5 * time.Second))
		if h, _, err := silent.next(); err != nil || h.Type() != mqtt.PINGRESP {
			t.Errorf("moved by %v: the silent client gets %v, %v", to, h.Type(), err)
		}
		s.hold(t, slow, func() { set(to - time.Hour) })
		set(to)
	}
	set(-time.Hour)
	s.kill()
	s.start()
	s.check(append(writers, slow), true)
	report(t, "clock moved", append(writers, slow))
}

// hold publishes to a connected session that does not acknowledge, while the clock moves back: the
// publisher's acknowledgement must not wait for the old time to come again.
func (s *site) hold(t *testing.T, w *messages, move func()) {
	t.Helper()
	l, err := w.inbox.connect(s)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := w.counts().now()
	s.during([]writer{&deaf{w}}, func() {
		time.Sleep(50 * time.Millisecond)
		move()
		time.Sleep(1200 * time.Millisecond)
	})
	if n := w.counts().now() - before; n < 3*w.publishers[0].window {
		t.Errorf("%d messages were acknowledged to publishers whose receiver does not acknowledge", n)
	}
}

// deaf is messages without their receiver.
type deaf struct{ *messages }
