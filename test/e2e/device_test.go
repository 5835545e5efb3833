package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/gateway"
	"github.com/berth-iot/berth/mqtt"
)

// configure makes a certificate and writes a configuration file; the certificate's files are lamp's.
func (in *instance) configure(t *testing.T, rest string) string {
	t.Helper()
	dir := t.TempDir()
	in.run(t, "policy", "create", "all", "--document", writeFile(t, dir, "policy.json", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`))
	in.run(t, "cert", "create", "lamp", "--thing", "lamp", "--policy", "all", "--out", dir)
	return writeFile(t, dir, "device.yaml", fmt.Sprintf("endpoint: localhost:%d\nca: ca.pem\nthing: lamp\ncertificate: lamp.cert.pem\nkey: lamp.private.key\n%s", in.Ready.MQTTPort, rest))
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestGatewayLines publishes standard input, in order, and ends with it.
func TestGatewayLines(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	path := in.configure(t, "telemetry: [{topic: lines, stdin: true}]\n")
	c := in.connect(t, mqtt.Connect{ClientID: "listener"})
	c.subscribe(t, 0, "lines")
	cfg, err := gateway.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	if err := gateway.Run(t.Context(), cfg, strings.NewReader(text.String()), func(e gateway.Event) {
		if e.Error != "" {
			t.Errorf("%+v", e)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if _, payload := c.message(t); payload != fmt.Sprint("line ", i) {
			t.Fatalf("got %q at %d", payload, i)
		}
	}
}

// TestGatewayCommands connects telemetry, shadow, messages and jobs with commands.
func TestGatewayCommands(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	path := in.configure(t, `
telemetry: [{topic: load, command: [echo, "0.5"], every: 1h}, {topic: cpu, file: cpu.txt, every: 1h}]
shadow:
  desired-command: [sh, -c, 'cat > desired.txt && mv desired.txt "$OUT/desired"']
  reported-command: [echo, '{"version":"1.0"}']
messages: [{filter: cmd/#, command: [sh, -c, 'echo "$BERTH_TOPIC $(cat)" >> "$OUT/messages"']}]
jobs: [sh, -c, 'd=$(cat); echo "$d" > "$OUT/job"; case "$d" in *bad*) echo "no such thing" >&2; exit 3;; esac']
environment: {OUT: OUTDIR}
`)
	out := t.TempDir()
	b, _ := os.ReadFile(path)
	writeFile(t, filepath.Dir(path), "device.yaml", strings.ReplaceAll(strings.ReplaceAll(string(b), "OUTDIR", out), "desired.txt", out+"/desired.new"))
	cfg, err := gateway.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	c := in.connect(t, mqtt.Connect{ClientID: "listener"})
	c.subscribe(t, 0, "load")
	cpu := in.connect(t, mqtt.Connect{ClientID: "listener to a file"})
	cpu.subscribe(t, 0, "cpu")
	writeFile(t, filepath.Dir(path), "cpu.txt", "42000\n")
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var log []string
	done := make(chan error, 1)
	go func() {
		done <- gateway.Run(ctx, cfg, strings.NewReader(""), func(e gateway.Event) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf("%+v", e))
		})
	}()
	within := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				mu.Lock()
				defer mu.Unlock()
				t.Fatalf("not in time: %s\n%s", what, strings.Join(log, "\n"))
			}
		}
	}
	content := func(name, want string) func() bool {
		return func() bool {
			b, err := os.ReadFile(filepath.Join(out, name))
			return err == nil && strings.TrimSpace(string(b)) == want
		}
	}
	reported := func() (r map[string]any) {
		var doc struct {
			State struct{ Reported map[string]any }
		}
		_, _, answer := in.call(t, "GET", "/things/lamp/shadow", "")
		json.Unmarshal([]byte(answer), &doc)
		return doc.State.Reported
	}
	if _, payload := cpu.message(t); payload != "42000" {
		t.Errorf("from a file: %q", payload)
	}
	if _, payload := c.message(t); payload != "0.5" {
		t.Errorf("telemetry %q", payload)
	}
	within("the report", func() bool { return reported()["version"] == "1.0" && reported()["connected"] == true })
	in.must(t, "POST", "/things/lamp/shadow", `{"state":{"desired":{"on":true}}}`)
	within("the delta", content("desired", `{"on":true}`))
	within("its report", func() bool { return reported()["on"] == true })
	c.publish(t, "cmd/x", "go")
	within("the message", content("messages", "cmd/x go"))
	in.done(t, "PUT", "/jobs/good", `{"targets":["`+arn+`thing/lamp"],"document":"{\"do\":\"good\"}"}`)
	within("the job", content("job", `{"do":"good"}`))
	in.done(t, "PUT", "/jobs/bad", `{"targets":["`+arn+`thing/lamp"],"document":"{\"do\":\"bad\"}"}`)
	within("the failure", func() bool {
		_, _, answer := in.control(t, "GET", "/things/lamp/jobs/bad", "")
		return strings.Contains(answer, "FAILED") && strings.Contains(answer, "run sh: exit status 3: no such thing")
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
