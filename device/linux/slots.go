package linux

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Slots are two images in a folder, slot-0 and slot-1, and the record of which of them starts. What
// starts the program, such as a service's ExecStart, asks Boot first. It satisfies ota.Slots.
type Slots struct {
	dir  string
	size int64

	mu     sync.Mutex
	record bootRecord
}

// bootRecord is written by rename, so it is always whole.
type bootRecord struct {
	Active int   `json:"active"` // starts unless there is a trial
	Trial  bool  `json:"trial"`  // the other one is to be started on trial
	Tried  bool  `json:"tried"`  // and has been
	Size   int64 `json:"size"`   // of the image on trial
}

// OpenSlots opens a folder, making it if it is not there. size is the largest image in bytes.
func OpenSlots(dir string, size int64) (*Slots, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open slots: %w", err)
	}
	s := &Slots{dir: dir, size: size}
	b, err := os.ReadFile(filepath.Join(dir, "boot.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s.record)
	}
	if err == nil && s.record.Active != 0 && s.record.Active != 1 {
		err = errors.New("no such slot")
	}
	if err != nil {
		return nil, fmt.Errorf("open slots: boot record: %w", err)
	}
	return s, nil
}

// Boot decides which image to start and returns its path: a trial that was begun and not confirmed is
// over.
func (s *Slots) Boot() (path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.record
	switch {
	case r.Trial && r.Tried:
		r = bootRecord{Active: r.Active}
	case r.Trial:
		r.Tried = true
	}
	if err := s.save(r); err != nil {
		return "", err
	}
	return s.path(s.running()), nil
}

func (s *Slots) path(slot int) string { return filepath.Join(s.dir, fmt.Sprint("slot-", slot)) }

func (s *Slots) running() int {
	if s.record.Trial && s.record.Tried {
		return 1 - s.record.Active
	}
	return s.record.Active
}

func (s *Slots) save(r bootRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, "boot.json")
	if err := writeSynced(path+partial, b); err != nil {
		return fmt.Errorf("write boot record: %w", err)
	}
	if err := os.Rename(path+partial, path); err != nil {
		return fmt.Errorf("write boot record: %w", err)
	}
	s.record = r
	return syncDir(s.dir)
}

// Running is the slot that runs, if Boot has started it.
func (s *Slots) Running() (slot int, trial bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running(), s.record.Trial && s.record.Tried
}

// Size is the largest image.
func (s *Slots) Size() int64 { return s.size }

func (s *Slots) open(flag int) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return os.OpenFile(s.path(1-s.running()), flag, 0o700)
}

// ReadAt reads from the free slot.
func (s *Slots) ReadAt(b []byte, offset int64) (int, error) {
	f, err := s.open(os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.ReadAt(b, offset)
	if n == len(b) && err == io.EOF {
		err = nil
	}
	return n, err
}

// WriteAt writes to the free slot and syncs it.
func (s *Slots) WriteAt(b []byte, offset int64) (n int, err error) {
	if offset < 0 || offset+int64(len(b)) > s.size {
		return 0, fmt.Errorf("write slot: %d bytes at %d are beyond its end", len(b), offset)
	}
	f, err := s.open(os.O_RDWR | os.O_CREATE)
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	if n, err = f.WriteAt(b, offset); err != nil {
		return n, err
	}
	return n, f.Sync()
}

// Activate cuts what is left of an older image off and makes the next Boot start the new one.
func (s *Slots) Activate(size int64) error {
	f, err := s.open(os.O_RDWR)
	if err != nil {
		return err
	}
	err = errors.Join(f.Truncate(size), f.Chmod(0o700), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.save(bootRecord{Active: s.running(), Trial: true, Size: size})
}

// Confirm keeps the image that runs.
func (s *Slots) Confirm() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.save(bootRecord{Active: s.running()})
}

// Rollback makes the next Boot start the image that ran before the trial.
func (s *Slots) Rollback() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.save(bootRecord{Active: s.record.Active})
}
