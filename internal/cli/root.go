// Package cli is the command line: one file per command, each with a constructor, and New, which
// puts them together.
//
// Results go to standard output, as a table or, with -o json, as JSON; everything else goes to
// standard error. A failure is one line that begins with "berth:" and, where something can be
// done about it, a line with a hint.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// New returns the whole command tree.
func New() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "berth",
		Short: "Your own AWS IoT Core for ESP32 fleets",
		Long: `berth is your own AWS IoT Core for ESP32 fleets: the cloud side, the factory bench and the
device side in one program.`,
	})
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentFlags().StringP("output", "o", "table", "form of the result: table or json")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if form, _ := cmd.Flags().GetString("output"); form != "table" && form != "json" {
			return usagef("--output %q: want table or json", form)
		}
		return nil
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		serveCommand(),
		envCommand(),
		migrateCommand(),
		importCommand(),
		exportCommand(),
		backupCommand(),
		restoreCommand(),
		healthCommand(),
		demoCommand(),
		applyCommand(),
		explainCommand(),
		doctorCommand(),
		imageCommand(),
		flashCommand(),
		stationCommand(),
		thingCommand(),
		certCommand(),
		policyCommand(),
		ruleCommand(),
		jobCommand(),
		commandCommand(),
		auditCommand(),
		auditLogCommand(),
		clusterCommand(),
		fileCommand(),
		tableCommand(),
		signerCommand(),
		otaCommand(),
		templateCommand(),
		caCommand(),
		authorizerCommand(),
		userCommand(),
		domainCommand(),
		roleAliasCommand(),
		keyCommand(),
		pubCommand(),
		subCommand(),
		deviceCommand(),
		simulateCommand(),
		benchCommand(),
		virtualESP32Command(),
		manCommand(),
		versionCommand(),
	)
	return root
}

// Run runs the command that args name and returns its exit code: 0 done, 1 failed, 2 bad usage.
// An interrupt ends the command's context.
func Run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := New()
	root.SetArgs(args)
	stdout = onTerminal(stdout)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	stderr = onTerminal(stderr) // an error may quote what a device is called
	fmt.Fprintf(stderr, "berth: %v\n", err)
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "hint: %s --help shows how it is used\n", cmd.CommandPath())
		return exitUsage
	}
	if h := hint(err); h != "" {
		fmt.Fprintf(stderr, "hint: %s\n", h)
	}
	if coded := (*exitError)(nil); errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

// exitError is a failure with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// args makes what a validator of positional arguments refuses bad usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// group makes cmd a command that only holds others: alone it shows its help, with a word that is
// none of them it is bad usage.
func group(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += fmt.Sprintf("; did you mean %q?", near[0])
		}
		return usagef("%s", text)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(subs...)
	return cmd
}
