package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/berth-iot/berth/internal/build"
)

func manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Write manual pages",
		Long: `Writes a manual page for every command, section 1, and prints how many. Packages do it; for a
binary alone:`,
		Example: `  berth man --dir ~/.local/share/man/man1
  man berth-thing-search`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			i := build.Read()
			made := time.Unix(0, 0)
			if t, err := time.Parse(time.RFC3339, i.Committed); err == nil {
				made = t // the same commit makes the same pages
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "berth " + i.Version, Manual: "berth", Date: &made}, dir); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			n := pages(root)
			return report(cmd, map[string]any{"dir": dir, "pages": n}, "%d pages in %s", n, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "man1", "folder to write to, made if it is not there")
	return cmd
}

func pages(cmd *cobra.Command) int {
	n := 1
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() {
			n += pages(c)
		}
	}
	return n
}
