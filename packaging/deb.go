package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"embed"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed debian
var debianFiles embed.FS

// entry is a file of a package.
type entry struct {
	name string // without leading slash
	mode int64
	data []byte
}

// debian writes the package of a binary and returns its path. The format is that of deb(5), 2.0.
func (s *source) debian(t target, binary string, bill []byte, documents map[string][]byte, out string) (string, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	list := []entry{{"usr/bin/berth", 0o755, program}, {"usr/share/doc/berth/berth.cdx.json.gz", 0o644, compress(bill)}}
	for name, text := range documents {
		list = append(list, entry{"usr/share/" + name, 0o644, text})
	}
	for name, at := range map[string]string{"berth.service": "lib/systemd/system/berth.service", "berth.yaml": "etc/berth/berth.yaml",
		"copyright": "usr/share/doc/berth/copyright", "lintian-overrides": "usr/share/lintian/overrides/berth"} {
		text, err := debianFiles.ReadFile("debian/" + name)
		if err != nil {
			return "", err
		}
		mode := int64(0o644)
		if name == "berth.yaml" {
			mode = 0o640 // it may have passwords of databases
		}
		list = append(list, entry{at, mode, text})
	}
	// There is no tilde in a version of Go, and no hyphen in one of Debian without its revision.
	version := strings.ReplaceAll(s.version, "-", "~")
	changes := fmt.Sprintf("berth (%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n -- berth <berth-iot@users.noreply.github.com>  %s\n", version, s.commit, s.made.Format(time.RFC1123Z))
	list = append(list, entry{"usr/share/doc/berth/changelog.gz", 0o644, compress([]byte(changes))})
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })

	var control, sums bytes.Buffer
	size := 0
	for _, e := range list {
		size += (len(e.data) + 1023) / 1024
		if !strings.HasPrefix(e.name, "etc/") {
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(e.data), e.name)
		}
	}
	text, err := template.ParseFS(debianFiles, "debian/control")
	if err != nil {
		return "", err
	}
	if err := text.Execute(&control, map[string]any{"Version": version, "Architecture": t.debian, "Size": size}); err != nil {
		return "", err
	}
	scripts := []entry{{"control", 0o644, control.Bytes()}, {"md5sums", 0o644, sums.Bytes()}, {"conffiles", 0o644, []byte("/etc/berth/berth.yaml\n")}}
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		text, err := debianFiles.ReadFile("debian/" + name)
		if err != nil {
			return "", err
		}
		scripts = append(scripts, entry{name, 0o755, text})
	}
	var deb bytes.Buffer
	deb.WriteString("!<arch>\n")
	for _, member := range []entry{{"debian-binary", 0, []byte("2.0\n")}, {"control.tar.gz", 0, s.tarball(scripts, false)}, {"data.tar.gz", 0, s.tarball(list, true)}} {
		fmt.Fprintf(&deb, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", member.name, s.made.Unix(), 0, 0, "100644", len(member.data))
		deb.Write(member.data)
		if len(member.data)%2 == 1 {
			deb.WriteByte('\n')
		}
	}
	name := filepath.Join(out, fmt.Sprintf("berth_%s_%s.deb", version, t.debian))
	return name, os.WriteFile(name, deb.Bytes(), 0o644)
}

// tarball is a compressed archive of root's files, with their folders if wanted.
func (s *source) tarball(list []entry, folders bool) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := func(kind byte, name string, mode int64, size int) {
		if err := w.WriteHeader(&tar.Header{Typeflag: kind, Name: "./" + name, Mode: mode, Size: int64(size), ModTime: s.made, Uname: "root", Gname: "root", Format: tar.FormatGNU}); err != nil {
			panic(err) // into memory
		}
	}
	if folders {
		known := make(map[string]bool)
		for _, e := range list {
			for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
				known[dir+"/"] = true
			}
		}
		header(tar.TypeDir, "", 0o755, 0)
		for _, dir := range slices.Sorted(maps.Keys(known)) {
			header(tar.TypeDir, dir, 0o755, 0)
		}
	}
	for _, e := range list {
		header(tar.TypeReg, e.name, e.mode, len(e.data))
		w.Write(e.data)
	}
	w.Close()
	return compress(out.Bytes())
}

// compress is `gzip -9n`.
func compress(b []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	w.Write(b)
	w.Close()
	return out.Bytes()
}
