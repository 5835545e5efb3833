package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/berth-iot/berth/internal/server"
)

func TestMain(m *testing.M) {
	run := func() { os.Exit(Run(os.Args[1:], os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){
		"berth":  run,
		"slot-0": run, // what an update has installed
		"slot-1": run,
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, scripts("testdata/script"))
}

// TestServed runs scripts that begin with a server: serve FOLDER starts one.
func TestServed(t *testing.T) {
	t.Parallel()
	p := scripts("testdata/served")
	p.Cmds["serve"] = func(ts *testscript.TestScript, _ bool, args []string) {
		cfg := server.Defaults()
		cfg.Data = ts.MkAbs(args[0])
		cfg.MQTT, cfg.HTTPS, cfg.HTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		s, err := server.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
		ts.Check(err)
		ts.Defer(func() { s.Close() })
	}
	// source FOLDER sets what import and export take for the other side to that server.
	p.Cmds["source"] = func(ts *testscript.TestScript, _ bool, args []string) {
		var ready server.Ready
		b, err := os.ReadFile(ts.MkAbs(args[0] + "/endpoint.json"))
		ts.Check(err)
		ts.Check(json.Unmarshal(b, &ready))
		id, secret, err := readCredentials(ts.MkAbs(args[0] + "/admin-credentials"))
		ts.Check(err)
		ts.Setenv("AWS_ACCESS_KEY_ID", id)
		ts.Setenv("AWS_SECRET_ACCESS_KEY", secret)
		ts.Setenv("AWS_REGION", ready.Region)
		ts.Setenv("AWAY", fmt.Sprintf("http://127.0.0.1:%d", ready.HTTPPort))
	}
	testscript.Run(t, p)
}

func scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"AWS_ENDPOINT_URL_IOT", "AWS_ENDPOINT_URL_IOT_DATA_PLANE", "AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_PROFILE"} {
				env.Setenv(name, "")
			}
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// usage runs berth and wants exit code 2, bad usage.
			"usage": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec("berth", args...)
				code, ok := err.(interface{ ExitCode() int })
				if !ok || code.ExitCode() != exitUsage {
					ts.Fatalf("berth %v: %v, want exit code %d", args, err, exitUsage)
				}
			},
			// failed runs berth and wants exit code 1.
			"failed": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec("berth", args...)
				code, ok := err.(interface{ ExitCode() int })
				if !ok || code.ExitCode() != exitFailed {
					ts.Fatalf("berth %v: %v, want exit code %d", args, err, exitFailed)
				}
			},
		},
	}
}
