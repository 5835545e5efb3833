package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/gateway"
)

func deviceCommand() *cobra.Command {
	return group(&cobra.Command{Use: "device", Short: "Be a device, or configure one",
		Example: `  berth device run --config device.yaml
  berth device configure --ble --code 1234-5678 --config lamp.yaml`}, deviceRunCommand(), deviceBootCommand(), deviceConfigureCommand(), deviceCodeCommand())
}

func deviceRunCommand() *cobra.Command {
	var path string
	var check bool
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Run this machine as a device, a gateway for example",
		Long: `Connect as a device and keep connected: telemetry comes from commands or from lines of standard
input, the shadow, messages and jobs go to commands or files, as the YAML file says. Messages wait
in the folder data of the file while there is no connection, over restarts too.

It ends when it is interrupted, or when standard input ends and there is nothing else to do. Under
systemd, Type=notify and Restart=on-failure fit: it tells when it is connected, and ends with exit
code 1 when a job wants a restart. With a section ota it takes updates of its own program:
"berth device boot" starts it then, and rolls back what fails.`,
		Example: `  berth device run --config device.yaml
  vmstat -n 10 | berth device run --config lines.yaml

  # device.yaml
  endpoint: iot.example.com:8883
  ca: ca.pem
  thing: lamp
  certificate: lamp.cert.pem
  key: lamp.private.key
  telemetry:
    - topic: lamp/load
      command: [cat, /proc/loadavg]
      every: 30s
  shadow:
    desired-command: [./apply-settings]
  # or, to be told the rest by berth device configure:
  configuration: {code: 1234-5678, ble: true}`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usagef("--config is missing")
			}
			cfg, err := gateway.Load(path)
			if err != nil {
				return &usageError{err}
			}
			if check {
				return report(cmd, map[string]bool{"valid": true}, "%s is valid", path)
			}
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetEscapeHTML(false)
			err = gateway.Run(cmd.Context(), cfg, cmd.InOrStdin(), func(e gateway.Event) {
				if e.Event == "restored" {
					notify("READY=1")
				}
				if wantsJSON(cmd) {
					_ = out.Encode(e)
					return
				}
				line := e.Event
				for _, part := range []string{e.Thing, e.Address, e.Error} {
					if part != "" {
						line += ": " + part
					}
				}
				if e.Wait != "" {
					line += "; next attempt in " + e.Wait
				}
				fmt.Fprintln(cmd.OutOrStdout(), line)
			})
			notify("STOPPING=1")
			if errors.Is(err, gateway.ErrRestart) {
				if os.Getenv(bootVariable) != "" {
					return &exitError{restartCode, fmt.Errorf("device: %w", err)}
				}
				return fmt.Errorf("device: %w", err)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "config", "", "YAML `FILE`")
	f.BoolVar(&check, "check", false, "only check the file")
	return cmd
}

// notify tells systemd about the service's state (sd_notify(3)). Nobody listening is no error.
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.Dial("unixgram", name)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}
