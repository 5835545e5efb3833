package console

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

func TestHeadings(t *testing.T) {
	t.Parallel()
	text := "# The `title`\n\ntext # not one\n\n## Two\n\n```sh\n# a comment\n```\n\n#hash\n####### seven\n### Three\n"
	if got, want := headings(text), []string{"The title", "Two", "Three"}; !reflect.DeepEqual(got, want) {
		t.Errorf("headings are %q, want %q", got, want)
	}
}

func TestDocumentation(t *testing.T) {
	t.Parallel()
	d, err := newDocumentation()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /console/docs/{path...}", d)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w
	}
	for path, want := range map[string]int{
		"/console/docs/README.md":            http.StatusOK,
		"/console/docs/reference/station.md": http.StatusOK,
		"/console/docs/storm.svg":            http.StatusOK,
		"/console/docs/docs.go":              http.StatusNotFound,
		"/console/docs/nothing.md":           http.StatusNotFound,
		"/console/docs/":                     http.StatusNotFound,
	} {
		if w := get(path); w.Code != want {
			t.Errorf("GET %s is answered %d, want %d", path, w.Code, want)
		}
	}
	if kind := get("/console/docs/README.md").Header().Get("Content-Type"); !strings.HasPrefix(kind, "text/markdown") {
		t.Errorf("a page is %q", kind)
	}
	var index struct{ Pages []documented }
	if err := json.Unmarshal(get("/console/docs/index.json").Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	for _, p := range index.Pages {
		if p.Title == "" || get("/console/docs/"+p.Path).Code != http.StatusOK {
			t.Errorf("%s is in the index without a title or cannot be read", p.Path)
		}
	}
}
