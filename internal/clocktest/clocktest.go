// Package clocktest builds programs whose time of day a test sets while they run.
//
// The time of day of one process cannot be set: the kernel knows one, and Go does not ask the C library,
// where it could be changed. So programs are built with a package time that adds what a file says, to the
// time of day alone; the monotonic clock goes on, as it does when somebody sets the clock.
package clocktest

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
)

// Variable is the environment variable that has to be set for tests that build the standard library anew.
const Variable = "BERTH_SOAK_CLOCK"

const file = "BERTH_TEST_CLOCK_FILE"

// patch changes the source of package time.
func patch(source string) string {
	return strings.NewReplacer(
		"	sec, nsec, mono := runtimeNow()\n	if mono == 0 {", "	sec, nsec, mono := runtimeNow()\n	sec += moved()\n	if mono == 0 {",
		"// Now returns the current local time.\n", `var movedBy = func() []byte {
	path, _ := syscall.Getenv("`+file+`")
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
		"import (\n", "import (\n	\"syscall\"\n	\"unsafe\"\n").Replace(source)
}

// Build builds a program, such as "../../cmd/berth", with that package time and returns its path. It skips the
// test unless Variable is set.
func Build(tb testing.TB, program string) string {
	tb.Helper()
	if os.Getenv(Variable) == "" {
		tb.Skipf("builds the standard library anew: set %s=1", Variable)
	}
	dir := tb.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		tb.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		tb.Fatal(err)
	}
	patched, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(patched, []byte(patch(string(text))), 0o600); err != nil {
		tb.Fatal(err)
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": {source: patched}})
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	exe := filepath.Join(dir, filepath.Base(program))
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", exe, program).CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	return exe
}

// Clock is the time of day of processes that were started with its Environment. Methods may be called
// concurrently.
type Clock struct {
	path    string
	seconds atomic.Int64
}

// New returns a clock that is right.
func New(tb testing.TB) *Clock {
	tb.Helper()
	c := &Clock{path: filepath.Join(tb.TempDir(), "clock")}
	c.Set(tb, 0)
	return c
}

// Environment makes a process have this clock.
func (c *Clock) Environment() string { return file + "=" + c.path }

// Set makes the clock wrong by d, of which only whole seconds count.
func (c *Clock) Set(tb testing.TB, d time.Duration) {
	tb.Helper()
	seconds := int64(d / time.Second)
	c.seconds.Store(seconds)
	f, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(binary.NativeEndian.AppendUint64(nil, uint64(seconds))); err != nil { // at once, in place
		tb.Fatal(err)
	}
}

// Now is the time of the clock.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.seconds.Load()) * time.Second) }
