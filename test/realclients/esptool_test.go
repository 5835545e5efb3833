package realclients

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const installEsptool = "apt-get install esptool (Debian 13; .ci/run shows how on Debian 12)"

// board is a virtual chip in a berth process of its own.
type board struct {
	t      *testing.T
	dir    string
	target string
	port   string
	cmd    *exec.Cmd
	events *json.Decoder
}

type boardEvent struct {
	Event    string
	Port     string
	App      string
	Error    string
	Counters struct {
		BytesIn, BytesOut, Commands, Failed, BadFrames int
		ByCommand                                      map[string]int
	}
}

const boardMAC = "7c:df:a1:01:02:03"

func startBoard(t *testing.T, target string, more ...string) *board {
	t.Helper()
	b := &board{t: t, dir: t.TempDir(), target: target}
	args := append([]string{"virtual-esp32", "--chip", target, "--flash", filepath.Join(b.dir, "flash.bin"),
		"--flash-size", "4MB", "--mac", boardMAC, "-o", "json"}, more...)
	b.cmd = exec.Command(berth, args...)
	b.cmd.Stderr = os.Stderr
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.cmd.Process.Kill(); _ = b.cmd.Wait() })
	b.events = json.NewDecoder(out)
	ready := b.next("ready")
	b.port = ready.Port
	return b
}

// next returns the next event of that kind.
func (b *board) next(kind string) boardEvent {
	b.t.Helper()
	for {
		var e boardEvent
		if err := b.events.Decode(&e); err != nil {
			b.t.Fatalf("%s: waiting for %s: %v", b.target, kind, err)
		}
		if e.Event == kind {
			return e
		}
	}
}

// stop ends the process and returns what went over the wire.
func (b *board) stop() boardEvent {
	b.t.Helper()
	if err := b.cmd.Process.Signal(os.Interrupt); err != nil {
		b.t.Fatal(err)
	}
	return b.next("end")
}

// esptool runs esptool against the chip, without the resets that its link cannot carry.
func (b *board) esptool(args ...string) (string, error) {
	b.t.Helper()
	all := []string{"--port", b.port}
	if !strings.HasPrefix(b.port, "rfc2217:") {
		all = append(all, "--before", "no_reset", "--after", "no_reset")
	}
	cmd := exec.CommandContext(ctx(b.t, 60*time.Second), program(b.t, "esptool", installEsptool), append(all, args...)...)
	cmd.Dir = b.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs esptool and expects it to succeed and to say these words.
func (b *board) must(words string, args ...string) {
	b.t.Helper()
	out, err := b.esptool(args...)
	if err != nil || !strings.Contains(strings.ToLower(out), strings.ToLower(words)) {
		b.t.Errorf("%s: esptool %s: %v, want %q in:\n%s", b.target, strings.Join(args, " "), err, words, out)
	}
}

func (b *board) file(name string, content []byte) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), content, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// flash returns a piece of the chip's flash.
func (b *board) flash(offset, n int) []byte {
	b.t.Helper()
	all, err := os.ReadFile(filepath.Join(b.dir, "flash.bin"))
	if err != nil || len(all) != 4<<20 {
		b.t.Fatalf("flash of %d bytes, %v", len(all), err)
	}
	return all[offset : offset+n]
}

func (b *board) holds(offset int, want []byte, after string) {
	b.t.Helper()
	if !bytes.Equal(b.flash(offset, len(want)), want) {
		b.t.Errorf("%s: after %s the flash holds something else at %#x", b.target, after, offset)
	}
}

// stubless tells whether the packaged esptool has no stub for the chip: Debian cannot build those
// for the Xtensa chips.
func (b *board) stubless() bool {
	b.t.Helper()
	out, err := b.esptool("chip_id")
	return err != nil && strings.Contains(out, "FileNotFoundError") && strings.Contains(out, "stub_flasher")
}

// testImages are one that does not compress and one that does.
func testImages() (dense, sparse []byte) {
	random := rand.New(rand.NewPCG(1, 1))
	dense = make([]byte, 64<<10)
	for i := range dense {
		dense[i] = byte(random.Uint32())
	}
	sparse = bytes.Repeat([]byte{0xFF}, 64<<10)
	copy(sparse, dense[:1400])
	return dense, sparse
}

func TestEsptool(t *testing.T) {
	t.Parallel()
	program(t, "esptool", installEsptool)
	names := map[string]string{
		"esp32": "ESP32-D0WD", "esp32s2": "ESP32-S2", "esp32s3": "ESP32-S3", "esp32c2": "ESP32-C2", "esp32c3": "ESP32-C3",
		"esp32c6": "ESP32-C6", "esp32h2": "ESP32-H2", "esp32p4": "ESP32-P4", "esp8266": "ESP8266",
	}
	for target, name := range names {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			b := startBoard(t, target, "--listen", "127.0.0.1:0")
			dense, sparse := testImages()
			b.file("dense.bin", dense)
			b.file("sparse.bin", sparse)
			old := target == "esp8266"
			loaders := [][]string{nil, {"--no-stub"}}
			if b.stubless() {
				t.Logf("this esptool has no stub for %s", name)
				loaders = loaders[1:]
			}
			for _, loader := range loaders {
				rom := loader != nil
				run := func(words string, args ...string) {
					t.Helper()
					b.must(words, append(append([]string{}, loader...), args...)...)
				}
				run(name, "chip_id")
				run(boardMAC, "read_mac")
				run("flash size: 4MB", "flash_id")
				if !old || !rom { // the ROM of ESP8266 cannot hash
					run("hash of data verified", "write_flash", "0x10000", "dense.bin", "0x20000", "sparse.bin")
					run("verify OK", "verify_flash", "0x10000", "dense.bin", "0x20000", "sparse.bin")
				} else {
					run("wrote", "write_flash", "0x10000", "dense.bin", "0x20000", "sparse.bin")
				}
				b.holds(0x10000, dense, "write_flash")
				b.holds(0x20000, sparse, "write_flash")
				run("wrote", "write_flash", "-u", "0x20000", "dense.bin")
				b.holds(0x20000, dense, "write_flash -u")
				if !old || !rom {
					run("", "read_flash", "0x11000", "0x2000", "read.bin")
					if got, err := os.ReadFile(filepath.Join(b.dir, "read.bin")); err != nil || !bytes.Equal(got, dense[0x1000:0x3000]) {
						t.Errorf("%s: read_flash read something else, %v", target, err)
					}
				}
				if rom { // what no ROM can
					continue
				}
				blank := bytes.Repeat([]byte{0xFF}, 0x1000)
				run("completed successfully", "erase_region", "0x10000", "0x1000")
				b.holds(0x10000, append(blank, dense[0x1000:]...), "erase_region")
				run("completed successfully", "erase_flash")
				b.holds(0, bytes.Repeat(blank, 1024), "erase_flash")
				b.must("hash of data verified", "--baud", "460800", "write_flash", "0x10000", "dense.bin")
			}
			if e := b.stop().Counters; e.BadFrames != 0 || e.Commands == 0 {
				t.Errorf("%s: %+v", target, e)
			}
		})
	}
}

// TestEsptoolResets has esptool reset the chip into download mode and out of it, over a port that
// carries DTR and RTS.
func TestEsptoolResets(t *testing.T) {
	t.Parallel()
	program(t, "esptool", installEsptool)
	b := startBoard(t, "esp32c3", "--listen", "127.0.0.1:0", "--rfc2217")
	dense, _ := testImages()
	b.file("dense.bin", dense)
	b.must("hash of data verified", "write_flash", "0x10000", "dense.bin")
	b.holds(0x10000, dense, "write_flash")
	for range 2 { // when it was switched on, and after esptool was done
		if e := b.next("boot"); !strings.Contains(e.Error, "no partition table") {
			t.Errorf("started %q, %q", e.App, e.Error)
		}
	}
}

// TestEsptoolOnPty has esptool open a pseudo-terminal twice.
func TestEsptoolOnPty(t *testing.T) {
	t.Parallel()
	program(t, "esptool", installEsptool)
	b := startBoard(t, "esp32c6", "--pty")
	b.must(boardMAC, "--no-stub", "read_mac")
	b.must(boardMAC, "read_mac")
	if e := b.stop().Counters; e.ByCommand["SYNC"] == 0 || e.BadFrames != 0 {
		t.Errorf("%+v", e)
	}
}

// TestEsptoolWireCost logs what esptool's usual way costs to write an identity partition, for
// comparison with berth's own flasher.
func TestEsptoolWireCost(t *testing.T) {
	t.Parallel()
	program(t, "esptool", installEsptool)
	for _, stub := range []bool{true, false} {
		b := startBoard(t, "esp32c3", "--listen", "127.0.0.1:0")
		_, sparse := testImages()
		b.file("sparse.bin", sparse)
		for _, args := range [][]string{{"read_mac"}, {"write_flash", "-z", "0x310000", "sparse.bin"}} {
			if !stub {
				args = append([]string{"--no-stub"}, args...)
			}
			b.must("", args...)
		}
		e := b.stop().Counters
		t.Logf("read_mac and write_flash of 64 KiB, stub %t: %d bytes in, %d bytes out, %d commands %v",
			stub, e.BytesIn, e.BytesOut, e.Commands, e.ByCommand)
		if e.BytesIn < len(sparse)/50 || e.Commands < 20 {
			t.Errorf("stub %t: %+v", stub, e)
		}
	}
}
