package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/internal/virtualesp"
)

// virtualBoard serves a chip on a loopback port and returns its name for --port.
func virtualBoard(t *testing.T, config virtualesp.Config) (*virtualesp.Chip, string) {
	t.Helper()
	config.HoldBoot = true
	c, err := virtualesp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Serve(context.Background(), conn) // its end is the host's doing
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		_ = c.Close()
		<-done
	})
	return c, "socket://" + l.Addr().String()
}

// flash runs "berth flash args" and returns its output and exit code.
func flash(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = Run(append([]string{"flash"}, args...), &out, &errs)
	return out.String(), errs.String(), code
}

// testTable is a table with an application and a small data partition.
func testTable(t *testing.T) []byte {
	t.Helper()
	b, err := partition.Table{
		{Name: "nvs", Type: partition.Data, Subtype: partition.DataNVS, Offset: 0x9000, Size: 0x6000},
		{Name: "factory", Type: partition.App, Subtype: partition.AppFactory, Offset: 0x10000, Size: 0x100000},
		{Name: "storage", Type: partition.Data, Subtype: partition.DataSPIFFS, Offset: 0x110000, Size: 0x10000},
	}.Binary(partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testApp(t *testing.T, c appimage.Chip) []byte {
	t.Helper()
	b, err := appimage.Build(appimage.Header{Chip: c, FlashSize: 4 << 20, Entry: 0x40380000, HashAppended: true},
		[]appimage.Segment{{Address: 0x40380000, Data: bytes.Repeat([]byte("code"), 5000)}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testBuild is an ESP-IDF build folder for a chip.
func testBuild(t *testing.T, target string, c appimage.Chip, flashSize string) string {
	t.Helper()
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "flasher_args.json"), fmt.Appendf(nil, `{"flash_settings":{"flash_size":%q},
		"flash_files":{"0x0":"bootloader/bootloader.bin","0x8000":"partition_table/partition-table.bin","0x10000":"app.bin"},
		"app":{"offset":"0x10000","file":"app.bin","encrypted":"false"},
		"extra_esptool_args":{"chip":%q}}`, flashSize, target))
	putFile(t, filepath.Join(dir, "bootloader/bootloader.bin"), testApp(t, c))
	putFile(t, filepath.Join(dir, "partition_table/partition-table.bin"), testTable(t))
	putFile(t, filepath.Join(dir, "app.bin"), testApp(t, c))
	return dir
}

func TestFlashStory(t *testing.T) {
	t.Parallel()
	mac, _ := net.ParseMAC("7c:df:a1:00:11:22")
	c, port := virtualBoard(t, virtualesp.Config{Chip: chip.ESP32C3, MAC: [6]byte(mac)})
	must := func(args ...string) string {
		t.Helper()
		out, errs, code := flash(append(args, "--port", port)...)
		if code != exitOK {
			t.Fatalf("flash %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
		}
		return out
	}
	var info flashInfo
	if err := json.Unmarshal([]byte(must("info", "-o", "json")), &info); err != nil {
		t.Fatal(err)
	}
	if info.Chip != "ESP32-C3" || info.MAC != "7c:df:a1:00:11:22" || info.FlashSize != 4<<20 || info.Revision != "0.4" || !info.Security.Known || info.Loader != "rom" {
		t.Errorf("%+v", info)
	}

	build := testBuild(t, "esp32c3", appimage.ESP32C3, "4MB")
	must("write", "--firmware", build)
	certs := putFile(t, filepath.Join(t.TempDir(), "certs.bin"), bytes.Repeat([]byte("cert"), 0x4000))
	var result flashResult
	if err := json.Unmarshal([]byte(must("write", "--partition", "storage", certs, "-o", "json")), &result); err != nil {
		t.Fatal(err)
	}
	if r := result.Regions[0]; r.Name != "storage" || r.Address != 0x110000 || r.State != flashVerified || r.Written != 0x10000 {
		t.Errorf("%+v", r)
	}
	before := c.Counters().BytesProgrammed
	if out := must("write", "--firmware", build, "--partition", "storage", certs); strings.Count(out, flashUnchanged) != 4 {
		t.Errorf("written again:\n%s", out)
	}
	if after := c.Counters().BytesProgrammed; after != before {
		t.Errorf("%d bytes programmed although nothing changed", after-before)
	}
	must("verify", "0x110000", certs)

	out := filepath.Join(t.TempDir(), "storage.bin")
	must("read", "--partition", "storage", out)
	if !bytes.Equal(readFile(t, out), readFile(t, certs)) {
		t.Error("what was read is not what was written")
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	stub := putFile(t, filepath.Join(t.TempDir(), "stub.json"), []byte(`{"entry":1077411840,"text":"AAAAAAAAAAA=","text_start":1077411840}`))
	if err := json.Unmarshal([]byte(must("info", "--stub", stub, "-o", "json")), &info); err != nil || info.Loader != "stub" {
		t.Errorf("%+v, %v", info, err)
	}
	must("read", "--stub", stub, "0x110000", "64K", out)
	if !bytes.Equal(readFile(t, out), readFile(t, certs)) {
		t.Error("what the stub read is not what was written")
	}
	must("erase", "--partition", "storage")
	stdout, stderr, code := flash("verify", "--partition", "storage", certs, "--port", port)
	if code != exitFailed || !strings.Contains(stdout, flashDiffers) || !strings.Contains(stderr, "hint: ") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestFlashRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large := putFile(t, filepath.Join(dir, "large.bin"), make([]byte, 0x10001))
	small := putFile(t, filepath.Join(dir, "small.bin"), make([]byte, 16))
	table := putFile(t, filepath.Join(dir, "table.bin"), testTable(t))
	esp32 := putFile(t, filepath.Join(dir, "esp32.bin"), testApp(t, appimage.ESP32))
	broken := putFile(t, filepath.Join(dir, "stub.json"), []byte("{}"))
	flash2, err := virtualesp.NewFlash(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	withTable := func(c *virtualesp.Chip) {
		if err := c.Flash().Program(0x8000, testTable(t)); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		config virtualesp.Config
		table  bool
		args   []string
		code   int
		want   string
	}{
		"no arguments":            {args: []string{"write"}, code: exitUsage, want: "nothing to do"},
		"odd arguments":           {args: []string{"write", "0x0"}, code: exitUsage, want: "pairs"},
		"bad address":             {args: []string{"write", "zero", small}, code: exitUsage, want: "32-bit"},
		"bad chip":                {args: []string{"info", "--chip", "esp99"}, code: exitUsage, want: "not known"},
		"bad reset":               {args: []string{"info", "--after", "never"}, code: exitUsage, want: "--after"},
		"bad size":                {args: []string{"erase", "0", "0"}, code: exitUsage, want: "size"},
		"bad stub":                {args: []string{"info", "--stub", broken}, code: exitFailed, want: "entry or text is missing"},
		"wrong board":             {args: []string{"info", "--chip", "esp32"}, code: exitFailed, want: "this board has an ESP32-C3"},
		"wrong build":             {args: []string{"write", "--firmware", testBuild(t, "esp32", appimage.ESP32, "4MB")}, code: exitFailed, want: "this board has an ESP32-C3"},
		"build for more flash":    {args: []string{"write", "--firmware", testBuild(t, "esp32c3", appimage.ESP32C3, "16MB")}, code: exitFailed, want: "16 MiB"},
		"wrong application":       {args: []string{"write", "0x10000", esp32}, code: exitFailed, want: "image is for an ESP32"},
		"unaligned":               {args: []string{"write", "0x10", small}, code: exitFailed, want: "multiple of 0x1000"},
		"beyond the flash":        {args: []string{"write", "0x3f8000", large}, code: exitFailed, want: "flash of this board"},
		"no table":                {args: []string{"write", "--partition", "storage", small}, code: exitFailed, want: "partition table at 0x8000"},
		"no such partition":       {table: true, args: []string{"write", "--partition", "certs", small}, code: exitFailed, want: "nvs, factory, storage"},
		"too large for it":        {table: true, args: []string{"write", "--partition", "storage", large}, code: exitFailed, want: "do not fit partition"},
		"too large by address":    {args: []string{"write", "0x8000", table, "0x110000", large}, code: exitFailed, want: "do not fit partition"},
		"another table":           {args: []string{"write", "--partition-table", table, "--partition", "storage", small}, code: exitFailed, want: "not the partition table on the board"},
		"table beyond the flash":  {config: virtualesp.Config{Flash: flash2}, args: []string{"write", "0x8000", table}, code: exitFailed, want: "the partition table reaches"},
		"encrypted":               {config: virtualesp.Config{Faults: virtualesp.Faults{Security: virtualesp.Security{FlashEncryption: true}}}, args: []string{"write", "0x10000", small}, code: exitFailed, want: "flash encryption is on"},
		"the file is missing":     {args: []string{"write", "0x0", filepath.Join(dir, "none.bin")}, code: exitFailed, want: "no such file"},
		"the build is missing":    {args: []string{"write", "--firmware", dir}, code: exitFailed, want: "idf.py build"},
		"nothing listens":         {args: []string{"info", "--port", "socket://127.0.0.1:1"}, code: exitFailed, want: "check the address"},
		"worn":                    {config: virtualesp.Config{Faults: virtualesp.Faults{Worn: []uint32{0x20000}}}, args: []string{"write", "0x20000", small}, code: exitFailed, want: "worn"},
		"plain data on encrypted": {config: virtualesp.Config{Faults: virtualesp.Faults{Security: virtualesp.Security{FlashEncryption: true}}}, table: true, args: []string{"write", "--partition", "storage", small}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, port := virtualBoard(t, test.config)
			if test.table {
				withTable(c)
			}
			_, stderr, code := flash(append([]string{test.args[0], "--port", port}, test.args[1:]...)...)
			if code != test.code || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, test.code, test.want, stderr)
			}
		})
	}
}
