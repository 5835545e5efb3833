package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:generate go run ./gen

//go:embed dist
var dist embed.FS

// page is a file of the bundle in both forms.
type page struct {
	kind, etag      string
	plain, squeezed []byte
}

// pages are the files of the bundle by name.
type pages map[string]*page

func newPages() (pages, error) {
	all, err := read(dist, "dist")
	if err == nil && all["index.html"] == nil {
		err = fmt.Errorf("the bundle has no index.html")
	}
	if err != nil {
		return nil, fmt.Errorf("open console: %w", err)
	}
	return all, nil
}

// read takes the files of a folder, by their path in it.
func read(from fs.FS, dir string) (pages, error) {
	all := make(pages)
	err := fs.WalkDir(from, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		all[strings.TrimPrefix(name, dir+"/")] = newPage(name, b)
		return nil
	})
	return all, err
}

func newPage(name string, b []byte) *page {
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression)
	w.Write(b)
	w.Close()
	sum := sha256.Sum256(b)
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // whatever this machine thinks
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".html":
		kind = "text/html; charset=utf-8"
	case ".json":
		kind = "application/json"
	case ".svg":
		kind = "image/svg+xml"
	case ".txt":
		kind = "text/plain; charset=utf-8"
	case ".md":
		kind = "text/markdown; charset=utf-8"
	}
	return &page{kind: kind, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, plain: b, squeezed: z.Bytes()}
}

// index serves the one page that there is; everything else happens in it.
func (all pages) index() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		all["index.html"].serve(w, r)
	})
}

// ServeHTTP serves a file of the bundle. Its name holds a hash of its contents, but for the licences.
func (all pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	p := all[name]
	if p == nil || name == "index.html" {
		http.NotFound(w, r)
		return
	}
	if strings.HasSuffix(name, ".txt") {
		w.Header().Set("Cache-Control", "no-cache")
	} else {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	p.serve(w, r)
}

func (p *page) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", p.kind)
	h.Set("ETag", p.etag)
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), p.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	b := p.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && len(p.squeezed) < len(p.plain) {
		h.Set("Content-Encoding", "gzip")
		b = p.squeezed
	}
	w.Write(b)
}
