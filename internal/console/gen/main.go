// Command gen builds the console's bundle: it runs esbuild over web/console/src and writes what the
// browser loads to internal/console/dist, with names that hold a hash of the contents, and the
// licences of the packages that are in it. Run `npm ci --prefix web/console` first, then
// `go generate ./internal/console`. With -check it writes nothing and fails if dist differs.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	check := flag.Bool("check", false, "compare with the committed bundle instead of writing it")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	web, dist := filepath.Join(root, "web", "console"), filepath.Join(root, "internal", "console", "dist")
	files, err := bundle(web)
	if err != nil {
		return err
	}
	if check {
		return compare(dist, files)
	}
	if err := os.RemoveAll(dist); err != nil {
		return err
	}
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dist, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// moduleRoot is the folder of go.mod, from here upwards.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod here or above")
		}
		dir = up
	}
}

func bundle(web string) (map[string][]byte, error) {
	result := api.Build(api.BuildOptions{
		AbsWorkingDir: web, EntryPoints: []string{"src/main.tsx", "src/style.css"}, Outdir: "out",
		Bundle: true, Splitting: true, Format: api.FormatESModule, Target: api.ES2022,
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true, Charset: api.CharsetUTF8,
		EntryNames: "[name]-[hash]", ChunkNames: "[name]-[hash]", AssetNames: "[name]-[hash]",
		JSX: api.JSXAutomatic, JSXImportSource: "preact", LegalComments: api.LegalCommentsNone,
		Metafile: true, LogLevel: api.LogLevelWarning,
	})
	if len(result.Errors) > 0 {
		return nil, fmt.Errorf("%d errors; has npm ci --prefix web/console been run?", len(result.Errors))
	}
	files := make(map[string][]byte)
	var script, style string
	for _, f := range result.OutputFiles {
		name := filepath.Base(f.Path)
		files[name] = f.Contents
		switch {
		case strings.HasPrefix(name, "main-") && strings.HasSuffix(name, ".js"):
			script = name
		case strings.HasPrefix(name, "style-") && strings.HasSuffix(name, ".css"):
			style = name
		}
	}
	index, err := os.ReadFile(filepath.Join(web, "src", "index.html"))
	if err != nil {
		return nil, err
	}
	files["index.html"] = []byte(strings.NewReplacer("{{script}}", script, "{{style}}", style).Replace(string(index)))
	files["licences.txt"], err = licences(web, result.Metafile)
	return files, err
}

// licences are the texts of the packages that the bundle holds.
func licences(web, metafile string) ([]byte, error) {
	var meta struct {
		Inputs map[string]struct{} `json:"inputs"`
	}
	if err := json.Unmarshal([]byte(metafile), &meta); err != nil {
		return nil, err
	}
	var packages []string
	for name := range meta.Inputs {
		_, rest, ok := strings.Cut(name, "node_modules/")
		if !ok {
			continue
		}
		parts := strings.SplitN(rest, "/", 3)
		pkg := parts[0]
		if strings.HasPrefix(pkg, "@") {
			pkg += "/" + parts[1]
		}
		if !slices.Contains(packages, pkg) {
			packages = append(packages, pkg)
		}
	}
	slices.Sort(packages)
	var out bytes.Buffer
	out.WriteString("The console holds the following packages beside berth's own code.\n")
	for _, pkg := range packages {
		dir := filepath.Join(web, "node_modules", filepath.FromSlash(pkg))
		var about struct{ Version, License string }
		b, err := os.ReadFile(filepath.Join(dir, "package.json"))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &about); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(dir, "LICENSE"))
		if errors.Is(err, fs.ErrNotExist) {
			text, err = os.ReadFile(filepath.Join(dir, "LICENSE.md"))
		}
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "\n%s %s (%s)\n\n%s\n", pkg, about.Version, about.License, bytes.TrimSpace(text))
	}
	return out.Bytes(), nil
}

func compare(dist string, files map[string][]byte) error {
	have, err := os.ReadDir(dist)
	if err != nil {
		return err
	}
	for _, e := range have {
		b, err := os.ReadFile(filepath.Join(dist, e.Name()))
		if err != nil {
			return err
		}
		if want, ok := files[e.Name()]; !ok || !bytes.Equal(b, want) {
			return fmt.Errorf("internal/console/dist/%s is not what web/console makes: run go generate ./internal/console", e.Name())
		}
	}
	if len(have) != len(files) {
		return fmt.Errorf("internal/console/dist has %d files and should have %d: run go generate ./internal/console", len(have), len(files))
	}
	return nil
}
