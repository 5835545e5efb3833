package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	readings "github.com/berth-iot/berth/internal/table"
)

// putRows and putBytes bound one request.
const (
	putRows  = 5000
	putBytes = 3 << 20
)

func tablePutCommand(t *target) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "put TABLE [FILE]",
		Short: "Insert readings from a CSV or JSON file, or from standard input",
		Long: `Insert readings. CSV has a header with time, thing, id and the names of measures; JSON is
rows such as {"time": 1769860800000, "thing": "kitchen", "measures": {"temperature": 21.5}},
one after the other or in an array. Without time they are of now. Rows with an id are written
once, however often they are put. Rows go in groups: after an error some may be there.

Readings older than the table's retention, 30 days by default, are removed within a minute:
for history, set it first with a row of today and berth table retention.`,
		Example: `  berth table put weather weather.csv
  echo '{"thing": "kitchen", "measures": {"temperature": 21.5}}' | berth table put weather`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, name := cmd.InOrStdin(), "-"
			if len(args) == 2 && args[1] != "-" {
				name = args[1]
				f, err := os.Open(name)
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			if format == "" {
				format = "json"
				if strings.HasSuffix(strings.ToLower(name), ".csv") {
					format = "csv"
				}
			}
			read := readJSONRows
			switch format {
			case "csv":
				read = readings.ReadCSV
			case "json":
			default:
				return usagef("--format %q: want csv or json", format)
			}
			s := putter{cmd: cmd, target: t, table: args[0]}
			if err := read(in, s.put); err != nil {
				return fmt.Errorf("put into table %q: after %d rows: %w", args[0], s.rows, err)
			}
			return report(cmd, map[string]any{"table": args[0], "rows": s.rows}, "put %d rows into table %s", s.rows, args[0])
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "csv or json; default by the name of the file, else json")
	return cmd
}

// putter sends rows in requests that are not too large.
type putter struct {
	cmd    *cobra.Command
	target *target
	table  string
	rows   int
}

func (p *putter) put(rows []readings.Row) error {
	for len(rows) > 0 {
		body, n := []byte(`{"rows":[`), 0
		for ; n < len(rows) && n < putRows; n++ {
			b, err := json.Marshal(rows[n])
			if err != nil {
				return err
			}
			if n > 0 && len(body)+len(b) > putBytes {
				break
			}
			if n > 0 {
				body = append(body, ',')
			}
			body = append(body, b...)
		}
		body = append(body, "]}"...)
		if err := p.target.send(p.cmd.Context(), http.MethodPost, tablePath(p.table, "/rows", nil), "application/json", body, nil); err != nil {
			return err
		}
		rows = rows[n:]
		p.rows += n
	}
	return nil
}

// readJSONRows reads rows one after the other, or an array of them, and calls yield with some at a
// time.
func readJSONRows(in io.Reader, yield func([]readings.Row) error) error {
	dec := json.NewDecoder(in)
	var rows []readings.Row
	take := func() error {
		var row readings.Row
		if err := dec.Decode(&row); err != nil {
			return err
		}
		if rows = append(rows, row); len(rows) < putRows {
			return nil
		}
		err := yield(rows)
		rows = rows[:0]
		return err
	}
	for n := 1; ; n++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("value %d: %w", n, err)
		}
		outer := dec
		dec = json.NewDecoder(bytes.NewReader(raw))
		if raw[0] == '[' {
			dec.Token()
		}
		for dec.More() {
			if err := take(); err != nil {
				return fmt.Errorf("value %d: %w", n, err)
			}
		}
		dec = outer
	}
	if len(rows) == 0 {
		return nil
	}
	return yield(rows)
}
