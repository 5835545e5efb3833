// Command packaging builds what berth is given to others as: static binaries, Debian packages, a bill of
// materials of each binary, and a file of checksums. It needs Go and git, no container engine and no
// dpkg.
//
//	go run ./packaging                               # everything, in dist/
//	go run ./packaging -targets linux/amd64 -out x
//	go run ./packaging -reproduce -targets linux/amd64
//
// The same commit gives the same bytes, wherever it is built: -reproduce builds it twice, in new
// clones in folders of different names, and compares.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	out := flag.String("out", "dist", "folder to write to")
	names := flag.String("targets", strings.Join(allTargets(), ","), "systems to build for")
	version := flag.String("version", "", "version; empty for that of the last tag, or of the commit")
	twice := flag.Bool("reproduce", false, "build the commit twice, in new clones, compare, and keep one")
	fresh := flag.Bool("fresh", false, "with -reproduce: build the second time without the cache of Go")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if *twice {
		return reproduce(ctx, *out, *names, *version, *fresh)
	}
	var targets []target
	for name := range strings.SplitSeq(*names, ",") {
		t, ok := targetNamed(name)
		if !ok {
			return fmt.Errorf("unknown target %q; there are %s", name, strings.Join(allTargets(), ", "))
		}
		targets = append(targets, t)
	}
	s, err := readSource(ctx, *version)
	if err != nil {
		return err
	}
	return s.build(ctx, *out, targets)
}

// build makes all files of a release in a folder.
func (s *source) build(ctx context.Context, out string, targets []target) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	pages, err := s.documents(ctx)
	if err != nil {
		return err
	}
	var made []string
	for _, t := range targets {
		binary := filepath.Join(out, t.file())
		if err := s.compile(ctx, t, binary); err != nil {
			return err
		}
		bill, err := s.materials(binary)
		if err != nil {
			return err
		}
		billFile := filepath.Join(out, "berth-"+t.name()+".cdx.json")
		if err := os.WriteFile(billFile, bill, 0o644); err != nil {
			return err
		}
		made = append(made, binary, billFile)
		if t.debian != "" {
			path, err := s.debian(t, binary, bill, pages, out)
			if err != nil {
				return fmt.Errorf("package for %s: %w", t.debian, err)
			}
			made = append(made, path)
		}
		fmt.Println(t.name())
	}
	return checksums(filepath.Join(out, "SHA256SUMS"), made)
}

// checksums writes what `sha256sum -c` reads.
func checksums(path string, files []string) error {
	slices.Sort(files)
	var text strings.Builder
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		fmt.Fprintf(&text, "%x  %s\n", sum.Sum(nil), filepath.Base(name))
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}
