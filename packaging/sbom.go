package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The parts of CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/) that are used here.
type (
	bom struct {
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     bomMetadata  `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	bomMetadata struct {
		Time      string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		Scope      string     `json:"scope,omitempty"`
		Hashes     []hash     `json:"hashes,omitempty"`
		PURL       string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn"`
	}
)

// materials is the bill of materials of a binary: what its build information says, and the packages of
// npm that are bundled into the console.
func (s *source) materials(binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(info.Settings, func(v debug.BuildSetting) bool { return v.Key == "vcs.revision" }) {
		fmt.Fprintln(os.Stderr, "packaging: warning: the binary does not know its commit, as Go finds none in a worktree of git: build in a clone")
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(program)
	main := newComponent("application", "golang", "github.com/berth-iot/berth", s.version)
	main.Hashes = []hash{{"SHA-256", fmt.Sprintf("%x", sum)}}
	main.Properties = []property{{"vcs.revision", s.commit}}
	for _, v := range info.Settings {
		if slices.Contains([]string{"GOOS", "GOARCH", "GOARM", "CGO_ENABLED", "-trimpath"}, v.Key) {
			main.Properties = append(main.Properties, property{"go.build." + v.Key, v.Value})
		}
	}
	list := []component{newComponent("library", "golang", "std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		m = cmp.Or(m.Replace, m)
		c := newComponent("library", "golang", m.Path, m.Version)
		c.Properties = checksum(m)
		list = append(list, c)
	}
	bundled, err := s.bundled()
	if err != nil {
		return nil, err
	}
	list = append(list, bundled...)
	out := bom{Format: "CycloneDX", Spec: "1.5", Version: 1, Serial: "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceURL, sum[:]).String(),
		Metadata: bomMetadata{s.made.Format(time.RFC3339), main}, Components: list}
	all := dependency{Ref: main.Ref, On: []string{}}
	for _, c := range list {
		all.On = append(all.On, c.Ref)
	}
	out.Dependencies = []dependency{all}
	text, err := json.MarshalIndent(out, "", "  ")
	return append(text, '\n'), err
}

func newComponent(kind, ecosystem, name, version string) component {
	purl := fmt.Sprintf("pkg:%s/%s@%s", ecosystem, strings.ReplaceAll(name, "@", "%40"), version)
	return component{Type: kind, Ref: purl, Name: name, Version: version, PURL: purl}
}

// checksum is a module's line in go.sum.
func checksum(m *debug.Module) []property {
	if m.Sum == "" {
		return nil
	}
	return []property{{"go.sum", m.Sum}}
}

// bundled are the packages that the console is made of beside its own sources.
func (s *source) bundled() ([]component, error) {
	b, err := os.ReadFile(filepath.Join(s.root, "web", "console", "package-lock.json"))
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Version, Integrity string
			Dev                bool
		}
	}
	if err := json.Unmarshal(b, &lock); err != nil {
		return nil, fmt.Errorf("package-lock.json: %w", err)
	}
	var list []component
	for path, p := range lock.Packages {
		if path == "" || p.Dev {
			continue
		}
		name := path[strings.LastIndex(path, "node_modules/")+len("node_modules/"):]
		c := newComponent("library", "npm", name, p.Version)
		c.Properties = []property{{"npm.integrity", p.Integrity}}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	return list, nil
}
