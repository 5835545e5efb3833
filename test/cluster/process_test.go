package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/cli"
	"github.com/berth-iot/berth/internal/clocktest"
	"github.com/berth-iot/berth/internal/postgrestest"
)

// asNode is the environment variable that makes this test binary a berth.
const asNode = "BERTH_TEST_NODE"

func runNode() { os.Exit(cli.Run(os.Args[1:], os.Stdout, os.Stderr)) }

// lease is that of nodes in tests with faults.
const lease = 3 * time.Second

// process is a node in a process of its own, which is started again whenever it ends, as an init system
// would.
type process struct {
	t         testing.TB
	name, dir string
	exe       string // that runs as a node
	args      []string
	clock     *clocktest.Clock // nil for that of the machine
	database  *proxy
	nats      []*proxy // one for each server
	log       *os.File

	mu      sync.Mutex
	cmd     *exec.Cmd
	closing bool
	exited  chan struct{} // closed when the process that runs now has ended
	starts  int
	stopped sync.WaitGroup
}

// site is PostgreSQL, NATS, and nodes that reach both through proxies.
type site struct {
	t         testing.TB
	postgres  *postgrestest.Cluster
	nats      *natsServers
	processes []*process
	socket    atomic.Pointer[string] // of the PostgreSQL that takes writes
	balancer  *proxy
	next      int
	drains    int // that a point has ended
	mu        sync.Mutex
}

// serve makes the PostgreSQL of a folder the one that nodes reach.
func (s *site) serve(dir string) {
	socket := filepath.Join(dir, ".s.PGSQL.5432")
	s.socket.Store(&socket)
}

// failOver makes a synchronous standby, kills the primary and promotes the standby.
func (s *site) failOver(_ *process) {
	standby := s.postgres.Standby(s.t, true)
	s.t.Cleanup(standby.Stop)
	time.Sleep(300 * time.Millisecond) // what was acknowledged before the standby counted is there
	s.postgres.Kill(s.t)
	standby.Promote(s.t)
	u, err := url.Parse(standby.Either(standby, "postgres"))
	if err != nil {
		s.t.Fatal(err)
	}
	dir, _, _ := strings.Cut(u.Query().Get("host"), ",")
	s.serve(dir)
	s.postgres = standby
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startSite starts n nodes and waits until all are ready. Clients connect through the balancer. clocks are
// how wrong those of the nodes are; none for the machine's.
func startSite(t testing.TB, n int, clocks ...time.Duration) *site {
	t.Helper()
	exe := os.Args[0]
	if len(clocks) > 0 {
		exe = clocktest.Build(t, "../../cmd/berth")
	}
	s := &site{t: t, postgres: &postgrestest.Cluster{}}
	t.Cleanup(s.postgres.Stop)
	u, err := url.Parse(s.postgres.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	s.serve(u.Query().Get("host"))
	s.nats = startNATSServers(t)
	first := ""
	for i := range n {
		p := &process{t: t, name: fmt.Sprint("node", i), dir: t.TempDir(), exe: exe}
		if len(clocks) > 0 {
			p.clock = clocktest.New(t)
			p.clock.Set(t, clocks[i%len(clocks)])
		}
		p.database = startProxy(t, func() (net.Conn, error) { return net.Dial("unix", *s.socket.Load()) })
		var bus []string
		for i := range s.nats.options {
			to := startProxy(t, func() (net.Conn, error) { return net.Dial("tcp", s.nats.address(i)) })
			p.nats = append(p.nats, to)
			bus = append(bus, "nats://"+to.address())
		}
		database := fmt.Sprintf("postgres://berth@127.0.0.1:%d%s?sslmode=disable&connect_timeout=2", p.database.port(), u.Path)
		configure(t, "", "", "", p.dir, first)
		p.args = []string{"serve", "--data", p.dir, "--database", database, "--cluster", strings.Join(bus, ","), "--node", p.name,
			"--cluster-lease", lease.String(), "--mqtt", "127.0.0.1:0", "--https", "127.0.0.1:0", "--http", fmt.Sprint("127.0.0.1:", freePort(t)),
			"--mqtt-plain", fmt.Sprint("127.0.0.1:", freePort(t)), "--plain-policy", "plain", "--semantics", "mqtt"}
		if p.log, err = os.Create(filepath.Join(t.TempDir(), p.name+".log")); err != nil {
			t.Fatal(err)
		}
		s.processes = append(s.processes, p)
		p.start()
		p.await()
		if i == 0 {
			first = p.dir
			if status, body, err := p.request(patience, "POST", "/policies/plain", map[string]string{"policyDocument": allowAll}); err != nil || status != 200 {
				t.Fatalf("%d %s %v", status, body, err)
			}
		}
	}
	s.balancer = startProxy(t, s.dial)
	t.Cleanup(func() {
		for _, p := range s.processes {
			p.close()
		}
		if t.Failed() {
			for _, p := range s.processes {
				p.show()
			}
		}
	})
	return s
}

// dial connects to the nodes in turn.
func (s *site) dial() (net.Conn, error) {
	for range s.processes {
		s.mu.Lock()
		p := s.processes[s.next%len(s.processes)]
		s.next++
		s.mu.Unlock()
		port := p.ready().PlainPort
		if port == 0 {
			continue
		}
		if c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no node can be reached")
}

// at is the node that listens at an address of clients.
func (s *site) at(a net.Addr) *process {
	for _, p := range s.processes {
		if to, ok := a.(*net.TCPAddr); ok && to.Port == p.ready().PlainPort {
			return p
		}
	}
	return nil
}

type ports struct{ HTTPPort, PlainPort, MQTTPort int }

// ready reads where the node can be reached; zero while it never was.
func (p *process) ready() (r ports) {
	b, err := os.ReadFile(filepath.Join(p.dir, "endpoint.json"))
	if err == nil {
		json.Unmarshal(b, &r)
	}
	return r
}

func (p *process) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return
	}
	p.cmd = exec.Command(p.exe, p.args...)
	p.cmd.Env = append(os.Environ(), asNode+"=1", "BERTH_ADMIN_ACCESS_KEY_ID="+adminID, "BERTH_ADMIN_SECRET_ACCESS_KEY="+adminSecret)
	if p.clock != nil {
		p.cmd.Env = append(p.cmd.Env, p.clock.Environment())
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Error(err)
		return
	}
	p.starts++
	cmd, exited := p.cmd, make(chan struct{})
	p.exited = exited
	p.stopped.Add(1)
	go func() {
		defer p.stopped.Done()
		cmd.Wait()
		close(exited)
		time.Sleep(300 * time.Millisecond)
		p.start()
	}()
}

// request signs a request with the time of the node's clock and sends it.
func (p *process) request(within time.Duration, method, path string, in any) (int, []byte, error) {
	now := time.Now()
	if p.clock != nil {
		now = p.clock.Now()
	}
	return requestAt(now, within, p.ready().HTTPPort, method, path, in)
}

// cutNATS cuts the node off from all NATS servers, or mends that.
func (p *process) cutNATS(torn bool) {
	for _, to := range p.nats {
		to.cut(torn)
	}
}

// signal sends a signal to the process that runs now and returns what is closed when it has ended.
func (p *process) signal(s syscall.Signal) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd.Process.Signal(s)
	return p.exited
}

func (p *process) close() {
	p.mu.Lock()
	p.closing = true
	p.cmd.Process.Signal(syscall.SIGCONT)
	p.cmd.Process.Kill()
	p.mu.Unlock()
	p.stopped.Wait()
}

// await waits until the node says that it is ready.
func (p *process) await() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if r := p.ready(); r.HTTPPort != 0 {
			if status, _, err := p.request(patience, "GET", "/readyz", nil); err == nil && status == 200 {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.t.Errorf("%s is not ready", p.name)
}

func (p *process) show() {
	b, _ := os.ReadFile(p.log.Name())
	lines := strings.Split(string(b), "\n")
	p.t.Logf("%s:\n%s", p.name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
}
