package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/berth-iot/berth/internal/server"
)

// TestConfigPrecedence: flags beat the environment, which beats the file, which beats the defaults.
func TestConfigPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "berth.yaml")
	text := "region: from-file\naccount: \"111111111111\"\nmqtt: :1\nsession-expiry: 2h\nallow-insecure: true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BERTH_CONFIG", file)
	t.Setenv("BERTH_ACCOUNT", "222222222222")
	t.Setenv("BERTH_MQTT", ":2")
	t.Setenv("BERTH_ADMIN_ACCESS_KEY_ID", "AKIA")
	var cfg server.Config
	flags, load := serverFlags(&cfg)
	command := pflag.NewFlagSet("serve", pflag.ContinueOnError) // as cobra does it
	command.AddFlagSet(flags)
	if err := command.Parse([]string{"--mqtt", ":3"}); err != nil {
		t.Fatal(err)
	}
	if err := load(); err != nil {
		t.Fatal(err)
	}
	want := server.Defaults()
	want.Region, want.Account, want.MQTT, want.SessionExpiry, want.AllowInsecure = "from-file", "222222222222", ":3", 2*time.Hour, true
	want.AdminKeyID = "AKIA"
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for text, want := range map[string]string{
		"mqtt-port: 1":   "mqtt-port",
		"inflight: many": "many",
		"a: [":           "berth.yaml",
	} {
		file := filepath.Join(dir, "berth.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs strings.Builder
		if code := Run([]string{"serve", "--config", file}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%q: exit code %d, %s", text, code, errs.String())
		}
	}
	for _, args := range []string{"--account 12", "--semantics loose", "--mqtt-plain :1883", "--http 0.0.0.0:80", "--endpoint https://x", "--plain-policy p", "--log-level loud", "--nothing", "word"} {
		var out, errs strings.Builder
		if code := Run(append([]string{"serve", "--data", dir}, strings.Fields(args)...), &out, &errs); code != exitUsage {
			t.Errorf("%s: exit code %d, %s", args, code, errs.String())
		}
	}
}

// TestDemo runs the whole story.
func TestDemo(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	if code := Run([]string{"demo", "--once"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s\n%s", code, errs.String(), out.String())
	}
	for _, want := range []string{`"echo: hello from berth"`, "PUBACK: not authorized", "no statement allows iot:Publish on topic/factory/stop"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}
