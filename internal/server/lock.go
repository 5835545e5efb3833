package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrTaken says that another server works on the data directory.
var ErrTaken = errors.New("another berth serve works on this data directory")

// lock takes the data directory for this process, until the file is closed or the process ends. Two
// servers on one SQLite database would each believe what they have in memory.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
