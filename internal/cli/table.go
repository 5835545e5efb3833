package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/admin"
	readings "github.com/berth-iot/berth/internal/table"
)

func tableCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "table",
		Short: "Tables of readings that berth keeps",
		Long: `Tables of readings that berth keeps: time, thing and measures. A table comes into being
when it is first written to, and its readings go when they are old.`,
		Example: `  berth table list
  berth table query weather --thing kitchen --last 1h
  berth table query weather --last 7d --every 1h --avg --max`,
	}, tableListCommand(t), tableShowCommand(t), tableQueryCommand(t), tableLatestCommand(t), tableExportCommand(t), tablePutCommand(t),
		tableRetentionCommand(t), tableDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

func tablePath(name, rest string, v url.Values) string {
	path := "/berth/tables/" + url.PathEscape(name) + rest
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	return path
}

func moment(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

func number[N int | int64](n N) string { return strconv.FormatInt(int64(n), 10) }

func tableListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List tables",
		Example: "  berth table list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := struct {
				Tables []readings.Table `json:"tables"`
			}{[]readings.Table{}}
			if err := t.own(cmd.Context(), http.MethodGet, "/berth/tables", nil, &list); err != nil {
				return fmt.Errorf("list tables: %w", err)
			}
			tab := table{header: []string{"TABLE", "ROWS", "BYTES", "THINGS", "MEASURES", "FIRST", "LAST"}}
			for _, v := range list.Tables {
				tab.add(v.Name, number(v.Rows), number(v.Bytes), number(v.Things), number(v.Measures), moment(v.First), moment(v.Last))
			}
			return emit(cmd, list, tab)
		},
	}
}

func tableShowCommand(t *target) *cobra.Command {
	var things bool
	cmd := &cobra.Command{
		Use:     "show TABLE",
		Short:   "Show a table and its measures, or its things",
		Example: "  berth table show weather\n  berth table show weather --things",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if things {
				return listTableThings(cmd, t, args[0])
			}
			var v admin.TableDescription
			if err := t.own(cmd.Context(), http.MethodGet, tablePath(args[0], "", nil), nil, &v); err != nil {
				return fmt.Errorf("show table %q: %w", args[0], err)
			}
			tab := table{rows: [][]string{{"table", v.Name}, {"rows", number(v.Rows)}, {"bytes", number(v.Bytes)}, {"things", number(v.Things)},
				{"first", moment(v.First)}, {"last", moment(v.Last)}, {"retention", limitText((time.Duration(v.RetentionSeconds) * time.Second).String(), v.RetentionSeconds)},
				{"max bytes", limitText(number(v.MaxBytes), v.MaxBytes)}}}
			for _, m := range v.Info {
				tab.add("measure "+m.Name, fmt.Sprintf("%d readings, %v, the last at %s", m.Count, m.Kinds, moment(m.Last)))
			}
			return emit(cmd, v, tab)
		},
	}
	cmd.Flags().BoolVar(&things, "things", false, "show the things instead")
	return cmd
}

func limitText(text string, n int64) string {
	if n <= 0 {
		return "no limit"
	}
	return text
}

func listTableThings(cmd *cobra.Command, t *target, name string) error {
	list := admin.ThingPage{Things: []readings.ThingInfo{}}
	tab := table{header: []string{"THING", "ROWS", "BYTES", "MEASURES", "FIRST", "LAST"}}
	for token := ""; ; {
		var page admin.ThingPage
		if err := t.own(cmd.Context(), http.MethodGet, tablePath(name, "/things", url.Values{"token": {token}}), nil, &page); err != nil {
			return fmt.Errorf("list things of table %q: %w", name, err)
		}
		list.Things = append(list.Things, page.Things...)
		for _, v := range page.Things {
			tab.add(v.Name, number(v.Rows), number(v.Bytes), number(len(v.Measures)), moment(v.First), moment(v.Last))
		}
		if token = page.Next; token == "" {
			return emit(cmd, list, tab)
		}
	}
}

func tableLatestCommand(t *target) *cobra.Command {
	var things, measures []string
	cmd := &cobra.Command{
		Use:     "latest TABLE",
		Short:   "Show the latest reading of every measure of every thing",
		Example: "  berth table latest weather --thing kitchen",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			list := struct {
				Latest []readings.Latest `json:"latest"`
			}{[]readings.Latest{}}
			if err := t.own(cmd.Context(), http.MethodGet, tablePath(args[0], "/latest", url.Values{"thing": things, "measure": measures}), nil, &list); err != nil {
				return fmt.Errorf("latest of table %q: %w", args[0], err)
			}
			tab := table{header: []string{"THING", "MEASURE", "TIME", "VALUE"}}
			for _, v := range list.Latest {
				tab.add(v.Thing, v.Measure, moment(v.Time), v.Value.String())
			}
			return emit(cmd, list, tab)
		},
	}
	cmd.Flags().StringArrayVar(&things, "thing", nil, "only this `thing`; may be repeated")
	cmd.Flags().StringArrayVar(&measures, "measure", nil, "only this `measure`; may be repeated")
	return cmd
}

func tableRetentionCommand(t *target) *cobra.Command {
	var age string
	var maxBytes int64
	cmd := &cobra.Command{
		Use:     "retention TABLE",
		Short:   "Set how long a table keeps readings, and how many bytes of them",
		Example: "  berth table retention weather --age 365d --max-bytes 1000000000\n  berth table retention weather --age forever",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := admin.Retention{MaxBytes: maxBytes}
			switch age {
			case "default":
			case "forever":
				in.Seconds = -1
			default:
				d, err := readings.ParseDuration(age)
				if err != nil || d < time.Second {
					return usagef("--age %q: want a duration such as 12h or 30d, default or forever", age)
				}
				in.Seconds = int64(d / time.Second)
			}
			if err := t.own(cmd.Context(), http.MethodPut, tablePath(args[0], "/retention", nil), in, nil); err != nil {
				return fmt.Errorf("set retention of table %q: %w", args[0], err)
			}
			return report(cmd, in, "set retention of table %s", args[0])
		},
	}
	cmd.Flags().StringVar(&age, "age", "default", "age at which readings go: a `duration` such as 12h or 30d, default for the server's, or forever")
	cmd.Flags().Int64Var(&maxBytes, "max-bytes", 0, "bytes beyond which the oldest readings go; 0 for the server's setting, -1 for no limit")
	return cmd
}

func tableDeleteCommand(t *target) *cobra.Command {
	var q queryFlags
	var all bool
	cmd := &cobra.Command{
		Use:     "delete TABLE (--all | --thing NAME | --from TIME | --to TIME | --last DURATION)",
		Short:   "Delete a table, or some of its readings",
		Example: "  berth table delete weather --to 2026-01-01T00:00:00Z\n  berth table delete weather --thing kitchen --last 1h\n  berth table delete weather --all",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := q.values()
			if err != nil {
				return err
			}
			if all == (len(v) > 0) {
				return usagef("give --all to delete the table, or --thing, --from, --to or --last")
			}
			if all {
				if err := t.own(cmd.Context(), http.MethodDelete, tablePath(args[0], "", nil), nil, nil); err != nil {
					return fmt.Errorf("delete table %q: %w", args[0], err)
				}
				return report(cmd, map[string]string{"name": args[0]}, "deleted table %s", args[0])
			}
			var out struct {
				Deleted int64 `json:"deleted"`
			}
			if err := t.own(cmd.Context(), http.MethodDelete, tablePath(args[0], "/rows", v), nil, &out); err != nil {
				return fmt.Errorf("delete from table %q: %w", args[0], err)
			}
			return report(cmd, out, "deleted %d rows of table %s", out.Deleted, args[0])
		},
	}
	q.addRange(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "delete the table")
	return cmd
}
