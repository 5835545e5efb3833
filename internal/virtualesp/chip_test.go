package virtualesp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-iot/berth/esp/chip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host talks to a chip over a port.
type host struct {
	*Port
	t      *testing.T
	frames deframer
	text   bytes.Buffer // what came
}

func newChip(t *testing.T, config Config) *Chip {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func connect(t *testing.T, c *Chip) *host {
	t.Helper()
	p := c.Port()
	if err := p.SetReadTimeout(2 * time.Second); err != nil {
		t.Fatal(err)
	}
	return &host{Port: p, t: t}
}

var errSilent = errors.New("no answer")

// ask sends a request and waits for the reply to it, whose status is the ROM's of four
// bytes.
func (h *host) ask(op byte, data []byte) ([]byte, error) {
	var sum uint32
	if op == opFlashData || op == opFlashDeflData || op == opMemData {
		sum = 0xEF
		for _, b := range data[dataHeaderLen:] {
			sum ^= uint32(b)
		}
	}
	if _, err := h.Write(appendFrame(nil, request(op, data, sum))); err != nil {
		return nil, err
	}
	buf := make([]byte, 1)
	for {
		n, err := h.Read(buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errSilent
		}
		h.text.WriteByte(buf[0])
		frame, _ := h.frames.next(buf[0], 1<<16)
		if len(frame) >= 12 && frame[0] == 1 && frame[1] == op {
			p := bytes.Clone(frame[8:])
			if p[len(p)-4] != 0 {
				return nil, fmt.Errorf("error %#x", p[len(p)-3])
			}
			return p[:len(p)-4], nil
		}
	}
}

// skip reads until the chip has nothing to say for a while.
func (h *host) skip() {
	buf := make([]byte, 100)
	for {
		n, err := h.Read(buf)
		h.text.Write(buf[:n])
		if n == 0 || err != nil {
			return
		}
	}
}

func syncData() []byte {
	return append([]byte{7, 7, 0x12, 0x20}, bytes.Repeat([]byte{0x55}, 32)...)
}

// write writes an image as a ROM host does.
func (h *host) write(offset uint32, image []byte) error {
	if _, err := h.ask(opSync, syncData()); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if _, err := h.ask(opSPIAttach, le(0, 0)); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	blocks := uint32(len(image) / chip.ROMBlock)
	if _, err := h.ask(opFlashBegin, le(uint32(len(image)), blocks, chip.ROMBlock, offset, 0)); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for i := range blocks {
		body := image[i*chip.ROMBlock:][:chip.ROMBlock]
		if _, err := h.ask(opFlashData, append(le(chip.ROMBlock, i, 0, 0), body...)); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

func TestManyChipsAtOnce(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for i := range 20 {
		c := newChip(t, Config{HoldBoot: true})
		h := connect(t, c)
		wg.Go(func() {
			image := noiseOf(0x4000, uint64(i))
			if err := h.write(0x10000, image); err != nil {
				t.Errorf("chip %d: %v", i, err)
				return
			}
			got := make([]byte, len(image))
			if _, err := c.Flash().ReadAt(got, 0x10000); err != nil || !bytes.Equal(got, image) {
				t.Errorf("chip %d: the flash holds something else, %v", i, err)
			}
			n := c.Counters()
			if n.Commands != 19 || n.ByCommand["FLASH_DATA"] != 16 || n.SectorsErased != 4 || n.BytesProgrammed != 0x4000 {
				t.Errorf("chip %d: %+v", i, n)
			}
		})
	}
	wg.Wait()
}

// TestResetLines drives DTR and RTS as hosts do, with time that takes none.
func TestResetLines(t *testing.T) {
	t.Parallel()
	type line struct{ dtr, rts bool }
	classic := []line{{false, false}, {false, true}, {true, true}, {true, false}, {false, false}}
	atOnce := []line{{false, true}, {true, false}, {false, false}}
	hard := []line{{false, false}, {false, true}, {false, false}}
	usb := []line{{false, false}, {true, false}, {true, true}, {false, true}, {false, false}}
	for name, c := range map[string]struct {
		usb   bool
		lines []line
		want  state
	}{
		"classic":              {false, classic, loading},
		"at once":              {false, atOnce, loading},
		"hard reset":           {false, hard, running},
		"both on is no reset":  {false, []line{{true, true}}, running},
		"held in reset":        {false, []line{{false, true}}, held},
		"USB":                  {true, usb, loading},
		"USB hard reset":       {true, hard, running},
		"USB forgets a choice": {true, append([]line{{true, false}}, hard...), running},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := newChip(t, Config{USBJTAG: c.usb})
				p := v.Port()
				for _, l := range c.lines {
					if err := errors.Join(p.SetDTR(l.dtr), p.SetRTS(l.rts)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(50 * time.Millisecond)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if got := v.now().state; got != c.want {
					t.Errorf("state %d, want %d", got, c.want)
				}
				p.Close()
			})
		})
	}
}

func TestUSBJTAGNeedsAChipThatHasIt(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{Chip: chip.ESP32, USBJTAG: true}); !errors.Is(err, ErrConfig) {
		t.Errorf("%v", err)
	}
}

func TestChipOutOfDownloadModeIsDeaf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChip(t, Config{})
		h := connect(t, c)
		if _, err := h.ask(opSync, syncData()); !errors.Is(err, errSilent) {
			t.Errorf("%v", err)
		}
		if !strings.Contains(h.text.String(), "boot:0xc") {
			t.Errorf("said %q", h.text.String())
		}
		c.Reset(true)
		h.skip()
		if _, err := h.ask(opSync, syncData()); err != nil {
			t.Errorf("after a reset: %v", err)
		}
		if !strings.Contains(h.text.String(), "waiting for download") {
			t.Errorf("said %q", h.text.String())
		}
	})
}

func TestResetInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]Faults{
		"at a command": {ResetAtCommand: 8},
		"after bytes":  {ResetAfterBytes: 6000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newChip(t, Config{HoldBoot: true, Faults: faults})
				h := connect(t, c)
				image := noiseOf(0x4000, 7)
				if err := h.write(0, image); err == nil {
					t.Fatal("the host noticed nothing")
				}
				kept := make([]byte, 0x400)
				if _, err := c.Flash().ReadAt(kept, 0); err != nil || !bytes.Equal(kept, image[:0x400]) {
					t.Errorf("what was programmed is gone: %v", err)
				}
				if err := h.write(0, image); err != nil {
					t.Errorf("once more: %v", err)
				}
			})
		})
	}
}

func TestUnplug(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]Faults{
		"at a command": {UnplugAtCommand: 5},
		"after bytes":  {UnplugAfterBytes: 3000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChip(t, Config{HoldBoot: true, Faults: faults})
			h := connect(t, c)
			if err := h.write(0, noiseOf(0x4000, 1)); !errors.Is(err, ErrUnplugged) {
				t.Errorf("%v", err)
			}
			if err := connect(t, c).write(0, noiseOf(0x1000, 1)); err != nil {
				t.Errorf("plugged in again: %v", err)
			}
		})
	}
}

func TestNoiseIsSeeded(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) string {
		var counters string
		synctest.Test(t, func(t *testing.T) {
			c := newChip(t, Config{HoldBoot: true, Faults: Faults{Seed: seed, Drop: 0.001, Flip: 0.001}})
			h := connect(t, c)
			err := h.write(0, noiseOf(0x4000, 1))
			n := c.Counters()
			counters = fmt.Sprint(err, n.Commands, n.BytesIn, n.BadFrames)
		})
		return counters
	}
	if a, b := run(1), run(1); a != b || strings.HasPrefix(a, "<nil>") {
		t.Errorf("one seed gave %s and %s", a, b)
	}
	kinds := map[string]bool{}
	for seed := range uint64(5) {
		kinds[run(seed)] = true
	}
	if len(kinds) == 1 {
		t.Errorf("five seeds gave %v", kinds)
	}
}

func TestBaudRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChip(t, Config{HoldBoot: true, Timing: Timing{BaudRate: true}})
		h := connect(t, c)
		h.skip()
		if err := h.SetBaud(115200); err != nil {
			t.Fatal(err)
		}
		image := noiseOf(0x4000, 1)
		began := time.Now()
		if err := h.write(0, image); err != nil {
			t.Fatal(err)
		}
		n := c.Counters()
		took := time.Since(began)
		if least := time.Duration(n.BytesIn) * 10 * time.Second / 115200; took < least || took > least*5/4 {
			t.Errorf("%d bytes took %v, want some more than %v", n.BytesIn, took, least)
		}
		if _, err := h.ask(opChangeBaudrate, le(921600, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.ask(opReadReg, le(0)); !errors.Is(err, errSilent) {
			t.Errorf("at the old rate: %v", err)
		}
		if err := h.SetBaud(921600); err != nil {
			t.Fatal(err)
		}
		// The end of the garbled frame is noise before the next.
		if _, err := h.Write([]byte{slipEnd}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.ask(opReadReg, le(0)); err != nil {
			t.Errorf("at the new rate: %v", err)
		}
	})
}

func TestOnlyOneLine(t *testing.T) {
	t.Parallel()
	c := newChip(t, Config{})
	connect(t, c)
	near, far := net.Pipe()
	defer far.Close()
	if err := c.Serve(context.Background(), near); !errors.Is(err, ErrConfig) {
		t.Errorf("%v", err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := newChip(t, Config{})
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	defer far.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, near) }()
	cancel()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not")
	}
}

func TestPortDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChip(t, Config{Chip: chip.ESP8266, HoldBoot: true})
		p := c.Port()
		if err := p.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Hour {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestFaultsFromText(t *testing.T) {
	t.Parallel()
	var f Faults
	if err := errors.Join(f.Add("seed=7, drop=0.5,flip=1e-3"), f.Add("worn=0x10000,worn=8192"),
		f.Add("reset-at-command=3,unplug-after-bytes=9,secure-boot")); err != nil {
		t.Fatal(err)
	}
	if f.Seed != 7 || f.Drop != 0.5 || f.Flip != 0.001 || len(f.Worn) != 2 || f.Worn[0] != 0x10000 ||
		f.ResetAtCommand != 3 || f.UnplugAfterBytes != 9 || !f.SecureBoot || f.FlashEncryption {
		t.Errorf("%+v", f)
	}
	for _, text := range []string{"", "drop", "drop=2", "drop=NaN", "worn=x", "seed=-1", "secure-boot=no", "fire"} {
		if err := f.Add(text); !errors.Is(err, ErrFault) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
