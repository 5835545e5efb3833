package docs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// shell is the terminal of somebody who follows a page.
type shell struct {
	t          *testing.T
	dir        string
	env        []string
	ports      *strings.Replacer
	metrics    string // address of /metrics once a server runs
	in         io.WriteCloser
	ended      <-chan struct{} // the shell has ended, as set -e makes it do
	out        *output
	turn       int
	background []*output
	pending    []func()
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// open starts a shell in a folder of its own, with berth in its path.
func open(t *testing.T, bin string) *shell {
	t.Helper()
	s := &shell{t: t, dir: t.TempDir(), out: &output{}}
	// The ports that pages name, replaced everywhere.
	free := freePorts(t, 5)
	var pairs []string
	for i, name := range []string{"8883", "8443", "8080", "5555", "1883"} {
		pairs = append(pairs, name, free[i])
	}
	pairs = append(pairs, "192.168.1.10", "127.0.0.1") // this machine, in pages about boards
	s.ports = strings.NewReplacer(pairs...)
	s.metrics = "http://127.0.0.1:" + free[2] + "/metrics"
	s.env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "BERTH_") || strings.HasPrefix(v, "PATH=") || strings.HasPrefix(v, "HOME=")
	}),
		"PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), "HOME="+s.dir, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=",
		"BERTH_MQTT=127.0.0.1:"+free[0], "BERTH_HTTPS=127.0.0.1:"+free[1], "BERTH_HTTP=127.0.0.1:"+free[2])
	cmd := s.command("bash", "--norc", "-s")
	var err error
	if s.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	s.ended = s.start(cmd, s.out)
	return s
}

func freePorts(t *testing.T, n int) []string {
	t.Helper()
	ports := make([]string, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, ports[i], _ = net.SplitHostPort(l.Addr().String())
	}
	return ports
}

func (s *shell) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// start starts a process that does not outlive the test.
func (s *shell) start(cmd *exec.Cmd, out *output) <-chan struct{} {
	s.t.Helper()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	return ended
}

// run runs a block and returns what it printed.
func (s *shell) run(b block) string {
	s.t.Helper()
	s.turn++
	before := len(s.out.String())
	mark := fmt.Sprintf("\x01done %d ", s.turn)
	fmt.Fprintf(s.in, "set -e -o pipefail\n{\n%s\n} < /dev/null\nset +e; printf '%s%%s\\n' $?\n", s.ports.Replace(b.text), strings.ReplaceAll(mark, "\x01", `\001`))
	done := s.within(60*time.Second, func() bool { return strings.Contains(s.out.String(), mark) || s.hasEnded() })
	text := s.out.String()[before:]
	text, status, ok := strings.Cut(text, mark)
	if !done || !ok || strings.TrimSpace(status) != "0" {
		s.t.Fatalf("line %d: the block failed or did not end:\n%s\nit printed:\n%s\nin the background:\n%v", b.line, b.text, text, s.background)
	}
	return text
}

func (s *shell) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// leave runs a block in the background and returns when it is ready.
func (s *shell) leave(b block) *output {
	s.t.Helper()
	out := &output{}
	s.background = append(s.background, out)
	had := s.subscriptions()
	text := strings.TrimSpace(s.ports.Replace(b.text))
	s.start(s.command("bash", "-c", "exec "+text), out)
	ready := func() bool { return s.subscriptions() > had }
	switch {
	case strings.HasPrefix(text, "berth serve"):
		ready = func() bool { return strings.Contains(out.String(), "berth is ready") }
	case strings.HasPrefix(text, "berth virtual-esp32"):
		ready = func() bool { return out.String() != "" }
	}
	if !s.within(30*time.Second, ready) {
		s.t.Fatalf("line %d: %s is not ready, it printed:\n%s", b.line, text, out)
	}
	return out
}

var subscribed = regexp.MustCompile(`(?m)^berth_subscriptions (\d+)`)

func (s *shell) subscriptions() int {
	resp, err := http.Get(s.metrics)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	n := 0
	if m := subscribed.FindSubmatch(page); m != nil {
		fmt.Sscan(string(m[1]), &n)
	}
	return n
}

// within waits until something is so.
func (s *shell) within(d time.Duration, so func() bool) bool {
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			return so()
		case <-tick.C:
		}
	}
	return true
}

// prints reports whether a text has the lines of a block, in their order.
func prints(text, want string) (missing string) {
	lines := strings.Split(text, "\n")
	for _, w := range strings.Split(strings.TrimRight(want, "\n"), "\n") {
		parts := strings.Split(strings.TrimSpace(w), "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		like := regexp.MustCompile("^" + regexp.MustCompile(` +`).ReplaceAllString(strings.Join(parts, ".*"), ` +`) + "$")
		at := slices.IndexFunc(lines, func(l string) bool { return like.MatchString(strings.TrimSpace(l)) })
		if at < 0 {
			return w
		}
		lines = lines[at+1:]
	}
	return ""
}
