// Package realclients runs clients that other people wrote against a berth process: the AWS CLI,
// boto3, the AWS SDK for Go, mosquitto's clients, the AWS IoT Device SDK for JavaScript, the
// Eclipse Paho interoperability suite, esptool and esptool-js; and it runs what no proper client
// would send.
//
// The Go SDK needs nothing but Go. The others are skipped unless BERTH_REAL_CLIENTS=1 is set; then
// a client that is missing is a failure.
package realclients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// berth is the path of the binary under test.
var berth string

func TestMain(m *testing.M) {
	os.Exit(build(m))
}

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "berth-realclients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	berth = filepath.Join(dir, "berth")
	if out, err := exec.Command("go", "build", "-o", berth, "../../cmd/berth").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build berth: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// outside marks a test that needs a client from outside: skipped by default, demanded with
// BERTH_REAL_CLIENTS=1.
func outside(t *testing.T) {
	t.Helper()
	if os.Getenv("BERTH_REAL_CLIENTS") != "1" {
		t.Skip("runs a client from outside; set BERTH_REAL_CLIENTS=1 to demand it")
	}
}

// program is outside for one program: it returns its path or fails with the command that installs
// it.
func program(t *testing.T, name, install string) string {
	t.Helper()
	outside(t)
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing; install it with: %s", name, install)
	}
	return path
}
