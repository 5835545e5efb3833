package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// target is a system that berth is built for.
type target struct {
	os, arch, arm string
	debian        string // architecture of the Debian package; empty for none
}

var targets = []target{
	{os: "linux", arch: "amd64", debian: "amd64"},
	{os: "linux", arch: "arm64", debian: "arm64"},
	{os: "linux", arch: "arm", arm: "7", debian: "armhf"},
	{os: "darwin", arch: "amd64"},
	{os: "darwin", arch: "arm64"},
	{os: "windows", arch: "amd64"},
}

func allTargets() []string {
	var names []string
	for _, t := range targets {
		names = append(names, strings.Replace(t.name(), "-", "/", 1))
	}
	return names
}

func targetNamed(name string) (target, bool) {
	for _, t := range targets {
		if strings.Replace(t.name(), "-", "/", 1) == name {
			return t, true
		}
	}
	return target{}, false
}

func (t target) name() string {
	if t.arm != "" {
		return t.os + "-armv" + t.arm
	}
	return t.os + "-" + t.arch
}

func (t target) file() string {
	if t.os == "windows" {
		return "berth-" + t.name() + ".exe"
	}
	return "berth-" + t.name()
}

// source is the commit that is built.
type source struct {
	root    string
	commit  string
	made    time.Time // of the commit: the only time that gets into files
	version string
}

// readSource looks at the checkout in which the command runs. Without tags the version is
// 0.0.0-dev+DATE.COMMIT.
func readSource(ctx context.Context, version string) (*source, error) {
	root, err := output(ctx, "", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, err
	}
	s := &source{root: root, version: strings.TrimPrefix(version, "v")}
	text, err := output(ctx, root, "git", "show", "-s", "--format=%H %cI", "HEAD")
	if err != nil {
		return nil, err
	}
	commit, at, _ := strings.Cut(text, " ")
	if s.made, err = time.Parse(time.RFC3339, at); err != nil {
		return nil, err
	}
	s.commit, s.made = commit, s.made.UTC()
	if s.version == "" {
		tag, err := output(ctx, root, "git", "describe", "--tags", "--match", "v[0-9]*", "--exact-match", "HEAD")
		if s.version = strings.TrimPrefix(tag, "v"); err != nil {
			s.version = "0.0.0-dev+" + s.made.Format("20060102") + "." + commit[:12]
		}
	}
	return s, nil
}

// output is what a command prints, without the last newline.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var failed bytes.Buffer
	cmd.Stderr = &failed
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(failed.Bytes()))
	}
	return strings.TrimSpace(string(b)), nil
}

// compile builds a static binary without paths of this machine in it.
func (s *source) compile(ctx context.Context, t target, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-mod=readonly",
		"-ldflags=-s -w -buildid= -X github.com/berth-iot/berth/internal/build.version="+s.version, "-o", path, "./cmd/berth")
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch, "GOARM="+t.arm, "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build for %s: %w: %s", t.name(), err, said)
	}
	return nil
}

// documents are manual pages and completions, by their names below /usr/share.
func (s *source) documents(ctx context.Context) (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "berth-packaging-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "berth")
	if err := s.compile(ctx, target{os: runtime.GOOS, arch: runtime.GOARCH}, binary); err != nil {
		return nil, err
	}
	if _, err := output(ctx, dir, binary, "man", "--dir", "man1"); err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	pages, err := filepath.Glob(filepath.Join(dir, "man1", "*.1"))
	if err != nil || len(pages) == 0 {
		return nil, fmt.Errorf("no manual pages: %w", err)
	}
	for _, path := range pages {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files["man/man1/"+filepath.Base(path)+".gz"] = compress(text)
	}
	for shell, name := range map[string]string{"bash": "bash-completion/completions/berth", "zsh": "zsh/vendor-completions/_berth", "fish": "fish/vendor_completions.d/berth.fish"} {
		text, err := output(ctx, dir, binary, "completion", shell)
		if err != nil {
			return nil, err
		}
		files[name] = []byte(text + "\n")
	}
	return files, nil
}
