package realclients

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

const (
	region  = "eu-central-1"
	account = "123456789012"

	// allowAll is a policy document that lets a device do everything.
	allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`
)

// server is a running berth process.
type server struct {
	t     *testing.T
	dir   string
	flags []string
	extra []string // environment of the process, besides that of the tests
	cmd   *exec.Cmd
	log   *output // what it writes to standard error, over all its lives

	mqttPort, httpsPort, httpPort, plainPort int
	env                                      map[string]string // what berth env prints
	iot                                      *iot.Client
}

// start starts berth with an empty data folder on free ports of the loopback interface.
func start(t *testing.T, flags ...string) *server {
	t.Helper()
	return startWith(t, nil, flags...)
}

// startWith is start with variables of the environment.
func startWith(t *testing.T, extra []string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), flags: flags, extra: extra, log: new(output)}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the log of berth ends with:\n%s", s.log.tail(40))
		}
	})
	s.run()
	s.iot = iot.New(iot.Options{
		Region:           region,
		BaseEndpoint:     aws.String(s.env["AWS_ENDPOINT_URL_IOT"]),
		Credentials:      credentials.NewStaticCredentialsProvider(s.env["AWS_ACCESS_KEY_ID"], s.env["AWS_SECRET_ACCESS_KEY"], ""),
		HTTPClient:       &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots()}}},
		RetryMaxAttempts: 1,
	})
	return s
}

// plain are the flags of a listener without TLS, ruled by the policy "lab".
func plain(semantics string) []string {
	return []string{"--mqtt-plain", "127.0.0.1:0", "--plain-policy", "lab", "--semantics", semantics}
}

// run starts the process and waits until it is ready. Once known, the ports stay the same.
func (s *server) run() {
	s.t.Helper()
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	args := []string{"serve", "--data", s.dir, "--region", region, "--account", account, "--log-format", "json",
		"--mqtt", at(s.mqttPort), "--https", at(s.httpsPort), "--http", at(s.httpPort)}
	flags := slices.Clone(s.flags)
	if i := slices.Index(flags, "--mqtt-plain"); i >= 0 {
		flags[i+1] = at(s.plainPort)
	}
	s.cmd = exec.Command(berth, append(args, flags...)...)
	s.cmd.Env, s.cmd.Stderr = append(os.Environ(), s.extra...), s.log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "berth is ready\n" {
		s.kill()
		s.t.Fatalf("berth did not get ready: %q %v\n%s", line, err, s.log.tail(20))
	}
	var ports struct{ MQTTPort, HTTPSPort, HTTPPort, PlainPort int }
	b, err := os.ReadFile(filepath.Join(s.dir, "endpoint.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(b, &ports); err != nil {
		s.t.Fatal(err)
	}
	s.mqttPort, s.httpsPort, s.httpPort, s.plainPort = ports.MQTTPort, ports.HTTPSPort, ports.HTTPPort, ports.PlainPort

	s.env = make(map[string]string)
	if err := json.Unmarshal([]byte(s.berth("env", "--data", s.dir, "-o", "json")), &s.env); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends the process as kill -9 does.
func (s *server) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// berth runs a command of the binary, which must succeed, and returns what it prints.
func (s *server) berth(args ...string) string {
	s.t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(berth, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(out)
}

// environ is the environment of this process with that of berth env.
func (s *server) environ(more ...string) []string {
	env := os.Environ()
	for k, v := range s.env {
		if v != "" {
			env = append(env, k+"="+v)
		}
	}
	return append(env, more...)
}

func (s *server) ca() string { return filepath.Join(s.dir, "ca.pem") }

func (s *server) roots() *x509.CertPool {
	s.t.Helper()
	b, err := os.ReadFile(s.ca())
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	return roots
}

// why waits until the recorded refusals tell this reason.
func (s *server) why(reason string) {
	s.t.Helper()
	var all string
	if !within(5*time.Second, func() bool {
		all = s.berth("explain", "--data", s.dir, "--max", "100")
		return strings.Contains(all, reason)
	}) {
		s.t.Errorf("no refusal tells %q:\n%s", reason, all)
	}
}

// metric reads one number from /metrics.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", s.httpPort))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return f
		}
	}
	s.t.Fatalf("no metric %s", name)
	return 0
}

// within polls a condition.
func within(d time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(d); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// ctx bounds one call.
func ctx(t *testing.T, d time.Duration) context.Context {
	c, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return c
}

// output keeps what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) tail(lines int) string {
	all := strings.Split(strings.TrimRight(o.String(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
