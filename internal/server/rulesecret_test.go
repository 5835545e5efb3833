package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/mqtt"
)

// TestSecretsOfRules: what a rule opens other systems with is not shown to who may only read, nor in the
// audit log, and lies in the database sealed: in the rule, in what waits and in dead letters. It still
// works after a restart.
func TestSecretsOfRules(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) { c.Database = "" }) // the file can be looked through
	const secret = "hunter2hunter2"
	f.api("POST", "/rules/out", map[string]any{"sql": "SELECT * FROM 'in'", "actions": []any{
		map[string]any{"postgres": map[string]any{"url": "postgres://u:" + secret + "@127.0.0.1:1/d", "table": "t"}},
		map[string]any{"http": map[string]any{"url": "http://127.0.0.1:1/", "headers": []any{map[string]any{"key": "Authorization", "value": secret}}}},
	}}, nil)
	d := f.newDevice("lamp", allowAll)
	c := f.connect(d, "lamp", mqtt.V5)
	c.pub(1, "in", `{"a":1}`)
	var letters struct{ DeadLetters []struct{ Action string } }
	eventually(t, "a dead letter", func() bool { // the http action has no destination that is confirmed
		f.api("GET", "/berth/rules/out/dead-letters", nil, &letters)
		return len(letters.DeadLetters) > 0
	})
	viewer := f.viewer()
	for _, path := range []string{"/console/api/iot/rules/out", "/console/api/berth/audit-log"} {
		if text := viewer.must(200, "GET", path, ""); strings.Contains(text, secret) || !strings.Contains(text, "(hidden)") {
			t.Errorf("%s: %s", path, text)
		}
	}
	f.restart()
	if _, body := f.request("GET", "/rules/out", nil); strings.Count(string(body), secret) != 2 {
		t.Errorf("an admin sees %s", body)
	}
	f.api("GET", "/berth/rules/out/dead-letters", nil, &letters)
	if len(letters.DeadLetters) == 0 {
		t.Error("the dead letter is gone")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(f.dir, "berth.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if b, err := os.ReadFile(name); err != nil || strings.Contains(string(b), secret) {
			t.Errorf("%s holds the secret: %v", filepath.Base(name), err)
		}
	}
}
