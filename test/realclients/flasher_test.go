package realclients

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestEsptoolJS has esptool-js load its stub into every kind of chip and use it. Unlike Debian's
// esptool it has a stub for each of them.
func TestEsptoolJS(t *testing.T) {
	t.Parallel()
	node := program(t, "node", "apt-get install nodejs npm")
	if _, err := os.Stat("node/node_modules/esptool-js"); err != nil {
		t.Fatal("esptool-js is missing; install it with: npm ci --prefix test/realclients/node")
	}
	for target, name := range map[string]string{
		"esp32": "ESP32-D0WD", "esp32s2": "ESP32-S2", "esp32s3": "ESP32-S3", "esp32c2": "ESP32-C2", "esp32c3": "ESP32-C3",
		"esp32c5": "ESP32-C5", "esp32c6": "ESP32-C6", "esp32h2": "ESP32-H2", "esp32p4": "ESP32-P4", "esp8266": "ESP8266",
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			b := startBoard(t, target, "--listen", "127.0.0.1:0")
			_, port, _ := strings.Cut(strings.TrimPrefix(b.port, "socket://"), ":")
			cmd := exec.CommandContext(ctx(t, time.Minute), node, "flasher.mjs", port)
			cmd.Dir = "node"
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), name) {
				t.Fatalf("%v, want %s: %s", err, name, out)
			}
			if !bytes.Equal(b.flash(0x10000, 40000), bytes.Repeat([]byte{0xFF}, 40000)) {
				t.Error("the flash is not erased")
			}
			if e := b.stop().Counters; e.BadFrames != 0 || e.ByCommand["READ_FLASH"] != 1 || e.ByCommand["ERASE_FLASH"] != 1 {
				t.Errorf("%+v", e)
			}
		})
	}
}
