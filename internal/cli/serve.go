package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/server"
)

func serveCommand() *cobra.Command {
	var cfg server.Config
	flags, load := serverFlags(&cfg)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the platform: MQTT broker, registry, policies and the AWS IoT API",
		Long: `Run the platform. On an empty directory it makes a certificate authority, a server
certificate, an admin access key and a password for the console, in files that only you can read.

Every flag can also be an environment variable (--mqtt-plain is BERTH_MQTT_PLAIN) or a
key of the YAML file named by --config. Flags beat the environment, which beats the file.

BERTH_ADMIN_ACCESS_KEY_ID and BERTH_ADMIN_SECRET_ACCESS_KEY choose the admin key,
BERTH_CA_PASSPHRASE encrypts the key of the certificate authority.`,
		Example: `  berth serve
  berth serve --data /var/lib/berth --endpoint iot.example.com
  berth serve --semantics mqtt --mqtt-plain 127.0.0.1:1883 --plain-policy lab`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(); err != nil {
				return &usageError{err}
			}
			if err := cfg.Check(); err != nil {
				return &usageError{err}
			}
			log, err := newLogger(cmd.ErrOrStderr(), cfg.LogFormat, cfg.LogLevel)
			if err != nil {
				return err
			}
			return server.Run(cmd.Context(), cfg, log, func(r server.Ready) { welcome(cmd.OutOrStdout(), cfg, r) })
		},
	}
	cmd.Flags().AddFlagSet(flags)
	return cmd
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log-level: %w", err)
	}
	opts := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// welcome says where the server is and what to type next.
func welcome(w io.Writer, cfg server.Config, r server.Ready) {
	data := cfg.Data
	if strings.ContainsAny(data, " '\"$&;()") {
		data = "'" + strings.ReplaceAll(data, "'", `'\''`) + "'"
	}
	flag := ""
	if cfg.Data != server.Defaults().Data {
		flag = " --data " + data
	}
	fmt.Fprintf(w, `berth is ready
  MQTT       %s:%d   mutual TLS; clients trust %s/ca.pem
  HTTPS      https://%s:%d   REST, publish, MQTT over WebSocket at /mqtt
`, r.Endpoint, r.MQTTPort, cfg.Data, r.Endpoint, r.HTTPSPort)
	if r.HTTPPort != 0 {
		fmt.Fprintf(w, "  HTTP       http://127.0.0.1:%d   this machine only; /metrics /healthz /readyz\n", r.HTTPPort)
	}
	if r.PlainPort != 0 {
		fmt.Fprintf(w, "  MQTT       port %d   without TLS; the policy %q decides\n", r.PlainPort, cfg.PlainPolicy)
	}
	fmt.Fprintf(w, `  admin key  %s/admin-credentials
  console    %s   the password is in %s/console-password

With the AWS CLI:
  eval "$(berth env%s)"
  aws iot create-thing --thing-name my-first-thing
`, cfg.Data, consoleAddress(r), cfg.Data, flag)
}

// consoleAddress is where a browser on this machine finds the console: over plain HTTP if it can, for
// it does not know the certificate authority.
func consoleAddress(r server.Ready) string {
	if r.HTTPPort != 0 {
		return fmt.Sprintf("http://127.0.0.1:%d/", r.HTTPPort)
	}
	return fmt.Sprintf("https://%s:%d/", r.Endpoint, r.HTTPSPort)
}
