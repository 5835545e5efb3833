// Package gateway runs the device library on this machine from a configuration file: telemetry from
// commands and lines of standard input, the shadow to commands and files, messages and jobs to
// commands. It is what `berth device run` does.
package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/berth-iot/berth/topic"
)

// Config is the configuration file. Commands are lists of program and arguments; no shell is in
// between. File names are relative to the configuration file's folder.
type Config struct {
	Endpoint     string            `yaml:"endpoint"`    // host:port; a configured one comes before it
	ServerName   string            `yaml:"server-name"` // in the server's certificate; "" means the host
	CA           string            `yaml:"ca"`          // PEM file; "" means the system's authorities
	Thing        string            `yaml:"thing"`
	Certificate  string            `yaml:"certificate"` // PEM file
	Key          string            `yaml:"key"`         // PEM file
	UserName     string            `yaml:"user-name"`   // for a custom authorizer or another server, instead of a certificate
	PasswordFile string            `yaml:"password-file"`
	ALPN         string            `yaml:"alpn"`      // mqtt for a custom authorizer of AWS on port 443
	WebSocket    WebSocket         `yaml:"websocket"` // instead of a certificate
	Claim        Claim             `yaml:"claim"`
	FlashImage   string            `yaml:"flash-image"` // of an ESP32, with an identity from the factory instead of certificate and key
	Data         string            `yaml:"data"`        // folder of the device's flash
	Version      string            `yaml:"mqtt"`        // 5, 3.1.1 or auto
	KeepAlive    time.Duration     `yaml:"keep-alive"`  // 0 means 2 min
	NTP          string            `yaml:"ntp"`         // host:port of a time server, asked when the clock is not set
	WillTopic    string            `yaml:"will-topic"`  // "" is the shadow's own, as berth takes it
	Budget       Budget            `yaml:"budget"`
	Queue        Queue             `yaml:"queue"`
	Telemetry    []Telemetry       `yaml:"telemetry"`
	Shadow       Shadow            `yaml:"shadow"`
	Messages     []MessageCommand  `yaml:"messages"`
	Jobs         []string          `yaml:"jobs"` // command that gets the job document; exit code 0 is success
	OTA          OTA               `yaml:"ota"`
	Environment  map[string]string `yaml:"environment"` // of all commands, beside this program's own
	// Configuration is for a device that is told the rest by somebody nearby.
	Configuration Configuration `yaml:"configuration"`
}

// OTA is how the device's program is updated. `berth device boot` starts what is in the slots.
type OTA struct {
	Slots     string        `yaml:"slots"`      // folder of the two images
	PublicKey string        `yaml:"public-key"` // PEM file, key or certificate; updates have to be signed with its private half
	Unsigned  bool          `yaml:"unsigned"`   // take any update
	MaxBytes  int64         `yaml:"max-bytes"`  // of an image; 0 means 128 MiB
	SelfTest  []string      `yaml:"self-test"`  // command that says with exit code 0 that the new program works
	Trial     time.Duration `yaml:"trial"`      // until the self-test has to be over; 0 means 10 min
}

// Claim is how a device without certificate gets one.
type Claim struct {
	Certificate string            `yaml:"certificate"`
	Key         string            `yaml:"key"`
	Template    string            `yaml:"template"`
	Parameters  map[string]string `yaml:"parameters"`
	Erase       bool              `yaml:"erase"` // from flash, when the device has connected with its own certificate
}

// Budget bounds messages; 0 means no limit.
type Budget struct {
	PerSecond float64 `yaml:"per-second"`
	PerDay    int     `yaml:"per-day"`
}

// Queue bounds the messages that wait for a connection.
type Queue struct {
	Messages int    `yaml:"messages"` // 0 means 1000
	Bytes    int    `yaml:"bytes"`    // 0 means 128 KiB
	Drop     string `yaml:"drop"`     // oldest (default) or newest
	Durable  string `yaml:"durable"`  // offline (default), always or never
}

// Telemetry is what is published.
type Telemetry struct {
	Topic   string        `yaml:"topic"`
	Command []string      `yaml:"command"` // its output is one message
	Every   time.Duration `yaml:"every"`   // of a command; 0 means 1 min
	File    string        `yaml:"file"`    // its content, without white space at the ends, is one message
	Stdin   bool          `yaml:"stdin"`   // each line of standard input is one message
	QoS     *byte         `yaml:"qos"`     // 0 or 1; 1 if absent
}

// Shadow is what happens with the device's shadow.
type Shadow struct {
	// DesiredCommand gets each delta on standard input. If it exits with 0, its output is reported,
	// or the delta itself if there is none.
	DesiredCommand []string `yaml:"desired-command"`
	// DesiredFile gets each delta, by rename; the delta is reported then.
	DesiredFile string `yaml:"desired-file"`
	// ReportedCommand prints the reported state, after every connect and every so often.
	ReportedCommand []string      `yaml:"reported-command"`
	Every           time.Duration `yaml:"every"` // 0 means 5 min
}

// MessageCommand gets every message on standard input, and its topic as BERTH_TOPIC.
type MessageCommand struct {
	Filter  string   `yaml:"filter"`
	Command []string `yaml:"command"`
}

// Load reads and checks a file.
func Load(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c := new(Config)
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	if c.Data == "" {
		c.Data = "device-data"
	}
	for _, name := range []*string{&c.CA, &c.Certificate, &c.Key, &c.Claim.Certificate, &c.Claim.Key, &c.Data, &c.Shadow.DesiredFile, &c.PasswordFile, &c.FlashImage, &c.WebSocket.AccessKeyFile, &c.OTA.Slots, &c.OTA.PublicKey} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
	for i := range c.Telemetry {
		if f := &c.Telemetry[i].File; *f != "" && !filepath.IsAbs(*f) {
			*f = filepath.Join(dir, *f)
		}
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Endpoint == "" && !c.Configuration.enabled() {
		bad("endpoint: want host:port")
	}
	if err := c.Configuration.check(); err != nil {
		errs = append(errs, err)
	}
	if err := c.checkWithoutCertificate(); err != nil {
		errs = append(errs, err)
	}
	if o := c.OTA; o.Slots != "" && (o.PublicKey == "") != o.Unsigned {
		bad("ota: want either public-key or unsigned: true")
	} else if o.Slots == "" && (o.PublicKey != "" || o.Unsigned || len(o.SelfTest) > 0) {
		bad("ota: want slots, the folder of the two images")
	}
	own := c.Certificate != "" || c.Key != ""
	if own && (c.Certificate == "" || c.Key == "" || c.Thing == "") {
		bad("certificate: thing, certificate and key belong together")
	}
	if claim := c.Claim; claim.Certificate != "" && (claim.Key == "" || claim.Template == "") {
		bad("claim: certificate, key and template belong together")
	}
	if c.Version != "" && c.Version != "5" && c.Version != "3.1.1" && c.Version != "auto" {
		bad("mqtt %q: want 5, 3.1.1 or auto", c.Version)
	}
	if d := c.Queue.Drop; d != "" && d != "oldest" && d != "newest" {
		bad("queue: drop %q: want oldest or newest", d)
	}
	if d := c.Queue.Durable; d != "" && d != "offline" && d != "always" && d != "never" {
		bad("queue: durable %q: want offline, always or never", d)
	}
	lines := 0
	for _, t := range c.Telemetry {
		if err := topic.Standard.CheckName(t.Topic); err != nil {
			bad("telemetry: %w", err)
		}
		ways := 0
		for _, way := range []bool{len(t.Command) > 0, t.File != "", t.Stdin} {
			if way {
				ways++
			}
		}
		if ways != 1 {
			bad("telemetry %q: want one of command, file and stdin", t.Topic)
		}
		if t.QoS != nil && *t.QoS > 1 {
			bad("telemetry %q: qos %d: want 0 or 1", t.Topic, *t.QoS)
		}
		if t.Stdin {
			lines++
		}
	}
	if lines > 1 {
		bad("telemetry: standard input can have one topic")
	}
	for _, m := range c.Messages {
		if err := topic.Standard.CheckFilter(m.Filter); err != nil {
			bad("messages: %w", err)
		}
		if len(m.Command) == 0 {
			bad("messages %q: no command", m.Filter)
		}
	}
	if len(c.Shadow.DesiredCommand) > 0 && c.Shadow.DesiredFile != "" {
		bad("shadow: want either desired-command or desired-file")
	}
	return errors.Join(errs...)
}
