package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store"
)

// migrateView is what `berth migrate` prints.
type migrateView struct {
	From   string             `json:"from"`
	To     string             `json:"to"`
	Rows   int64              `json:"rows"`
	Tables []migrateTableView `json:"tables"`
}

type migrateTableView struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"`
}

func migrateCommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Copy a berth's state between SQLite and PostgreSQL",
		Long: `Copy a berth's state from a data directory into PostgreSQL, or back. The target must be
empty; what was written is read again and compared. No server may use either.

Only the database is copied: certificate authority, keys and uploaded files stay in the data
directory, which ` + "`berth serve --data DIR --database URL`" + ` goes on using, and so do tables of readings.
A password can be left out of the URL, for PGPASSWORD or ~/.pgpass.`,
		Example: `  berth migrate --from berth-data --to postgres://berth@db.example.com/berth
  berth migrate --from postgres://berth@db.example.com/berth --to berth-data`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := migrateView{Tables: []migrateTableView{}}
			var err error
			if out.From, err = place("--from", from); err != nil {
				return err
			}
			if out.To, err = place("--to", to); err != nil {
				return err
			}
			for _, dir := range []string{from, to} {
				if err := unused(cmd.Context(), dir); err != nil {
					return err
				}
			}
			list, err := store.Copy(cmd.Context(), from, to, func(t store.CopiedTable) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d rows\n", t.Name, t.Rows)
			})
			if err != nil {
				return err
			}
			tab := table{header: []string{"TABLE", "ROWS", "SHA-256"}}
			for _, t := range list {
				out.Rows += t.Rows
				out.Tables = append(out.Tables, migrateTableView{t.Name, t.Rows, t.Digest})
				tab.add(t.Name, strconv.FormatInt(t.Rows, 10), t.Digest[:16])
			}
			tab.add("total", strconv.FormatInt(out.Rows, 10), "read again and compared")
			return emit(cmd, out, tab)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`PLACE` to read: a data directory, or postgres://user@host/database")
	cmd.Flags().StringVar(&to, "to", "", "empty `PLACE` to write: a data directory, or postgres://user@host/database")
	return cmd
}

// place checks a place and returns it without password.
func place(flag, text string) (string, error) {
	if text == "" {
		return "", usagef("%s: name a data directory or a URL of PostgreSQL", flag)
	}
	if !strings.Contains(text, "://") {
		return text, nil
	}
	shown, err := store.ParseURL(text)
	if err != nil {
		return "", usagef("%s: %w", flag, err)
	}
	return shown, nil
}

// unused refuses a data directory whose server answers.
func unused(ctx context.Context, dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "endpoint.json"))
	var there server.Ready
	if err != nil || json.Unmarshal(b, &there) != nil || there.HTTPPort == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", there.HTTPPort), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return errors.New("a server runs on " + dir + ": stop it first")
	}
	return nil
}
