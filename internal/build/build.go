// Package build says what this program is: its version and what it was made of.
package build

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strings"
)

// Set by the linker in releases: -X github.com/berth-iot/berth/internal/build.version=1.2.3
var version string

// Info is what a report of a fault needs.
type Info struct {
	Version   string   `json:"version"` // of a release, or of the module, or "development"
	Commit    string   `json:"commit,omitempty"`
	Committed string   `json:"committed,omitempty"` // RFC 3339
	Modified  bool     `json:"modified"`            // files were changed after the commit
	Go        string   `json:"go"`
	System    string   `json:"system"` // operating system and architecture
	CPUs      int      `json:"cpus"`
	Settings  []string `json:"settings,omitempty"` // of the build, such as -trimpath=true
	Modules   []Module `json:"modules,omitempty"`
}

// Module is a part that others made.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// Read returns what this program is. modules are in the order of their paths.
func Read() Info {
	i := Info{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU()}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		i.Version = cmp.Or(i.Version, "development")
		return i
	}
	if i.Version == "" && b.Main.Version != "(devel)" {
		i.Version = strings.TrimPrefix(b.Main.Version, "v")
	}
	i.Version = cmp.Or(i.Version, "development")
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Commit = s.Value
		case "vcs.time":
			i.Committed = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		case "-tags", "-trimpath", "-race", "CGO_ENABLED", "GOAMD64", "GOARM", "GOARM64", "GOEXPERIMENT", "GOFIPS140":
			i.Settings = append(i.Settings, s.Key+"="+s.Value)
		}
	}
	for _, m := range b.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		i.Modules = append(i.Modules, Module{m.Path, m.Version})
	}
	return i
}
