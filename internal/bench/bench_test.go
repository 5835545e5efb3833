package bench

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a server that is just enough for a run, with faults.
type broker struct {
	net.Listener
	drop   int  // every so many deliveries one is lost
	swap   bool // the first two messages of a publisher change places
	silent bool // no PUBACK
	refuse bool // no CONNECT is accepted

	wg   sync.WaitGroup
	mu   sync.Mutex
	subs map[*brokerConn]string
	n    int
	held map[string][]byte
}

type brokerConn struct {
	net.Conn
	mu  sync.Mutex
	qos byte
	id  uint16
}

func (b *broker) start(t *testing.T) Target {
	t.Helper()
	var err error
	if b.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	b.subs, b.held = map[*brokerConn]string{}, map[string][]byte{}
	b.wg.Go(func() {
		for {
			conn, err := b.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() { b.serve(&brokerConn{Conn: conn}) })
		}
	})
	t.Cleanup(func() { b.Close(); b.wg.Wait() })
	return Target{Name: "fake", Address: b.Addr().String(), PID: os.Getpid()}
}

func (b *broker) serve(c *brokerConn) {
	defer func() {
		b.mu.Lock()
		delete(b.subs, c)
		b.mu.Unlock()
		c.Close()
	}()
	in := bufio.NewReaderSize(c, 1<<17)
	for {
		head, err := in.Peek(2)
		if err != nil {
			return
		}
		_, _, size, err := mqtt.Frame(head, 1<<16)
		if err == nil && size == 0 {
			head, _ = in.Peek(3)
			_, _, size, err = mqtt.Frame(head, 1<<16)
		}
		if err != nil {
			return
		}
		whole, err := in.Peek(size)
		if err != nil {
			return
		}
		h, body, _, _ := mqtt.Frame(whole, 1<<16)
		if !b.handle(c, h, body) {
			return
		}
		in.Discard(size)
	}
}

func (b *broker) handle(c *brokerConn, h mqtt.Header, body []byte) bool {
	write := func(p []byte) {
		c.mu.Lock()
		c.Write(p)
		c.mu.Unlock()
	}
	switch h.Type() {
	case mqtt.CONNECT:
		ack := mqtt.Connack{}
		if b.refuse {
			ack.Code = mqtt.NotAuthorized
		}
		write(ack.Append(nil, mqtt.V311))
	case mqtt.SUBSCRIBE:
		var s mqtt.Subscribe
		s.Decode(body, mqtt.V311)
		c.qos = s.Subscriptions[0].QoS
		b.mu.Lock()
		b.subs[c] = s.Subscriptions[0].Filter
		b.mu.Unlock()
		write((&mqtt.Suback{PacketID: s.PacketID, Codes: []mqtt.ReasonCode{mqtt.ReasonCode(c.qos)}}).Append(nil, mqtt.SUBACK, mqtt.V311))
	case mqtt.PUBLISH:
		var p mqtt.Publish
		if p.Decode(h, body, mqtt.V311) != nil {
			return false
		}
		if p.QoS > 0 && !b.silent {
			write(mqtt.AppendAck(nil, mqtt.PUBACK, p.PacketID, mqtt.Success, mqtt.V311))
		}
		b.publish(&p)
	case mqtt.DISCONNECT:
		return false
	}
	return true
}

func (b *broker) publish(p *mqtt.Publish) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := string(p.Topic)
	payloads := [][]byte{p.Payload}
	if held, known := b.held[name]; b.swap && !known {
		b.held[name] = append([]byte{}, p.Payload...)
		return
	} else if held != nil {
		payloads = append(payloads, held)
		b.held[name] = nil
	}
	for c, filter := range b.subs {
		if !topic.Standard.Match(filter, name) {
			continue
		}
		for _, payload := range payloads {
			if b.n++; b.drop > 0 && b.n%b.drop == 0 {
				continue
			}
			c.mu.Lock()
			c.id = c.id%65535 + 1
			out, _ := mqtt.AppendPublish(nil, mqtt.V311, c.qos<<1, c.id, name, payload, nil)
			c.Write(out)
			c.mu.Unlock()
		}
	}
}

func TestFlows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cfg        Config
		deliveries int // for each message
	}{
		{Config{Scenario: "fan-in", Publishers: 7, Messages: 1000}, 1},
		{Config{Scenario: "fan-in", Publishers: 7, Messages: 1000, QoS: 1, Window: 5}, 1},
		{Config{Scenario: "fan-out", Subscribers: 9, Messages: 200}, 9},
		{Config{Scenario: "fan-out", Publishers: 2, Subscribers: 3, Messages: 200, QoS: 1, Outstanding: 2}, 3},
		{Config{Scenario: "pairs", Publishers: 5, Messages: 500, QoS: 1}, 1},
		{Config{Scenario: "sparse", Publishers: 3, Messages: 90, QoS: 1}, 1},
		{Config{Scenario: "pairs", Publishers: 2, Messages: 40, Rate: 10_000}, 1},
	} {
		r, err := Run(t.Context(), new(broker).start(t), test.cfg)
		if err != nil {
			t.Errorf("%+v: %v", test.cfg, err)
			continue
		}
		if r.Sent != test.cfg.Messages || r.Delivered != test.cfg.Messages*test.deliveries || r.Lost != 0 || r.OutOfOrder != 0 || r.Duplicates != 0 {
			t.Errorf("%+v: %+v", test.cfg, r)
		}
		if r.P50 <= 0 || r.P99 < r.P50 || r.PerSecond <= 0 || r.ServerRSS <= 0 {
			t.Errorf("%+v: figures are missing: %+v", test.cfg, r)
		}
	}
}

func TestFaultsAreSeen(t *testing.T) {
	t.Parallel()
	r, err := Run(t.Context(), (&broker{drop: 10}).start(t), Config{Scenario: "pairs", Publishers: 1, Messages: 100, Stall: 50 * time.Millisecond})
	if err != nil || r.Lost != 10 || r.Delivered != 90 {
		t.Errorf("drop: %+v, %v", r, err)
	}
	r, err = Run(t.Context(), (&broker{swap: true}).start(t), Config{Scenario: "pairs", Publishers: 3, Messages: 30})
	if err != nil || r.Lost != 0 || r.OutOfOrder != 3 {
		t.Errorf("swap: %+v, %v", r, err)
	}
	_, err = Run(t.Context(), (&broker{silent: true}).start(t), Config{Scenario: "pairs", Publishers: 1, Messages: 300, QoS: 1, Stall: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "no PUBACK") {
		t.Errorf("silent: %v", err)
	}
	_, err = Run(t.Context(), (&broker{refuse: true}).start(t), Config{Scenario: "connect", Messages: 1})
	if err == nil || !strings.Contains(err.Error(), "CONNECT is refused") {
		t.Errorf("refuse: %v", err)
	}
}

func TestConnectAndIdle(t *testing.T) {
	t.Parallel()
	target := new(broker).start(t)
	r, err := Run(t.Context(), target, Config{Scenario: "connect", Messages: 30})
	if err != nil || r.Delivered != 30 || r.P50 <= 0 {
		t.Errorf("connect: %+v, %v", r, err)
	}
	r, err = Run(t.Context(), target, Config{Scenario: "idle", Connections: 20, Settle: time.Nanosecond})
	if err != nil || r.Delivered != 20 {
		t.Errorf("idle: %+v, %v", r, err)
	}
	target.PID = 0
	if _, err = Run(t.Context(), target, Config{Scenario: "idle"}); err == nil || !strings.Contains(err.Error(), "--pid") {
		t.Errorf("idle without a process: %v", err)
	}
}

// TestServerLeaves has a server that takes nothing but connections, then closes.
func TestServerLeaves(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.ReadFull(conn, make([]byte, 10))
			conn.Close()
		}
	})
	_, err = Run(t.Context(), Target{Name: "x", Address: l.Addr().String()}, Config{Scenario: "pairs", Publishers: 1})
	if err == nil || !strings.Contains(err.Error(), "client bench-sub0") {
		t.Errorf("got %v", err)
	}
}

func TestContextEndsRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	target := (&broker{drop: 1}).start(t) // nothing ever arrives
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, target, Config{Scenario: "pairs", Publishers: 1, Outstanding: 1})
		done <- err
	}()
	cancel()
	<-done
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{
		{Scenario: "fan-up"}, {Scenario: "pairs", Payload: HeaderSize - 1}, {Scenario: "pairs", QoS: 2},
		{Scenario: "pairs", Publishers: -1}, {Scenario: "pairs", Window: 20_000},
	} {
		if _, err := c.withDefaults(); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	last := -1
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 1000, 1e6, 1e9, 1e12, 1 << 62, 1<<63 - 1} {
		i := bucket(v)
		if i <= last && v > 65 || i >= len(new(histogram).counts) {
			t.Errorf("bucket of %d is %d, after %d", v, i, last)
		}
		if low := lower(i); low > v || float64(v-low) > float64(v)/32 {
			t.Errorf("bucket of %d begins at %d", v, low)
		}
		last = i
	}
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	if p := h.quantile(0.5); p < 480 || p > 500 {
		t.Errorf("median of 0..999 is %v", p)
	}
	if p := h.quantile(1); p < 960 || p > 999 {
		t.Errorf("highest of 0..999 is %v", p)
	}
	if p := new(histogram).quantile(0.5); p != 0 {
		t.Errorf("of nothing: %v", p)
	}
}

func TestProcess(t *testing.T) {
	t.Parallel()
	d, err := parseStat([]byte("7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 5 6 7 8\n"))
	if err != nil || d != 3*time.Second {
		t.Errorf("stat: %v, %v", d, err)
	}
	kib, err := parseStatus([]byte("Name:\tx\nVmRSS:\t   12345 kB\nRssAnon:\t1 kB\n"))
	if err != nil || kib != 12345 {
		t.Errorf("status: %v, %v", kib, err)
	}
	for _, bad := range []string{"", ")", "1 (x) S", "1 (x) S 1 7 7 0 -1 4194560 1 2 3 4 x y"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("stat %q is taken", bad)
		}
	}
	if _, err := parseStatus([]byte("Name: x\n")); err == nil {
		t.Error("status without VmRSS is taken")
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	m := Median([]Result{{ServerCPU: 3, Lost: 1}, {ServerCPU: 1}, {ServerCPU: 2, Lost: 2}})
	if m.ServerCPU != 2 || m.Lost != 3 {
		t.Errorf("median is %+v", m)
	}
	if m := Median([]Result{{P50: 1}, {P50: 2}}); m.P50 != 1.5 {
		t.Errorf("median of two is %v", m.P50)
	}
}

// TestGrowth: the flow is measured whatever the server carries, and nothing of it is lost.
func TestGrowth(t *testing.T) {
	t.Parallel()
	for _, kind := range Growths() {
		target := new(broker).start(t)
		made, gone := make(map[string]string), 0
		rules := Rules{
			Create: func(_ context.Context, name, sql string) error { made[name] = sql; return nil },
			Delete: func(context.Context, string) error { gone++; return nil },
		}
		list, err := Growth(t.Context(), target, Config{Messages: 60, Publishers: 3, Rules: rules}, kind, []int{0, 5}, nil)
		if wants := strings.HasSuffix(kind, "rules"); wants && (len(made) != 5 || gone != 5) || !wants && len(made) != 0 {
			t.Errorf("%s: %d rules made, %d deleted", kind, len(made), gone)
		}
		if err != nil || len(list) != 2 || list[1].Connections != 5 || list[1].Delivered != 60 || list[1].Lost != 0 {
			t.Errorf("%s: %+v, %v", kind, list, err)
		}
	}
	if _, err := Growth(t.Context(), new(broker).start(t), Config{Messages: 1}, "clouds", []int{1}, nil); err == nil {
		t.Error("clouds")
	}
}
