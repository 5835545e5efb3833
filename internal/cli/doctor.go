package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/doctor"
)

func doctorCommand() *cobra.Command {
	var t target
	var d doctor.Device
	var cert, key, cafile, clock string
	var offline bool
	cmd := &cobra.Command{
		Use:   "doctor [HOST[:PORT]]",
		Short: "Find out why a device does not connect",
		Long: `Goes a device's way to the server with the device's own files, step by step: files, clock,
name, port, TLS versions, chain, names, SNI, the certificate's state, thing and policies, then
MQTT itself. Each step says what it found and, where something is wrong, what to do.

Run where the berth is, in the environment of berth env, or with --aws, it asks the registry,
too; elsewhere it does without. Without HOST the endpoint of that server is examined.

MQTT is tried with the client identifier of the device, unless that is connected at the moment.
Nothing is published. The exit code is 0 if nothing is wrong and 1 if something is.`,
		Example: `  berth doctor --cert kettle-7.pem --key kettle-7.key
  berth doctor iot.example.com --cafile ca.pem --cert kettle-7.pem --key kettle-7.key -i kettle-7
  berth doctor --cert c.pem --key k.pem --publish kettle-7/state --subscribe kettle-7/+ --keepalive 10m
  berth doctor --cert c.pem --key k.pem --device-clock unset --no-sni
  berth doctor --aws a1b2c3-ats.iot.eu-west-1.amazonaws.com --cert c.pem --key k.pem`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if (cert == "") != (key == "") {
				return usagef("--cert and --key belong together")
			}
			now, err := deviceClock(clock)
			if err != nil {
				return err
			}
			d.Clock, d.Connect = now, !offline
			for file, b := range map[string]*[]byte{cert: &d.Certificate, key: &d.Key, cafile: &d.CA} {
				if file == "" {
					continue
				}
				if *b, err = os.ReadFile(file); err != nil {
					return err
				}
			}
			x := doctor.Doctor{Device: d, CAFile: cafile, Cert: cert, KeyF: key}
			if len(words) == 1 {
				x.Host = words[0]
			}
			if err := t.registryOf(cmd.Context(), &x); err != nil {
				return err
			}
			if x.ClientID == "" {
				x.ClientID = x.LikelyClientID(cmd.Context())
			}
			if !wantsJSON(cmd) {
				x.Found = func(f doctor.Finding) { printFinding(cmd, f) }
			}
			list := x.Examine(cmd.Context())
			worst := doctor.Worst(list)
			if wantsJSON(cmd) {
				if err := emit(cmd, map[string]any{"result": worst, "findings": list}, table{}); err != nil {
					return err
				}
			}
			if worst == doctor.Problem {
				return errors.New("the device cannot work like this")
			}
			return nil
		},
	}
	t.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&cert, "cert", "", "the device's certificate, PEM `FILE`")
	f.StringVar(&key, "key", "", "the device's private key, PEM `FILE`; it is not sent anywhere")
	f.StringVar(&cafile, "cafile", "", "what the device trusts, PEM `FILE` (default the server's own authority if it is known, else the system's)")
	f.StringVarP(&d.ClientID, "id", "i", "", "client identifier (default the thing's name)")
	f.StringVar(&d.Thing, "thing", "", "thing that the device is")
	f.StringArrayVar(&d.Publish, "publish", nil, "topic that it publishes to; repeatable")
	f.StringArrayVar(&d.Subscribe, "subscribe", nil, "topic filter that it subscribes to; repeatable")
	f.DurationVarP(&d.KeepAlive, "keepalive", "k", time.Minute, "keep alive of the device")
	f.StringVar(&d.ALPN, "alpn", "", "ALPN protocol that it offers (default x-amzn-mqtt-ca on port 443, else none)")
	f.StringVar(&d.ServerName, "server-name", "", "server name that it sends and checks (default HOST)")
	f.BoolVar(&d.WithoutSNI, "no-sni", false, "the device sends no server name")
	f.StringVar(&clock, "device-clock", "", "what its clock reads: an RFC 3339 time, or unset (default this machine's)")
	f.BoolVar(&offline, "no-connect", false, "do not try MQTT")
	f.DurationVar(&d.Timeout, "timeout", 10*time.Second, "how long each step may take")
	return cmd
}

// deviceClock is a clock that goes on from what it reads now.
func deviceClock(reads string) (func() time.Time, error) {
	if reads == "" {
		return time.Now, nil
	}
	at := time.Unix(0, 0)
	if reads != "unset" {
		var err error
		if at, err = time.Parse(time.RFC3339, reads); err != nil {
			return nil, usagef("--device-clock %q: want a time such as 2026-01-31T12:00:00Z, or unset", reads)
		}
	}
	began := time.Now()
	return func() time.Time { return at.Add(time.Since(began)) }, nil
}

// registryOf finds whose registry may be asked, and fills in what the server knows of itself. A host
// that is named can be examined without.
func (t *target) registryOf(ctx context.Context, x *doctor.Doctor) error {
	s, err := t.find(ctx)
	if err != nil {
		if x.Host != "" && !t.aws && !t.dataGiven() {
			return nil
		}
		return err
	}
	x.Cloud = registryView{s}
	own, err := s.endpoint(ctx)
	if err != nil {
		return err
	}
	if x.Host == "" {
		x.Host, x.Port = own, s.mqttPort
	}
	if host, _, _ := net.SplitHostPort(x.Host); x.Host == own || host == own {
		if x.CA == nil {
			x.CA, x.CAFile = s.caPEM, "the server's own authority"
		}
		if _, port, err := net.SplitHostPort(s.wss); err == nil {
			x.HTTPSPort, _ = strconv.Atoi(port)
		}
	}
	return nil
}

var findingSigns = map[doctor.Result]string{doctor.OK: "ok     ", doctor.Skipped: "-      ", doctor.Warning: "WARNING", doctor.Problem: "PROBLEM"}

func printFinding(cmd *cobra.Command, f doctor.Finding) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%s  %s: %s\n", findingSigns[f.Result], f.Check, f.Says)
	for line := range strings.SplitSeq(f.Fix, "\n") {
		if line != "" {
			fmt.Fprintf(w, "         → %s\n", line)
		}
	}
}
