package nvs_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-iot/berth/esp/nvs"
)

var errPower = errors.New("power loss")

// norFlash is flash in memory whose power fails at a write: that write is done in part.
type norFlash struct {
	data   []byte
	writes int
	failAt int // the write at which the power fails; 0 for never
	seed   uint64
}

func newNorFlash(size int) *norFlash { return &norFlash{data: bytes.Repeat([]byte{0xFF}, size)} }

func (f *norFlash) ReadAt(b []byte, off int64) (int, error) { return copy(b, f.data[off:]), nil }

func (f *norFlash) Erase(offset, size uint32) error {
	return f.write(f.data[offset:][:size], bytes.Repeat([]byte{0xFF}, int(size)))
}

func (f *norFlash) Program(offset uint32, b []byte) error {
	next := slices.Clone(f.data[offset:][:len(b)])
	for i := range next {
		next[i] &= b[i]
	}
	return f.write(f.data[offset:][:len(b)], next)
}

func (f *norFlash) write(at, next []byte) error {
	f.writes++
	if f.failAt > 0 && f.writes > f.failAt {
		return errPower
	}
	if f.writes != f.failAt {
		copy(at, next)
		return nil
	}
	// A torn write: a part is done, and in the byte where it ends any of the bits.
	rng := rand.New(rand.NewPCG(f.seed, uint64(f.writes)))
	n := rng.IntN(len(at) + 1)
	if len(at) == nvs.PageSize && rng.IntN(2) == 0 {
		copy(at[n:], next[n:]) // an erase has no direction
		return errPower
	}
	copy(at[:n], next)
	if n < len(at) {
		mask := byte(rng.Uint32())
		at[n] = at[n]&^mask | next[n]&mask
	}
	return errPower
}

// failer is a test, of rapid too.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func openStore(t failer, f *norFlash, keys *nvs.Keys) *nvs.Store {
	t.Helper()
	s, err := nvs.Open(f, 0, uint32(len(f.data)), keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// contents is what a store holds in the namespace of the tests.
func contents(s *nvs.Store) map[string]any {
	m := make(map[string]any)
	for _, k := range s.Keys("app") {
		m[k], _ = s.Get("app", k)
	}
	return m
}

// sound checks that an independent reader finds the same in the flash, and nothing wrong.
func sound(t failer, f *norFlash, keys *nvs.Keys, want map[string]any) {
	t.Helper()
	m, err := nvs.Read(f.data, keys)
	if (errors.Is(err, nvs.ErrNotNVS) || errors.Is(err, nvs.ErrKeys)) && len(want) == 0 {
		return // not even a page was begun
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]any)
	for _, e := range m.Entries {
		if _, twice := got[e.Key]; twice {
			t.Fatalf("key %q is there twice", e.Key)
		}
		got[e.Key] = e.Value
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("read back (-want +got):\n%s", d)
	}
}

func drawValue(t *rapid.T) any {
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return rapid.Uint8().Draw(t, "u8")
	case 1:
		return rapid.Int64().Draw(t, "i64")
	case 2:
		return rapid.StringMatching(`[a-z]{0,200}`).Draw(t, "string")
	case 3:
		return rapid.Int16().Draw(t, "i16")
	default:
		n := rapid.SampledFrom([]int{0, 1, 31, 32, 33, 500, 2500, 5000}).Draw(t, "length")
		return bytes.Repeat([]byte{rapid.Byte().Draw(t, "fill")}, n)
	}
}

// TestStoreModel compares a store with a map, over restarts and losses of power at every kind of write.
func TestStoreModel(t *testing.T) {
	t.Parallel()
	keys, err := nvs.GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		with := rapid.SampledFrom([]*nvs.Keys{nil, &keys}).Draw(t, "keys")
		f := newNorFlash(rapid.IntRange(3, 7).Draw(t, "pages") * nvs.PageSize)
		f.seed = rapid.Uint64().Draw(t, "seed")
		s, model := openStore(t, f, with), map[string]any{}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
				f.failAt = f.writes + rapid.IntRange(1, 12).Draw(t, "writes")
			}
			key := rapid.SampledFrom([]string{"a", "b", "c", "certificate", "d"}).Draw(t, "key")
			var value any
			var err error
			if rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
				err = s.Delete("app", key)
			} else {
				value = drawValue(t)
				err = s.Set(nvs.Entry{Namespace: "app", Key: key, Value: value})
			}
			before := maps.Clone(model)
			if value == nil {
				delete(model, key)
			} else {
				model[key] = value
			}
			switch {
			case errors.Is(err, nvs.ErrFull):
				model = before
			case errors.Is(err, errPower):
				// The power comes back, and may fail again while the store is opened.
				f.failAt = 0
				if rapid.Bool().Draw(t, "again") {
					f.failAt = f.writes + rapid.IntRange(1, 4).Draw(t, "writes")
				}
				again, err := nvs.Open(f, 0, uint32(len(f.data)), with)
				f.failAt = 0
				if err != nil && !errors.Is(err, errPower) {
					t.Fatal(err)
				}
				if err != nil {
					again = openStore(t, f, with)
				}
				s = again
				now, old := contents(s), cmp.Diff(before, contents(s))
				if cmp.Diff(model, now) != "" && old != "" {
					t.Fatalf("after a loss of power neither the old nor the new state (-old +got):\n%s", old)
				}
				model = now
			case err != nil:
				t.Fatal(err)
			}
			f.failAt = 0
			if d := cmp.Diff(model, contents(s)); d != "" {
				t.Fatalf("(-want +got):\n%s", d)
			}
			sound(t, f, with, model)
		}
		sound(t, f, with, model)
		if d := cmp.Diff(model, contents(openStore(t, f, with))); d != "" {
			t.Fatalf("opened again (-want +got):\n%s", d)
		}
	})
}

// TestStoreEndures fills a small partition over and over.
func TestStoreEndures(t *testing.T) {
	t.Parallel()
	f := newNorFlash(3 * nvs.PageSize)
	s := openStore(t, f, nil)
	cert := bytes.Repeat([]byte("certificate "), 100)
	if err := s.Set(nvs.Entry{Namespace: "app", Key: "certificate", Value: cert}); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if err := s.Set(nvs.Entry{Namespace: "app", Key: fmt.Sprint("counter", i%7), Value: uint32(i)}); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	writes := f.writes
	if err := s.Set(nvs.Entry{Namespace: "app", Key: "counter1", Value: contents(s)["counter1"]}); err != nil || f.writes != writes {
		t.Errorf("writing the same value again: %v, %d writes", err, f.writes-writes)
	}
	if got, _ := openStore(t, f, nil).Get("app", "certificate"); !bytes.Equal(got.([]byte), cert) {
		t.Error("the certificate is not what it was")
	}
}

// TestStoreTakesImages lets a store go on with what the generator made.
func TestStoreTakesImages(t *testing.T) {
	t.Parallel()
	f := newNorFlash(4 * nvs.PageSize)
	entries := []nvs.Entry{
		{Namespace: "wifi", Key: "ssid", Value: "home"},
		{Namespace: "app", Key: "blob", Value: bytes.Repeat([]byte{7}, 3000)},
		{Namespace: "app", Key: "count", Value: uint16(4)},
	}
	image, err := nvs.Build(len(f.data), nvs.Options{}, entries)
	if err != nil {
		t.Fatal(err)
	}
	copy(f.data, image)
	s := openStore(t, f, nil)
	for i, blob := range [][]byte{{1}, bytes.Repeat([]byte{9}, 4100), {}} {
		if err := s.Set(nvs.Entry{Namespace: "app", Key: "blob", Value: blob}); err != nil {
			t.Fatalf("blob %d: %v", i, err)
		}
		if got, _ := openStore(t, f, nil).Get("app", "blob"); !bytes.Equal(got.([]byte), blob) {
			t.Errorf("blob %d is not what was written", i)
		}
	}
	if err := s.Set(nvs.Entry{Namespace: "app", Key: "count", Value: "four"}); err != nil {
		t.Fatal(err)
	}
	if got := contents(s); got["count"] != "four" {
		t.Errorf("a value of another type: got %v", got["count"])
	}
	if got, _ := s.Get("wifi", "ssid"); got != "home" {
		t.Errorf("ssid = %v", got)
	}
}

func TestStoreRefuses(t *testing.T) {
	t.Parallel()
	f := newNorFlash(3 * nvs.PageSize)
	keys, err := nvs.GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, f, &keys)
	for _, c := range []struct {
		entry nvs.Entry
		want  error
	}{
		{nvs.Entry{Namespace: "app", Key: "a-key-that-is-too-long", Value: uint8(1)}, nvs.ErrEntry},
		{nvs.Entry{Namespace: "", Key: "k", Value: uint8(1)}, nvs.ErrEntry},
		{nvs.Entry{Namespace: "app", Key: "k", Value: 1.5}, nvs.ErrEntry},
		{nvs.Entry{Namespace: "app", Key: "k", Value: "a\x00b"}, nvs.ErrEntry},
		{nvs.Entry{Namespace: "app", Key: "k", Value: make([]byte, 20000)}, nvs.ErrFull},
	} {
		if err := s.Set(c.entry); !errors.Is(err, c.want) {
			t.Errorf("Set(%s/%s) = %v, want %v", c.entry.Namespace, c.entry.Key, err, c.want)
		}
	}
	if err := s.Set(nvs.Entry{Namespace: "app", Key: "k", Value: "fits"}); err != nil {
		t.Errorf("after what did not fit: %v", err)
	}
	if _, err := nvs.Open(f, 0, uint32(len(f.data)), nil); !errors.Is(err, nvs.ErrKeys) {
		t.Errorf("without the keys: %v", err)
	}
	if _, err := nvs.Open(f, 0, 0x2000, nil); !errors.Is(err, nvs.ErrSize) {
		t.Errorf("two pages: %v", err)
	}
}

// FuzzOpen opens a partition that holds anything, and writes to it.
func FuzzOpen(f *testing.F) {
	image, err := nvs.Build(3*nvs.PageSize, nvs.Options{}, []nvs.Entry{{Namespace: "app", Key: "a", Value: "text"}, {Namespace: "app", Key: "b", Value: []byte{1, 2, 3}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		flash := newNorFlash(3 * nvs.PageSize)
		copy(flash.data, b)
		s, err := nvs.Open(flash, 0, uint32(len(flash.data)), nil)
		if err != nil {
			return
		}
		want := []byte("written")
		if err := s.Set(nvs.Entry{Namespace: "app", Key: "a", Value: want}); err != nil {
			return
		}
		if got, _ := openStore(t, flash, nil).Get("app", "a"); !bytes.Equal(got.([]byte), want) {
			t.Fatalf("got %q", got)
		}
	})
}
