package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/sigv4"
)

// TestTables writes and reads a table through the API, across a restart.
func TestTables(t *testing.T) {
	t.Parallel()
	testTables(t, "")
}

// TestTablesInPostgres is the same with the tables in PostgreSQL.
func TestTablesInPostgres(t *testing.T) {
	t.Parallel()
	var cluster postgrestest.Cluster
	t.Cleanup(cluster.Stop)
	testTables(t, cluster.Database(t))
}

func testTables(t *testing.T, database string) {
	f := start(t, func(c *server.Config) { c.TableRetention, c.TableDatabase = 0, database })
	rows := make([]map[string]any, 120)
	for i := range rows {
		rows[i] = map[string]any{"time": 1769860800000 + i*1000, "thing": []string{"hall", "kitchen"}[i%2], "id": fmt.Sprint(i),
			"measures": map[string]any{"temperature": 20 + float64(i)/10, "on": i%3 == 0}}
	}
	var put struct{ Rows int }
	for range 2 { // as at-least-once delivery would
		f.api("POST", "/berth/tables/weather/rows", map[string]any{"rows": rows}, &put)
	}
	if put.Rows != 120 {
		t.Errorf("put %d rows", put.Rows)
	}
	f.restart()
	type page struct {
		Rows []struct {
			Time     int64
			Thing    string
			Measures map[string]any
		}
		Samples []struct {
			Time     int64
			Thing    string
			Measures map[string]map[string]any
		}
		NextToken string
	}
	total, token := 0, ""
	for {
		var p page
		f.api("GET", "/berth/tables/weather/rows?limit=50&order=desc&token="+token, nil, &p)
		total += len(p.Rows)
		if total == 50 && (p.Rows[0].Time != 1769860919000 || p.Rows[0].Thing != "kitchen" || p.Rows[0].Measures["temperature"] != 31.9) {
			t.Errorf("first row %+v", p.Rows[0])
		}
		if token = p.NextToken; token == "" {
			break
		}
	}
	if total != 120 {
		t.Errorf("%d rows, want 120", total)
	}
	var p page
	f.api("GET", "/berth/tables/weather/rows?thing=kitchen&measure=temperature&every=1m&aggregate=count,max&from=2026-01-31T12:00:00Z", nil, &p)
	if len(p.Samples) != 2 || p.Samples[1].Measures["temperature"]["count"] != 30. || p.Samples[1].Measures["temperature"]["max"] != 31.9 {
		t.Errorf("%+v", p.Samples)
	}
	var latest struct {
		Latest []struct {
			Measure string
			Value   any
		}
	}
	f.api("GET", "/berth/tables/weather/latest?thing=hall&measure=temperature", nil, &latest)
	if len(latest.Latest) != 1 || latest.Latest[0].Value != 31.8 {
		t.Errorf("%+v", latest)
	}
	status, csv := f.request("GET", "/berth/tables/weather/export?thing=hall", nil)
	if status != 200 || strings.Count(string(csv), "\n") != 61 || !bytes.HasPrefix(csv, []byte("time,thing,on,temperature\n2026-01-31T12:00:00.000Z,hall,true,20\n")) {
		t.Errorf("%d %.200s", status, csv)
	}
	if status, body := f.request("GET", "/berth/tables/weather/export?format=ndjson&every=1h", nil); status != 200 || strings.Count(string(body), "\n") != 2 {
		t.Errorf("%d %s", status, body)
	}
	if status, body := f.request("GET", "/berth/tables/weather/export?format=parquet", nil); status != 200 || !bytes.HasPrefix(body, []byte("PAR1")) || !bytes.HasSuffix(body, []byte("PAR1")) {
		t.Errorf("%d %.200s", status, body)
	}
	var info struct {
		Rows, Things, RetentionSeconds int
		MeasureInfo                    []struct{ Kinds []string }
	}
	f.api("PUT", "/berth/tables/weather/retention", map[string]int{"retentionSeconds": -1}, nil)
	f.api("GET", "/berth/tables/weather", nil, &info)
	if info.Rows != 120 || info.Things != 2 || info.RetentionSeconds != 0 || len(info.MeasureInfo) != 2 {
		t.Errorf("%+v", info)
	}
	var things struct {
		Things    []struct{ Thing string }
		NextToken string
	}
	f.api("GET", "/berth/tables/weather/things?limit=1", nil, &things)
	if len(things.Things) != 1 || things.NextToken != "hall" {
		t.Errorf("%+v", things)
	}
	var deleted struct{ Deleted int }
	f.api("DELETE", "/berth/tables/weather/rows?thing=hall&to=1769860860000", nil, &deleted)
	if deleted.Deleted != 30 {
		t.Errorf("deleted %d rows, want 30", deleted.Deleted)
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", f.Ready.HTTPPort))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page2 bytes.Buffer
	if page2.ReadFrom(resp.Body); !strings.Contains(page2.String(), "\nberth_table_rows 90\n") || !strings.Contains(page2.String(), "berth_table_file_bytes") {
		t.Error("metrics lack the tables")
	}
	f.api("DELETE", "/berth/tables/weather", nil, nil)
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", "/berth/tables/weather", nil, 404},
		{"GET", "/berth/tables/weather/rows", nil, 404},
		{"GET", "/berth/tables/weather/export", nil, 404},
		{"DELETE", "/berth/tables/weather", nil, 404},
		{"DELETE", "/berth/tables/weather/rows", nil, 400},
		{"GET", "/berth/tables/weather/rows?every=never", nil, 400},
		{"GET", "/berth/tables/weather/export?format=xml", nil, 400},
		{"GET", "/berth/tables/weather/export?limit=5", nil, 400},
		{"POST", "/berth/tables/weather/rows", []byte(`{"rows":[{"measures":{"a":1e999}}]}`), 400},
		{"POST", "/berth/tables/weather/rows", []byte(`{"rows":[{"colour":"red"}]}`), 400},
		{"POST", "/berth/tables/weather/rows", []byte(`{"rows":`), 400},
		{"POST", "/berth/tables/weather/rows", []byte(`{}`), 400},
		{"POST", "/berth/tables/weather/rows", make([]byte, 5<<20), 400},
		{"PUT", "/berth/tables/weather/retention", map[string]int64{"retentionSeconds": 1 << 60}, 400},
	} {
		if status, body := f.request(c.method, c.path, c.body); status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, body, c.status)
		}
	}
	info2, err := os.Stat(filepath.Join(f.dir, "readings.db"))
	if database != "" && !os.IsNotExist(err) || database == "" && (err != nil || info2.Mode().Perm() != 0o600) {
		t.Error(info2, err)
	}
}

// TestTableAccess: without a good signature, and with a read-only key, nothing is written.
func TestTableAccess(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("POST", "/berth/tables/r/rows", []byte(`{"rows":[{"thing":"x","measures":{"a":1}}]}`), nil)
	var key struct{ AccessKeyID, SecretAccessKey string }
	f.api("POST", "/berth/access-keys", map[string]string{"role": "read-only"}, &key)
	do := func(method, path, body, secret string) int {
		r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", f.Ready.HTTPPort, path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		s := sigv4.Signer{AccessKeyID: key.AccessKeyID, SecretAccessKey: secret, Region: "us-east-1", Service: "iot"}
		s.Sign(r, []byte(body), time.Now())
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/berth/tables", "", 200}, {"GET", "/berth/tables/r/rows", "", 200}, {"GET", "/berth/tables/r/export", "", 200},
		{"POST", "/berth/tables/r/rows", `{"rows":[{"measures":{"a":1}}]}`, 403}, {"DELETE", "/berth/tables/r", "", 403},
		{"DELETE", "/berth/tables/r/rows?thing=x", "", 403}, {"PUT", "/berth/tables/r/retention", "{}", 403},
	} {
		if got := do(c.method, c.path, c.body, key.SecretAccessKey); got != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.status)
		}
		if got := do(c.method, c.path, c.body, "wrong"); got != 403 {
			t.Errorf("%s %s with a wrong secret: %d", c.method, c.path, got)
		}
	}
}
