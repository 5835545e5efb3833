package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/berth-iot/berth/esp/chip"
)

// board is a port with lines wired as on a board: RTS to reset, DTR to the strapping pin, each
// through a transistor that the other line blocks. After a reset the chip listens only if the pin
// was low.
type board struct {
	Port
	fake            *fakeROM
	vendor, product uint16
	rates           []int
	levels          []string
	inReset         bool
	jtag            bool
	deafAt          func(baud int) bool
}

func (b *board) SetLines(dtr, rts bool) error {
	b.levels = append(b.levels, fmt.Sprint(b2i(dtr), b2i(rts)))
	reset, strap := rts && !dtr, dtr && !rts
	if b.jtag { // the strapping level is the one that DTR had when reset came
		if rts && !b.inReset {
			strap = dtr
			b.fake.mute.Store(!strap)
		}
		b.inReset = rts
		return nil
	}
	if b.inReset && !reset {
		b.fake.mute.Store(!strap)
	}
	b.inReset = reset
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (b *board) SetBaud(baud int) error {
	if b.deafAt != nil {
		b.fake.mute.Store(b.deafAt(baud))
	}
	if len(b.rates) == 0 || b.rates[len(b.rates)-1] != baud {
		b.rates = append(b.rates, baud)
	}
	return nil
}

func (b *board) USBID() (uint16, uint16) { return b.vendor, b.product }

func TestResetSequences(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		chip            *chip.Chip
		vendor, product uint16
		want            string
	}{
		"bridge":   {chip.ESP32, 0x10C4, 0xEA60, "0 0,1 1,0 1,1 0,0 0"},
		"USB JTAG": {chip.ESP32C3, VendorEspressif, ProductUSBJTAGSerial, "0 0,1 0,1 1,0 1,0 0"},
		"USB OTG":  {chip.ESP32S2, VendorEspressif, ProductUSBOTG, "0 0,1 1,0 1,1 0,0 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake(test.chip)
				f.mute.Store(true)
				b := &board{Port: f.port(t), fake: f, vendor: test.vendor, product: test.product, jtag: test.product == ProductUSBJTAGSerial}
				s, err := Open(context.Background(), b, Options{Baud: 921600})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if got := strings.Join(b.levels, ","); got != test.want {
					t.Errorf("levels %s, want %s", got, test.want)
				}
				if w := test.chip.Watchdog.Config0; test.product == ProductUSBJTAGSerial && f.count[opWriteReg] < 3 {
					t.Errorf("the watchdog at 0x%x still runs", w)
				}
				ctx := context.Background()
				if _, err := s.Write(ctx, []Region{{Address: 0x10000, Data: identity()}}, WriteOptions{Verify: true}); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(b.rates, []int{DefaultBaud}) {
					t.Errorf("rates %v for a small region", b.rates)
				}
				if _, err := s.Write(ctx, []Region{{Address: 0x10000, Data: noise(1, 100<<10)}}, WriteOptions{Verify: true}); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(b.rates, []int{DefaultBaud, 921600}) {
					t.Errorf("rates %v for a large region", b.rates)
				}
				b.levels = nil
				if err := s.Reset(ctx, EndAuto); err != nil || strings.Join(b.levels, ",") != "0 0,0 1,0 0" {
					t.Errorf("levels %v, %v", b.levels, err)
				}
			})
		})
	}
}

// TestFirmwareIsInterrupted brings a chip back that has started its firmware in the middle.
func TestFirmwareIsInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(chip.ESP32)
		f.fault = func(op byte, n int) fault {
			if op == opFlashDeflData && n == 4 {
				f.mute.Store(true)
				f.attached = false
				return loseRequest
			}
			return none
		}
		b := &board{Port: f.port(t), fake: f}
		s, err := Open(context.Background(), b, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w, err := s.Write(context.Background(), []Region{{Address: 0x10000, Data: noise(1, 10<<10)}}, WriteOptions{Verify: true})
		if err != nil || !w[0].Checked {
			t.Errorf("%+v, %v", w, err)
		}
	})
}

// TestOtherBoard does not go on with another board than the one it began with.
func TestOtherBoard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(chip.ESP32)
		f.fault = func(op byte, n int) fault {
			if op == opFlashDeflData && n == 2 {
				f.mute.Store(true)
				f.regs[0x3FF5A004]++
				return loseRequest
			}
			return none
		}
		s, err := Open(context.Background(), &board{Port: f.port(t), fake: f}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = s.Write(context.Background(), []Region{{Address: 0x10000, Data: noise(1, 10<<10)}}, WriteOptions{Verify: true})
		if !errors.Is(err, ErrUnplugged) || !strings.Contains(err.Error(), "another board") {
			t.Error(err)
		}
	})
}

// TestReopen finds a chip again whose USB interface goes away on a reset.
func TestReopen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(chip.ESP32S2)
		tries := 0
		gone := &vanishing{Port: f.port(t)}
		s, err := Open(context.Background(), gone, Options{Reopen: func(context.Context) (Port, error) {
			if tries++; tries < 3 {
				return nil, ErrPortNotFound
			}
			return f.port(t), nil
		}})
		if err != nil || tries != 3 {
			t.Fatalf("%d tries, %v", tries, err)
		}
		_ = s.Close()
	})
}

type vanishing struct{ Port }

func (*vanishing) SetLines(bool, bool) error { return io.ErrClosedPipe }

// TestBaudAnswerIsLost finds a chip that has changed its rate without being heard.
func TestBaudAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, what := range map[string]fault{"answer": loseAnswer, "request": loseRequest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var rate atomic.Int64
				rate.Store(DefaultBaud)
				f := newFake(chip.ESP32C3)
				f.fault = func(op byte, n int) fault {
					if op != opChangeBaudrate {
						return none
					}
					if n > 1 || what == loseAnswer {
						rate.Store(921600)
					}
					if n == 1 {
						return what
					}
					return none
				}
				b := &board{Port: f.port(t), fake: f, deafAt: func(baud int) bool { return int64(baud) != rate.Load() }}
				s, err := Open(context.Background(), b, Options{Baud: 921600, Reset: ResetNone})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				w, err := s.Write(context.Background(), []Region{{Address: 0x10000, Data: noise(1, 100<<10)}}, WriteOptions{Verify: true})
				if err != nil || !w[0].Checked {
					t.Error(err)
				}
				if last := b.rates[len(b.rates)-1]; last != 921600 {
					t.Errorf("ends at %d bit/s", last)
				}
			})
		})
	}
}
