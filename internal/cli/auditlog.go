package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// auditEntry is an entry of the audit log.
type auditEntry struct {
	ID        int64  `json:"id"`
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970
	User      string `json:"user"`
	Role      string `json:"role"`
	SourceIP  string `json:"sourceIp"`
	Operation string `json:"operation"`
	Method    string `json:"method"`
	Path      string `json:"path"`
	Status    int    `json:"status"`
	Request   string `json:"request,omitempty"`
	Before    string `json:"before,omitempty"`
	After     string `json:"after,omitempty"`
}

func auditLogCommand() *cobra.Command {
	var t target
	var max int
	var all bool
	var path string
	cmd := &cobra.Command{
		Use:   "audit-log",
		Short: "Who changed what: the server's audit log",
		Long: `Prints the latest changes, newest first: who, from where, which operation on what, and how it was
answered; those made in the console with the resource before and after. With -o json each is a line
of JSON, and --all gives everything that is kept, for an archive.`,
		Example: `  berth audit-log
  berth audit-log --path /policies/ -n 5
  berth audit-log --all -o json >> audit.ndjson`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if max < 1 {
				return usagef("--max %d: want 1 or more", max)
			}
			tab := table{header: []string{"TIME", "WHO", "FROM", "OPERATION", "WHAT", "STATUS"}}
			const page = 1000
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetEscapeHTML(false)
			for before, left := int64(0), max; all || left > 0; {
				want := page
				if !all {
					want = min(page, left)
				}
				q := url.Values{"max": {strconv.Itoa(want)}}
				if before > 0 {
					q.Set("before", strconv.FormatInt(before, 10))
				}
				if path != "" {
					q.Set("path", path)
				}
				var out struct {
					Entries []auditEntry `json:"entries"`
				}
				if err := t.own(cmd.Context(), "GET", "/berth/audit-log?"+q.Encode(), nil, &out); err != nil {
					return err
				}
				for _, e := range out.Entries {
					if wantsJSON(cmd) {
						if err := enc.Encode(e); err != nil {
							return err
						}
						continue
					}
					tab.add(time.UnixMilli(e.Timestamp).Local().Format(time.DateTime), e.User, e.SourceIP, e.Operation, e.Method+" "+e.Path, fmt.Sprint(e.Status))
				}
				left -= len(out.Entries)
				if len(out.Entries) < want || out.Entries[len(out.Entries)-1].ID <= 1 {
					break
				}
				before = out.Entries[len(out.Entries)-1].ID
			}
			if wantsJSON(cmd) {
				return nil
			}
			return emit(cmd, nil, tab)
		},
	}
	t.addFlags(cmd)
	cmd.Flags().IntVarP(&max, "max", "n", 20, "number of entries")
	cmd.Flags().BoolVar(&all, "all", false, "everything that is kept, the latest 100,000")
	cmd.Flags().StringVar(&path, "path", "", "only of resources whose path begins with this, such as /things/")
	return cmd
}
