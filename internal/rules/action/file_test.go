package action

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFileLines(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "files")
	s := connected(t, ConnectionConfig{Files: dir})
	a := decode(t, "file", `{"path":"a/b/day.ndjson"}`).(*File)
	list := []Delivery{{a, message("", "{\n\"a\": 1}")}, {a, message("", `no`)}, {a, &Message{Payload: []byte{0xff}, Binary: true}}, {a, message("", `"x"`)}}
	errs := a.DoBatch(t.Context(), s, list)
	if errs[0] != nil || !IsPermanent(errs[1]) || errs[2] != nil || errs[3] != nil {
		t.Error(errs)
	}
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			if err := a.Do(t.Context(), s, message("", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	name := filepath.Join(dir, "a/b/day.ndjson")
	if text := readFile(t, name); !strings.HasPrefix(text, `{"a":1}`+"\n"+`{"payload":"/w=="}`+"\n"+`"x"`+"\n") || strings.Count(text, "\n") != 23 {
		t.Errorf("%s", text)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	// What a crash left of a line goes when the file is opened again.
	s.Connections.Close()
	if err := os.WriteFile(name, []byte("{\"a\":1}\n{\"b\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := connected(t, ConnectionConfig{Files: dir})
	if err := a.Do(t.Context(), again, message("", "5")); err != nil || readFile(t, name) != "{\"a\":1}\n5\n" {
		t.Errorf("%q %v", readFile(t, name), err)
	}
	if err := a.Do(t.Context(), s, message("", "5")); !errors.Is(err, errConnectionsClosed) {
		t.Error(err)
	}
}

// TestFileEscape: neither names nor links lead out of the folder.
func TestFileEscape(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s := connected(t, ConnectionConfig{Files: dir})
	for _, name := range []string{"../x", "/x", "a/../../x", "link/x", "", ".", "..", "a/", "a\x00b", "a/.b", "c:x", strings.Repeat("x", 300), strings.Repeat("x/", 600) + "x"} {
		if err := (&File{Path: name}).Do(t.Context(), s, message("", "1")); !IsPermanent(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := (&File{Path: "f"}).Do(t.Context(), s, message("", "1")); err != nil {
		t.Error(err)
	}
	if err := (&File{Path: "f/g"}).Do(t.Context(), s, message("", "1")); !IsPermanent(err) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Error("files outside of the folder")
	}
	if err := (&File{Path: "f"}).Do(t.Context(), connected(t, ConnectionConfig{}), message("", "1")); !IsPermanent(err) {
		t.Error(err)
	}
}

func parquetFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return nil
	})
	return names
}

// rows reads a Parquet file as text.
func rows(t *testing.T, name string) (list []string) {
	t.Helper()
	b := []byte(readFile(t, name))
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range f.Root().Columns() {
		list = append(list, c.Name()+" "+c.Type().String())
	}
	for _, g := range f.RowGroups() {
		r := g.Rows()
		defer r.Close()
		buffer := make([]parquet.Row, 10)
		for {
			n, err := r.ReadRows(buffer)
			for _, row := range buffer[:n] {
				var cells []string
				for _, v := range row {
					cells = append(cells, v.String())
				}
				list = append(list, strings.Join(cells, "|"))
			}
			if err != nil {
				break
			}
		}
	}
	return list
}

// until waits for something that another goroutine does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestFileParquet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := connected(t, ConnectionConfig{Files: dir})
	a := decode(t, "file", `{"path":"x/y.parquet","rollBytes":1024}`)
	payloads := []string{`{"n":1,"f":1,"u":1,"s":"x"}`, `{"n":-2,"f":1.5,"u":"y","j":{"a":[1]}}`, `5`, `{"n":null,"b":true,"s":"` + strings.Repeat("z", 1000) + `"}`}
	for _, p := range payloads {
		if err := a.Do(t.Context(), s, message("", p)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "there is no Parquet file", func() bool {
		names := parquetFiles(t, dir)
		return len(names) == 1 && strings.HasPrefix(names[0], "x/y-2") && strings.HasSuffix(names[0], "Z.parquet")
	})
	got := rows(t, filepath.Join(dir, parquetFiles(t, dir)[0]))
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], strings.Repeat("z", 1000), "zz")
	}
	sameText(t, got, "b BOOLEAN", "f DOUBLE", "j JSON", "n INT(64,true)", "s STRING", "u.number INT(64,true)", "u.string STRING", "value INT(64,true)",
		"<null>|1|<null>|1|x|1|<null>|<null>", "<null>|1.5|{\"a\":[1]}|-2|<null>|<null>|y|<null>", "<null>|<null>|<null>|<null>|<null>|<null>|<null>|5", "true|<null>|<null>|<null>|zz|<null>|<null>|<null>")

	// What is not rolled becomes a file after the next start; so does what was rolled and not finished.
	if err := a.Do(t.Context(), s, message("", `{"late":1}`)); err != nil {
		t.Fatal(err)
	}
	s.Connections.Close()
	if !slices.Contains(parquetFiles(t, dir), "x/.y.parquet.log") {
		t.Fatal(parquetFiles(t, dir))
	}
	rolled := filepath.Join(dir, rollName("x/.z.parquet.log", time.Now()))
	if err := os.WriteFile(rolled, []byte("{\"a\":1}\n{\"a\":2}\n{\"a\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	connected(t, ConnectionConfig{Files: dir})
	until(t, "what was left is not finished", func() bool {
		names := parquetFiles(t, dir)
		return len(names) == 3 && !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "x/.") })
	})
	for _, name := range parquetFiles(t, dir) {
		if strings.HasPrefix(name, "x/z-") {
			sameText(t, rows(t, filepath.Join(dir, name)), "a INT(64,true)", "1", "2")
		}
	}
}

// TestFileAge rolls what is old.
func TestFileAge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := connected(t, ConnectionConfig{Files: dir})
	a := decode(t, "file", `{"path":"y.parquet","rollSeconds":60}`)
	if err := a.Do(t.Context(), s, message("", `{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	j, err := s.Connections.journals()
	if err != nil {
		t.Fatal(err)
	}
	j.tidy(time.Now().Add(59 * time.Second))
	if names := parquetFiles(t, dir); len(names) != 1 || names[0] != ".y.parquet.log" {
		t.Error(names)
	}
	j.tidy(time.Now().Add(61 * time.Second))
	until(t, "it was not rolled", func() bool {
		names := parquetFiles(t, dir)
		return len(names) == 1 && strings.HasPrefix(names[0], "y-")
	})
}

// TestFileMany writes more files than may be open.
func TestFileMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := connected(t, ConnectionConfig{Files: dir})
	for range 2 {
		for i := range maxOpenFiles + 20 {
			if err := (&File{Path: fmt.Sprint("d/", i)}).Do(t.Context(), s, message("", "1")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range parquetFiles(t, dir) {
		if text := readFile(t, filepath.Join(dir, name)); text != "1\n1\n" {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func FuzzFilePath(f *testing.F) {
	for _, s := range []string{"a/b.ndjson", "../x", "/x", "a//b", "a\x00", "ä/ß"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkFilePath(name) != nil {
			return
		}
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			t.Fatalf("%q leads out of a folder", name)
		}
	})
}
