package nvs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

type vector struct {
	Case, Note string
	Size       int
	Version    Version
	Inputs     []string
	Keys       string
	Output     string
	SHA256     string
	Error      string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	var list []vector
	if err := json.Unmarshal(read(t, "vectors.json"), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (v vector) keys(t testing.TB) *Keys {
	t.Helper()
	if v.Keys == "" {
		return nil
	}
	keys, err := ParseKeys(read(t, v.Keys))
	if err != nil {
		t.Fatal(err)
	}
	return &keys
}

// openVector opens what the CSVs of the vectors name.
func openVector(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join("testdata", strings.TrimPrefix(name, "nvs/")))
}

func (v vector) build(t testing.TB, open func(string) ([]byte, error)) ([]byte, *Writer, error) {
	w, err := NewWriter(v.Size, Options{Version: v.Version, Keys: v.keys(t)})
	if err != nil {
		return nil, nil, err
	}
	for _, name := range v.Inputs {
		if err := w.AddCSV(bytes.NewReader(read(t, name)), open); err != nil {
			return nil, w, err
		}
	}
	return w.Image(), w, nil
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.Case, func(t *testing.T) {
			t.Parallel()
			got, _, err := v.build(t, openVector)
			if v.Error != "" {
				if err == nil || !strings.Contains(err.Error(), v.Error) {
					t.Fatalf("error %v, want one that says %q", err, v.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := read(t, v.Output)
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("image differs from the tool's, first at 0x%x", i)
				}
			}
			if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != v.SHA256 {
				t.Fatalf("%d bytes, sha256 %x, want %d, %s", len(got), sum, len(want), v.SHA256)
			}
			m, err := Read(want, v.keys(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(); err != nil {
				t.Error(err)
			}

			// Set writes the same image from the entries read, unless the CSV
			// had one of the generator's surprises.
			if v.Case == "d03-namespaces" {
				return
			}
			again, err := Build(v.Size, Options{Version: v.Version, Keys: v.keys(t)}, m.Entries)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, want) {
				t.Error("the entries read do not make the same image")
			}
		})
	}
}

func TestVectorValues(t *testing.T) {
	t.Parallel()
	byName := make(map[string]vector)
	for _, v := range vectors(t) {
		byName[v.Case] = v
	}
	tests := []struct {
		vector string
		want   []Entry
	}{
		{"d01-ints", []Entry{
			{"ints", "u8a", uint8(255)}, {"ints", "i8a", int8(-128)}, {"ints", "u16a", uint16(65535)}, {"ints", "i16a", int16(-32768)},
			{"ints", "u32a", uint32(4294967295)}, {"ints", "i32a", int32(-2147483648)},
			{"ints", "u64a", uint64(18446744073709551615)}, {"ints", "i64a", int64(-9223372036854775808)},
		}},
		{"d02-strings", []Entry{
			{"device", "name", "A4CF12ABCDEF"}, {"device", "empty", ""}, {"device", "utf8", "Zürich ✓"}, {"device", "quoted", `a,b "c" d`},
			{"device", "x31", strings.Repeat("a", 31)}, {"device", "x32", strings.Repeat("b", 32)},
		}},
		{"d10-two-csv", []Entry{{"one", "a", uint8(1)}, {"two", "b", uint8(2)}}},
		{"d23-enc-hmac-keys", []Entry{{"ns", "a", "hmac scheme"}}},
		{"d06-multipage-blob", []Entry{
			{"big", "n", uint32(1)}, {"big", "blob", read(t, "d06-multipage-blob/blob.bin")},
			{"big", "after", uint32(2)}, {"big", "blob2", read(t, "d06-multipage-blob/blob2.bin")},
		}},
		{"d22-enc-multipage", []Entry{{"big", "blob", read(t, "d22-enc-multipage/blob.bin")}, {"big", "after", int32(-5)}}},
		{"d13-version1", []Entry{{"v1", "a", uint8(1)}, {"v1", "blob", bytes.Repeat([]byte{0xCD}, 200)}}},
	}
	for _, test := range tests {
		v := byName[test.vector]
		m, err := Read(read(t, v.Output), v.keys(t))
		if err != nil {
			t.Errorf("%s: %v", test.vector, err)
			continue
		}
		if !reflect.DeepEqual(m.Entries, test.want) {
			t.Errorf("%s: entries %v, want %v", test.vector, m.Entries, test.want)
		}
		for _, e := range test.want {
			if got, ok := m.Lookup(e.Namespace, e.Key); !ok || !reflect.DeepEqual(got, e.Value) {
				t.Errorf("%s: Lookup(%s, %s) = %v, %v", test.vector, e.Namespace, e.Key, got, ok)
			}
		}
	}
}

func TestSurprisesWarn(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		if v.Case == "d03-namespaces" {
			_, w, err := v.build(t, openVector)
			if err != nil {
				t.Fatal(err)
			}
			if len(w.Warnings()) != 1 || !strings.Contains(w.Warnings()[0], "key `chan` goes into namespace \"cloud\"") {
				t.Errorf("warnings %q", w.Warnings())
			}
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	derived, err := DeriveKeys(read(t, "keys-TEST-ONLY/hmac-TEST-ONLY-hmac.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := derived.AppendPartition(nil), read(t, "keys-TEST-ONLY/nvs-keys-TEST-ONLY-hmac.bin"); !bytes.Equal(got, want) {
		t.Error("derived keys differ from the tool's")
	}
	keys, err := GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeys(keys.AppendPartition(nil))
	if err != nil || again != keys {
		t.Errorf("keys do not survive their file: %v", err)
	}
	if again, err = ParseKeys(keys.AppendPartition(nil)[:64]); err != nil || again != keys {
		t.Errorf("bare keys: %v", err)
	}
	damaged := keys.AppendPartition(nil)
	damaged[3] ^= 1
	for _, test := range []struct {
		file []byte
		says string
	}{
		{nil, "4096 bytes"},
		{damaged, "checksum does not match"},
		{bytes.Repeat([]byte{0xFF}, 4096), "erased"},
	} {
		if _, err := ParseKeys(test.file); !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("ParseKeys says %v, want %q", err, test.says)
		}
	}
	if _, err := DeriveKeys(make([]byte, 16)); !errors.Is(err, ErrKeys) {
		t.Errorf("DeriveKeys of 16 bytes says %v", err)
	}
}

func TestWrongKeys(t *testing.T) {
	t.Parallel()
	keys, err := GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	entries := []Entry{{"ns", "a", "secret"}}
	plain, err := Build(0x3000, Options{}, entries)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Build(0x3000, Options{Keys: &keys}, entries)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("secret")) {
		t.Error("encrypted image shows its value")
	}
	for name, read := range map[string]func() (*Image, error){
		"no keys":     func() (*Image, error) { return Read(sealed, nil) },
		"other keys":  func() (*Image, error) { return Read(sealed, &Keys{}) },
		"plain image": func() (*Image, error) { return Read(plain, &keys) },
	} {
		if _, err := read(); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: error %v, want ErrKeys", name, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(80) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		opt := Options{Version: Version(1 + seed%2)}
		if rnd.IntN(2) == 0 {
			keys, err := GenerateKeys()
			if err != nil {
				t.Fatal(err)
			}
			opt.Keys = &keys
		}
		var entries []Entry
		blobLimit := 1984
		if opt.Version == Version2 {
			blobLimit = 9000
		}
		for i := range 10 + rnd.IntN(60) {
			e := Entry{Namespace: fmt.Sprintf("ns%d", i/7), Key: fmt.Sprintf("key%d", i)}
			n := rnd.Uint64()
			switch rnd.IntN(10) {
			case 0:
				e.Value = uint8(n)
			case 1:
				e.Value = int8(n)
			case 2:
				e.Value = uint16(n)
			case 3:
				e.Value = int16(n)
			case 4:
				e.Value = uint32(n)
			case 5:
				e.Value = int32(n)
			case 6:
				e.Value = n
			case 7:
				e.Value = int64(n)
			case 8:
				e.Value = strings.Repeat("s", rnd.IntN(1900))
			case 9:
				b := make([]byte, rnd.IntN(blobLimit))
				for i := range b {
					b[i] = byte(rnd.Uint32())
				}
				e.Value = b
			}
			entries = append(entries, e)
		}
		image, err := Build(0x40000, opt, entries)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		m, err := Read(image, opt.Keys)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := m.Verify(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(m.Entries, entries) {
			t.Errorf("seed %d: entries differ", seed)
		}
	}
}

func TestSetErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 16)
	tests := []struct {
		name  string
		size  int
		entry Entry
		is    error
		says  string
	}{
		{"size", 0x3100, Entry{}, ErrSize, "Size of partition must be multiple of 4096"},
		{"size 0", 0, Entry{}, ErrSize, "Minimum partition size"},
		{"long key", 0x3000, Entry{"ns", long, uint8(1)}, ErrEntry, "should be <= 15 characters"},
		{"long namespace", 0x3000, Entry{long, "k", uint8(1)}, ErrEntry, "namespace `xxxxxxxxxxxxxxxx` should be <= 15"},
		{"no key", 0x3000, Entry{"ns", "", uint8(1)}, ErrEntry, "empty"},
		{"int", 0x3000, Entry{"ns", "k", 1}, ErrEntry, "no type for a value of int"},
		{"NUL", 0x3000, Entry{"ns", "k", "a\x00b"}, ErrEntry, "NUL"},
		{"string 4001", 0x4000, Entry{"ns", "k", strings.Repeat("s", 4000)}, ErrEntry, "Size (4001) exceeds max allowed length `4000`"},
		{"string 3969", 0x4000, Entry{"ns", "k", strings.Repeat("s", 3968)}, ErrEntry, "at most 3968 bytes"},
		{"full", 0x3000, Entry{"ns", "k", make([]byte, 9000)}, ErrFull, "Please increase the size"},
	}
	for _, test := range tests {
		_, err := Build(test.size, Options{}, []Entry{test.entry})
		if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want one that is %v and says %q", test.name, err, test.is, test.says)
		}
	}
	if _, err := Build(0x3000, Options{}, []Entry{{"ns", "k", uint8(1)}, {"ns", "k", uint8(2)}}); err == nil {
		t.Error("the same key twice is taken")
	}
	if _, err := Build(0x3000, Options{Version: 3}, nil); err == nil {
		t.Error("version 3 is taken")
	}
}

// TestReadUsed changes an image the way a device does.
func TestReadUsed(t *testing.T) {
	t.Parallel()
	// Entries of page 0: 0 namespace, 1 a, 2-3 s, 4-5 chunk of b, 6 its index.
	fresh, err := Build(0x3000, Options{}, []Entry{{"ns", "a", uint8(1)}, {"ns", "s", "text"}, {"ns", "b", []byte("blob")}})
	if err != nil {
		t.Fatal(err)
	}
	add := func(p page, i int, h header, data []byte) {
		copy(p.entries(i, 1), h.encode())
		copy(p.entries(i+1, int(h.span)-1), data)
		for k := range int(h.span) {
			p.setEntryState(i+k, EntryWritten)
		}
	}
	one := func(v uint64) header {
		return header{namespace: 1, kind: U8, span: 1, chunk: anyChunk, key: "a", data: numberData(v, 1)}
	}
	const all = "ns/a=1 ns/s=text ns/b=blob"
	tests := []struct {
		name     string
		change   func(image []byte, p page)
		entries  string
		problems string
	}{
		{"fresh", func([]byte, page) {}, all, ""},
		{"erased entry", func(_ []byte, p page) { p.setEntryState(1, EntryErased) }, "ns/s=text ns/b=blob", ""},
		{"replaced, old one erased", func(_ []byte, p page) {
			add(p, 7, one(2), nil)
			p.setEntryState(1, EntryErased)
		}, "ns/s=text ns/b=blob ns/a=2", ""},
		{"replaced, old one still there", func(_ []byte, p page) { add(p, 7, one(2), nil) }, "ns/s=text ns/b=blob ns/a=2", ""},
		{"moved to a new page, this one being freed", func(m []byte, p page) {
			p.setState(PageFreeing)
			q := page(m[PageSize:][:PageSize])
			q.format(1, Version2)
			add(q, 0, one(1), nil)
		}, "ns/s=text ns/b=blob ns/a=1", ""},
		{"page order is by sequence number", func(m []byte, p page) {
			q := page(m[PageSize:][:PageSize])
			copy(q, p)
			for i := range PageSize {
				p[i] = 0xFF
			}
			p.format(1, Version2)
			add(p, 0, one(9), nil)
		}, "ns/s=text ns/b=blob ns/a=9", ""},
		{"blob replaced from chunk 128", func(_ []byte, p page) {
			add(p, 7, header{namespace: 1, kind: BlobData, span: 2, chunk: 128, key: "b", data: varData([]byte("new"))}, []byte("new"))
			add(p, 9, header{namespace: 1, kind: BlobIndex, span: 1, chunk: anyChunk, key: "b", data: indexData(3, 1, 128)}, nil)
		}, "ns/a=1 ns/s=text ns/b=new", ""},
		{"new chunk without index", func(_ []byte, p page) {
			add(p, 7, header{namespace: 1, kind: BlobData, span: 2, chunk: 128, key: "b", data: varData([]byte("new"))}, []byte("new"))
		}, all, ""},
		{"chunk lost", func(_ []byte, p page) { p.setEntryState(4, EntryErased); p.setEntryState(5, EntryErased) },
			"ns/a=1 ns/s=text", "chunk 0 of 1 is missing"},
		{"bit flipped in header", func(_ []byte, p page) { p.entries(1, 1)[24] ^= 1 }, "ns/s=text ns/b=blob", "entry checksum does not match"},
		{"bit flipped in data", func(_ []byte, p page) { p.entries(3, 1)[0] ^= 1 }, "ns/a=1 ns/b=blob", "data checksum does not match"},
		{"namespace lost", func(_ []byte, p page) { p.setEntryState(0, EntryErased) }, "", "namespace 1 has no name"},
		{"corrupt page", func(_ []byte, p page) { p.setState(PageCorrupt) }, "", ""},
		{"second page damaged", func(m []byte, _ page) { m[PageSize] = 0xFE }, all, "header checksum does not match"},
		{"second page not erased", func(m []byte, _ page) { m[PageSize+100] = 0 }, all, "not erased"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			image := bytes.Clone(fresh)
			test.change(image, page(image[:PageSize]))
			m, err := Read(image, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range m.Entries {
				if b, ok := e.Value.([]byte); ok {
					e.Value = string(b)
				}
				got = append(got, fmt.Sprintf("%s/%s=%v", e.Namespace, e.Key, e.Value))
			}
			if s := strings.Join(got, " "); s != test.entries {
				t.Errorf("entries %s, want %s", s, test.entries)
			}
			problems := strings.Join(m.Problems, "; ")
			if test.problems == "" && problems != "" || !strings.Contains(problems, test.problems) {
				t.Errorf("problems %q, want %q", problems, test.problems)
			}
			if (m.Verify() == nil) != (test.problems == "") {
				t.Errorf("Verify says %v", m.Verify())
			}
			if page := m.Pages[0]; page.Written+page.Erased+page.Empty != EntriesPerPage {
				t.Errorf("counts %+v", page)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	for name, image := range map[string][]byte{
		"empty":     nil,
		"truncated": make([]byte, 5000),
		"zeros":     make([]byte, 8192),
		"text":      bytes.Repeat([]byte("text"), 1024),
	} {
		if _, err := Read(image, nil); !errors.Is(err, ErrNotNVS) {
			t.Errorf("%s: error %v, want ErrNotNVS", name, err)
		}
	}
	m, err := Read(bytes.Repeat([]byte{0xFF}, 0x3000), nil)
	if err != nil || len(m.Entries) != 0 || len(m.Pages) != 3 || m.Verify() != nil {
		t.Errorf("an erased partition is an empty one: %v, %v", m, err)
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{0x1000: 0x1000, 0x2000: 0x1000, 0x3000: 0x3000} {
		w, err := NewWriter(size, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Set(Entry{"ns", "k", uint8(1)}); err != nil {
			t.Fatal(err)
		}
		if got := len(w.Image()); got != want || w.ReadOnly() != (size < 0x3000) {
			t.Errorf("size 0x%x: image of 0x%x bytes, read-only %v; want 0x%x", size, got, w.ReadOnly(), want)
		}
	}
}

func FuzzRead(f *testing.F) {
	plain, err := Build(0x1000, Options{}, []Entry{{"ns", "a", uint8(1)}, {"ns", "s", "text"}, {"ns", "b", []byte("blob")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain, false)
	sealed, err := Build(0x1000, Options{Keys: &Keys{}}, []Entry{{"ns", "a", int64(-1)}, {"ns", "b", make([]byte, 100)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, true)
	f.Fuzz(func(t *testing.T, image []byte, encrypted bool) {
		var keys *Keys
		if encrypted {
			keys = &Keys{}
		}
		m, err := Read(image, keys)
		if err != nil {
			return
		}
		for _, e := range m.Entries {
			if e.Type() == 0 {
				t.Fatalf("entry %v has no type", e)
			}
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add(Keys{}.AppendPartition(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseKeys(b); err == nil && !bytes.Equal(k.AppendPartition(nil)[:64], b[:64]) {
			t.Fatal("keys changed")
		}
	})
}
