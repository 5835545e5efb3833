package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	readings "github.com/berth-iot/berth/internal/table"
)

func TestTableCommands(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string]string{
		"GET /berth/tables":                   `{"tables":[{"name":"weather","rows":7,"things":2,"last":1769860800000}]}`,
		"GET /berth/tables/weather":           `{"name":"weather","rows":7,"retentionSeconds":3600,"measureInfo":[{"name":"temperature","kinds":["number"],"count":7}]}`,
		"GET /berth/tables/weather/things":    `{"things":[{"thing":"kitchen","rows":4}]}`,
		"GET /berth/tables/weather/latest":    `{"latest":[{"thing":"kitchen","measure":"temperature","time":1769860800000,"value":21.5}]}`,
		"GET /berth/tables/weather/rows":      `{"rows":[{"time":1769860800000,"thing":"kitchen","measures":{"time":1,"note":"a\tb"}},{"time":1769860801000,"thing":"hall","measures":{"on":true}}]}`,
		"GET /berth/tables/sampled/rows":      `{"samples":[{"time":1769860800000,"thing":"kitchen","measures":{"temperature":{"avg":21.5,"max":22}}}]}`,
		"GET /berth/tables/weather/export":    "time,thing,temperature\n",
		"POST /berth/tables/weather/rows":     `{"rows":2}`,
		"PUT /berth/tables/weather/retention": `{}`,
		"DELETE /berth/tables/weather":        `{}`,
		"DELETE /berth/tables/weather/rows":   `{"deleted":5}`,
		"GET /berth/tables/none/export":       "!ResourceNotFoundException",
	})
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	csv := write("w.csv", "time,thing,temperature\n1769860800000,kitchen,21.5\n,hall,x\n")
	array := write("w.json", `[{"thing":"kitchen","measures":{"temperature":21.5}},{"time":"2026-01-31T12:00:00Z","measures":{"on":true}}]`)
	lines := write("w.ndjson", "{\"measures\":{\"a\":1}}\n{\"measures\":{\"a\":2}}\n")
	bad := write("bad.json", `[{"measures":{"a":1}},5]`)
	for _, tc := range []struct {
		args, want string
		code       int
	}{
		{"table list", "weather", exitOK},
		{"table list -o json", `"rows": 7`, exitOK},
		{"table show weather", "1h0m0s", exitOK},
		{"table show weather --things", "kitchen", exitOK},
		{"table latest weather --thing kitchen", "21.5", exitOK},
		{"table query weather --last 1h", "TIME                      THING    time  note  on", exitOK},
		{"table query weather --last 1h -o json", `"on": true`, exitOK},
		{"table query sampled --every 1m --avg --max", "temperature max", exitOK},
		{"table query sampled --every 1m -o json", `"avg": 21.5`, exitOK},
		{"table query none", "", exitFailed},
		{"table query weather --avg", "", exitUsage},
		{"table query weather --last soon", "", exitUsage},
		{"table query weather --last 1h --from 5", "", exitUsage},
		{"table query weather --from -2h --to now --desc --limit 5", "kitchen", exitOK},
		{"table query weather --limit 0", "", exitUsage},
		{"table export weather", "time,thing,temperature\n", exitOK},
		{"table export weather --format parquet", "time,thing", exitOK},
		{"table export weather --format xml", "", exitUsage},
		{"table query weather --format parquet", "time,thing", exitOK},
		{"table query weather --format parquet --limit 5", "", exitUsage},
		{"table query weather --format xml", "", exitUsage},
		{"table export none", "", exitFailed},
		{"table put weather " + csv, "put 2 rows", exitOK},
		{"table put weather " + array, "put 2 rows", exitOK},
		{"table put weather " + lines + " -o json", `"rows": 2`, exitOK},
		{"table put weather " + bad, "", exitFailed},
		{"table put weather " + csv + " --format json", "", exitFailed},
		{"table put weather " + csv + " --format xml", "", exitUsage},
		{"table put weather " + filepath.Join(dir, "none"), "", exitFailed},
		{"table retention weather --age 30d", "set retention", exitOK},
		{"table retention weather --age soon", "", exitUsage},
		{"table delete weather", "", exitUsage},
		{"table delete weather --all --last 1h", "", exitUsage},
		{"table delete weather --all", "deleted table", exitOK},
		{"table delete weather --to -30d", "deleted 5 rows", exitOK},
		{"table list --aws", "", exitUsage},
	} {
		var out, errs strings.Builder
		list := append(strings.Fields(tc.args), "--data", f.dir)
		if strings.Contains(tc.args, "--aws") {
			list = strings.Fields(tc.args)
		}
		if code := Run(list, &out, &errs); code != tc.code || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: %d\n%s%s\nwant %d %s", tc.args, code, &out, &errs, tc.code, tc.want)
		}
		if strings.HasSuffix(tc.args, array) {
			if body, want := f.body["POST /berth/tables/weather/rows"], `{"rows":[{"time":0,"thing":"kitchen","measures":{"temperature":21.5}},{"time":1769860800000,"thing":"","measures":{"on":true}}]}`; body != want {
				t.Errorf("put %s\nwant %s", body, want)
			}
		}
	}
}

func FuzzReadJSONRows(f *testing.F) {
	for _, s := range []string{`[{"measures":{"a":1}}]`, `{"measures":{"a":1}} {"time":1}`, `[[`, `5`, `null`, `[null]`, ``} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		readJSONRows(strings.NewReader(text), func([]readings.Row) error { return nil })
	})
}
