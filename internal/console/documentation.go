package console

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/berth-iot/berth/docs"
)

// documentation is the folder docs of the repository. It holds no secrets and is shown to whoever
// can open the console.
type documentation struct {
	files pages
	index *page
}

// documented is one page in the index.
type documented struct {
	Path     string   `json:"path"`
	Title    string   `json:"title"`
	Headings []string `json:"headings"`
}

func newDocumentation() (*documentation, error) {
	files, err := read(docs.Files, ".")
	if err != nil {
		return nil, fmt.Errorf("open documentation: %w", err)
	}
	var list []documented
	for name, p := range files {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		d := documented{Path: name, Headings: []string{}}
		for i, h := range headings(string(p.plain)) {
			if i == 0 {
				d.Title = h
			} else {
				d.Headings = append(d.Headings, h)
			}
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b documented) int { return strings.Compare(a.Path, b.Path) })
	b, err := json.Marshal(map[string]any{"pages": list})
	if err != nil {
		return nil, err
	}
	return &documentation{files: files, index: newPage("index.json", b)}, nil
}

// headings are the texts of the lines that begin with #, outside of code.
func headings(text string) []string {
	var found []string
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		marks := strings.TrimLeft(line, "#")
		if n := len(line) - len(marks); !fenced && n > 0 && n < 7 && strings.HasPrefix(marks, " ") {
			found = append(found, strings.TrimSpace(strings.ReplaceAll(marks, "`", "")))
		}
	}
	return found
}

// ServeHTTP serves a file of the folder, and index.json: every page with its headings, the first of
// which is its title.
func (d *documentation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("path")
	p := d.files[name]
	if name == "index.json" {
		p = d.index
	}
	if p == nil || !fs.ValidPath(name) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	p.serve(w, r)
}
