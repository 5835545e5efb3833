package hostport

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/esp/serial"
)

func TestOpenSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	name := "socket://" + l.Addr().String()
	p, got, err := Open(context.Background(), name)
	if err != nil || got != name {
		t.Fatalf("%q, %v", got, err)
	}
	defer p.Close()
	if err := p.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the deadline: %v", err)
	}
	_ = l.Close()
	if _, _, err := Open(context.Background(), name); !errors.Is(err, serial.ErrPortNotFound) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no port"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(t.TempDir(), "ttyUSB0"), file} {
		_, _, err := Open(context.Background(), name)
		if !errors.Is(err, serial.ErrPortNotFound) || !strings.Contains(err.Error(), "choose one of") {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := explain("/dev/null", os.ErrPermission)
	if !errors.Is(err, serial.ErrPermission) {
		t.Errorf("permission: %v", err)
	}
}

func TestAdapters(t *testing.T) {
	t.Parallel()
	for id, want := range map[[2]uint16]string{
		{0x10C4, 0xEA60}: "CP210x",
		{0x1A86, 0x7523}: "CH340",
		{0x0403, 0x6015}: "FT231X",
		{0x303A, 0x1001}: "Espressif USB JTAG/serial",
		{0x303A, 0x4321}: "Espressif",
		{0x1234, 0x5678}: "",
	} {
		if got := adapter(id[0], id[1]); got != want {
			t.Errorf("%04x: %q, want %q", id, got, want)
		}
	}
}
