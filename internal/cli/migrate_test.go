package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/server"
)

func TestMigrate(t *testing.T) {
	t.Parallel()
	var cluster postgrestest.Cluster
	t.Cleanup(cluster.Stop)
	dir := t.TempDir()
	cfg := server.Defaults()
	cfg.Data, cfg.MQTT, cfg.HTTPS, cfg.HTTP = filepath.Join(dir, "berth"), "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.AdminKeyID, cfg.AdminSecret = "AKIATESTTESTTESTTEST", "test-secret-of-forty-characters-or-so-yes"
	serve := func(c server.Config, args ...string) {
		t.Helper()
		s, err := server.Start(context.Background(), c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var out, errs bytes.Buffer
		if code := Run(append(args, "--data", c.Data), &out, &errs); code != 0 {
			t.Errorf("%q: %d %s", args, code, errs.String())
		}
		if strings.Contains(args[1], "list") && !strings.Contains(out.String(), "hall") {
			t.Errorf("%q: %s", args, out.String())
		}
		if code := Run([]string{"migrate", "--from", c.Data, "--to", filepath.Join(dir, "never")}, &out, &errs); code != exitFailed || !strings.Contains(errs.String(), "stop it first") {
			t.Errorf("while a server runs: %d %s", code, errs.String())
		}
	}
	run := func(code int, args ...string) (string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := Run(args, &out, &errs); got != code {
			t.Fatalf("%q: %d %s", args, got, errs.String())
		}
		return out.String(), errs.String()
	}
	serve(cfg, "thing", "create", "hall")
	url := cluster.Database(t)
	text, _ := run(exitOK, "migrate", "--from", cfg.Data, "--to", url, "-o", "json")
	var v migrateView
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.Rows == 0 || len(v.Tables) < 20 {
		t.Errorf("%v %s", err, text)
	}
	inPostgres := cfg
	inPostgres.Database = url
	serve(inPostgres, "thing", "list")
	if _, said := run(exitFailed, "migrate", "--from", cfg.Data, "--to", url); !strings.Contains(said, "not empty") {
		t.Errorf("a second time: %s", said)
	}
	cfg.Data = filepath.Join(dir, "back")
	text, _ = run(exitOK, "migrate", "--from", url, "--to", cfg.Data)
	if !strings.Contains(text, "thing ") || !strings.Contains(text, "total") {
		t.Error(text)
	}
	if _, said := run(exitUsage, "migrate", "--from", "mysql://u:secret@h/d", "--to", cfg.Data); strings.Contains(said, "secret") {
		t.Error(said)
	}
	run(exitUsage, "migrate", "--to", url)
}
