package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// virtualESP32 runs the command in the background and returns its lines.
func virtualESP32(t *testing.T, args ...string) (*json.Decoder, <-chan error) {
	t.Helper()
	out, in := io.Pipe()
	root := New()
	root.SetArgs(append([]string{"virtual-esp32", "-o", "json"}, args...))
	root.SetOut(in)
	root.SetErr(io.Discard)
	done := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(t.Context())
		done <- errors.Join(err, in.Close())
	}()
	return json.NewDecoder(out), done
}

func TestVirtualESP32(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "flash.bin")
	lines, done := virtualESP32(t, "--listen", "127.0.0.1:0", "--once", "--chip", "ESP32-S3",
		"--flash", path, "--flash-size", "2MB", "--mac", "7c:df:a1:01:02:03")
	var ready virtualESP32Event
	if err := lines.Decode(&ready); err != nil {
		t.Fatal(err)
	}
	address, ok := strings.CutPrefix(ready.Port, "socket://")
	if !ok || ready.Event != "ready" || ready.Chip != "ESP32-S3" || ready.MAC != "7c:df:a1:01:02:03" || ready.FlashSize != 2<<20 {
		t.Fatalf("%+v", ready)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sync := append([]byte("\xC0\x00\x08\x24\x00\x00\x00\x00\x00\x07\x07\x12\x20"), bytes.Repeat([]byte{0x55}, 32)...)
	if _, err := conn.Write(append(sync, 0xC0)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for buf := make([]byte, 64); bytes.Count(got, []byte("\xC0\x01\x08")) < 8; {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got = append(got, buf[:n]...)
	}
	conn.Close()
	var end virtualESP32Event
	if err := lines.Decode(&end); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if c := end.Counters; end.Event != "end" || c == nil || c.ByCommand["SYNC"] != 1 || c.BytesIn != 46 {
		t.Errorf("%+v", end)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 2<<20 {
		t.Errorf("flash file: %v, %v", info, err)
	}
}

func TestVirtualESP32Usage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"", "--pty --listen :0", "--pty --rfc2217", "--pty --chip esp64", "--pty --flash-size 3MB",
		"--pty --flash-size 4", "--pty --mac 1:2", "--pty --fault fire", "--pty now",
	} {
		var stdout, stderr bytes.Buffer
		if code := Run(append([]string{"virtual-esp32"}, strings.Fields(args)...), &stdout, &stderr); code != exitUsage {
			t.Errorf("%q: exit code %d: %s", args, code, &stderr)
		}
	}
}
