package virtualesp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func flashOf(t *testing.T, size int) *Flash {
	t.Helper()
	f, err := NewFlash(size)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, f *Flash, offset uint32, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := f.ReadAt(p, int64(offset)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProgrammingOnlyClearsBits(t *testing.T) {
	t.Parallel()
	f := flashOf(t, 1<<20)
	for _, step := range []struct{ data, want byte }{{0xF0, 0xF0}, {0xCC, 0xC0}, {0xFF, 0xC0}} {
		if err := f.Program(0x1234, []byte{step.data}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, f, 0x1234, 1)[0]; got != step.want {
			t.Errorf("programmed %#x: got %#x, want %#x", step.data, got, step.want)
		}
	}
	if err := f.Erase(0x1000, SectorSize); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f, 0x1234, 1)[0]; got != 0xFF {
		t.Errorf("erased: got %#x", got)
	}
}

func TestFlashRefusesWhatItDoesNotHave(t *testing.T) {
	t.Parallel()
	f := flashOf(t, 1<<20)
	for name, err := range map[string]error{
		"unaligned start": f.Erase(0x10, SectorSize),
		"unaligned size":  f.Erase(0, 0x10),
		"erase past end":  f.Erase(1<<20-SectorSize, 2*SectorSize),
		"erase overflow":  f.Erase(0xFFFFF000, SectorSize),
		"program":         f.Program(1<<20-1, []byte{0, 0}),
		"program far":     f.Program(0xFFFFFFFF, []byte{0, 0}),
	} {
		if !errors.Is(err, ErrRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); !errors.Is(err, ErrRange) {
		t.Errorf("read before the start: %v", err)
	}
	for _, size := range []int{0, 1 << 19, 3 << 20, 32 << 20} {
		if _, err := NewFlash(size); !errors.Is(err, ErrRange) {
			t.Errorf("a flash of %d bytes: %v", size, err)
		}
	}
}

// TestFlashInFileAndMemoryAgree drives a flash in a file, one in memory and a plain slice
// with the same random operations; the file is opened anew now and then.
func TestFlashInFileAndMemoryAgree(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	path := filepath.Join(t.TempDir(), "flash.bin")
	file, err := OpenFlash(path, size)
	if err != nil {
		t.Fatal(err)
	}
	mem := flashOf(t, size)
	model := slices.Repeat([]byte{0xFF}, size)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		at := random.Uint32N(size)
		switch random.IntN(3) {
		case 0:
			at &^= SectorSize - 1
			n := min(uint32(1+random.IntN(4))*SectorSize, size-at)
			for _, f := range []*Flash{file, mem} {
				if err := f.Erase(at, n); err != nil {
					t.Fatal(err)
				}
			}
			copy(model[at:at+n], slices.Repeat([]byte{0xFF}, int(n)))
		case 1:
			data := make([]byte, min(random.IntN(3*SectorSize), int(size-at)))
			for i := range data {
				data[i] = byte(random.Uint32())
				model[int(at)+i] &= data[i]
			}
			for _, f := range []*Flash{file, mem} {
				if err := f.Program(at, data); err != nil {
					t.Fatal(err)
				}
			}
		case 2:
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			if file, err = OpenFlash(path, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(read(t, file, 0, size), model) || !bytes.Equal(read(t, mem, 0, size), model) {
		t.Error("they differ from the model")
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestChangesAreWrittenThrough reads the file behind the back of an open flash, which is
// what is left after a kill.
func TestChangesAreWrittenThrough(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "flash.bin")
	f, err := OpenFlash(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Size() != 4<<20 {
		t.Errorf("a new flash has %d bytes", f.Size())
	}
	if err := f.Program(0x5000, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	held, err := os.ReadFile(path)
	if err != nil || string(held[0x5000:0x5005]) != "kept\xFF" {
		t.Errorf("%v, %q", err, held[0x5000:0x5005])
	}
}

func TestOpenFlashFillsUpAndRefuses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "flash.bin")
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFlash(path, 0); !errors.Is(err, ErrRange) {
		t.Errorf("a file of five bytes as it is: %v", err)
	}
	f, err := OpenFlash(path, 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, f, 0, 7); string(got) != "short\xFF\xFF" || f.JEDEC() != 0x1540C8 {
		t.Errorf("%q, JEDEC %#x", got, f.JEDEC())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFlash(path, 1<<20); !errors.Is(err, ErrRange) {
		t.Errorf("a file longer than the flash: %v", err)
	}
	if _, err := OpenFlash(t.TempDir(), 1<<20); err == nil {
		t.Error("a directory is no flash")
	}
}

func TestWornSectorIgnoresEverything(t *testing.T) {
	t.Parallel()
	f := flashOf(t, 1<<20)
	if err := f.Program(0x2000, []byte{0x55}); err != nil {
		t.Fatal(err)
	}
	f.Wear(0x2ABC)
	if err := errors.Join(f.Erase(0x1000, 2*SectorSize), f.Program(0x1FFF, []byte{0, 0})); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f, 0x1FFF, 2); got[0] != 0 || got[1] != 0x55 {
		t.Errorf("got %x", got)
	}
}
