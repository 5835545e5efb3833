package soak

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// The time of day of one process cannot be set: the kernel knows one, and Go does not ask the C library,
// where it could be changed. So berth is built with a package time that adds what a file says, to the time
// of day alone; the monotonic clock goes on, as it does when somebody sets the clock.
var clockPatch = strings.NewReplacer(
	"	sec, nsec, mono := runtimeNow()\n	if mono == 0 {", "	sec, nsec, mono := runtimeNow()\n	sec += moved()\n	if mono == 0 {",
	"// Now returns the current local time.\n", `var movedBy = func() []byte {
	path, _ := syscall.Getenv("BERTH_SOAK_CLOCK_FILE")
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	b, _ := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	return b
}()

func moved() int64 {
	if len(movedBy) < 8 {
		return 0
	}
	return *(*int64)(unsafe.Pointer(&movedBy[0]))
}

// Now returns the current local time.
`,
	"import (\n", "import (\n	\"syscall\"\n	\"unsafe\"\n")

// buildWithClock builds berth with that package time.
func buildWithClock(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	patched := filepath.Join(dir, "time.go")
	if err := os.WriteFile(patched, []byte(clockPatch.Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(object{"Replace": map[string]string{source: patched}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "berth")
	if out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", exe, "../../cmd/berth").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return exe
}

// TestClockJumps sets the clock of the server forwards and backwards under writers.
func TestClockJumps(t *testing.T) {
	if os.Getenv("BERTH_SOAK_CLOCK") == "" {
		t.Skip("builds the standard library anew: set BERTH_SOAK_CLOCK=1")
	}
	t.Parallel()
	s := newSite(t, t.TempDir(), "")
	s.exe = buildWithClock(t)
	file := filepath.Join(t.TempDir(), "clock")
	var offset atomic.Int64 // seconds
	set := func(d time.Duration) {
		t.Helper()
		offset.Store(int64(d / time.Second))
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(binary.NativeEndian.AppendUint64(nil, uint64(offset.Load()))); err != nil { // at once, in place
			t.Fatal(err)
		}
	}
	set(0)
	s.env = []string{"BERTH_SOAK_CLOCK_FILE=" + file}
	s.now = func() time.Time { return time.Now().Add(time.Duration(offset.Load()) * time.Second) }
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
