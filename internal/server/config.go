package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/rules/action"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/store"
)

// Config is everything `berth serve` can be told. The yaml names are those of the flags; the
// environment has them in upper case with BERTH_ in front and underscores.
type Config struct {
	Data           string        `yaml:"data"`                   // directory of everything that lasts
	Database       string        `yaml:"database"`               // URL of a PostgreSQL for the state; empty for DATA/berth.db
	Cluster        string        `yaml:"cluster"`                // URLs of NATS servers: this server is a node of a cluster; empty for none
	Node           string        `yaml:"node"`                   // name of the node; empty for one made of the host's name and Data
	ClusterLease   time.Duration `yaml:"cluster-lease"`          // how long a node may be out of reach of the database; 0 for 10s
	MQTT           string        `yaml:"mqtt"`                   // address of MQTT over mutual TLS
	HTTPS          string        `yaml:"https"`                  // address of HTTPS and WebSocket
	HTTP           string        `yaml:"http"`                   // address of plain HTTP; loopback
	Endpoint       string        `yaml:"endpoint"`               // name that devices use
	Region         string        `yaml:"region"`                 // in ARNs and signatures
	Account        string        `yaml:"account"`                // 12 digits, in ARNs
	Semantics      string        `yaml:"semantics"`              // "aws" or "mqtt"
	MQTTPlain      string        `yaml:"mqtt-plain"`             // address of MQTT without TLS; empty for none
	PlainPolicy    string        `yaml:"plain-policy"`           // policy of the principal "anonymous"
	AllowInsecure  bool          `yaml:"allow-insecure"`         // plain listeners beyond loopback
	SessionExpiry  time.Duration `yaml:"session-expiry"`         // ceiling of persistent sessions; 0 for that of the semantics
	Inflight       int           `yaml:"inflight"`               // unacknowledged messages each way; 0 for that of the semantics
	MaxKeepAlive   time.Duration `yaml:"max-keep-alive"`         // ceiling of keep-alives; 0 for that of the semantics
	MaxPayload     int           `yaml:"max-payload"`            // bytes of one message; 0 for that of the semantics
	MaxSubs        int           `yaml:"max-subscriptions"`      // of one session; 0 for that of the semantics
	MaxConnections int           `yaml:"max-connections"`        // clients at a time; 0 for what open files allow
	MaxRetained    int           `yaml:"max-retained"`           // retained messages; 0 for that of the semantics
	RetainedBytes  int64         `yaml:"max-retained-bytes"`     // of their topics and payloads; 0 for that of the semantics
	MaxRules       int           `yaml:"max-rules"`              // 0 for AWS's
	Rates          string        `yaml:"rates"`                  // "none", "aws", or names with numbers a second
	Handshakes     int           `yaml:"handshakes"`             // TLS handshakes that compute at a time; 0 for three quarters of the processors
	HookCommands   string        `yaml:"hook-commands"`          // programs that may be hooks, absolute paths between commas
	RuleFiles      string        `yaml:"rule-files"`             // folder of the rule action file; empty for DATA/rule-files
	RuleDatabases  string        `yaml:"rule-databases"`         // NAME=URL of PostgreSQL for the rule action postgres, separated by spaces
	TableDatabase  string        `yaml:"table-database"`         // URL of a PostgreSQL for tables of readings; empty for DATA/readings.db
	TableRetention time.Duration `yaml:"table-retention"`        // age at which readings in tables go; 0 for never
	TableMaxBytes  int64         `yaml:"table-max-bytes"`        // size of a table beyond which its oldest readings go; 0 for no limit
	BackupDir      string        `yaml:"backup-dir"`             // folder of scheduled backups; empty for none
	BackupEvery    time.Duration `yaml:"backup-every"`           // from one to the next
	BackupKeep     int           `yaml:"backup-keep"`            // how many remain; 0 for all
	BackupSecret   string        `yaml:"backup-passphrase-file"` // file with the passphrase of backups; empty for BERTH_BACKUP_PASSPHRASE, or none
	LogFormat      string        `yaml:"log-format"`             // "text" or "json"
	LogLevel       string        `yaml:"log-level"`              // debug, info, warn or error

	// Listen opens listeners; nil is net.Listen.
	Listen func(network, address string) (net.Listener, error) `yaml:"-" json:"-"`

	// Of the environment only, so that they show in no process list.
	AdminKeyID   string `yaml:"-"`
	AdminSecret  string `yaml:"-"`
	CAPassphrase string `yaml:"-"`
	// BackupPassphrase encrypts backups, unless BackupSecret names a file.
	BackupPassphrase string `yaml:"-"`
}

// Defaults are the values of a server that was told nothing.
func Defaults() Config {
	return Config{
		Data:           "berth-data",
		MQTT:           ":8883",
		HTTPS:          ":8443",
		HTTP:           "127.0.0.1:8080",
		Endpoint:       "localhost",
		Region:         "us-east-1",
		Account:        "000000000000",
		Semantics:      "aws",
		Rates:          "none",
		TableRetention: 30 * 24 * time.Hour,
		BackupEvery:    24 * time.Hour,
		BackupKeep:     7,
		LogFormat:      "text",
		LogLevel:       "info",
	}
}

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	regionPattern  = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	hostPattern    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$`)
)

// Check reports the first setting that cannot be, with what would be right.
func (c *Config) Check() error {
	switch {
	case c.Data == "":
		return fmt.Errorf("data: name a directory")
	case !accountPattern.MatchString(c.Account):
		return fmt.Errorf("account: %q is not 12 digits", c.Account)
	case !regionPattern.MatchString(c.Region):
		return fmt.Errorf("region: %q is not a region name such as us-east-1", c.Region)
	case !hostPattern.MatchString(c.Endpoint):
		return fmt.Errorf("endpoint: %q is not a host name or address; leave scheme and port out", c.Endpoint)
	case !slices.Contains([]string{"aws", "mqtt"}, c.Semantics):
		return fmt.Errorf("semantics: %q is not aws or mqtt", c.Semantics)
	case !slices.Contains([]string{"text", "json"}, c.LogFormat):
		return fmt.Errorf("log-format: %q is not text or json", c.LogFormat)
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(c.LogLevel)):
		return fmt.Errorf("log-level: %q is not debug, info, warn or error", c.LogLevel)
	case c.Inflight < 0 || c.Inflight > 65535:
		return fmt.Errorf("inflight: %d is not from 1 to 65535", c.Inflight)
	case c.MaxKeepAlive < 0 || c.MaxKeepAlive > 65535*time.Second:
		return fmt.Errorf("max-keep-alive: %v is not from 1s to 65535s", c.MaxKeepAlive)
	case c.MaxPayload < 0 || c.MaxPayload > 256<<20:
		return fmt.Errorf("max-payload: %d is not from 1 to %d bytes", c.MaxPayload, 256<<20)
	case c.Cluster != "" && c.Database == "":
		return errors.New("cluster: nodes share a PostgreSQL: name it with database")
	case c.Cluster == "" && c.Node != "":
		return errors.New("node: has no effect without cluster")
	case c.ClusterLease != 0 && (c.ClusterLease < 2*time.Second || c.ClusterLease > 5*time.Minute):
		return fmt.Errorf("cluster-lease: %v is not from 2s to 5m", c.ClusterLease)
	case c.Handshakes < 0:
		return fmt.Errorf("handshakes: %d is negative", c.Handshakes)
	case c.MaxConnections < 0:
		return fmt.Errorf("max-connections: %d is negative", c.MaxConnections)
	case c.MaxSubs < 0:
		return fmt.Errorf("max-subscriptions: %d is negative", c.MaxSubs)
	case c.MaxRetained < 0:
		return fmt.Errorf("max-retained: %d is negative", c.MaxRetained)
	case c.RetainedBytes < 0:
		return fmt.Errorf("max-retained-bytes: %d is negative", c.RetainedBytes)
	case c.MaxRules < 0 || c.MaxRules > 100_000:
		return fmt.Errorf("max-rules: %d is not from 1 to 100000", c.MaxRules)
	case c.connections().Databases == nil:
		return errors.New("rule-databases: want NAME=postgres://user:password@host/database, several separated by spaces")
	case c.TableDatabase != "" && !strings.HasPrefix(c.TableDatabase, "postgres://") && !strings.HasPrefix(c.TableDatabase, "postgresql://"):
		return errors.New("table-database: want a URL such as postgres://user:password@host/database")
	case c.TableDatabase != "" && c.Cluster != "":
		return errors.New("table-database: tables of readings have one writer, so that nodes cannot share them; leave it out, and each node has its own")
	case c.TableRetention < 0 || c.TableRetention > 0 && c.TableRetention < time.Second:
		return fmt.Errorf("table-retention: %v is neither 0 nor a second or more", c.TableRetention)
	case c.TableMaxBytes < 0:
		return fmt.Errorf("table-max-bytes: %d is negative", c.TableMaxBytes)
	case c.BackupEvery < time.Minute:
		return fmt.Errorf("backup-every: %v is less than a minute", c.BackupEvery)
	case c.BackupKeep < 0:
		return fmt.Errorf("backup-keep: %d is negative", c.BackupKeep)
	case c.PlainPolicy != "" && c.MQTTPlain == "":
		return fmt.Errorf("plain-policy: has no effect without mqtt-plain")
	}
	if _, err := session.ParseRates(c.Rates); err != nil {
		return fmt.Errorf("rates: %w", err)
	}
	if c.Cluster != "" {
		if err := cluster.CheckURLs(c.Cluster); err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
	}
	if c.Database != "" {
		if _, err := store.ParseURL(c.Database); err != nil {
			return fmt.Errorf("database: %w", err)
		}
	}
	for _, path := range c.hookCommands() {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("hook-commands: %q is not an absolute path", path)
		}
	}
	for name, addr := range map[string]string{"http": c.HTTP, "mqtt-plain": c.MQTTPlain} {
		if addr != "" && !c.AllowInsecure && !loopback(addr) {
			return fmt.Errorf("%s: %q is reachable from other machines without TLS; use 127.0.0.1, or say allow-insecure if the network protects it", name, addr)
		}
	}
	return nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// FromEnvironment takes what only the environment can say.
func (c *Config) FromEnvironment() {
	c.AdminKeyID = os.Getenv("BERTH_ADMIN_ACCESS_KEY_ID")
	c.AdminSecret = os.Getenv("BERTH_ADMIN_SECRET_ACCESS_KEY")
	c.CAPassphrase = os.Getenv("BERTH_CA_PASSPHRASE")
	c.BackupPassphrase = os.Getenv("BERTH_BACKUP_PASSPHRASE")
}

// hookCommands are the programs that provisioning templates and authorizers may name.
func (c *Config) hookCommands() []string {
	return strings.FieldsFunc(c.HookCommands, func(r rune) bool { return r == ',' })
}

// limits are the limits of the semantics with what was set by hand.
func (c *Config) limits() session.Limits {
	l := session.AWS()
	if c.Semantics == "mqtt" {
		l = session.Standard()
	}
	if c.SessionExpiry != 0 {
		l.MaxSessionExpiry = c.SessionExpiry
		l.SessionExpiry = c.SessionExpiry
	}
	if c.Inflight != 0 {
		l.Inflight = c.Inflight
	}
	if c.MaxKeepAlive != 0 {
		l.MaxKeepAlive = uint16(c.MaxKeepAlive / time.Second)
	}
	if c.MaxPayload != 0 {
		l.MaxPayload = c.MaxPayload
		l.MaxPacket = max(l.MaxPacket, c.MaxPayload+18<<10)
	}
	if c.MaxSubs != 0 {
		l.MaxSubscriptions = c.MaxSubs
	}
	l.MaxConnections = c.MaxConnections
	if c.MaxRetained != 0 {
		l.MaxRetained = c.MaxRetained
	}
	if c.RetainedBytes != 0 {
		l.MaxRetainedBytes = c.RetainedBytes
	}
	l.Rates, _ = session.ParseRates(c.Rates) // Check has read it
	return l
}

// connections is what rules may work with. The databases are nil if they cannot be read.
func (c *Config) connections() action.ConnectionConfig {
	out := action.ConnectionConfig{Databases: make(map[string]string), Files: c.RuleFiles}
	if out.Files == "" {
		out.Files = filepath.Join(c.Data, "rule-files")
	}
	for field := range strings.FieldsSeq(c.RuleDatabases) {
		name, url, ok := strings.Cut(field, "=")
		if !ok || name == "" || !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
			out.Databases = nil
			return out
		}
		out.Databases[name] = url
	}
	return out
}
