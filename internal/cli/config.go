package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"

	"github.com/berth-iot/berth/internal/server"
)

// serverFlags are the settings of the server as flags. load, to be called after parsing, completes
// cfg: flags beat the environment, which beats the file, which beats the defaults.
func serverFlags(cfg *server.Config) (f *pflag.FlagSet, load func() error) {
	f = pflag.NewFlagSet("server", pflag.ContinueOnError)
	*cfg = server.Defaults()
	f.StringVar(&cfg.Data, "data", cfg.Data, "directory of the database, the certificate authority and the keys")
	f.StringVar(&cfg.Database, "database", cfg.Database, "keep the state in PostgreSQL instead of the data directory: a URL such as postgres://user:password@host/berth")
	f.StringVar(&cfg.Cluster, "cluster", cfg.Cluster, "be a node of a cluster: URLs of NATS servers such as nats://host:4222, between commas; needs --database")
	f.StringVar(&cfg.Node, "node", cfg.Node, "name of this node in the cluster, the same after a restart (default the host's name and --data)")
	f.DurationVar(&cfg.ClusterLease, "cluster-lease", cfg.ClusterLease, "how long a node may be out of reach of the database before the others take over (default 10s)")
	f.StringVar(&cfg.MQTT, "mqtt", cfg.MQTT, "address of MQTT over mutual TLS")
	f.StringVar(&cfg.HTTPS, "https", cfg.HTTPS, "address of HTTPS: REST, publish, WebSocket")
	f.StringVar(&cfg.HTTP, "http", cfg.HTTP, "address of plain HTTP with /metrics, for this machine; empty for none")
	f.StringVar(&cfg.Endpoint, "endpoint", cfg.Endpoint, "host name or address that devices use; it goes into certificates and DescribeEndpoint")
	f.StringVar(&cfg.Region, "region", cfg.Region, "region in ARNs and signatures")
	f.StringVar(&cfg.Account, "account", cfg.Account, "account number in ARNs, 12 digits")
	f.StringVar(&cfg.Semantics, "semantics", cfg.Semantics, "aws: the limits and rules of AWS IoT; mqtt: those of the MQTT standard")
	f.StringVar(&cfg.MQTTPlain, "mqtt-plain", cfg.MQTTPlain, "address of MQTT without TLS, such as 127.0.0.1:1883; empty for none")
	f.StringVar(&cfg.PlainPolicy, "plain-policy", cfg.PlainPolicy, "policy that says what clients of --mqtt-plain may do; until it exists they may do nothing")
	f.BoolVar(&cfg.AllowInsecure, "allow-insecure", cfg.AllowInsecure, "let listeners without TLS be reached from other machines")
	f.DurationVar(&cfg.SessionExpiry, "session-expiry", cfg.SessionExpiry, "longest life of a persistent session without connection; 0 for that of the semantics (aws: 1h)")
	f.IntVar(&cfg.Inflight, "inflight", cfg.Inflight, "unacknowledged QoS 1 messages in each direction; 0 for that of the semantics (aws: 100, mqtt: 1000)")
	f.DurationVar(&cfg.MaxKeepAlive, "max-keep-alive", cfg.MaxKeepAlive, "longest keep-alive, which also replaces 0; 0 for that of the semantics (aws: 20m)")
	f.IntVar(&cfg.MaxPayload, "max-payload", cfg.MaxPayload, "largest payload in bytes; 0 for that of the semantics (aws: 131072)")
	f.IntVar(&cfg.MaxSubs, "max-subscriptions", cfg.MaxSubs, "subscriptions of one session; 0 for that of the semantics (aws: 50)")
	f.IntVar(&cfg.MaxConnections, "max-connections", cfg.MaxConnections, "clients connected at a time; 0 for as many as files may be open")
	f.IntVar(&cfg.MaxRetained, "max-retained", cfg.MaxRetained, "retained messages; 0 for that of the semantics (aws: 500000, mqtt: 5000000)")
	f.Int64Var(&cfg.RetainedBytes, "max-retained-bytes", cfg.RetainedBytes, "bytes of the topics and payloads of retained messages; 0 for 1 GiB")
	f.IntVar(&cfg.MaxRules, "max-rules", cfg.MaxRules, "topic rules; 0 for 1000, as with AWS")
	f.StringVar(&cfg.Rates, "rates", cfg.Rates, "how much a second clients may do: none, aws, or numbers such as publish=200,connect=50")
	f.IntVar(&cfg.Handshakes, "handshakes", cfg.Handshakes, "TLS handshakes that compute at a time; 0 for three quarters of the processors")
	f.StringVar(&cfg.HookCommands, "hook-commands", cfg.HookCommands, "programs that provisioning templates and authorizers may call (exec:PATH): absolute paths, separated by commas")
	f.StringVar(&cfg.RuleFiles, "rule-files", cfg.RuleFiles, "folder of the rule action file; empty for rule-files in the data directory")
	f.StringVar(&cfg.RuleDatabases, "rule-databases", cfg.RuleDatabases, "databases that the rule action postgres may name: NAME=postgres://user:password@host/database, separated by spaces")
	f.StringVar(&cfg.TableDatabase, "table-database", cfg.TableDatabase, "keep tables of readings in PostgreSQL: a URL such as postgres://user:password@host/database")
	f.DurationVar(&cfg.TableRetention, "table-retention", cfg.TableRetention, "age at which readings in tables are removed, unless a table has its own; 0 for never")
	f.Int64Var(&cfg.TableMaxBytes, "table-max-bytes", cfg.TableMaxBytes, "size of a table in bytes beyond which its oldest readings are removed; 0 for no limit")
	f.StringVar(&cfg.BackupDir, "backup-dir", cfg.BackupDir, "make backups in this folder; empty for none")
	f.DurationVar(&cfg.BackupEvery, "backup-every", cfg.BackupEvery, "time from one backup to the next")
	f.IntVar(&cfg.BackupKeep, "backup-keep", cfg.BackupKeep, "backups that remain in the folder; 0 for all")
	f.StringVar(&cfg.BackupSecret, "backup-passphrase-file", cfg.BackupSecret, "file whose first line encrypts backups; empty for the one in BERTH_BACKUP_PASSPHRASE, or none")
	f.StringVar(&cfg.LogFormat, "log-format", cfg.LogFormat, "text or json")
	f.StringVar(&cfg.LogLevel, "log-level", cfg.LogLevel, "debug, info, warn or error")
	file := f.String("config", "", "YAML file with the names of these flags as keys")
	return f, func() error { return loadConfig(f, cfg, *file) }
}

// environment is the name of a flag's variable.
func environment(flag string) string {
	return "BERTH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func loadConfig(f *pflag.FlagSet, cfg *server.Config, path string) error {
	given := make(map[*pflag.Flag]string)
	f.VisitAll(func(fl *pflag.Flag) { // Visit knows nothing of flags that were parsed as those of a command
		if fl.Changed {
			given[fl] = fl.Value.String()
		}
	})
	if path == "" {
		path = os.Getenv(environment("config"))
	}
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("config: %w", err)
		}
		*cfg = server.Defaults()
		dec := yaml.NewDecoder(bytes.NewReader(b))
		dec.KnownFields(true)
		if err := dec.Decode(cfg); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("config %s: %w", path, err)
		}
	}
	cfg.FromEnvironment()
	var errs []error
	f.VisitAll(func(fl *pflag.Flag) {
		if fl.Name == "config" {
			return
		}
		value, ok := given[fl]
		if !ok {
			if value, ok = os.LookupEnv(environment(fl.Name)); !ok {
				return
			}
		}
		if err := fl.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", environment(fl.Name), err))
		}
	})
	return errors.Join(errs...)
}
