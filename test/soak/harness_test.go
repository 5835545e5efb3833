// Package soak tests that berth keeps what it has acknowledged: `berth serve` runs under writers of every
// kind and is killed, robbed of its disk, given damaged files and moved clocks, or just left running for
// long. docs/durability.md says what is promised and has the counts.
//
// The short forms run with all tests; the long ones by hand:
//
//	go test ./test/soak -run 'TestKill$' -timeout 1h -soak.kills 200 -v
//	go test ./test/soak -run 'TestSoak$' -timeout 3h -soak.duration 2h -v
package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/cli"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/sigv4"
)

var (
	killsFlag    = flag.Int("soak.kills", number("BERTH_SOAK_KILLS", 0), "rounds of the kill tests; 0 for the short form (BERTH_SOAK_KILLS)")
	durationFlag = flag.Duration("soak.duration", duration("BERTH_SOAK_DURATION"), "time that TestSoak runs; 0 for the short form (BERTH_SOAK_DURATION)")
	seedFlag     = flag.Int64("soak.seed", time.Now().UnixNano(), "seed of the moments of kills")
)

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func duration(name string) time.Duration {
	d, _ := time.ParseDuration(os.Getenv(name))
	return d
}

const (
	serveChild  = "BERTH_SOAK_SERVE" // makes this test binary a berth
	adminID     = "AKIATESTTESTTESTTEST"
	adminSecret = "test-secret-of-forty-characters-or-so-yes"
	allowAll    = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`
	arn         = "arn:aws:iot:us-east-1:000000000000:"
)

func TestMain(m *testing.M) {
	if os.Getenv(serveChild) != "" {
		os.Exit(cli.Run(os.Args[1:], os.Stdout, os.Stderr))
	}
	flag.Parse()
	os.Exit(m.Run())
}

type object = map[string]any

// site is a `berth serve` that is started again and again on one data directory.
type site struct {
	t     testing.TB
	dir   string
	flags []string
	env   []string
	exe   string           // the berth to run; empty for this binary
	now   func() time.Time // that signatures carry
	cmd   *exec.Cmd
	gone  chan struct{} // closed when cmd has ended
	log   bytes.Buffer  // standard error of the last process
	http  *http.Client

	mu    sync.RWMutex
	ready server.Ready
}

func newSite(t testing.TB, dir, database string, flags ...string) *site {
	s := &site{t: t, dir: dir, now: time.Now, flags: []string{"serve", "--data", dir, "--semantics", "mqtt", "--plain-policy", "plain", "--log-level", "warn",
		"--mqtt", "127.0.0.1:0", "--https", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mqtt-plain", "127.0.0.1:0"}}
	if database != "" {
		s.flags = append(s.flags, "--database", database)
	}
	s.flags = append(s.flags, flags...)
	s.http = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(s.kill)
	return s
}

// launch starts the process without waiting until it is ready.
func (s *site) launch() {
	s.t.Helper()
	exe := s.exe
	if exe == "" {
		exe = os.Args[0]
	}
	os.Remove(filepath.Join(s.dir, "endpoint.json"))
	s.log.Reset()
	s.cmd = exec.Command(exe, s.flags...)
	s.cmd.Env = append(append(os.Environ(), serveChild+"=1", "BERTH_ADMIN_ACCESS_KEY_ID="+adminID, "BERTH_ADMIN_SECRET_ACCESS_KEY="+adminSecret), s.env...)
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	gone, cmd := make(chan struct{}), s.cmd
	s.gone = gone
	go func() {
		cmd.Wait()
		close(gone)
	}()
}

// start starts the server, which must become ready.
func (s *site) start() {
	s.t.Helper()
	s.launch()
	if !s.await(60 * time.Second) {
		s.t.Fatalf("the server does not start: %s", s.said())
	}
}

// await reports whether the process became ready before it ended.
func (s *site) await(patience time.Duration) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var ready server.Ready
		b, err := os.ReadFile(filepath.Join(s.dir, "endpoint.json"))
		if err == nil && json.Unmarshal(b, &ready) == nil {
			s.mu.Lock()
			s.ready = ready
			s.mu.Unlock()
			return true
		}
		select {
		case <-s.gone:
			return false
		default:
		}
	}
	return false
}

// said is what the last process wrote, after its end.
func (s *site) said() string {
	s.kill()
	return s.log.String()
}

// kill ends the process at once.
func (s *site) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.gone
		s.http.CloseIdleConnections()
	}
}

func (s *site) where() server.Ready {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ready
}

func (s *site) plain() string { return fmt.Sprintf("127.0.0.1:%d", s.where().PlainPort) }

// call signs and sends a request. Whatever is wrong is an error; refused tells the server's answers from
// its absence.
func (s *site) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	header := make(http.Header)
	switch v := in.(type) {
	case nil:
	case []byte:
		body = v
	case http.Header:
		header = v
	default:
		var err error
		if body, err = json.Marshal(v); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", s.where().HTTPPort, path), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header = header
	signer := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot"}
	signer.Sign(r, body, s.now())
	resp, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		return &refused{method + " " + path, resp.StatusCode, strings.TrimSpace(string(b))}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// refused is an answer that is not 200.
type refused struct {
	request string
	status  int
	body    string
}

func (r *refused) Error() string { return fmt.Sprintf("%s: %d %s", r.request, r.status, r.body) }

// must is call that has to succeed.
func (s *site) must(method, path string, in, out any) {
	s.t.Helper()
	if err := s.call(context.Background(), method, path, in, out); err != nil {
		s.t.Fatal(err)
	}
}

// eventually polls a condition.
func eventually(t testing.TB, patience time.Duration, what string, ok func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("not in time: " + what)
			return false
		}
	}
	return true
}
