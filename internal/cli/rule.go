package cli

import "github.com/spf13/cobra"

func ruleCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "rule",
		Short:   "Rules: what becomes of messages",
		Example: `  berth rule test --sql "SELECT temperature FROM 'dt/#' WHERE temperature > 30" --topic dt/1 --payload '{"temperature":31}'`,
	}, ruleTestCommand())
}
