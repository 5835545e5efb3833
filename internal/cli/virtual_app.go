package cli

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/internal/firmware"
)

func virtualAppCommand() *cobra.Command {
	var target, key string
	var d appimage.Description
	var p firmware.Program
	cmd := &cobra.Command{
		Use:   "app OUT",
		Short: "Make an application for virtual chips",
		Long: `Make an application image in Espressif's format that runs on virtual chips: to be flashed into an
application partition, or to be rolled out as an update. --self-test-fails and --crash make updates
that are rolled back. It has no code for a real chip.`,
		Example: `  berth virtual-esp32 app --version 1.0.0 app.bin
  berth virtual-esp32 app --version 1.1.0 --self-test-fails "the sensor does not answer" bad.bin`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, arg []string) error {
			c, ok := chip.ByTarget(target)
			if !ok {
				return usagef("--chip %q: want one of %s", target, strings.Join(chipTargets(), ", "))
			}
			if key != "" {
				b, err := os.ReadFile(key)
				if err != nil {
					return err
				}
				p.SigningKey = string(b)
			}
			b, err := firmware.Build(c, d, p)
			if err != nil {
				return &usageError{err}
			}
			if err := os.WriteFile(arg[0], b, 0o644); err != nil {
				return err
			}
			return report(cmd, map[string]any{"file": arg[0], "bytes": len(b), "chip": c.Name, "project": d.ProjectName, "version": d.Version},
				"%s: %d bytes, %s, %s %s", arg[0], len(b), c.Name, d.ProjectName, d.Version)
		},
	}
	f := cmd.Flags()
	f.StringVar(&target, "chip", "esp32c3", "kind of chip")
	f.StringVar(&d.ProjectName, "project", "virtual", "name of the project; updates are taken from the same project only")
	f.StringVar(&d.Version, "version", "1.0.0", "version")
	f.Uint32Var(&d.SecureVersion, "secure-version", 0, "version for anti-rollback")
	f.StringVar(&key, "signing-key", "", "public key that updates of this application have to be signed with, PEM `FILE` (default they may be unsigned)")
	f.StringVar(&p.SelfTest, "self-test-fails", "", "fail the self-test after an update, for this `REASON`")
	f.BoolVar(&p.Crash, "crash", false, "crash at every start")
	f.StringVar(&p.Telemetry, "telemetry", "", "publish a temperature to this `TOPIC` every second; {thing} is the thing's name")
	return cmd
}
