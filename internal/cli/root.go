package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// New returns the command tree.
func New() *cobra.Command {
	root := &cobra.Command{Use: "berth", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(serveCommand(), envCommand())
	return root
}

// Run runs one command line.
func Run(args []string, stdout, stderr io.Writer) int {
	root := New()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.Execute(); err != nil {
		fmt.Fprintln(stderr, "berth:", err)
		return 1
	}
	return 0
}
