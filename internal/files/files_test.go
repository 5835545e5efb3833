package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

func newFiles(t *testing.T) (*Files, *time.Time) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	db := storetest.Open(t, dir)
	t.Cleanup(func() { db.Close() })
	now := time.Unix(1700000000, 0)
	f, err := Open(ctx, db, dir+"/files", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return f, &now
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestVersions(t *testing.T) {
	t.Parallel()
	f, _ := newFiles(t)
	ctx := context.Background()
	put := func(name, content string) *File {
		t.Helper()
		v, err := f.Put(ctx, name, sum(content), strings.NewReader(content))
		if err != nil || v.SHA256 != sum(content) || v.Size != int64(len(content)) {
			t.Fatalf("%+v %v", v, err)
		}
		return v
	}
	put("fw.bin", "one")
	put("copy.bin", "one")
	if v := put("fw.bin", "two"); v.Version != 2 {
		t.Errorf("%+v", v)
	}
	for _, bad := range []string{"", ".", "..", ".hidden", "a/b", "a b", strings.Repeat("x", 129)} {
		if _, err := f.Put(ctx, bad, "", strings.NewReader("")); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := f.Put(ctx, "x", sum("other"), strings.NewReader("this")); !errors.Is(err, ErrHash) {
		t.Error(err)
	}
	list, err := f.List(ctx)
	if err != nil || len(list) != 2 || list[0].Name != "copy.bin" || list[1].Version != 2 {
		t.Errorf("%+v %v", list, err)
	}
	if err := f.Delete(ctx, "fw.bin"); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(ctx, "fw.bin"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := os.Stat(f.path(sum("two"))); err == nil {
		t.Error("the content of a deleted file is left")
	}
	if _, err := os.Stat(f.path(sum("one"))); err != nil {
		t.Error("the content of another name is gone")
	}
	left, _ := os.ReadDir(f.dir)
	if len(left) != 2 { // one content and the key
		t.Errorf("%d files are left", len(left))
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	f, now := newFiles(t)
	ctx := context.Background()
	if _, err := f.Put(ctx, "fw.bin", "", strings.NewReader("0123456789")); err != nil {
		t.Fatal(err)
	}
	address, err := f.Sign(ctx, "fw.bin", 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Sign(ctx, "none", 0, time.Minute); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, f.Handler())
	get := func(address string, header ...string) (int, string, http.Header) {
		r := httptest.NewRequest("GET", address, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		b, _ := io.ReadAll(w.Body)
		return w.Code, string(b), w.Header()
	}
	etag := `"` + sum("0123456789") + `"`
	if code, body, h := get(address); code != 200 || body != "0123456789" || h.Get("ETag") != etag {
		t.Error(code, body, h)
	}
	if code, body, h := get(address, "Range", "bytes=2-4", "If-Range", etag); code != 206 || body != "234" || h.Get("Content-Range") != "bytes 2-4/10" {
		t.Error(code, body, h)
	}
	if code, _, _ := get(address, "If-None-Match", etag); code != 304 {
		t.Error(code)
	}
	if code, _, _ := get(address, "Range", "bytes=20-"); code != 416 {
		t.Error(code)
	}
	for _, bad := range []string{
		"/files/fw.bin", strings.Replace(address, "fw.bin", "fv.bin", 1), strings.Replace(address, "version=1", "version=2", 1),
		strings.Replace(address, "expires=1", "expires=2", 1), address[:len(address)-1], address + "0",
	} {
		if code, _, _ := get(bad); code != 403 {
			t.Errorf("%s: %d", bad, code)
		}
	}
	if _, err := f.Put(ctx, "fw.bin", "", strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	if code, body, _ := get(address); code != 200 || body != "0123456789" { // its own version still
		t.Error(code, body)
	}
	*now = now.Add(time.Minute)
	if code, _, _ := get(address); code != 403 {
		t.Error("expired:", code)
	}
	*now = now.Add(-time.Second)
	if err := f.Delete(ctx, "fw.bin"); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := get(address); code != 404 {
		t.Error("deleted:", code)
	}
}

// TestSharingGoesOn: a node that ended while it gave its files to the others gives them the rest when it starts again,
// and one content that cannot be had holds no other up.
func TestSharingGoesOn(t *testing.T) {
	t.Parallel()
	if os.Getenv(storetest.Variable) == "" {
		t.Skip("nodes share files in PostgreSQL")
	}
	f, _ := newFiles(t)
	ctx := context.Background()
	long := strings.Repeat("x", pieceSize+1)
	for name, content := range map[string]string{"long": long, "gone": "gone"} {
		if _, err := f.Put(ctx, name, "", strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Share(ctx, make([]byte, sha256.Size)); err != nil {
		t.Fatal(err)
	}
	for of, part := range map[string]string{sum(long): long[:pieceSize], sum("gone"): "gonx"} {
		if err := f.db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO cluster_file (sha256, number, content, at) VALUES (?, 0, ?, 0)`, of, []byte(part))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(f.path(sum("gone"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path(sum("nameless")), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 4 { // in whichever order
		if err := f.Gather(ctx); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v", err)
		}
	}
	if _, err := os.Stat(f.path(sum("nameless"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a content without a name is still there: %v", err)
	}
	if err := os.Remove(f.path(sum(long))); err != nil {
		t.Fatal(err)
	}
	v, err := f.Get(ctx, "long", 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := f.Open(v)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if b, err := io.ReadAll(file); err != nil || string(b) != long {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
