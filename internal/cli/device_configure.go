package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/device/linux/ble"
	"github.com/berth-iot/berth/device/spake2plus"
	"github.com/berth-iot/berth/esp/serial/hostport"
	"github.com/berth-iot/berth/internal/gateway"
)

type deviceConfigureOptions struct {
	ble, adapter      string
	serial, http, tcp string
	list              bool
	code, codeFile    string
	config            string
	values            deviceValues
	timeout           time.Duration
}

// anyDevice is what --ble without a name stands for.
const anyDevice = "*"

func deviceConfigureCommand() *cobra.Command {
	o := new(deviceConfigureOptions)
	cmd := &cobra.Command{
		Use:   "configure (--ble[=NAME] | --serial PORT | --http URL | --tcp ADDRESS) --code CODE",
		Short: "Tell a device nearby its network, endpoint and certificate",
		Long: `Prove the code on a device's label to it, send it a configuration, and follow it until it is
connected. The device has to be in Configuration mode.

The proof is a password-authenticated key exchange, and everything after it is encrypted: who listens
learns neither the code nor the Wi-Fi password. After three wrong codes the device makes everybody
wait, ever longer.

The configuration comes from flags, or from a YAML or JSON file in which the values of ca,
certificate and key are file names or PEM. Flags come before the file. What is not given is not
changed.`,
		Example: `  berth device configure --ble --list
  berth device configure --ble=lamp --code 1234-5678 --wifi-ssid home --wifi-password-file wifi.txt \
    --endpoint iot.example.com:8883 --ca ca.pem --thing lamp --certificate lamp.cert.pem --key lamp.private.key
  berth device configure --serial /dev/ttyUSB0 --code 1234-5678 --config lamp.yaml

  # lamp.yaml
  wifi: {ssid: home, password-file: wifi.txt}
  endpoint: iot.example.com:8883
  ca: ca.pem
  claim: {certificate: claim.cert.pem, key: claim.private.key}
  template: {name: fleet, parameters: {Serial: lamp-1}}
  application: {color: green}`,
		Args: args(cobra.NoArgs),
		RunE: o.run,
	}
	f := cmd.Flags()
	f.StringVar(&o.ble, "ble", "", "over Bluetooth, the device with this `NAME` or address; without a name the first one")
	f.Lookup("ble").NoOptDefVal = anyDevice
	f.StringVar(&o.adapter, "adapter", "hci0", "Bluetooth adapter")
	f.StringVar(&o.serial, "serial", "", "over the serial `PORT`, auto for the only one with a board")
	f.StringVar(&o.http, "http", "", "over the device's page at this `URL` or address")
	f.StringVar(&o.tcp, "tcp", "", "over TCP to this `ADDRESS`, for devices without Bluetooth on the same machine")
	f.BoolVar(&o.list, "list", false, "with --ble: only list the devices nearby that wait for a configuration")
	f.StringVar(&o.code, "code", "", "`CODE` on the device's label")
	f.StringVar(&o.codeFile, "code-file", "", "`FILE` with the code, - for standard input")
	f.StringVar(&o.config, "config", "", "YAML or JSON `FILE` with the configuration")
	f.DurationVar(&o.timeout, "timeout", 3*time.Minute, "how long all of it may take")
	o.values.addFlags(cmd)
	return cmd
}

func (o *deviceConfigureOptions) run(cmd *cobra.Command, _ []string) error {
	ways := 0
	for _, way := range []string{o.ble, o.serial, o.http, o.tcp} {
		if way != "" {
			ways++
		}
	}
	if ways != 1 {
		return usagef("give one of --ble, --serial, --http and --tcp")
	}
	if o.list {
		if o.ble == "" {
			return usagef("--list needs --ble")
		}
		return o.runList(cmd)
	}
	code, err := o.readCode(cmd)
	if err != nil {
		return err
	}
	document, err := o.values.document(cmd, o.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	transport, end, err := o.transport(ctx)
	if err != nil {
		return err
	}
	defer end()
	last, err := configuration.Configure(ctx, transport, code, document, func(p configuration.Progress) {
		line := p.State.String()
		if p.Reason != "" {
			line += ": " + p.Reason
		}
		fmt.Fprintln(cmd.ErrOrStderr(), line)
	})
	if err != nil {
		return o.explain(ctx, err)
	}
	return report(cmd, struct {
		State string `json:"state"`
		Thing string `json:"thing,omitempty"`
	}{last.State.String(), last.Thing}, "connected as %s", last.Thing)
}

func (o *deviceConfigureOptions) explain(ctx context.Context, err error) error {
	err = fmt.Errorf("configure device: %w", err)
	switch {
	case errors.Is(err, configuration.ErrCode):
		return hinted(err, "the code is on the device's label; after three wrong ones it makes everybody wait")
	case errors.Is(err, configuration.ErrClosed):
		return hinted(err, "bring the device to Configuration mode, with its button for example")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return hinted(err, "give it more time with --timeout, or look at the device's own log")
	}
	return err
}

func (o *deviceConfigureOptions) readCode(cmd *cobra.Command) (string, error) {
	switch {
	case o.code != "" && o.codeFile != "":
		return "", usagef("give one of --code and --code-file")
	case o.codeFile != "":
		b, err := input(cmd, o.codeFile)
		if err != nil {
			return "", fmt.Errorf("read the code: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	case o.code == "":
		return "", usagef("--code is missing")
	}
	return o.code, nil
}

// transport opens the way to the device. end closes it.
func (o *deviceConfigureOptions) transport(ctx context.Context) (t configuration.Transport, end func(), err error) {
	switch {
	case o.serial != "":
		port, _, err := hostport.Open(ctx, o.serial)
		if err != nil {
			return nil, nil, err
		}
		lines := configuration.NewLines(port)
		return lines, func() { _ = lines.Close() }, nil
	case o.http != "":
		url := o.http
		if !strings.Contains(url, "://") {
			url = "http://" + url
		}
		return &linux.PageTransport{URL: url}, func() {}, nil
	}
	dial := func(ctx context.Context) (configuration.Conn, error) {
		return linux.DialConfigurationTCP(ctx, o.tcp, 0)
	}
	if o.ble != "" {
		name := strings.TrimPrefix(o.ble, anyDevice)
		dial = func(ctx context.Context) (configuration.Conn, error) { return ble.Dial(ctx, o.adapter, name) }
	}
	// The first connection is made here, so that what is wrong is known at once.
	first, err := dial(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("configure device: %w", err)
	}
	central := configuration.NewCentral(func(ctx context.Context) (configuration.Conn, error) {
		if c := first; c != nil {
			first = nil
			return c, nil
		}
		return dial(ctx)
	})
	return central, func() { _ = central.Close() }, nil
}

// scanTime is how long --list listens.
const scanTime = 10 * time.Second

func (o *deviceConfigureOptions) runList(cmd *cobra.Command) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), min(scanTime, o.timeout))
	defer cancel()
	type row struct {
		Name    string `json:"name"`
		Address string `json:"address"`
		RSSI    int    `json:"rssi"`
	}
	found := []row{}
	t := table{header: []string{"NAME", "ADDRESS", "RSSI"}}
	seen := make(map[string]bool)
	err := ble.Scan(ctx, o.adapter, func(f ble.Found) bool {
		if !seen[f.Address] {
			seen[f.Address] = true
			found = append(found, row{f.Name, f.Address, f.RSSI})
			t.add(f.Name, f.Address, fmt.Sprint(f.RSSI, " dBm"))
		}
		return false
	})
	if err != nil {
		return err
	}
	return emit(cmd, found, t)
}

func deviceCodeCommand() *cobra.Command {
	var code string
	var iterations int
	cmd := &cobra.Command{
		Use:   "code [--code CODE]",
		Short: "Make the code of a device's label, and what the device holds to check it",
		Long: `Make a random code of ten digits for a device's label, and its registration for the device: with the
registration, the code is not in the device. It can still be tried out against codes by whoever reads
it, so it is kept like a private key.`,
		Example: `  berth device code
  berth device code --code 1234-5678 -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if code == "" {
				code = configuration.NewCode()
			}
			if len(strings.NewReplacer(" ", "", "-", "").Replace(code)) < gateway.MinCode {
				return usagef("--code: want at least %d characters", gateway.MinCode)
			}
			if iterations < spake2plus.MinIterations || iterations > spake2plus.MaxIterations {
				return usagef("--iterations %d: want %d to %d", iterations, spake2plus.MinIterations, spake2plus.MaxIterations)
			}
			r, err := configuration.Register(code, iterations)
			if err != nil {
				return err
			}
			return emit(cmd, struct {
				Code         string `json:"code"`
				Registration string `json:"registration"`
			}{code, r.String()}, table{rows: [][]string{{"code", code}, {"registration", r.String()}}})
		},
	}
	cmd.Flags().StringVar(&code, "code", "", "`CODE`; without it a random one")
	cmd.Flags().IntVar(&iterations, "iterations", spake2plus.DefaultIterations, "iterations of PBKDF2")
	return cmd
}

// namedFile reads a file that a configuration names.
func namedFile(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return b, nil
}
