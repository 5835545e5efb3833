package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDeviceBoot: a device updates its own program over the air. An update whose self-test fails is
// rolled back, a good one stays, and a program for another machine is not started.
func TestDeviceBoot(t *testing.T) {
	t.Parallel()
	dir, endpoint, _ := lampCloud(t)
	data := filepath.Join(dir, "berth")
	if _, stderr, code := berth(t, dir, "signer", "create", "--data", data, "lamps"); code != exitOK {
		t.Fatal(stderr)
	}
	if _, stderr, code := berth(t, dir, "signer", "certificate", "--data", data, "lamps", "--out", "sign.crt"); code != exitOK {
		t.Fatal(stderr)
	}
	write(t, dir, map[string]string{"device.yaml": fmt.Sprintf("endpoint: %s\nca: ca.pem\nthing: lamp\ncertificate: lamp.cert.pem\nkey: lamp.private.key\ndata: lamp\n"+
		"ota: {slots: slots, public-key: sign.crt, self-test: [test, '!', -e, %s]}\n", endpoint, filepath.Join(dir, "broken"))})
	device := exec.CommandContext(t.Context(), "berth", "device", "boot", "--slots", filepath.Join(dir, "slots"), "--", "device", "run", "--config", filepath.Join(dir, "device.yaml"))
	device.Cancel = func() error { return device.Process.Signal(os.Interrupt) }
	device.WaitDelay = 20 * time.Second
	var log bytes.Buffer
	device.Stdout, device.Stderr = &log, &log
	if err := device.Start(); err != nil {
		t.Fatal(err)
	}
	update := func(name string, image []byte) (code int, said string) {
		t.Helper()
		write(t, dir, map[string]string{name: string(image)})
		out, complaint, code := berth(t, dir, "ota", "create", "--data", data, "--thing", "lamp", "--signer", "lamps", "--protocol", "http", "--id", strings.TrimSuffix(name, ".bin"), "--wait", name)
		return code, out + complaint
	}
	reason := func(id string) string {
		out, _, _ := berth(t, dir, "job", "executions", "--data", data, "AFR_OTA-"+id, "-o", "json")
		return out
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	good := append(program, "another version"...)

	write(t, dir, map[string]string{"broken": ""})
	if code, said := update("fails.bin", good); code != exitFailed {
		t.Fatalf("an update whose self-test fails: exit %d\n%s", code, said)
	}
	if err := os.Remove(filepath.Join(dir, "broken")); err != nil {
		t.Fatal(err)
	}
	if code, said := update("good.bin", good); code != exitOK {
		t.Fatalf("a good update: exit %d\n%s\n%s", code, said, reason("good"))
	}
	if code, said := update("other.bin", []byte("\x7fELF\x01\x01\x01 for something else")); code != exitFailed {
		t.Fatalf("an update for another machine: exit %d\n%s", code, said)
	}
	if err := device.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := device.Wait(); err != nil {
		t.Errorf("the device ended with %v\n%s", err, log.String())
	}
	record, err := os.ReadFile(filepath.Join(dir, "slots", "boot.json"))
	if err != nil || !regexp.MustCompile(`"active":1,"trial":false`).Match(record) {
		t.Errorf("boot record %s, %v", record, err)
	}
	if installed, err := os.ReadFile(filepath.Join(dir, "slots", "slot-1")); err != nil || !bytes.Equal(installed, good) {
		t.Errorf("what is installed is not the update, %v", err)
	}
	if n := strings.Count(log.String(), "berth: restart\n"); n != 3 {
		t.Errorf("%d restarts, want 3: into the update that fails, back, and into the good one\n%s", n, log.String())
	}
}
