package soak

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mount mounts a file system until the test ends; who may not skips the test.
func mount(t *testing.T, dir string, args ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount file systems")
	}
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("mount %v: %v: %s", args, err, out)
	}
	t.Cleanup(func() {
		for range 100 {
			if exec.Command("umount", dir).Run() == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// status asks whether the server says that it is ready.
func (s *site) status() int {
	resp, err := s.http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", s.where().HTTPPort))
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// fails makes sure that a server that cannot write says so, and goes on reading. A full disk has room in
// the files that are there already, so that it takes some writes until one fails.
func (s *site) fails(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var err error
	for i := 0; err == nil; i++ {
		name := fmt.Sprintf("no-room-%d-%d", time.Now().UnixNano(), i)
		err = s.call(ctx, "POST", "/things/"+name, object{"attributePayload": object{"attributes": object{"a": strings.Repeat("x", 800)}}}, nil)
	}
	var r *refused
	if !errors.As(err, &r) || r.status < 500 {
		t.Errorf("CreateThing: %v", err)
	}
	if err := s.call(ctx, "GET", "/things?maxResults=1", nil, nil); err != nil {
		t.Errorf("ListThings: %v", err)
	}
}

// progress fails unless every writer gets something acknowledged while do runs.
func (s *site) progress(t *testing.T, writers []writer, what string, do func()) {
	t.Helper()
	before := make([]int, len(writers))
	for i, w := range writers {
		before[i] = w.counts().now()
	}
	waiting := func() (kinds []string) {
		for i, w := range writers {
			if y := w.counts(); y.now() == before[i] {
				kinds = append(kinds, y.kind)
			}
		}
		return kinds
	}
	s.during(writers, func() {
		do()
		for deadline := time.Now().Add(20 * time.Second); len(waiting()) > 0 && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
	})
	if kinds := waiting(); len(kinds) > 0 {
		t.Errorf("%s: nothing was acknowledged of %q", what, kinds)
	}
}

// fill takes all room of a file system.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
}

// TestDiskFull fills the disk under writers. The server says no, keeps what it has acknowledged, and
// goes on when there is room again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	mount(t, root, "-t", "tmpfs", "-o", "size=96m", "tmpfs")
	s := newSite(t, filepath.Join(root, "data"), "")
	t.Cleanup(s.kill)
	writers := every(t)
	s.open(writers)
	filler := filepath.Join(root, "filler")
	for range min(rounds(1), 3) {
		s.during(writers, func() {
			time.Sleep(300 * time.Millisecond)
			fill(t, filler)
			time.Sleep(500 * time.Millisecond)
			fill(t, filler+"2") // what was freed meanwhile
			s.fails(t)
		})
		s.during(writers, func() { // new connections meet a full disk
			time.Sleep(300 * time.Millisecond)
			s.fails(t)
		})
		os.Remove(filler)
		os.Remove(filler + "2")
		s.progress(t, writers, "room again", func() { time.Sleep(time.Second) })
		if got := s.status(); got != 200 {
			t.Errorf("with room again /readyz answers %d", got)
		}
		s.check(writers, true)
		s.kill()
		s.start()
		s.check(writers, true)
	}
	report(t, "disk full", writers)
}

// TestDiskReadOnly makes the file system read-only under writers, as Linux does after an error of the
// disk. What was acknowledged is there when it can be written again. The file system has no journal: one that
// is stopped in a commit lets Linux 6.18 confirm an fdatasync of which nothing is left, to any program.
func TestDiskReadOnly(t *testing.T) {
	t.Parallel()
	image, root := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 128<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-O", "^has_journal", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v: %s", err, out)
	}
	mount(t, root, "-o", "loop,errors=remount-ro", image)
	source, err := exec.Command("findmnt", "-n", "-o", "SOURCE", root).Output()
	if err != nil {
		t.Skip("findmnt: ", err)
	}
	s := newSite(t, filepath.Join(root, "data"), "")
	writers := every(t)
	s.open(writers)
	s.during(writers, func() {
		time.Sleep(300 * time.Millisecond)
		trigger := filepath.Join("/sys/fs/ext4", filepath.Base(strings.TrimSpace(string(source))), "trigger_fs_error")
		if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
			t.Errorf("make the disk read-only: %v", err)
		}
		time.Sleep(300 * time.Millisecond)
		s.fails(t)
		if got := s.status(); got != http.StatusServiceUnavailable {
			t.Errorf("/readyz answers %d", got)
		}
	})
	s.during(writers, func() { time.Sleep(300 * time.Millisecond) })
	s.kill()
	s.launch()
	select {
	case <-s.gone: // endpoint.json is still that of before
	case <-time.After(20 * time.Second):
	}
	if !strings.Contains(s.said(), "read-only") {
		t.Errorf("starts on a read-only disk, or does not say why not: %s", s.said())
	}
	for _, command := range [][]string{{"umount", root}, {"e2fsck", "-p", image}, {"mount", "-o", "loop,errors=remount-ro", image, root}} {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !(command[0] == "e2fsck" && errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: errors corrected
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
	s.start()
	s.progress(t, writers, "writable again", func() { time.Sleep(time.Second) })
	s.check(writers, true)
	report(t, "disk read-only", writers)
}

// TestDamagedDatabase: a server that is started on a damaged database says what to do and does not run.
func TestDamagedDatabase(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"berth.db", "berth.db-wal", "readings.db", "readings.db-wal"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, t.TempDir(), "")
			writers := []writer{newThings(), newReadings()}
			s.open(writers)
			s.during(writers, func() { time.Sleep(300 * time.Millisecond) })
			s.kill()
			path := filepath.Join(s.dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := len(b) - 4096 // the head of the last page
			if strings.HasSuffix(name, "-wal") {
				at = len(b) / 2
			}
			for i := range 64 {
				b[at+i] ^= 0xff
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s.launch()
			if s.await(20 * time.Second) {
				s.check(writers, true) // what was damaged may be in the log as well
				report(t, "recovered", writers)
			} else if said := s.said(); !strings.Contains(said, "damaged") || !strings.Contains(said, "restore") || !strings.Contains(said, name[:strings.Index(name, ".")]) {
				t.Errorf("refuses with %s", said)
			}
		})
	}
}
