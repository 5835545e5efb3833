package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/bench"
)

type benchmark struct {
	host, cafile, cert, key, plain string
	port, pid, rounds              int
	targets                        []string
	version                        string
	qos                            []int
	resume                         bool
	groups                         []string
	tls                            string
	growth, plot                   string
	own                            target // whose rules grow
	sizes                          []int
	cfg                            bench.Config
}

func benchCommand() *cobra.Command {
	b := new(benchmark)
	cmd := &cobra.Command{
		Use:   "bench SCENARIO",
		Short: "Load an MQTT server and measure it",
		Long: `Load an MQTT server, berth or any other, and print throughput, latency, what was lost or out of
order and, with --pid on the same machine, the server's CPU time for each delivered message and
its memory for each idle connection.

Scenarios: fan-in (100 publishers, 1 subscriber), fan-out (1 publisher, 200 subscribers), pairs
(100 publishers with a subscriber each), sparse (10 pairs, one message in flight each), connect
(connect and leave), idle (memory of connections that do nothing), storm (2000 devices connect at the same moment; the
latency is the time until one is connected) and all. CPU time stands for
one delivery, or one connect.

A server that bounds its queues more tightly than --outstanding drops messages, which count as
lost: Mosquitto wants max_queued_messages 0 for QoS 1. On berth with its AWS limits the client
certificate's policy must allow client/bench-* and the topics bench/*.

With --target given more than once the servers take turns within one run, --rounds times; the
figures are medians, and the ratios are to the first target.`,
		Example: `  berth bench pairs --plain 127.0.0.1:1883 --pid $(pidof mosquitto) --qos 1
  berth bench all --host localhost --cafile ca.pem --cert bench.cert.pem --key bench.private.key
  berth bench all --target mosquitto=plain://127.0.0.1:1883,pid=123 --target berth=plain://127.0.0.1:1884,pid=456
  berth bench pairs --growth connections --plain 127.0.0.1:1883 --pid 123 --plot connections.svg
  berth bench pairs --growth rules --sizes 0,10,100,1000 --plain 127.0.0.1:1883 --pid 123 --data berth-data
  berth bench connect --target a=tls://localhost:8883,cafile=ca.pem,cert=c.pem,key=k.pem,pid=123`,
		Args:      args(cobra.ExactArgs(1)),
		ValidArgs: append(bench.Scenarios(), "storm", "all"),
		RunE:      b.run,
	}
	f := cmd.Flags()
	f.StringVar(&b.host, "host", "", "server, over TLS")
	f.IntVarP(&b.port, "port", "p", 8883, "port of --host")
	f.StringVar(&b.cafile, "cafile", "", "certificates of the authorities to trust, PEM `FILE`")
	f.StringVar(&b.cert, "cert", "", "client certificate, PEM `FILE`")
	f.StringVar(&b.key, "key", "", "key of the client certificate, PEM `FILE`")
	f.StringVar(&b.plain, "plain", "", "server, without TLS, `HOST:PORT`")
	f.IntVar(&b.pid, "pid", 0, "the server's process, for its CPU time and memory")
	f.StringArrayVar(&b.targets, "target", nil, "server as `NAME=plain://HOST:PORT,pid=N` or NAME=tls://HOST:PORT,cafile=…,cert=…,key=…,pid=N; repeatable")
	f.IntVar(&b.rounds, "rounds", 0, "times each scenario is run (default 3 with several targets, else 1)")
	f.IntSliceVarP(&b.qos, "qos", "q", nil, "quality of service, 0, 1 or 0,1 (default 0, in all 0,1; sparse has 1)")
	f.StringVarP(&b.version, "mqtt", "V", "3.1.1", "MQTT version: 3.1.1 or 5")
	f.StringVar(&b.tls, "tls", "", "TLS version: 1.2 or 1.3 (default the best of both sides)")
	f.StringSliceVar(&b.groups, "groups", []string{"x25519", "p256"}, "key agreements to offer over TLS, as chips do: x25519, p256, x25519mlkem768")
	f.BoolVar(&b.resume, "resume", false, "let connect resume TLS sessions")
	f.IntVar(&b.cfg.Publishers, "publishers", 0, "number of publishers")
	f.IntVar(&b.cfg.Subscribers, "subscribers", 0, "number of subscribers")
	f.IntVar(&b.cfg.Payload, "payload", 128, "payload in bytes, at least "+strconv.Itoa(bench.HeaderSize))
	f.Float64Var(&b.cfg.Rate, "rate", 0, "messages a second of all publishers together (default as fast as possible)")
	f.DurationVar(&b.cfg.Duration, "duration", 10*time.Second, "time of publishing or connecting")
	f.IntVar(&b.cfg.Messages, "messages", 0, "end after so many messages or connects")
	f.IntVar(&b.cfg.Window, "window", 100, "unacknowledged messages of one publisher, with QoS 1")
	f.IntVar(&b.cfg.Outstanding, "outstanding", 0, "deliveries under way from one publisher, or to one subscriber of many (default 10000, in pairs at most 100000 together)")
	f.IntVar(&b.cfg.Connections, "connections", 0, "number of idle connections (default 1000), or of connects at a time (default 4)")
	f.IntVar(&b.cfg.Sources, "sources", 0, "addresses of 127.0.0.0/8 that the connections of storm come from")
	f.IntVar(&b.cfg.Topics, "topics", 0, "topics of each publisher, below its own (default one)")
	f.DurationVar(&b.cfg.Settle, "settle", 2*time.Second, "time between the last idle connection and the look at memory")
	f.StringVar(&b.cfg.Prefix, "topic", "bench", "beginning of the topics")
	f.StringVarP(&b.cfg.ClientID, "id-prefix", "i", "bench", "beginning of the client identifiers")
	f.StringVar(&b.growth, "growth", "", "measure pairs while the server carries more and more of this: "+strings.Join(bench.Growths(), ", "))
	f.IntSliceVar(&b.sizes, "sizes", []int{0, 1000, 5000, 10_000, 20_000}, "how many, with --growth")
	f.StringVar(&b.own.data, "data", "./berth-data", "data folder of the berth that --growth rules and matching-rules make rules in")
	b.own.dataGiven = func() bool { return f.Changed("data") }
	f.StringVar(&b.plot, "plot", "", "draw the CPU time of --growth to this SVG `FILE`")
	return cmd
}

// job is one scenario with one quality of service.
type job struct {
	scenario string
	qos      byte
}

func (b *benchmark) run(cmd *cobra.Command, args []string) error {
	jobs, err := b.jobs(args[0])
	if err != nil {
		return err
	}
	if b.cfg.Version, err = parseVersion(b.version); err != nil {
		return err
	}
	targets, err := b.resolve()
	if err != nil {
		return err
	}
	if b.rounds == 0 {
		b.rounds = 1
		if len(targets) > 1 {
			b.rounds = 3
		}
	}
	if b.rounds < 0 {
		return usagef("--rounds %d: want at least 1", b.rounds)
	}
	if b.growth != "" {
		return b.grow(cmd, targets, jobs)
	}
	bar := newProgress(cmd.ErrOrStderr(), len(jobs)*len(targets)*b.rounds)
	defer bar.stop()
	var results []bench.Result
	for _, j := range jobs {
		runs := make([][]bench.Result, len(targets))
		for range b.rounds {
			for i, t := range targets {
				bar.at(fmt.Sprintf("%s QoS %d on %s", j.scenario, j.qos, t.Name))
				cfg := b.cfg
				cfg.Scenario, cfg.QoS = j.scenario, j.qos
				r, err := bench.Run(cmd.Context(), t, cfg)
				if cmd.Context().Err() != nil {
					return errors.New("interrupted")
				}
				if err != nil {
					return err
				}
				runs[i] = append(runs[i], r)
				bar.step()
			}
		}
		for i := range targets {
			results = append(results, bench.Median(runs[i]))
		}
	}
	bar.stop()
	return emit(cmd, map[string]any{"rounds": b.rounds, "results": results}, benchTable(results, len(targets)))
}

// jobs are the scenarios to run: the one that is named, or all that the flags let.
func (b *benchmark) jobs(name string) (jobs []job, err error) {
	for _, q := range b.qos {
		if q != 0 && q != 1 {
			return nil, usagef("--qos %d: want 0 or 1", q)
		}
	}
	all := name == "all"
	known := all
	if name == "storm" {
		return []job{{"storm", 0}}, nil
	}
	for _, s := range bench.Scenarios() {
		known = known || s == name
		if s != name && !all {
			continue
		}
		if all && s == "idle" && !b.pidKnown() {
			continue
		}
		qos := b.qos
		switch {
		case s == "connect" || s == "idle":
			qos = []int{0}
		case s == "sparse" && (all || len(qos) == 0):
			qos = []int{1}
		case len(qos) == 0 && all:
			qos = []int{0, 1}
		case len(qos) == 0:
			qos = []int{0}
		}
		for _, q := range qos {
			jobs = append(jobs, job{s, byte(q)})
		}
	}
	if !known {
		return nil, usagef("scenario %q: want %s or all", name, strings.Join(bench.Scenarios(), ", "))
	}
	return jobs, nil
}

func (b *benchmark) pidKnown() bool {
	for _, t := range b.targets {
		if !strings.Contains(t, ",pid=") {
			return false
		}
	}
	return b.pid != 0 || len(b.targets) > 0
}

// resolve makes targets of the flags.
func (b *benchmark) resolve() ([]bench.Target, error) {
	single := b.host != "" || b.plain != ""
	switch {
	case single && len(b.targets) > 0:
		return nil, usagef("--target excludes --host and --plain")
	case b.host != "" && b.plain != "":
		return nil, usagef("--host and --plain exclude each other")
	case !single && len(b.targets) == 0:
		return nil, usagef("no server: give --host, --plain or --target")
	case b.plain != "":
		if _, _, err := net.SplitHostPort(b.plain); err != nil {
			return nil, usagef("--plain %q: want HOST:PORT", b.plain)
		}
		return []bench.Target{{Name: b.plain, Address: b.plain, PID: b.pid}}, nil
	case b.host != "":
		t := bench.Target{Name: b.host, Address: net.JoinHostPort(b.host, strconv.Itoa(b.port)), PID: b.pid}
		var err error
		t.TLS, err = b.secure(b.host, b.cafile, b.cert, b.key)
		return []bench.Target{t}, err
	}
	var list []bench.Target
	for _, s := range b.targets {
		t, err := b.parseTarget(s)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// parseTarget reads NAME=plain://HOST:PORT,pid=N and the like.
func (b *benchmark) parseTarget(s string) (t bench.Target, err error) {
	fields := strings.Split(s, ",")
	name, url, ok := strings.Cut(fields[0], "=")
	scheme, address, ok2 := strings.Cut(url, "://")
	if !ok || !ok2 || name == "" || scheme != "plain" && scheme != "tls" {
		return t, usagef("--target %q: want NAME=plain://HOST:PORT or NAME=tls://HOST:PORT, then options after commas", s)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return t, usagef("--target %q: %v", s, err)
	}
	t = bench.Target{Name: name, Address: address}
	var cafile, cert, key string
	for _, f := range fields[1:] {
		option, value, _ := strings.Cut(f, "=")
		switch option {
		case "pid":
			if t.PID, err = strconv.Atoi(value); err != nil || t.PID <= 0 {
				return t, usagef("--target %q: pid %q is no process", s, value)
			}
		case "cafile":
			cafile = value
		case "cert":
			cert = value
		case "key":
			key = value
		default:
			return t, usagef("--target %q: option %q is not pid, cafile, cert or key", s, option)
		}
	}
	if scheme == "tls" {
		t.TLS, err = b.secure(host, cafile, cert, key)
	} else if cafile+cert+key != "" {
		err = usagef("--target %q: certificates are for tls://", s)
	}
	return t, err
}

var tlsGroups = map[string]tls.CurveID{"x25519": tls.X25519, "p256": tls.CurveP256, "x25519mlkem768": tls.X25519MLKEM768}

func (b *benchmark) secure(host, cafile, cert, key string) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: host}
	if (cert == "") != (key == "") {
		return nil, usagef("certificate and key belong together")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read certificate and key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	switch b.tls {
	case "":
	case "1.2":
		cfg.MaxVersion = tls.VersionTLS12
	case "1.3":
		cfg.MinVersion = tls.VersionTLS13
	default:
		return nil, usagef("--tls %q: want 1.2 or 1.3", b.tls)
	}
	for _, name := range b.groups {
		group, ok := tlsGroups[name]
		if !ok {
			return nil, usagef("--groups %q: want x25519, p256 or x25519mlkem768", name)
		}
		cfg.CurvePreferences = append(cfg.CurvePreferences, group)
	}
	if b.resume {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(16)
	}
	return cfg, (&connection{cafile: cafile}).finishTLS(cfg)
}

// benchTable has one row for each result; with several targets the ratios are to the first of the
// same scenario.
func benchTable(results []bench.Result, targets int) table {
	t := table{header: []string{"SCENARIO", "QOS", "TARGET", "PER SECOND", "P50 µS", "P99 µS", "CPU µS", "RATIO", "KIB/CONN", "RATIO", "LOST", "DISORDER", "OWN CPU µS"}}
	figure := func(v float64, digits int) string {
		if v == 0 {
			return "-"
		}
		return strconv.FormatFloat(v, 'f', digits, 64)
	}
	ratio := func(v, first float64) string {
		if targets < 2 || v == 0 || first <= 0 {
			return "-"
		}
		return strconv.FormatFloat(v/first, 'f', 3, 64)
	}
	for i, r := range results {
		first := results[i-i%targets]
		t.add(r.Scenario, strconv.Itoa(int(r.QoS)), r.Target, figure(r.PerSecond, 0), figure(r.P50, 0), figure(r.P99, 0),
			figure(r.ServerCPU, 2), ratio(r.ServerCPU, first.ServerCPU), figure(r.MemoryKiB, 1), ratio(r.MemoryKiB, first.MemoryKiB),
			strconv.Itoa(r.Lost), strconv.Itoa(r.OutOfOrder), figure(r.OwnCPU, 2))
	}
	return t
}
