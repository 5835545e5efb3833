package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/device/linux"
)

// restartCode is the exit code by which a program asks `berth device boot` to be started again.
const restartCode = 75 // EX_TEMPFAIL of sysexits

// bootVariable tells a program that somebody starts it again.
const bootVariable = "BERTH_DEVICE_BOOT"

func deviceBootCommand() *cobra.Command {
	var slots string
	cmd := &cobra.Command{
		Use:   "boot --slots DIR -- ARGUMENTS",
		Short: "Start the program in the active slot, and roll an update back that fails",
		Long: `Start the program that updates over the air are installed for, with the given arguments, from the
folder that the section ota of its configuration names. The first time this program itself is
copied there. What a boot loader does on a chip it does on this machine: an update is started on
trial; if it ends before it has confirmed itself, the program from before is started.

It ends with the program's exit code. Under systemd let this be ExecStart, with NotifyAccess=all.`,
		Example: `  berth device boot --slots /var/lib/lamp/slots -- device run --config /etc/lamp.yaml

  # in lamp.yaml
  ota: {slots: /var/lib/lamp/slots, public-key: signing.pub.pem, self-test: [./check]}`,
		Args: args(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if slots == "" {
				return usagef("--slots is missing")
			}
			return boot(cmd, slots, args)
		},
	}
	cmd.Flags().StringVar(&slots, "slots", "", "folder of the two images")
	return cmd
}

func boot(cmd *cobra.Command, dir string, args []string) error {
	// Interrupts reach the program too, as members of one process group: it decides when to end.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	for {
		slots, err := linux.OpenSlots(dir, 0)
		if err != nil {
			return err
		}
		program, err := slots.Boot()
		if err != nil {
			return err
		}
		if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
			if err := installSelf(program); err != nil {
				return err
			}
		}
		_, trial := slots.Running()
		child := exec.Command(program, args...)
		child.Stdin, child.Stdout, child.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		child.Env = append(os.Environ(), bootVariable+"=1")
		ended := make(chan error, 1)
		if err := child.Start(); err != nil {
			ended <- err
		} else {
			go func() { ended <- child.Wait() }()
		}
		stopped := false
		for waiting := true; waiting; {
			select {
			case err = <-ended:
				waiting = false
			case s := <-signals:
				stopped = true
				_ = child.Process.Signal(s) // it may have ended
			}
		}
		var exit *exec.ExitError
		switch errors.As(err, &exit); {
		case stopped, err == nil:
			return err
		case exit != nil && exit.ExitCode() == restartCode:
			fmt.Fprintln(cmd.ErrOrStderr(), "berth: restart")
		case trial:
			// Its end counts as a failure, unless it has confirmed itself before.
			fmt.Fprintf(cmd.ErrOrStderr(), "berth: the update has ended on trial: %v\n", err)
		default:
			return fmt.Errorf("%s: %w", program, err)
		}
	}
}

// installSelf copies this program into a slot. It is there whole or not at all.
func installSelf(path string) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(own)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(path), "install-*")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name())
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Chmod(0o700), to.Sync(), to.Close()); err != nil {
		return fmt.Errorf("install %s: %w", path, err)
	}
	return os.Rename(to.Name(), path)
}
