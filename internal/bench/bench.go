// Package bench loads an MQTT server, any server, and tells what it did: messages a second,
// latency, what was lost or out of order, the server's CPU time for each delivered message and its
// memory for each idle connection.
//
// The generator is meant to be light, so that on a machine that both share the server is what is
// measured: connections are raw, packets are written in batches and read in place, and both the
// publishes without an acknowledgement and the deliveries outstanding are bounded, so that no
// server has to drop anything.
package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// Target is the server to load.
type Target struct {
	Name    string
	Address string      // host:port
	TLS     *tls.Config // nil for plain TCP
	PID     int         // the server's process on this machine, 0 if it is elsewhere
}

// Config says how to load it. The zero value of a field takes the scenario's default.
type Config struct {
	Scenario    string
	Version     mqtt.Version
	QoS         byte
	Publishers  int
	Subscribers int
	Payload     int           // bytes, at least HeaderSize
	Rate        float64       // messages a second of all publishers together; 0 for as fast as the windows let
	Duration    time.Duration // of publishing
	Messages    int           // ends publishing before Duration if not 0; number of connects in "connect"
	Window      int           // QoS 1 and 2: unacknowledged publishes of one publisher
	Outstanding int           // deliveries under way to one subscriber, or from one publisher
	Connections int           // of "idle" and "storm", and at a time in "connect"
	Sources     int           // of "storm": addresses of 127.0.0.0/8 that connections come from
	Persistent  bool          // sessions outlive their connections, for an hour
	Topics      int           // of each publisher; its subscriber then has a wildcard
	Prefix      string        // of topics
	ClientID    string        // beginning of client identifiers
	Settle      time.Duration // of "idle": time before memory is read
	Rules       Rules         // of Growth by rules
	Stall       time.Duration // how long nothing may move before what is under way counts as lost
}

// Rules makes topic rules that have no actions, and takes them away again.
type Rules struct {
	Create func(ctx context.Context, name, sql string) error // nil where there are none
	Delete func(ctx context.Context, name string) error
}

// Result is what one run measured. Durations are in microseconds.
type Result struct {
	Target      string  `json:"target"`
	Scenario    string  `json:"scenario"`
	QoS         byte    `json:"qos"`
	Publishers  int     `json:"publishers,omitempty"`
	Subscribers int     `json:"subscribers,omitempty"`
	Payload     int     `json:"payloadBytes,omitempty"`
	Connections int     `json:"connections,omitempty"`
	Seconds     float64 `json:"seconds"`
	Sent        int     `json:"sent"`
	Delivered   int     `json:"delivered"` // or connects made
	Lost        int     `json:"lost"`
	OutOfOrder  int     `json:"outOfOrder"`
	Duplicates  int     `json:"duplicates"`
	PerSecond   float64 `json:"perSecond"`
	P50         float64 `json:"latencyP50Micros"`
	P99         float64 `json:"latencyP99Micros"`
	ServerCPU   float64 `json:"serverCPUMicros"`    // for one delivery or connect; 0 without a PID
	OwnCPU      float64 `json:"generatorCPUMicros"` // likewise
	MemoryKiB   float64 `json:"kibPerConnection"`   // of "idle"
	ServerRSS   float64 `json:"serverRSSKiB"`       // at the end
}

// Scenarios are what Run knows, in the order of "all".
func Scenarios() []string {
	// Memory first: afterwards a server has some to spare.
	return []string{"idle", "connect", "sparse", "fan-in", "fan-out", "pairs"}
}

// withDefaults fills in the scenario's defaults and checks the rest.
func (c Config) withDefaults() (Config, error) {
	def := func(v *int, n int) {
		if *v == 0 {
			*v = n
		}
	}
	switch c.Scenario {
	case "fan-in":
		def(&c.Publishers, 100)
		def(&c.Subscribers, 1)
	case "fan-out":
		def(&c.Publishers, 1)
		def(&c.Subscribers, 200)
	case "pairs":
		def(&c.Publishers, 100)
		c.Subscribers = c.Publishers
		def(&c.Outstanding, min(10_000, max(100, 100_000/max(1, c.Publishers)))) // they add up
	case "sparse":
		def(&c.Publishers, 10)
		c.Subscribers = c.Publishers
		c.Window, c.Outstanding = 1, 1
	case "connect":
		def(&c.Connections, 4)
		def(&c.Messages, 20_000) // ephemeral ports are finite
	case "idle":
		def(&c.Connections, 1000)
	case "storm":
		def(&c.Connections, 2000)
	default:
		return c, fmt.Errorf("scenario %q is unknown", c.Scenario)
	}
	def(&c.Payload, 128)
	def(&c.Window, 100)
	def(&c.Outstanding, 10_000)
	if c.Version == 0 {
		c.Version = mqtt.V311
	}
	if c.Duration == 0 {
		c.Duration = 10 * time.Second
	}
	if c.Stall == 0 {
		c.Stall = 2 * time.Second
	}
	if c.Settle == 0 {
		c.Settle = 2 * time.Second
	}
	if c.Prefix == "" {
		c.Prefix = "bench"
	}
	if c.ClientID == "" {
		c.ClientID = "bench"
	}
	switch {
	case c.Payload < HeaderSize || c.Payload > 1<<20:
		return c, fmt.Errorf("payload of %d bytes: want %d to 1,048,576", c.Payload, HeaderSize)
	case c.QoS > 1:
		return c, fmt.Errorf("QoS %d: want 0 or 1", c.QoS)
	case c.Publishers < 0 || c.Subscribers < 0 || c.Connections < 0 || c.Messages < 0 || c.Rate < 0 || c.Duration < 0:
		return c, fmt.Errorf("a number below 0 makes no sense")
	case c.Sources < 0 || c.Sources > 50_000 || c.Topics < 0:
		return c, fmt.Errorf("%d sources and %d topics: want 0 to 50,000, and not below 0", c.Sources, c.Topics)
	case c.Window < 1 || c.Window > 10_000 || c.Outstanding < 1:
		return c, fmt.Errorf("windows of %d and %d: want 1 to 10,000, and at least 1", c.Window, c.Outstanding)
	}
	return c, nil
}

// Run runs one scenario. Its error names the connection that failed.
func Run(ctx context.Context, t Target, c Config) (Result, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Result{}, err
	}
	r := Result{Target: t.Name, Scenario: c.Scenario, QoS: c.QoS}
	switch c.Scenario {
	case "connect":
		err = runConnect(ctx, t, c, &r)
	case "idle":
		err = runIdle(ctx, t, c, &r)
	case "storm":
		err = runStorm(ctx, t, c, &r)
	default:
		err = runFlow(ctx, t, c, &r)
	}
	if err != nil {
		return r, fmt.Errorf("%s on %s: %w", c.Scenario, t.Name, err)
	}
	if t.PID != 0 {
		if rss, err := ResidentKiB(t.PID); err == nil {
			r.ServerRSS = rss
		}
	}
	return r, nil
}

// Median takes each figure's median over the runs of one target and scenario; what was lost, out
// of order or duplicate is added up. Memory is the highest: a server that has grown once need not
// grow again.
func Median(runs []Result) Result {
	if len(runs) == 0 {
		return Result{}
	}
	m := runs[0]
	of := func(figure func(*Result) *float64) {
		var v []float64
		for i := range runs {
			v = append(v, *figure(&runs[i]))
		}
		slices.Sort(v)
		*figure(&m) = (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	of(func(r *Result) *float64 { return &r.Seconds })
	of(func(r *Result) *float64 { return &r.PerSecond })
	of(func(r *Result) *float64 { return &r.P50 })
	of(func(r *Result) *float64 { return &r.P99 })
	of(func(r *Result) *float64 { return &r.ServerCPU })
	of(func(r *Result) *float64 { return &r.OwnCPU })
	of(func(r *Result) *float64 { return &r.ServerRSS })
	for _, r := range runs[1:] {
		m.Sent += r.Sent
		m.Delivered += r.Delivered
		m.Lost += r.Lost
		m.OutOfOrder += r.OutOfOrder
		m.Duplicates += r.Duplicates
		m.MemoryKiB = max(m.MemoryKiB, r.MemoryKiB)
	}
	return m
}

// meter reads CPU times around a run.
type meter struct {
	pid         int
	server, own time.Duration
}

func startMeter(pid int) (m meter, err error) {
	m.pid = pid
	if pid != 0 {
		if m.server, err = CPUTime(pid); err != nil {
			return m, err
		}
	}
	m.own, err = ownTime()
	return m, err
}

// stop puts the CPU time for each of n operations into the result.
func (m *meter) stop(n int, r *Result) error {
	own, err := ownTime()
	if err != nil {
		return err
	}
	each := func(d time.Duration) float64 {
		return float64(d.Nanoseconds()) / 1000 / math.Max(1, float64(n))
	}
	r.OwnCPU = each(own - m.own)
	if m.pid != 0 {
		server, err := CPUTime(m.pid)
		if err != nil {
			return err
		}
		r.ServerCPU = each(server - m.server)
	}
	return nil
}
