package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func load(t testing.TB, text string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestLoad(t *testing.T) {
	t.Parallel()
	c, err := load(t, "endpoint: x:1\nthing: lamp\ncertificate: c.pem\nkey: /k.pem\nkeep-alive: 90s\ntelemetry: [{topic: a, command: [date], every: 5s, qos: 0}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.Key != "/k.pem" || filepath.Base(c.Certificate) != "c.pem" || !filepath.IsAbs(c.Certificate) || filepath.Base(c.Data) != "device-data" ||
		c.KeepAlive != 90*time.Second || c.Telemetry[0].Every != 5*time.Second || *c.Telemetry[0].QoS != 0 {
		t.Errorf("%+v", c)
	}
	for text, want := range map[string]string{
		"":                                     "endpoint: want host:port",
		"endpoint: x\ncertificate: c":          "thing, certificate and key belong together",
		"endpoint: x\nclaim: {certificate: c}": "certificate, key and template belong together",
		"endpoint: x\nmqtt: 4":                 `mqtt "4"`,
		"endpoint: x\nqueue: {drop: some}":     `drop "some"`,
		"endpoint: x\ntelemetry: [{topic: a}]": "one of command, file and stdin",
		"endpoint: x\ntelemetry: [{topic: a/+, stdin: true}]":                   "wildcard",
		"endpoint: x\nmessages: [{filter: a}]":                                  "no command",
		"endpoint: x\nwebsocket: {access-key-file: k}":                          "thing is missing",
		"endpoint: x\nthing: t\nwebsocket: {access-key-file: k, role-alias: a}": "either access-key-file or role-alias",
		"endpoint: x\nthing: t\nwebsocket: {role-alias: a}":                     "needs certificate",
		"endpoint: x\npassword-file: p":                                         "user-name is missing",
		"configuration: {code: 12345678}":                                       "want one of ble, serial, http and tcp",
		"configuration: {ble: true}":                                            "either code or registration",
		"configuration: {ble: true, code: 123-4567}":                            "7 characters",
		"configuration: {ble: true, registration: abc}":                         "not a registration",
		"endpoint: x\nendpiont: y":                                              "endpiont",
		"endpoint: x\ntelemetry: [{topic: a, stdin: true, qos: 2}]":             "qos 2",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("endpoint: x:1\nshadow: {desired-command: [a]}")
	f.Add("telemetry: [{}]\nqueue: []")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 1<<12 {
			_, _ = load(t, text)
		}
	})
}
