package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/espidentity"
	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/device/mode"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/topic"
)

// Bounds of commands.
const (
	commandTimeout = time.Minute
	jobTimeout     = time.Hour
	maxOutput      = 128 << 10 // bytes, of a message
	drainPatience  = 30 * time.Second
)

// ErrRestart is returned by Run when a restart of the machine or program is wanted: a service
// manager should start it again.
var ErrRestart = errors.New("restart wanted")

// Event is something that happened, for a log. Fields without a meaning are empty.
type Event struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"` // such as connected, disconnected, waiting, error
	Thing string    `json:"thing,omitempty"`
	Error string    `json:"error,omitempty"`
	Wait  string    `json:"wait,omitempty"`
	// Address is where the device takes its configuration, such as tcp://127.0.0.1:7000.
	Address string `json:"address,omitempty"`
}

// Gateway is a device that commands make up.
type Gateway struct {
	cfg    *Config
	system *device.System
	stdin  io.Reader
	tell   func(Event)
	ctx    context.Context
	work   sync.WaitGroup
}

// Run runs a gateway until the context ends, standard input ends where that is its only telemetry,
// or a restart is wanted (ErrRestart). tell is called for events, by one goroutine at a time.
func Run(ctx context.Context, cfg *Config, stdin io.Reader, tell func(Event)) error {
	var mu sync.Mutex
	g := &Gateway{cfg: cfg, stdin: stdin, tell: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		e.Time = time.Now().UTC()
		tell(e)
	}}
	var cancel context.CancelFunc
	g.ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	restart := make(chan struct{})
	conf, err := g.config()
	if err != nil {
		return err
	}
	conf.Restart = func() { close(restart) }
	if g.system, err = device.New(conf, g.handlers()); err != nil {
		return err
	}
	for _, m := range cfg.Messages {
		if err := g.system.Subscribe(m.Filter, 1); err != nil {
			return err
		}
	}
	g.system.Start()
	ended := g.telemetry()
	restarting := false
	select {
	case <-ctx.Done():
	case <-restart:
		restarting = true
	case <-ended:
	}
	cancel()
	goodbye, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	err = g.system.Close(goodbye)
	g.work.Wait()
	if restarting {
		return ErrRestart
	}
	return err
}

// config translates the file for the device library.
func (g *Gateway) config() (device.Config, error) {
	c := g.cfg
	clock := link.NewClock(nil, time.Time{})
	tr := &dialer{cfg: c, clock: clock, settings: func() configuration.Document { return g.system.Settings() }}
	var conf device.Config
	var errs []error
	read := func(name string) []byte {
		if name == "" {
			return nil
		}
		b, err := os.ReadFile(name)
		errs = append(errs, err)
		return b
	}
	if pem := read(c.CA); pem != nil {
		tr.roots = x509.NewCertPool()
		if !tr.roots.AppendCertsFromPEM(pem) {
			errs = append(errs, fmt.Errorf("%s: no certificate", c.CA))
		}
	}
	conf.Given = device.Identity{Certificate: read(c.Certificate), Key: read(c.Key), Thing: c.Thing}
	conf.Claim = device.Identity{Certificate: read(c.Claim.Certificate), Key: read(c.Claim.Key), Claim: true}
	conf.EraseClaim = c.Claim.Erase
	conf.Template = identity.Template{Name: c.Claim.Template, Parameters: c.Claim.Parameters, CommonName: c.Thing}
	if err := errors.Join(errs...); err != nil {
		return conf, err
	}
	if c.FlashImage != "" {
		image, err := os.ReadFile(c.FlashImage)
		if err != nil {
			return conf, err
		}
		found, err := espidentity.Find(image, c.Thing)
		if err != nil {
			return conf, fmt.Errorf("%s: %w", c.FlashImage, err)
		}
		conf.Given = found.Identity
	}
	files, err := linux.OpenFiles(c.Data)
	if err != nil {
		return conf, err
	}
	if conf.OTA, err = g.updates(tr.roots); err != nil {
		return conf, err
	}
	conf.Storage, conf.Dial, conf.Explain, conf.Keys, conf.WillTopic = files, tr.dial, tr.explain, linux.Keys{}, c.WillTopic
	conf.Link = link.Config{
		Version:   map[string]mqtt.Version{"5": mqtt.V5, "3.1.1": mqtt.V311}[c.Version],
		KeepAlive: c.KeepAlive, Clock: clock,
		Limits: link.Limits{PerSecond: c.Budget.PerSecond, PerDay: c.Budget.PerDay},
		Queue: link.QueueOptions{Messages: c.Queue.Messages, Bytes: c.Queue.Bytes,
			Overflow:   map[string]link.Overflow{"newest": link.DropNewest}[c.Queue.Drop],
			Durability: map[string]link.Durability{"always": link.DurableAlways, "never": link.DurableNever}[c.Queue.Durable]},
	}
	if c.UserName != "" {
		conf.Link.UserName = c.UserName
		if conf.Link.Password = bytes.TrimRight(read(c.PasswordFile), "\r\n"); len(conf.Link.Password) == 0 {
			conf.Link.Password = nil
		}
		if err := errors.Join(errs...); err != nil {
			return conf, err
		}
		if c.Certificate == "" {
			conf.Thing = c.Thing
		}
	}
	if c.WebSocket.enabled() {
		if err := g.signed(&conf, tr.roots, clock); err != nil {
			return conf, err
		}
	}
	if c.Configuration.enabled() {
		host, err := g.configurator()
		if err != nil {
			return conf, err
		}
		conf.Configurator, conf.CheckConfiguration = host, checkConfiguration
		if len(c.Configuration.WiFi) > 0 {
			conf.WiFi = wifi{g}
		}
	}
	if c.NTP != "" {
		conf.Link.Time = linux.NTP{Server: c.NTP}
	}
	return conf, nil
}

func (g *Gateway) failed(err error) { g.tell(Event{Event: "error", Error: err.Error()}) }

func (g *Gateway) handlers() device.Handlers {
	h := device.Handlers{
		Error:       g.failed,
		Provisioned: func(thing string, _ []byte) { g.tell(Event{Event: "provisioned", Thing: thing}) },
		Mode: func(_, to mode.Mode) {
			if to == mode.Configuration && g.cfg.Claim.Certificate == "" && !g.cfg.Configuration.enabled() {
				g.failed(errors.New("the device has no certificate and no claim to get one with"))
			}
		},
		Event: func(e link.Event) {
			out := Event{Event: e.Kind.String()}
			if e.Err != nil {
				out.Error = e.Err.Error()
			}
			if e.Wait > 0 {
				out.Wait = e.Wait.Round(time.Millisecond).String()
			}
			if e.Kind == link.Connected {
				out.Thing = g.system.Thing()
			}
			g.tell(out)
		},
	}
	if len(g.cfg.Messages) > 0 {
		h.Message = g.message
	}
	if len(g.cfg.Shadow.DesiredCommand) > 0 || g.cfg.Shadow.DesiredFile != "" {
		h.Delta = g.delta
	}
	if command := g.cfg.Shadow.ReportedCommand; len(command) > 0 {
		h.Reported = func() []byte {
			b, err := g.run(g.ctx, command, nil, commandTimeout)
			if err != nil {
				g.failed(err)
				return nil
			}
			return b
		}
	}
	if command := g.cfg.Jobs; len(command) > 0 {
		h.Job = func(ctx context.Context, j *device.Job) error {
			_, err := g.run(ctx, command, j.Document, jobTimeout, "BERTH_JOB="+j.ID)
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == rejectCode {
				return fmt.Errorf("%w: %v", awsiot.ErrRejected, err)
			}
			return err
		}
	}
	return h
}

// rejectCode is the exit code of a job's command that does not do such jobs.
const rejectCode = 64 // EX_USAGE of sysexits

// run runs a command and returns its output without white space at the ends.
func (g *Gateway) run(ctx context.Context, command []string, stdin []byte, patience time.Duration, env ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.WaitDelay = time.Second
	cmd.Stdin = bytes.NewReader(stdin)
	var out, complaint limited
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Env = append(os.Environ(), env...)
	for k, v := range g.cfg.Environment {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if err := cmd.Run(); err != nil {
		err = fmt.Errorf("run %s: %w", command[0], err)
		if last := lastLine(complaint.b); last != "" {
			err = fmt.Errorf("%w: %s", err, last)
		}
		return nil, err
	}
	if out.over {
		return nil, fmt.Errorf("run %s: more than %d bytes of output", command[0], maxOutput)
	}
	return bytes.TrimSpace(out.b), nil
}

func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}

// limited keeps the first bytes of what is written.
type limited struct {
	b    []byte
	over bool
}

func (l *limited) Write(b []byte) (int, error) {
	if n := maxOutput - len(l.b); n < len(b) {
		l.over = true
		l.b = append(l.b, b[:n]...)
	} else {
		l.b = append(l.b, b...)
	}
	return len(b), nil
}

// message hands a message to the commands whose filter matches.
func (g *Gateway) message(m device.Message) {
	for _, c := range g.cfg.Messages {
		if !topic.Standard.Match(c.Filter, m.Topic) {
			continue
		}
		if _, err := g.run(g.ctx, c.Command, m.Payload, commandTimeout, "BERTH_TOPIC="+m.Topic); err != nil {
			g.failed(err)
		}
	}
}

func (g *Gateway) delta(d device.Delta) ([]byte, error) {
	if name := g.cfg.Shadow.DesiredFile; name != "" {
		if err := os.WriteFile(name+".new", append(d.State, '\n'), 0o600); err != nil {
			return nil, err
		}
		return d.State, os.Rename(name+".new", name)
	}
	out, err := g.run(g.ctx, g.cfg.Shadow.DesiredCommand, d.State, commandTimeout)
	if err != nil || len(out) > 0 {
		return out, err
	}
	return d.State, nil
}

// telemetry starts everything that publishes. ended is closed when standard input has ended, its
// messages are acknowledged and nothing else is there to do.
func (g *Gateway) telemetry() (ended <-chan struct{}) {
	over := make(chan struct{})
	only := len(g.cfg.Messages) == 0 && len(g.cfg.Jobs) == 0 && len(g.cfg.Shadow.DesiredCommand) == 0 && g.cfg.Shadow.DesiredFile == "" && len(g.cfg.Shadow.ReportedCommand) == 0
	for _, t := range g.cfg.Telemetry {
		only = only && t.Stdin
	}
	for _, t := range g.cfg.Telemetry {
		if !t.Stdin {
			g.work.Go(func() { g.every(t.Every, time.Minute, func() { g.sample(t) }) })
			continue
		}
		// Not waited for: nothing ends a read of a terminal.
		go func() {
			g.lines(t)
			if only {
				close(over)
			}
		}()
	}
	if len(g.cfg.Shadow.ReportedCommand) > 0 {
		g.work.Go(func() { g.every(g.cfg.Shadow.Every, 5*time.Minute, g.report) })
	}
	return over
}

func (g *Gateway) every(interval, otherwise time.Duration, f func()) {
	if interval <= 0 {
		interval = otherwise
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		f()
		select {
		case <-tick.C:
		case <-g.ctx.Done():
			return
		}
	}
}

func (g *Gateway) sample(t Telemetry) {
	var out []byte
	var err error
	if t.File != "" {
		out, err = readFile(t.File)
	} else {
		out, err = g.run(g.ctx, t.Command, nil, commandTimeout)
	}
	if err == nil {
		err = g.publish(t, out, nil)
	}
	if err != nil && g.ctx.Err() == nil {
		g.failed(err)
	}
}

// readFile reads a file of telemetry, which may have no size, as those of /proc and /sys.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxOutput+1))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	if len(b) > maxOutput {
		return nil, fmt.Errorf("telemetry: %s has more than %d bytes", name, maxOutput)
	}
	return bytes.TrimSpace(b), nil
}

func (g *Gateway) report() {
	out, err := g.run(g.ctx, g.cfg.Shadow.ReportedCommand, nil, commandTimeout)
	if err == nil {
		err = g.system.Report(out, nil)
	}
	// Before the first connection there is nothing to report to; it is asked for again then.
	if err != nil && g.ctx.Err() == nil && !errors.Is(err, device.ErrMode) {
		g.failed(err)
	}
}

func (g *Gateway) publish(t Telemetry, payload []byte, done func(error)) error {
	qos := byte(1)
	if t.QoS != nil {
		qos = *t.QoS
	}
	return g.system.Publish(link.Publication{Topic: t.Topic, Payload: payload, QoS: qos}, done)
}

// lines publishes the lines of standard input, as fast as the server takes them, and waits for their
// acknowledgements.
func (g *Gateway) lines(t Telemetry) {
	places := make(chan struct{}, 256)
	in := bufio.NewScanner(g.stdin)
	in.Buffer(nil, maxOutput)
	for in.Scan() {
		select {
		case places <- struct{}{}:
		case <-g.ctx.Done():
			return
		}
		for {
			err := g.publish(t, bytes.Clone(in.Bytes()), func(err error) {
				if err != nil {
					g.failed(fmt.Errorf("publish to %q: %w", t.Topic, err))
				}
				<-places
			})
			if !errors.Is(err, link.ErrOffline) {
				break
			}
			// There is no queue before there is an identity.
			select {
			case <-time.After(100 * time.Millisecond):
			case <-g.ctx.Done():
				return
			}
		}
	}
	if err := in.Err(); err != nil {
		g.failed(fmt.Errorf("read standard input: %w", err))
	}
	patience := time.NewTimer(drainPatience)
	defer patience.Stop()
	for range cap(places) {
		select {
		case places <- struct{}{}:
		case <-patience.C:
			return // the rest is in flash and goes out after the next start
		case <-g.ctx.Done():
			return
		}
	}
}
