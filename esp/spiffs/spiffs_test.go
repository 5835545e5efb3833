package spiffs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

type vector struct {
	Case, Note string
	Size       int
	Args       []string
	SHA256     string
	Order      []string
	Error      string
	Refused    bool
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func (v vector) config(t testing.TB) Config {
	t.Helper()
	cfg := DefaultConfig()
	for args := v.Args; len(args) > 0; {
		number := func() int {
			n, err := strconv.Atoi(args[1])
			if err != nil {
				t.Fatal(err)
			}
			args = args[1:]
			return n
		}
		switch args[0] {
		case "--page-size":
			cfg.PageSize = number()
		case "--block-size":
			cfg.BlockSize = number()
		case "--obj-name-len":
			cfg.ObjectNameLen = number()
		case "--meta-len":
			cfg.MetaLen = number()
		case "--no-magic":
			cfg.Magic = false
		case "--no-magic-len":
			cfg.MagicLength = false
		case "--aligned-obj-ix-tables":
			cfg.AlignedIndexTables = true
		case "--big-endian":
			cfg.BigEndian = true
		default:
			t.Fatalf("unknown argument %q", args[0])
		}
		args = args[1:]
	}
	return cfg
}

func (v vector) files() fs.FS {
	dir := filepath.Join("testdata", v.Case, "in")
	if _, err := os.Stat(dir); err != nil {
		return fstest.MapFS{}
	}
	return os.DirFS(dir)
}

func (v vector) image(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", v.Case, "expected.bin.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.Case, func(t *testing.T) {
			t.Parallel()
			cfg := v.config(t)
			got, err := BuildFS(cfg, v.Size, v.files())
			if v.Error != "" || v.Refused {
				if err == nil {
					t.Fatalf("made an image, want an error: %s", v.Note)
				}
				if !strings.Contains(err.Error(), v.Error) {
					t.Errorf("error %q does not say %q", err, v.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := v.image(t)
			if !bytes.Equal(got, want) {
				t.Fatalf("image differs from the tool's, first at 0x%x", firstDifference(got, want))
			}
			if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != v.SHA256 {
				t.Errorf("sha256 %x, want %s", sum, v.SHA256)
			}

			m, err := Read(want, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(); err != nil {
				t.Error(err)
			}
			checkFiles(t, m, v.files())
			for i, object := range m.Objects {
				if object.Name != v.Order[i] {
					t.Errorf("object %d is %q, want %q", i, object.Name, v.Order[i])
				}
			}
		})
	}
}

func TestDetectVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		if v.SHA256 == "" || v.Refused {
			continue
		}
		t.Run(v.Case, func(t *testing.T) {
			t.Parallel()
			image := v.image(t)
			cfg, err := Detect(image)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Read(image, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(); err != nil {
				t.Errorf("as %+v: %v", cfg, err)
			}
			checkFiles(t, m, v.files())
		})
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func checkFiles(t *testing.T, m *Image, fsys fs.FS) {
	t.Helper()
	files, err := FilesIn(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(m.Objects) {
		t.Errorf("%d objects, want %d", len(m.Objects), len(files))
	}
	for _, file := range files {
		object, ok := m.Open(file.Name)
		if !ok {
			t.Errorf("%s is missing", file.Name)
			continue
		}
		data, err := object.Data()
		if err != nil {
			t.Errorf("%s: %v", file.Name, err)
		}
		if !bytes.Equal(data, file.Data) {
			t.Errorf("%s: content differs", file.Name)
		}
	}
}

func TestFilesInOrder(t *testing.T) {
	t.Parallel()
	files, err := FilesIn(fstest.MapFS{
		"z": {}, "b/a": {}, "b/c/x": {}, "b/z": {}, "a/one": {}, "B": {}, "a.txt": {},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	if got, want := strings.Join(names, " "), "/B /a.txt /z /a/one /b/a /b/z /b/c/x"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestBuildErrors(t *testing.T) {
	t.Parallel()
	with := func(change func(*Config)) Config {
		cfg := DefaultConfig()
		change(&cfg)
		return cfg
	}
	tests := []struct {
		name  string
		cfg   Config
		size  int
		files []File
		is    error
		says  string
	}{
		{"no page", with(func(c *Config) { c.PageSize = 0 }), 4096, nil, ErrGeometry, "must be positive"},
		{"page 300", with(func(c *Config) { c.PageSize = 300 }), 4096, nil, ErrGeometry, "block size should be a multiple of page size"},
		{"page 384", with(func(c *Config) { c.PageSize, c.BlockSize = 384, 12288 }), 12288, nil, ErrGeometry, "power of two"},
		{"name too long for page", with(func(c *Config) { c.ObjectNameLen = 256 }), 4096, nil, ErrGeometry, "no room for an object index header"},
		{"one-page block", with(func(c *Config) { c.BlockSize = 256 }), 4096, nil, ErrGeometry, "nothing else"},
		{"no room for magic", with(func(c *Config) { c.BlockSize = 32768 }), 65536, nil, ErrGeometry, "no room for the magic"},
		{"part of a look-up page", with(func(c *Config) { c.BlockSize = 49152 }), 49152, nil, ErrGeometry, "look-up table"},
		{"size", DefaultConfig(), 4097, nil, ErrGeometry, "image size should be a multiple of block size"},
		{"no size", DefaultConfig(), 0, nil, ErrGeometry, "must be positive"},
		{"too many pages", DefaultConfig(), 32 << 20, nil, ErrGeometry, "65536"},
		{"full", DefaultConfig(), 4096, []File{{"/a", make([]byte, 4000)}}, ErrFull, "the image size has been exceeded"},
		{"name", DefaultConfig(), 8192, []File{{"/" + strings.Repeat("n", 31), nil}}, ErrName, "too long"},
		{"name in bytes", DefaultConfig(), 8192, []File{{"/" + strings.Repeat("é", 16), nil}}, ErrName, "33 bytes"},
		{"NUL", DefaultConfig(), 8192, []File{{"/a\x00b", nil}}, ErrName, "NUL"},
		{"twice", DefaultConfig(), 8192, []File{{"/a", nil}, {"/a", nil}}, ErrName, "twice"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Build(test.cfg, test.size, test.files)
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that is %v and says %q", err, test.is, test.says)
			}
		})
	}
	if err := with(func(c *Config) { c.BlockSize, c.Magic = 32768, false }).Validate(); err != nil {
		t.Errorf("without the magic a block of 32768 is fine: %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		cfg := Config{
			PageSize:           256 << rnd.IntN(3),
			ObjectNameLen:      16 + rnd.IntN(64),
			MetaLen:            rnd.IntN(9),
			Magic:              rnd.IntN(4) > 0,
			MagicLength:        rnd.IntN(2) > 0,
			AlignedIndexTables: rnd.IntN(2) > 0,
			BigEndian:          rnd.IntN(4) == 0,
		}
		cfg.BlockSize = cfg.PageSize << (3 + rnd.IntN(4))
		size := cfg.BlockSize * (4 + rnd.IntN(40))
		fsys := fstest.MapFS{}
		for room, i := size/4, 0; room > 0 && i < 20; i++ {
			data := make([]byte, rnd.IntN(room))
			for j := range data {
				data[j] = byte(rnd.Uint32())
			}
			room -= len(data) + 4*cfg.PageSize
			fsys[fmt.Sprintf("f%d/%d", i%3, i)] = &fstest.MapFile{Data: data}
		}
		image, err := BuildFS(cfg, size, fsys)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(image) != size {
			t.Fatalf("seed %d: %d bytes, want %d", seed, len(image), size)
		}
		m, err := Read(image, cfg)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := m.Verify(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		checkFiles(t, m, fsys)
	}
}

// TestReadUsed changes a fresh image the way a device does.
func TestReadUsed(t *testing.T) {
	t.Parallel()
	files := []File{{"/one", bytes.Repeat([]byte("1"), 600)}, {"/two", bytes.Repeat([]byte("2"), 300)}}
	// Pages of block 0: 1 index of /one, 2-4 its data, 5 index of /two, 6-7
	// its data, 8 the first free one.
	fresh, err := Build(DefaultConfig(), 16384, files)
	if err != nil {
		t.Fatal(err)
	}
	page := func(image []byte, i int) []byte { return image[256*i:][:256] }
	id := func(image []byte, i int, id uint16) { image[2*(i-1)], image[2*(i-1)+1] = byte(id), byte(id>>8) }

	tests := []struct {
		name     string
		change   func(image []byte)
		names    string
		deleted  int
		stale    int
		problems string
	}{
		{"fresh", func([]byte) {}, "/one /two", 0, 0, ""},
		{"erase counters", func(m []byte) { m[254], m[255], m[4096+254], m[4096+255] = 3, 0, 2, 0 }, "/one /two", 0, 0, ""},
		{"file deleted", func(m []byte) {
			for i := 1; i <= 4; i++ {
				id(m, i, idDeleted)
				page(m, i)[4] &^= flagDeleted
			}
		}, "/two", 4, 0, ""},
		{"header deleted first", func(m []byte) { page(m, 1)[4] &^= flagIxDele }, "/two", 0, 1, "3 pages belong to no file"},
		{"new copy not finished", func(m []byte) {
			copy(page(m, 8), page(m, 6))
			page(m, 8)[4] |= flagFinal
			id(m, 8, 2)
		}, "/one /two", 0, 1, ""},
		{"new copy finished, old one still there", func(m []byte) {
			copy(page(m, 8), page(m, 6))
			id(m, 8, 2)
		}, "/one /two", 0, 1, "second copy of object 2 span 0"},
		{"never written", func(m []byte) {
			copy(page(m, 8), page(m, 5))
			page(m, 8)[0], page(m, 8)[8], page(m, 8)[9], page(m, 8)[10], page(m, 8)[11] = 3, 0xFF, 0xFF, 0xFF, 0xFF
			copy(page(m, 8)[13:], "/new")
			id(m, 8, 3|idIndex)
		}, "/one /two /new", 0, 0, ""},
		{"data page lost", func(m []byte) { page(m, 3)[4] &^= flagDeleted }, "/one /two", 1, 0, "data page 1 (page index 3) is missing"},
		{"header of another object", func(m []byte) { page(m, 3)[0] = 9 }, "/one /two", 0, 0, "look-up table says object 0x0001, page header says 0x0009"},
		{"used but free", func(m []byte) { id(m, 7, idFree) }, "/one /two", 0, 0, "page 7: in use, but free"},
		{"size beyond image", func(m []byte) { page(m, 1)[11] = 0x7F }, "/one /two", 0, 0, "larger than the image"},
		{"same name", func(m []byte) { copy(page(m, 5)[13:], "/one") }, "/one /one", 0, 0, "has the name"},
		{"block without magic", func(m []byte) { m[8192+252] = 0 }, "/one /two", 0, 0, "block 2: magic is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			image := bytes.Clone(fresh)
			test.change(image)
			m, err := Read(image, DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, o := range m.Objects {
				names = append(names, o.Name)
			}
			if got := strings.Join(names, " "); got != test.names {
				t.Errorf("objects %s, want %s", got, test.names)
			}
			if m.DeletedPages != test.deleted || m.StalePages != test.stale {
				t.Errorf("%d deleted and %d stale pages, want %d and %d", m.DeletedPages, m.StalePages, test.deleted, test.stale)
			}
			problems := strings.Join(m.Problems, "; ")
			if test.problems == "" && problems != "" || !strings.Contains(problems, test.problems) {
				t.Errorf("problems %q, want %q", problems, test.problems)
			}
			if (m.Verify() == nil) != (test.problems == "") {
				t.Errorf("Verify says %v", m.Verify())
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		image []byte
		is    error
		says  string
	}{
		{"empty", nil, ErrGeometry, "must be positive"},
		{"truncated", make([]byte, 5000), ErrGeometry, "multiple of block size"},
		{"zeros", make([]byte, 8192), ErrNotSPIFFS, "no block has the magic"},
		{"erased", bytes.Repeat([]byte{0xFF}, 8192), ErrNotSPIFFS, "erased partition"},
	}
	for _, test := range tests {
		if _, err := Read(test.image, DefaultConfig()); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want one that says %q", test.name, err, test.says)
		}
		if _, err := Detect(test.image); !errors.Is(err, ErrNotSPIFFS) {
			t.Errorf("%s: Detect says %v", test.name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	// Small images keep the fuzzer quick; the vectors have the large ones.
	for kind := range uint8(16) {
		cfg := DefaultConfig()
		cfg.Magic = kind&1 == 0
		cfg.BigEndian = kind&2 != 0
		cfg.AlignedIndexTables = kind&4 != 0
		image, err := Build(cfg, 4096, []File{{"/one", make([]byte, 600)}, {"/two", []byte("2")}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(image, kind)
	}
	f.Fuzz(func(t *testing.T, image []byte, kind uint8) {
		cfg := DefaultConfig()
		cfg.Magic = kind&1 == 0
		cfg.BigEndian = kind&2 != 0
		cfg.AlignedIndexTables = kind&4 != 0
		if kind&8 != 0 {
			var err error
			if cfg, err = Detect(image); err != nil {
				return
			}
		}
		m, err := Read(image, cfg)
		if err != nil {
			return
		}
		for _, o := range m.Objects {
			if data, err := o.Data(); err == nil && len(data) != o.Size {
				t.Fatalf("%q: %d bytes, size says %d", o.Name, len(data), o.Size)
			}
		}
	})
}
