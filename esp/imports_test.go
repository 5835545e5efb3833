// Package esp_test holds what is true of all packages below esp.
package esp_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestFormatsStandAlone keeps the formats and the serial protocol free of
// everything but the standard library and each other, so that firmware tools and TinyGo can import one by itself.
func TestFormatsStandAlone(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"appimage", "chip", "nvs", "otadata", "partition", "securecert", "serial", "spiffs"} {
		files, err := filepath.Glob(filepath.Join(name, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", name, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range f.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !strings.HasPrefix(path, "github.com/berth-iot/berth/esp/") {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
}
