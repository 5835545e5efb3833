package cli

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/cluster"
)

func clusterCommand() *cobra.Command {
	t := new(target)
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Show the nodes of a cluster",
		Long: `Show the nodes of a cluster as one of them sees it: what is left of their leases, how many
clients are connected to each and which one leads. It fails for a server that is alone.`,
		Example: "  berth cluster\n  berth cluster -o json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s cluster.Status
			if err := t.own(cmd.Context(), http.MethodGet, "/berth/cluster", nil, &s); err != nil {
				return fmt.Errorf("show the cluster: %w", err)
			}
			if len(s.Nodes) == 0 {
				return fmt.Errorf("show the cluster: this server is alone; a node is started with --cluster")
			}
			out := table{header: []string{"NODE", "LEASE", "CONNECTED", "CHANGE", ""}}
			for _, n := range s.Nodes {
				note := ""
				if n.Leader {
					note = "leads"
				}
				if n.Self && !s.NATSConnected {
					note += " without NATS"
				}
				out.rows = append(out.rows, []string{n.Name, (time.Duration(n.LeaseMS) * time.Millisecond).String(), strconv.Itoa(n.Connected),
					strconv.FormatInt(n.Applied, 10), note})
			}
			return emit(cmd, s, out)
		},
	}
	t.addFlags(cmd)
	return cmd
}
