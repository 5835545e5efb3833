package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/mqtt"
)

// TestWithoutPostgres loses the database for longer than writes wait: the server stays, says that it is
// not ready, refuses changes with an exception, and goes on afterwards.
func TestWithoutPostgres(t *testing.T) {
	t.Parallel()
	var cluster postgrestest.Cluster
	t.Cleanup(cluster.Stop)
	f := start(t, func(c *server.Config) { c.Database = cluster.Database(t) })
	c := f.connect(nil, "c", mqtt.V5)
	c.sub(0, "here")
	cluster.Kill(t)
	status, body := f.request("POST", "/things/early", map[string]string{})
	if status != 503 || !strings.Contains(string(body), "cannot be reached") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := f.request("GET", "/things", nil); status != 503 {
		t.Errorf("%d %s", status, body)
	}
	get := func(path string) (int, string) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", f.Ready.HTTPPort, path))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if status, text := get("/readyz"); status != 503 || !strings.Contains(text, "cannot be reached") {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := get("/healthz"); status != 200 {
		t.Error(status)
	}
	if _, text := get("/metrics"); !strings.Contains(text, "\nberth_store_available 0\n") {
		t.Error("no word of it in the metrics")
	}
	c.pub(0, "here", "still")
	if m := c.next(); string(m.Payload) != "still" {
		t.Errorf("%s", m.Payload)
	}
	cluster.Start(t)
	eventually(t, "the server is ready", func() bool { status, _ := get("/readyz"); return status == 200 })
	f.api("POST", "/things/late", map[string]string{}, nil)
	var list struct{ Things []json.RawMessage }
	f.api("GET", "/things", nil, &list)
	if len(list.Things) != 1 {
		t.Errorf("things %s", list.Things)
	}
}
