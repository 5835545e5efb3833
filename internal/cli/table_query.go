package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	readings "github.com/berth-iot/berth/internal/table"
)

// queryFlags say which readings are meant.
type queryFlags struct {
	things, measures []string
	from, to, last   string
	descending       bool
	every            string
	aggregates       [7]bool // as readings.Aggregates
	limit            int
}

func (q *queryFlags) addRange(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&q.things, "thing", nil, "only this `thing`; may be repeated")
	f.StringVar(&q.from, "from", "", "beginning: a `time` such as 2026-01-31T12:00:00Z, milliseconds since 1970, or -2h before now")
	f.StringVar(&q.to, "to", "", "end, not included: a `time` as for --from, or now")
	f.StringVar(&q.last, "last", "", "only the last `duration`: 10m, 1h, 7d, 2w")
}

func (q *queryFlags) add(cmd *cobra.Command) {
	q.addRange(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&q.measures, "measure", nil, "only this `measure`; may be repeated")
	f.BoolVar(&q.descending, "desc", false, "the newest first")
	f.StringVar(&q.every, "every", "", "one line for each thing and interval of this `duration`")
	for i, a := range readings.Aggregates {
		what := map[readings.Aggregate]string{readings.Avg: "average (the default)", readings.Min: "smallest value", readings.Max: "largest value", readings.Sum: "sum",
			readings.Count: "number of readings", readings.First: "first reading", readings.Last: "last reading"}[a]
		name := string(a)
		if a == readings.First || a == readings.Last {
			name += "-value"
		}
		f.BoolVar(&q.aggregates[i], name, false, "with --every: the "+what)
	}
}

// values are the parameters of the request. What cannot be is bad usage before anything is asked.
func (q *queryFlags) values() (url.Values, error) {
	v := url.Values{}
	for key, list := range map[string][]string{"thing": q.things, "measure": q.measures} {
		if len(list) > 0 {
			v[key] = list
		}
	}
	for key, value := range map[string]string{"from": q.from, "to": q.to, "last": q.last, "every": q.every} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if q.descending {
		v.Set("order", "desc")
	}
	for i, a := range readings.Aggregates {
		if q.aggregates[i] {
			v.Add("aggregate", string(a))
		}
	}
	if _, err := readings.ParseQuery("t", v, time.Now()); err != nil {
		return nil, &usageError{err}
	}
	// The server's clock may differ, and pages must not move: settle the range here.
	from, to, err := readings.ParseRange(q.from, q.to, q.last, time.Now())
	if err != nil {
		return nil, &usageError{err}
	}
	v.Del("last")
	for key, at := range map[string]int64{"from": from, "to": to} {
		if at != 0 {
			v.Set(key, strconv.FormatInt(at, 10))
		}
	}
	return v, nil
}

func tableQueryCommand(t *target) *cobra.Command {
	var q queryFlags
	var format string
	cmd := &cobra.Command{
		Use:   "query TABLE",
		Short: "Show readings, or samples of them",
		Example: `  berth table query weather --last 1h
  berth table query weather --thing kitchen --measure temperature --desc --limit 10
  berth table query weather --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z --every 1m --avg --max
  berth table query weather --last 1d --format parquet > weather.parquet`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := q.values()
			if err != nil {
				return err
			}
			if q.limit < 1 {
				return usagef("--limit %d: want 1 or more", q.limit)
			}
			if format != "" {
				if cmd.Flags().Changed("limit") || wantsJSON(cmd) {
					return usagef("--format writes all of it, without --limit and -o")
				}
				return exportTable(cmd, t, args[0], v, format, "")
			}
			return runTableQuery(cmd, t, args[0], v, q.limit)
		},
	}
	q.add(cmd)
	cmd.Flags().IntVar(&q.limit, "limit", 1000, "most lines to show")
	cmd.Flags().StringVar(&format, "format", "", "write all of it as csv, ndjson or parquet, as berth table export does")
	return cmd
}

// runTableQuery reads pages until it has enough.
func runTableQuery(cmd *cobra.Command, t *target, name string, v url.Values, limit int) error {
	all := readings.Page{Rows: []readings.Row{}}
	sampled := v.Has("every")
	if sampled {
		all = readings.Page{Samples: []readings.Sample{}}
	}
	for {
		v.Set("limit", strconv.Itoa(min(limit-len(all.Rows)-len(all.Samples), 2000)))
		var page readings.Page
		if err := t.own(cmd.Context(), http.MethodGet, tablePath(name, "/rows", v), nil, &page); err != nil {
			return fmt.Errorf("query table %q: %w", name, err)
		}
		all.Rows, all.Samples = append(all.Rows, page.Rows...), append(all.Samples, page.Samples...)
		if page.Next == "" {
			break
		}
		if len(all.Rows)+len(all.Samples) >= limit {
			fmt.Fprintf(cmd.ErrOrStderr(), "there are more than %d: --limit shows them, berth table export all\n", limit)
			break
		}
		v.Set("token", page.Next)
	}
	if sampled {
		return emit(cmd, map[string]any{"samples": all.Samples}, sampleTable(all.Samples))
	}
	return emit(cmd, map[string]any{"rows": all.Rows}, rowTable(all.Rows))
}

// rowTable has a column for each measure, in the order in which they come.
func rowTable(rows []readings.Row) table {
	tab := table{header: []string{"TIME", "THING"}}
	for _, r := range rows {
		line := []string{moment(r.Time), r.Thing}
		for _, m := range r.Measures {
			line = tab.set(line, m.Name, m.Value.String())
		}
		tab.rows = append(tab.rows, line)
	}
	return tab.square()
}

func sampleTable(samples []readings.Sample) table {
	tab := table{header: []string{"TIME", "THING"}}
	for _, s := range samples {
		line := []string{moment(s.Time), s.Thing}
		for _, m := range s.Measures {
			for _, v := range m.Values {
				line = tab.set(line, m.Name+" "+string(v.Aggregate), v.Value.String())
			}
		}
		tab.rows = append(tab.rows, line)
	}
	return tab.square()
}

// set puts a cell into the column of a name, which is added if it is new.
func (t *table) set(line []string, name, cell string) []string {
	i := slices.Index(t.header[2:], name) + 2 // time and thing are no measures
	if i < 2 {
		i = len(t.header)
		t.header = append(t.header, name)
	}
	for len(line) <= i {
		line = append(line, "")
	}
	line[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(cell)
	return line
}

// square gives every line as many cells as the header.
func (t table) square() table {
	for i, line := range t.rows {
		for len(line) < len(t.header) {
			line = append(line, "")
		}
		t.rows[i] = line
	}
	return t
}

func tableExportCommand(t *target) *cobra.Command {
	var q queryFlags
	var format, name string
	cmd := &cobra.Command{
		Use:   "export TABLE",
		Short: "Write readings, or samples of them, as CSV, lines of JSON or Parquet",
		Example: `  berth table export weather > weather.csv
  berth table export weather --last 30d --every 1h --format ndjson --file weather.ndjson
  berth table export weather --format parquet --file weather.parquet`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			v, err := q.values()
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				if cmd.Flags().Changed("format") && format != "ndjson" {
					return usagef("-o json is --format ndjson")
				}
				format = "ndjson"
			}
			return exportTable(cmd, t, args[0], v, format, name)
		},
	}
	q.add(cmd)
	cmd.Flags().StringVar(&format, "format", "csv", "csv, ndjson (one JSON object a line) or parquet")
	cmd.Flags().StringVar(&name, "file", "", "write to a `file` instead of standard output")
	return cmd
}

// exportTable writes readings to a file, or to standard output without a name.
func exportTable(cmd *cobra.Command, t *target, table string, v url.Values, format, name string) (err error) {
	if format != "csv" && format != "ndjson" && format != "parquet" {
		return usagef("--format %q: want csv, ndjson or parquet", format)
	}
	v.Set("format", format)
	out := cmd.OutOrStdout()
	if name != "" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer func() {
			if e := f.Close(); err == nil {
				err = e
			}
		}()
		out = f
	}
	if err := t.stream(cmd, tablePath(table, "/export", v), out); err != nil {
		return fmt.Errorf("export table %q: %w", table, err)
	}
	return nil
}

// stream copies an answer of berth's own API as it comes.
func (t *target) stream(cmd *cobra.Command, path string, out io.Writer) error {
	if t.aws {
		return usagef("AWS has no such API: this is for a berth")
	}
	s, err := t.find(cmd.Context())
	if err != nil {
		return err
	}
	resp, err := s.open(cmd.Context(), "iot", http.MethodGet, s.base+path, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return err
		}
		return ownError(resp, answer)
	}
	_, err = io.Copy(out, resp.Body)
	return err
}
