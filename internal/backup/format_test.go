package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testCost = 10

type content struct{ name, text string }

func archive(t testing.TB, passphrase string, files ...content) []byte {
	t.Helper()
	var out bytes.Buffer
	b, err := newWriter(&out, Header{Format: Format, Made: time.Unix(1700000000, 0).UTC(), Version: "1", State: "sqlite", Readings: "none"}, passphrase, testCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := b.add(f.name, int64(len(f.text)), 0o600, strings.NewReader(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readAll(b []byte, passphrase string) (*Manifest, []content, error) {
	var found []content
	m, err := read(bytes.NewReader(b), passphrase, testCost, func(f File, r io.Reader) error {
		text, err := io.ReadAll(r)
		found = append(found, content{f.Name, string(text)})
		return err
	})
	return m, found, err
}

var someFiles = []content{{"berth.db", strings.Repeat("state ", 40000)}, {"files/a", ""}, {"ca.key", "secret"}, {"rule-files/ä b/1.csv", "1\n"}}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, passphrase := range []string{"", "correct horse"} {
		b := archive(t, passphrase, someFiles...)
		m, found, err := readAll(b, passphrase)
		if err != nil || len(m.Files) != len(someFiles) || !slices.Equal(found, someFiles) {
			t.Errorf("%q: %v %v", passphrase, m, err)
		}
		if passphrase != "" && (bytes.Contains(b, []byte("ca.key")) || !bytes.HasPrefix(b, []byte(ageMagic))) {
			t.Error("not encrypted")
		}
	}
}

// TestDamage cuts a backup at, and changes, places all over it: none passes for whole.
func TestDamage(t *testing.T) {
	t.Parallel()
	for _, passphrase := range []string{"", "p"} {
		whole := archive(t, passphrase, someFiles...)
		step := max(len(whole)/41, 1)
		for i := 0; i < len(whole); i += step {
			if _, _, err := readAll(whole[:i], passphrase); err == nil {
				t.Errorf("%q: %d of %d bytes were enough", passphrase, i, len(whole))
			}
			changed := slices.Clone(whole)
			changed[i] ^= 0x10
			if _, found, err := readAll(changed, passphrase); err == nil && !slices.Equal(found, someFiles) {
				t.Errorf("%q: changed at %d of %d, not noticed", passphrase, i, len(whole))
			}
		}
		if _, _, err := readAll(append(slices.Clone(whole), 'x'), passphrase); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: something at the end: %v", passphrase, err)
		}
	}
}

func TestPassphrase(t *testing.T) {
	t.Parallel()
	b := archive(t, "right", someFiles...)
	for passphrase, want := range map[string]error{"": ErrEncrypted, "wrong": ErrPassphrase} {
		if _, _, err := readAll(b, passphrase); !errors.Is(err, want) {
			t.Errorf("%q: %v", passphrase, err)
		}
	}
	if _, _, err := readAll([]byte("PK\x03\x04 something else"), ""); !errors.Is(err, ErrNotBackup) {
		t.Error(err)
	}
}

// TestForeign reads archives that no berth wrote.
func TestForeign(t *testing.T) {
	t.Parallel()
	header := tar.Header{Typeflag: tar.TypeReg, Name: headerName}
	const first = `{"format":1,"made":"2026-01-01T00:00:00Z"}`
	for name, tc := range map[string]struct {
		entry tar.Header
		text  string
		want  error
	}{
		"parent":        {tar.Header{Typeflag: tar.TypeReg, Name: "data/../x"}, "", ErrNotBackup},
		"absolute":      {tar.Header{Typeflag: tar.TypeReg, Name: "/etc/passwd"}, "", ErrNotBackup},
		"absolute data": {tar.Header{Typeflag: tar.TypeReg, Name: "data//etc/passwd"}, "", ErrNotBackup},
		"backslash":     {tar.Header{Typeflag: tar.TypeReg, Name: `data/..\x`}, "", ErrNotBackup},
		"drive":         {tar.Header{Typeflag: tar.TypeReg, Name: `data/c:x`}, "", ErrNotBackup},
		"link":          {tar.Header{Typeflag: tar.TypeSymlink, Name: "data/x", Linkname: "/etc"}, "", ErrNotBackup},
		"folder":        {tar.Header{Typeflag: tar.TypeDir, Name: "data/x"}, "", ErrNotBackup},
		"format":        {header, `{"format":2}`, ErrFormat},
		"no header":     {tar.Header{Typeflag: tar.TypeReg, Name: "data/berth.db"}, "", ErrNotBackup},
	} {
		var out bytes.Buffer
		zip := gzip.NewWriter(&out)
		w := tar.NewWriter(zip)
		if tc.want == ErrNotBackup && name != "no header" {
			h := header
			h.Size = int64(len(first))
			w.WriteHeader(&h)
			io.WriteString(w, first)
		}
		tc.entry.Size = int64(len(tc.text))
		if err := w.WriteHeader(&tc.entry); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, tc.text)
		w.Close()
		zip.Close()
		if _, _, err := readAll(out.Bytes(), ""); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 18, 4, 33, 0, time.UTC)
	for _, encrypted := range []bool{false, true} {
		got, ok := parseName(Name(at, encrypted))
		if !ok || !got.Equal(at) || kept(Name(at, encrypted)) {
			t.Error(Name(at, encrypted), got, ok)
		}
	}
	for _, name := range []string{"berth-20261121T180433Z.tar", "berth-x.tar.gz", "x", "berth-20261121T180433Z.tar.gz.part"} {
		if _, ok := parseName(name); ok {
			t.Error(name)
		}
	}
	for name, want := range map[string]bool{"berth.db": false, "berth.db-wal": false, "readings.db-shm": false, "endpoint.json": false, ".new-1": false,
		"rule-files/.new-2": false, ".backup-3": false, "ca.key": true, "secrets.key": true, "console-password": true, "rule-files/berth.db": true, "x-wal": true} {
		if kept(name) != want {
			t.Error(name)
		}
	}
}

// FuzzRead reads what may be a backup, as it is and as the content of a gzip stream: whatever is
// taken for whole has safe names and the files that its manifest says.
func FuzzRead(f *testing.F) {
	f.Add(archive(f, "", someFiles[1:]...))
	f.Add(archive(f, "p", someFiles[1:]...))
	zip, _ := gzip.NewReader(bytes.NewReader(archive(f, "", someFiles[1:]...)))
	plain, _ := io.ReadAll(zip)
	f.Add(plain)
	f.Add([]byte(ageMagic + "-> scrypt AAAAAAAAAAAAAAAAAAAAAA 63\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		w.Write(b)
		w.Close()
		for _, b := range [][]byte{b, zipped.Bytes()} {
			var found []string
			m, err := read(bytes.NewReader(b), "p", testCost, func(f File, r io.Reader) error {
				if !fs.ValidPath(f.Name) {
					t.Errorf("name %q", f.Name)
				}
				found = append(found, f.Name)
				_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
				return err
			})
			if err != nil {
				continue
			}
			var want []string
			for _, f := range m.Files {
				want = append(want, f.Name)
			}
			if !cmp.Equal(found, want) {
				t.Error(cmp.Diff(want, found))
			}
		}
	})
}
