package serial

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/esp/chip"
)

// noise is data that does not deflate.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// identity is 64 KiB like a small file system: a few kilobytes in a sea of 0xFF.
func identity() []byte {
	b := bytes.Repeat([]byte{0xFF}, 64<<10)
	copy(b[0x1000:], noise(7, 1200))
	copy(b[0x3000:], bytes.Repeat([]byte("certificate "), 40))
	return b
}

func TestOpenFindsEveryChip(t *testing.T) {
	t.Parallel()
	for _, c := range chip.All() {
		t.Run(c.Target, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for _, want := range []string{"", c.Target, c.Name} {
					s := open(t, newFake(c), Options{Chip: want})
					if s.Chip() != c {
						t.Errorf("wanted %q: found %s", want, s.Chip().Name)
					}
					if got := s.MAC().String(); got != testMAC {
						t.Errorf("MAC %s, want %s", got, testMAC)
					}
					if got := s.Security(); got.Known != (c != chip.ESP8266) || got.SecureBoot || got.FlashEncryption {
						t.Errorf("security %+v", got)
					}
					if _, _, err := s.Revision(context.Background()); err != nil {
						t.Error(err)
					}
					id, err := s.FlashID(context.Background())
					size, sizeErr := s.FlashSize(context.Background())
					if err != nil || sizeErr != nil || id != 0x1640EF || size != 4<<20 {
						t.Errorf("flash 0x%06x, %d bytes, %v, %v", id, size, err, sizeErr)
					}
				}
			})
		})
	}
}

func TestWriteReadEraseOnEveryChip(t *testing.T) {
	t.Parallel()
	for _, c := range chip.All() {
		for _, withStub := range []bool{false, true} {
			name := c.Target + map[bool]string{false: "/rom", true: "/stub"}[withStub]
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx := context.Background()
					f := newFake(c)
					s := open(t, f, Options{})
					if withStub {
						if err := s.RunStub(ctx, &Stub{Entry: 4, Segments: []Segment{{Address: 8, Data: noise(1, 0x2000)}}}); err != nil {
							t.Fatal(err)
						}
					}
					regions := []Region{{Name: "app", Address: 0x10000, Data: noise(2, 300<<10+3)}, {Address: 0x8000, Data: identity()[:0x2001]}}
					bare := c == chip.ESP8266 && !withStub
					written, err := s.Write(ctx, regions, WriteOptions{OnlyChanged: !bare, Verify: !bare})
					if err != nil {
						t.Fatal(err)
					}
					for i, r := range regions {
						if !bytes.Equal(f.flash[r.Address:r.End()], r.Data) {
							t.Errorf("%v: the flash differs", r)
						}
						if w := written[i]; w.Bytes != len(r.Data) || w.Checked == bare {
							t.Errorf("%v: %d bytes, checked %v", r, w.Bytes, w.Checked)
						}
					}
					if bare {
						if _, err := s.Read(ctx, 0, 64, nil); !errors.Is(err, ErrNeedsStub) {
							t.Errorf("read: %v", err)
						}
						if _, err := s.Write(ctx, regions, WriteOptions{Verify: true}); !errors.Is(err, ErrNeedsStub) {
							t.Errorf("verify: %v", err)
						}
						return
					}
					got, err := s.Read(ctx, 0x10000, 0x5003, nil)
					if err != nil || !bytes.Equal(got, regions[0].Data[:0x5003]) {
						t.Errorf("read: %d bytes, %v", len(got), err)
					}
					if differ, err := s.Verify(ctx, regions); err != nil || differ != nil {
						t.Errorf("verify: %v, %v", differ, err)
					}
					if err := s.Erase(ctx, 0x10000, 0x2000); err != nil {
						t.Error(err)
					}
					if !bytes.Equal(f.flash[0x10000:0x12000], bytes.Repeat([]byte{0xFF}, 0x2000)) || f.flash[0x12000] != regions[0].Data[0x2000] {
						t.Error("erase did not erase exactly two sectors")
					}
					if differ, err := s.Verify(ctx, regions); err != nil || !slices.Equal(differ, []int{0}) {
						t.Errorf("verify: %v, %v", differ, err)
					}
					if err := s.Erase(ctx, 0, 0); err != nil || len(bytes.Trim(f.flash, "\xff")) > 0 {
						t.Errorf("the flash is not blank, %v", err)
					}
					if err := s.Reset(ctx, EndAuto); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestIdentityIsShort holds the target for the wire: 14 commands, 1.15 × the deflated size + 400
// bytes, from the first SYNC to the MD5, the check for a change included.
func TestIdentityIsShort(t *testing.T) {
	t.Parallel()
	for _, c := range chip.All()[1:] {
		t.Run(c.Target, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake(c)
				s := open(t, f, Options{FlashSize: 4 << 20, Baud: 921600})
				r := Region{Name: "identity", Address: 0x310000, Data: identity()}
				if _, err := s.Write(context.Background(), []Region{r}, WriteOptions{OnlyChanged: true, Verify: true}); err != nil {
					t.Fatal(err)
				}
				got, deflated := s.Stats(), len(deflate(r.Data))
				t.Logf("%s: %d commands, %d bytes sent, %d deflated", c.Name, got.Commands, got.BytesSent, deflated)
				if limit := deflated*115/100 + 400; got.Commands > 14 || got.BytesSent > limit {
					t.Errorf("%d commands and %d bytes, want 14 and %d", got.Commands, got.BytesSent, limit)
				}
				before := got.Commands
				w, err := s.Write(context.Background(), []Region{r}, WriteOptions{OnlyChanged: true, Verify: true})
				if err != nil || w[0].Bytes != 0 || !w[0].Checked || s.Stats().Commands-before != 1 {
					t.Errorf("unchanged: %d commands, %+v, %v", s.Stats().Commands-before, w, err)
				}
			})
		})
	}
}

// TestOnlyChangedPieces writes of a large region only what differs.
func TestOnlyChangedPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(chip.ESP32)
		s := open(t, f, Options{})
		data := noise(3, 1<<20)
		copy(f.flash[0x10000:], data)
		f.flash[0x10000+pieceSize+5] ^= 1
		var last Progress
		w, err := s.Write(context.Background(), []Region{{Address: 0x10000, Data: data}}, WriteOptions{OnlyChanged: true, Verify: true, Progress: func(p Progress) {
			if p.Done > p.Total {
				t.Errorf("%+v", p)
			}
			last = p
		}})
		if err != nil || w[0].Bytes != pieceSize || last != (Progress{Phase: PhaseVerify, Done: 1 << 20, Total: 1 << 20}) {
			t.Errorf("wrote %d bytes, %v, %+v", w[0].Bytes, err, last)
		}
	})
}

// TestFaults lets one thing go wrong at each step of a session, and wants the data in flash or the
// right error.
func TestFaults(t *testing.T) {
	t.Parallel()
	faults := map[string]fault{"lose request": loseRequest, "lose answer": loseAnswer, "spoil answer": spoilAnswer, "reset into download": toRAM}
	ops := []byte{opSync, opReadReg, opGetSecurityInfo, opSPIAttach, opSPISetParams, opSPIFlashMD5, opFlashDeflBegin, opFlashDeflData}
	for name, what := range faults {
		for _, op := range ops {
			for _, nth := range []int{1, 2} {
				t.Run(name+"/"+opName(op)+"/"+string(rune('0'+nth)), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						f := newFake(chip.ESP32C3)
						f.fault = func(o byte, n int) fault {
							if o == op && n == nth {
								return what
							}
							return none
						}
						s := open(t, f, Options{})
						r := Region{Address: 0x310000, Data: noise(4, 0x3000)}
						if _, err := s.Write(context.Background(), []Region{r}, WriteOptions{OnlyChanged: true, Verify: true}); err != nil {
							t.Fatal(err)
						}
						if !bytes.Equal(f.flash[r.Address:r.End()], r.Data) {
							t.Error("the flash differs")
						}
					})
				})
			}
		}
	}
}

// TestFaultsOfManySeeds drops, spoils and resets at random, one command in twelve.
func TestFaultsOfManySeeds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			all := chip.All()[1:]
			f := newFake(all[r.IntN(len(all))])
			f.fault = func(byte, int) fault {
				if r.IntN(25) > 0 {
					return none
				}
				return []fault{loseRequest, loseAnswer, spoilAnswer, refuseChecksum, toRAM}[r.IntN(5)]
			}
			s, err := Open(context.Background(), f.port(t), Options{})
			if err != nil {
				return // it may fail, but it must not hang
			}
			defer s.Close()
			region := Region{Address: 0x20000, Data: noise(seed, 10000)}
			w, err := s.Write(context.Background(), []Region{region}, WriteOptions{OnlyChanged: true, Verify: true})
			if err != nil {
				return
			}
			if !w[0].Checked || !bytes.Equal(f.flash[region.Address:region.End()], region.Data) {
				t.Errorf("seed %d: success, but the flash differs", seed)
			}
		})
	}
}

// TestBlockIsSentAgain wants a block with a wrong checksum repeated, not the region.
func TestBlockIsSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(chip.ESP32)
		f.fault = func(op byte, n int) fault {
			if op == opFlashDeflData && n == 5 {
				return refuseChecksum
			}
			return none
		}
		s := open(t, f, Options{})
		if _, err := s.Write(context.Background(), []Region{{Address: 0, Data: noise(5, 10<<10)}}, WriteOptions{Verify: true}); err != nil {
			t.Fatal(err)
		}
		if f.count[opFlashDeflBegin] != 1 || f.count[opFlashDeflData] != 12 {
			t.Errorf("%d begins and %d blocks, want 1 and 12", f.count[opFlashDeflBegin], f.count[opFlashDeflData])
		}
	})
}

// TestErrorsSayWhatToDo goes through what can be wrong with a board.
func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	write := func(r ...Region) func(*Session) error {
		return func(s *Session) error {
			_, err := s.Write(context.Background(), r, WriteOptions{OnlyChanged: true, Verify: true})
			return err
		}
	}
	plain := write(Region{Address: 0x310000, Data: noise(6, 5000)})
	secured := func(flags, count byte) func(*fakeROM) {
		return func(f *fakeROM) {
			f.secInfo = make([]byte, 20)
			f.secInfo[0], f.secInfo[4], f.secInfo[12] = flags, count, 5
		}
	}
	always := func(op byte, what fault) func(*fakeROM) {
		return func(f *fakeROM) {
			f.fault = func(o byte, n int) fault {
				if o == op && n > 1 {
					return what
				}
				return none
			}
		}
	}
	for name, test := range map[string]struct {
		opt    Options
		fake   func(*fakeROM)
		do     func(*Session) error
		want   error
		remedy string
	}{
		"no board":        {fake: func(f *fakeROM) { f.mute.Store(true) }, want: ErrNoBoard, remedy: "cable"},
		"run mode":        {fake: func(f *fakeROM) { f.text = "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n" }, want: ErrRunMode, remedy: "BOOT"},
		"firmware talks":  {fake: func(f *fakeROM) { f.text = "I (312) wifi: connected to ap\r\n" }, want: ErrRunMode, remedy: "BOOT"},
		"deaf":            {fake: func(f *fakeROM) { f.text = "boot:0x3 (DOWNLOAD_BOOT(UART0))\r\nwaiting for download\r\n" }, want: ErrNoBoard, remedy: "TX"},
		"wrong chip":      {opt: Options{Chip: "esp32"}, want: ErrWrongChip, remedy: "right board"},
		"no such chip":    {opt: Options{Chip: "esp64"}, want: ErrUnknownChip, remedy: "esp32c3"},
		"new chip":        {fake: func(f *fakeROM) { f.secInfo = make([]byte, 20); f.secInfo[12] = 99 }, want: ErrUnknownChip, remedy: "known"},
		"secure download": {fake: secured(4, 0), want: ErrSecureDownload, remedy: "over the air"},
		"encrypted":       {fake: secured(0, 1), do: plain, want: ErrSecurity, remedy: "encrypt"},
		"secure boot":     {fake: secured(1, 0), do: write(Region{Address: 0, Data: noise(1, 100)}), want: ErrSecurity, remedy: "bootloader"},
		"erase encrypted": {fake: secured(0, 1), do: func(s *Session) error { return s.Erase(context.Background(), 0, 0x1000) },
			want: ErrSecurity, remedy: "behind"},
		"erase secure boot": {fake: secured(1, 0), do: func(s *Session) error { return s.Erase(context.Background(), 0, 0) },
			want: ErrSecurity, remedy: "behind"},
		"beyond the flash": {do: write(Region{Address: 0x3FF000, Data: noise(1, 0x1001)}), want: ErrFlashTooSmall, remedy: "more flash"},
		"unaligned":        {do: write(Region{Address: 0x310100, Data: noise(1, 100)}), want: ErrRegion, remedy: "multiple"},
		"overlap": {do: write(Region{Address: 0x11000, Data: noise(1, 100)}, Region{Address: 0x10000, Data: noise(1, 0x1001)}),
			want: ErrRegion, remedy: "partition table"},
		"empty":            {do: write(Region{Address: 0x11000}), want: ErrRegion, remedy: "file"},
		"odd erase":        {do: func(s *Session) error { return s.Erase(context.Background(), 0x10, 0x1000) }, want: ErrRegion, remedy: "0x1000"},
		"unplugged":        {fake: always(opFlashDeflData, unplug), do: plain, want: ErrUnplugged, remedy: "plug"},
		"firmware started": {fake: always(opFlashDeflData, toFlash), do: plain, want: ErrRunMode, remedy: "BOOT"},
		"worn, said":       {fake: always(opFlashDeflData, refuseWrite), do: plain, want: ErrMismatch, remedy: "worn"},
		"worn, silent": {fake: func(f *fakeROM) {
			f.fault = func(o byte, _ int) fault { return map[bool]fault{true: worn}[o == opFlashDeflData] }
		}, do: plain, want: ErrMismatch, remedy: "worn"},
		"silent": {fake: func(f *fakeROM) {
			f.fault = func(o byte, _ int) fault { return map[bool]fault{true: loseAnswer}[o == opSPIFlashMD5] }
		}, do: plain, want: ErrTimeout, remedy: "cable"},
		"no reset line": {do: func(s *Session) error { return s.Reset(context.Background(), EndHard) }, want: errNoLines, remedy: "RESET"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake(chip.ESP32C3)
				if test.fake != nil {
					test.fake(f)
				}
				s, err := Open(context.Background(), f.port(t), test.opt)
				if err == nil {
					defer s.Close()
					if test.do != nil {
						err = test.do(s)
					}
				}
				if !errors.Is(err, test.want) {
					t.Fatalf("%v, want %v", err, test.want)
				}
				if !strings.Contains(err.Error(), test.remedy) {
					t.Errorf("%q says nothing of %q", err, test.remedy)
				}
				t.Log(err)
			})
		})
	}
}

// TestRawWritesOnSecuredChip lets through what the caller vouches for.
func TestRawWritesOnSecuredChip(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(chip.ESP32)
		f.regs[0x3FF5A000] = 1 << 20 // one bit of FLASH_CRYPT_CNT
		f.regs[0x3FF5A018] = 1 << 5  // ABS_DONE_1
		s := open(t, f, Options{})
		if got := s.Security(); !got.FlashEncryption || !got.SecureBoot || got.String() != "secure boot, flash encryption" {
			t.Errorf("security %+v", got)
		}
		if _, err := s.Write(context.Background(), []Region{{Address: 0x310000, Data: identity(), Raw: true}}, WriteOptions{Verify: true}); err != nil {
			t.Error(err)
		}
	})
}

// TestCancel ends every wait with the context.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(*fakeROM){
		"connect": func(f *fakeROM) { f.mute.Store(true) },
		"write": func(f *fakeROM) {
			f.fault = func(op byte, _ int) fault { return map[bool]fault{true: loseRequest}[op == opFlashDeflBegin] }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 1234*time.Millisecond)
				defer cancel()
				fake := newFake(chip.ESP32C3)
				f(fake)
				start := time.Now()
				s, err := Open(ctx, fake.port(t), Options{})
				if err == nil {
					_, err = s.Write(ctx, []Region{{Address: 0, Data: noise(1, 100)}}, WriteOptions{})
					_ = s.Close()
				}
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 1300*time.Millisecond {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		})
	}
}

func TestStubLeftRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(chip.ESP32S3)
		f.stub = true
		s := open(t, f, Options{})
		if !s.StubRunning() || s.Chip() != chip.ESP32S3 {
			t.Errorf("stub %v, chip %s", s.StubRunning(), s.Chip().Name)
		}
		sum, err := s.MD5(context.Background(), 0, 0x1000)
		if err != nil || sum != md5.Sum(f.flash[:0x1000]) {
			t.Errorf("%x, %v", sum, err)
		}
	})
}
