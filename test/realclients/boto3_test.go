package realclients

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// pythons are the interpreters on this machine that have boto3: that on the path and that of the
// system's packages, whose boto3 is older.
func pythons(t *testing.T) []string {
	t.Helper()
	outside(t)
	var found []string
	seen := make(map[string]bool)
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		version, err := exec.Command(name, "-c", "import boto3; print(boto3.__version__)").Output()
		if v := string(version); err == nil && !seen[v] {
			seen[v] = true
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		t.Fatal("boto3 is missing; install it with: apt-get install python3-boto3")
	}
	return found
}

// TestBoto3 runs the scripts, whose tests cover each group of operations.
func TestBoto3(t *testing.T) {
	for _, python := range pythons(t) {
		for _, script := range []string{"boto3_control.py", "boto3_services.py"} {
			runBoto3(t, python, script)
		}
	}
}

func runBoto3(t *testing.T, python, script string) {
	t.Run(strings.ReplaceAll(python, "/", "_")+" "+script, func(t *testing.T) {
		t.Parallel()
		program(t, "openssl", "apt-get install openssl")
		s := start(t)
		var key struct{ AccessKeyID, SecretAccessKey string }
		if err := json.Unmarshal([]byte(s.berth("key", "create", "--role", "read-only", "--data", s.dir, "-o", "json")), &key); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(ctx(t, 4*time.Minute), python, script)
		cmd.Env = s.environ("AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
			"READER_ACCESS_KEY_ID="+key.AccessKeyID, "READER_SECRET_ACCESS_KEY="+key.SecretAccessKey)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "boto3 ") || strings.Contains(line, "skipped") || strings.HasPrefix(line, "Ran ") {
				t.Log(strings.TrimSpace(line))
			}
		}
	})
}
