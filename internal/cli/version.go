package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/build"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which berth this is",
		Long: `Prints version, commit, Go and system: what a report of a fault needs. With -o json the modules
that this berth is made of are listed, too.`,
		Example: `  berth version
  berth version -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			i := build.Read()
			t := table{}
			t.add("version", i.Version)
			if i.Commit != "" {
				commit := i.Commit + " of " + i.Committed
				if i.Modified {
					commit += ", with changes"
				}
				t.add("commit", commit)
			}
			t.add("go", i.Go)
			t.add("system", fmt.Sprintf("%s, %d CPUs", i.System, i.CPUs))
			if len(i.Settings) > 0 {
				t.add("build", strings.Join(i.Settings, " "))
			}
			for _, m := range i.Modules {
				if m.Path == "modernc.org/sqlite" || m.Path == "github.com/jackc/pgx/v5" {
					t.add(m.Path, m.Version)
				}
			}
			return emit(cmd, i, t)
		},
	}
}
