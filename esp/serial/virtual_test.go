package serial_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/internal/virtualesp"
)

// line is the host's end of a virtual chip's serial line, with modem lines.
type line struct {
	*virtualesp.Port
	mu       sync.Mutex
	deadline time.Time
}

func (l *line) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = t
	return nil
}

func (l *line) Read(p []byte) (int, error) {
	for {
		l.mu.Lock()
		left := time.Until(l.deadline)
		l.mu.Unlock()
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		if err := l.SetReadTimeout(min(left, 20*time.Millisecond)); err != nil {
			return 0, err
		}
		if n, err := l.Port.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
}

func (l *line) SetLines(dtr, rts bool) error { return errors.Join(l.SetDTR(dtr), l.SetRTS(rts)) }

func virtual(t *testing.T, config virtualesp.Config) (*virtualesp.Chip, *line) {
	t.Helper()
	c, err := virtualesp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, &line{Port: c.Port()}
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// identity is 64 KiB that deflate to about 1.5 KiB, as a file system with a key and a certificate.
func identity(seed uint64) []byte {
	b := bytes.Repeat([]byte{0xFF}, 64<<10)
	copy(b[0x1000:], random(seed, 1300))
	copy(b[0x3000:], bytes.Repeat([]byte("certificate "), 40))
	return b
}

func deflated(t *testing.T, b []byte) int {
	t.Helper()
	var out bytes.Buffer
	z, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(b); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return out.Len()
}

func flash(t *testing.T, c *virtualesp.Chip, r serial.Region) []byte {
	t.Helper()
	b := make([]byte, len(r.Data))
	if _, err := c.Flash().ReadAt(b, int64(r.Address)); err != nil {
		t.Fatal(err)
	}
	return b
}

var stub = &serial.Stub{Entry: 0x40380000, Segments: []serial.Segment{{Address: 0x40380000, Data: make([]byte, 0x2345)}}}

// stubFor places a stub where the chip has RAM.
func stubFor(c *chip.Chip) *serial.Stub {
	at := c.RAM[len(c.RAM)-1].Start
	for _, r := range c.RAM {
		if r.End-r.Start > 0x8000 {
			at = r.Start + 0x1000
		}
	}
	return &serial.Stub{Entry: at, Segments: []serial.Segment{{Address: at, Data: stub.Segments[0].Data}}}
}

func TestVirtualChips(t *testing.T) {
	t.Parallel()
	for _, kind := range chip.All() {
		for _, withStub := range []bool{false, true} {
			t.Run(kind.Target+map[bool]string{false: "/rom", true: "/stub"}[withStub], func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx := context.Background()
					mac, _ := net.ParseMAC("7c:df:a1:00:11:22")
					c, port := virtual(t, virtualesp.Config{Chip: kind, MAC: [6]byte(mac)})
					s, err := serial.Open(ctx, port, serial.Options{Baud: 921600})
					if err != nil {
						t.Fatal(err)
					}
					defer s.Close()
					if s.Chip() != kind || s.MAC().String() != mac.String() {
						t.Errorf("%s %s", s.Chip().Name, s.MAC())
					}
					if withStub {
						if err := s.RunStub(ctx, stubFor(kind)); err != nil {
							t.Fatal(err)
						}
					}
					if _, _, err := s.Revision(ctx); err != nil {
						t.Error(err)
					}
					if size, err := s.FlashSize(ctx); err != nil || size != 4<<20 {
						t.Errorf("flash of %d bytes, %v", size, err)
					}
					bare := kind == chip.ESP8266 && !withStub
					regions := []serial.Region{{Name: "app", Address: 0x10000, Data: random(1, 270<<10+1)}, {Address: 0x310000, Data: identity(2)}}
					if _, err := s.Write(ctx, regions, serial.WriteOptions{OnlyChanged: !bare, Verify: !bare}); err != nil {
						t.Fatal(err)
					}
					for _, r := range regions {
						if !bytes.Equal(flash(t, c, r), r.Data) {
							t.Errorf("%v: the flash differs", r)
						}
					}
					if bare {
						return
					}
					if b, err := s.Read(ctx, 0x10000, 0x3456, nil); err != nil || !bytes.Equal(b, regions[0].Data[:0x3456]) {
						t.Errorf("read %d bytes, %v", len(b), err)
					}
					if err := s.Erase(ctx, 0x310000, 0x1000); err != nil {
						t.Error(err)
					}
					if differ, err := s.Verify(ctx, regions); err != nil || len(differ) != 0 {
						t.Errorf("%v differ, %v", differ, err) // the first sector is blank as it was
					}
					if err := s.Erase(ctx, 0, 0); err != nil {
						t.Error(err)
					}
					if differ, err := s.Verify(ctx, regions); err != nil || len(differ) != 2 {
						t.Errorf("%v differ, %v", differ, err)
					}
					for _, end := range []serial.ResetEnd{serial.EndSoft, serial.EndHard} {
						if err := s.Reset(ctx, end); err != nil {
							t.Error(err)
						}
					}
				})
			})
		}
	}
}

// TestVirtualIdentity counts at the chip what the target for the wire allows.
func TestVirtualIdentity(t *testing.T) {
	t.Parallel()
	for _, kind := range chip.All()[1:] {
		t.Run(kind.Target, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				c, port := virtual(t, virtualesp.Config{Chip: kind})
				s, err := serial.Open(ctx, port, serial.Options{FlashSize: 4 << 20, Baud: 921600})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				r := serial.Region{Name: "identity", Address: 0x310000, Data: identity(1)}
				if _, err := s.Write(ctx, []serial.Region{r}, serial.WriteOptions{OnlyChanged: true, Verify: true}); err != nil {
					t.Fatal(err)
				}
				got, size := c.Counters(), deflated(t, r.Data)
				t.Logf("%s: %d commands, %d bytes, of which %d are the deflated partition", kind.Name, got.Commands, got.BytesIn, size)
				if limit := size*115/100 + 400; got.Commands > 14 || got.BytesIn > limit {
					t.Errorf("%d commands and %d bytes, want at most 14 and %d: %v", got.Commands, got.BytesIn, limit, got.ByCommand)
				}
				if got.Commands != s.Stats().Commands || got.BytesIn != s.Stats().BytesSent {
					t.Errorf("the chip counts %d commands and %d bytes, the session %+v", got.Commands, got.BytesIn, s.Stats())
				}
				if _, err := s.Write(ctx, []serial.Region{r}, serial.WriteOptions{OnlyChanged: true, Verify: true}); err != nil {
					t.Fatal(err)
				}
				if n := c.Counters().Commands - got.Commands; n != 1 {
					t.Errorf("%d commands for an unchanged region", n)
				}
			})
		})
	}
}

// TestVirtualFaults wants the data in flash, or an error, and never a false success, on a line that
// loses and flips bytes and with a chip that resets in the middle.
func TestVirtualFaults(t *testing.T) {
	t.Parallel()
	kinds := chip.All()[1:]
	var mu sync.Mutex
	done := map[string]int{}
	t.Cleanup(func() {
		// One byte in three thousand is lost or changed: most sessions get through all the same.
		for _, name := range []string{"drop", "flip"} {
			if t.Logf("%s: %d of %d", name, done[name+" done"], done[name+" tried"]); done[name+" done"]*5 < done[name+" tried"]*4 {
				t.Errorf("too few sessions got through")
			}
		}
	})
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 4))
		faults := virtualesp.Faults{Seed: seed}
		name := "reset"
		switch seed % 4 {
		case 0:
			name, faults.Drop = "drop", 0.0003
		case 1:
			name, faults.Flip = "flip", 0.0003
		case 2:
			faults.ResetAfterBytes = 1 + r.IntN(6000)
		case 3:
			faults.ResetAtCommand = 1 + r.IntN(20)
		}
		kind := kinds[r.IntN(len(kinds))]
		synctest.Test(t, func(t *testing.T) {
			ctx := context.Background()
			c, port := virtual(t, virtualesp.Config{Chip: kind, Faults: faults})
			region := serial.Region{Address: 0x310000, Data: random(seed, 6000)}
			s, err := serial.Open(ctx, port, serial.Options{})
			if err == nil {
				defer s.Close()
				_, err = s.Write(ctx, []serial.Region{region}, serial.WriteOptions{OnlyChanged: true, Verify: true})
			}
			if err == nil && !bytes.Equal(flash(t, c, region), region.Data) {
				t.Errorf("seed %d, %s, %+v: success, but the flash differs", seed, kind.Name, faults)
			}
			// A single reset is always survived: the lines bring the chip back.
			if err != nil && name == "reset" {
				t.Errorf("seed %d, %s, %+v: %v", seed, kind.Name, faults, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if done[name+" tried"]++; err == nil {
				done[name+" done"]++
			}
		})
	}
}

func TestVirtualRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config virtualesp.Config
		want   error
	}{
		"worn":            {virtualesp.Config{Faults: virtualesp.Faults{Worn: []uint32{0x311000}}}, serial.ErrMismatch},
		"unplugged":       {virtualesp.Config{Faults: virtualesp.Faults{UnplugAfterBytes: 3000}}, serial.ErrUnplugged},
		"unplugged early": {virtualesp.Config{Faults: virtualesp.Faults{UnplugAtCommand: 1}}, serial.ErrUnplugged},
		"encrypted":       {virtualesp.Config{Faults: virtualesp.Faults{Security: virtualesp.Security{FlashEncryption: true}}}, serial.ErrSecurity},
		"encrypted ESP32": {virtualesp.Config{Chip: chip.ESP32, Faults: virtualesp.Faults{Security: virtualesp.Security{FlashEncryption: true}}}, serial.ErrSecurity},
		"secure download": {virtualesp.Config{Faults: virtualesp.Faults{Security: virtualesp.Security{SecureDownload: true}}}, serial.ErrSecureDownload},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				_, port := virtual(t, test.config)
				s, err := serial.Open(ctx, port, serial.Options{})
				if err == nil {
					defer s.Close()
					_, err = s.Write(ctx, []serial.Region{{Address: 0x310000, Data: random(1, 8000)}}, serial.WriteOptions{OnlyChanged: true, Verify: true})
				}
				if !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
			})
		})
	}
}

// TestVirtualUSBJTAG resets through the chip's own USB controller.
func TestVirtualUSBJTAG(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, port := virtual(t, virtualesp.Config{Chip: chip.ESP32C3, USBJTAG: true})
		s, err := serial.Open(context.Background(), port, serial.Options{Reset: serial.ResetUSBJTAG})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Write(context.Background(), []serial.Region{{Address: 0, Data: random(1, 5000)}}, serial.WriteOptions{Verify: true}); err != nil {
			t.Error(err)
		}
	})
}
