package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// table is a result for people: a header and rows of as many cells.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		if len(row) == 0 {
			continue
		}
		if last := len(row) - 1; row[last] == "" { // no blanks at the end of a line
			row = row[:last]
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

func wantsJSON(cmd *cobra.Command) bool {
	form, _ := cmd.Flags().GetString("output")
	return form == "json"
}

// emit prints a result: v as JSON, or t.
func emit(cmd *cobra.Command, v any, t table) error {
	if !wantsJSON(cmd) {
		return t.write(cmd.OutOrStdout())
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// report prints one line about something done, or v as JSON.
func report(cmd *cobra.Command, v any, format string, args ...any) error {
	return emit(cmd, v, table{header: []string{fmt.Sprintf(format, args...)}})
}

func timestamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional is nil for an empty string, as AWS's requests want it.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// input reads a file, or standard input for "-".
func input(cmd *cobra.Command, path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	return os.ReadFile(path)
}
