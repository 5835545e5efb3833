package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/spiffs"
	"github.com/berth-iot/berth/internal/virtualesp"
)

// pluggedIn is a virtual board on a TCP port, with a partition table in its flash.
func pluggedIn(t *testing.T, flash string) (port string) {
	t.Helper()
	f, err := virtualesp.OpenFlash(flash, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	table, err := partition.ParseCSV([]byte("nvs,data,nvs,0x9000,0x6000\nfactory,app,factory,0x10000,1M\nspiffs,data,spiffs,,0x10000\n"), partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	image, err := table.Binary(partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Program(partition.DefaultOffset, image); err != nil {
		t.Fatal(err)
	}
	c, _ := chip.ByTarget("esp32")
	v, err := virtualesp.New(virtualesp.Config{Chip: c, Flash: f, MAC: [6]byte{0xa0, 0xb1, 0xc2, 0xd3, 0xe4, 0xf5}, HoldBoot: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); v.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = v.Serve(context.Background(), conn) // until the station hangs up
		}
	}()
	return "socket://" + l.Addr().String()
}

// TestStationCommand prepares a board with the command line, and looks at the journal.
func TestStationCommand(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	in.must(t, "POST", "/policies/lamps", `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"iot:*\",\"Resource\":\"*\"}}"}`)
	dir := t.TempDir()
	flash := filepath.Join(dir, "flash.bin")
	port := pluggedIn(t, flash)
	recipe := filepath.Join(dir, "lamp.yaml")
	if err := os.WriteFile(recipe, []byte("preset: arduino-spiffs\nthing: lamp-{mac}\npolicies: [lamps]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	station := func(args ...string) []string {
		return append([]string{"station", "--recipe", recipe, "--once", "--port", port, "--flash-size", "4MB", "--journal", filepath.Join(dir, "journal"), "--labels", filepath.Join(dir, "labels")}, args...)
	}
	v := in.run(t, station()...)
	board, _ := v["board"].(map[string]any)
	if v["result"] != "PASS" || board["thing"] != "lamp-a0b1c2d3e4f5" || board["step"] != "DONE" {
		t.Fatal(v)
	}
	if v := in.run(t, station()...); v["board"].(map[string]any)["again"] != true {
		t.Error(v)
	}
	if label, err := os.ReadFile(filepath.Join(dir, "labels", "a0b1c2d3e4f5.svg")); err != nil || !strings.Contains(string(label), "lamp-a0b1c2d3e4f5") {
		t.Error(err)
	}
	b, err := os.ReadFile(flash)
	if err != nil {
		t.Fatal(err)
	}
	image, err := spiffs.Read(b[0x110000:0x120000], spiffs.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/cert.pem", "/private.key", "/ca.pem"} {
		if o, ok := image.Open(name); !ok {
			t.Error("no", name)
		} else if data, err := o.Data(); err != nil || !strings.Contains(string(data), "-----BEGIN ") {
			t.Error(name, err)
		}
	}
	out, errs, code := in.try(station("--policy", "none")...)
	if code != 1 || !strings.Contains(errs, "policy none does not exist") || !strings.Contains(errs, "berth policy create none") {
		t.Error(code, out, errs)
	}
	out, errs, code = in.try(append(station(), "--port", "socket://127.0.0.1:1")...)
	if code != 1 || !strings.Contains(out, `"FAIL"`) {
		t.Error(code, out, errs)
	}
	if _, errs, code := in.try("station"); code != 2 || !strings.Contains(errs, "--recipe") {
		t.Error(code, errs)
	}
}
