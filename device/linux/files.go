// Package linux implements what the device library needs from its machine on Linux: files for
// flash, mutual TLS, keys and signing requests, network time. The library's core does not import it.
package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-iot/berth/device/flash"
)

// Files is a flash.Storage in a folder, one file of mode 0600 for each record. A record is written
// to a file beside it, synced and renamed; then the folder is synced.
type Files struct{ dir string }

const partial = ".partial"

// OpenFiles opens a folder, making it with mode 0700 if it is not there. What an interrupted write
// has left is removed.
func OpenFiles(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open flash folder: %w", err)
	}
	f := &Files{dir: dir}
	names, err := f.list()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, partial) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("open flash folder: %w", err)
			}
		}
	}
	return f, nil
}

func (f *Files) list() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("list flash folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (f *Files) Names() ([]string, error) { return f.list() }

func (f *Files) Read(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, flash.ErrNotFound
	}
	return b, err
}

func (f *Files) Write(name string, b []byte) error {
	path := filepath.Join(f.dir, name)
	if err := writeSynced(path+partial, b); err != nil {
		return err
	}
	if err := os.Rename(path+partial, path); err != nil {
		return err
	}
	return syncDir(f.dir)
}

func (f *Files) Remove(name string) error {
	if err := os.Remove(filepath.Join(f.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(f.dir)
}

func writeSynced(path string, b []byte) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if e := file.Close(); err == nil {
			err = e
		}
	}()
	if _, err := file.Write(b); err != nil {
		return err
	}
	return file.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
