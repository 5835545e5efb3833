package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/build"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/table"
)

// Source says what to save. A server may be using all of it.
type Source struct {
	Data          string // the data folder
	Database      string // URL of the PostgreSQL with the state; empty for Data/berth.db
	TableDatabase string // URL of the PostgreSQL with the readings, which are not saved then
}

// Options of a backup.
type Options struct {
	Passphrase string // encrypts it, if not empty
	Cost       int    // log2 of the work of scrypt; 0 for 17, which takes 128 MiB of memory for half a second
	Now        func() time.Time
}

const (
	defaultCost  = 17
	stagePattern = ".backup-*"    // folders in the data folder, while a backup is made
	stageAge     = 24 * time.Hour // after which a stage belongs to a backup that was killed
	partPattern  = ".berth-backup-*.part"
)

// Create makes a backup of a data folder and its database in the file out, which must not exist. It is
// written under another name beside it, read back, restored into a folder of its own and compared, and
// only then gets its name.
//
// The data folder needs room for a copy of its databases.
func Create(ctx context.Context, src Source, out string, o Options) (_ *Manifest, err error) {
	if _, err := os.Lstat(out); err == nil {
		return nil, fmt.Errorf("back up to %s: %w", out, fs.ErrExist)
	}
	if _, err := os.Stat(filepath.Join(src.Data, "secrets.key")); err != nil {
		return nil, fmt.Errorf("back up %s: not the data folder of a berth that has run: %w", src.Data, err)
	}
	removeStale(src.Data, stagePattern)
	removeStale(filepath.Dir(out), partPattern)
	part, err := os.CreateTemp(filepath.Dir(out), partPattern) // mode 0600
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	defer os.Remove(part.Name())
	defer part.Close()
	if err := write(ctx, src, part, out, o); err != nil {
		return nil, fmt.Errorf("back up %s: %w", src.Data, err)
	}
	if err := part.Sync(); err != nil {
		return nil, fmt.Errorf("back up %s: %w", src.Data, err)
	}
	m, err := Verify(ctx, part.Name(), o.Passphrase, src.Data)
	if err != nil {
		return nil, fmt.Errorf("read the backup back: %w", err)
	}
	// A link replaces nothing; not every file system has them.
	if err := os.Link(part.Name(), out); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("back up to %s: %w", out, fs.ErrExist)
	} else if err != nil {
		part.Close()
		if err := os.Rename(part.Name(), out); err != nil {
			return nil, fmt.Errorf("back up: %w", err)
		}
	}
	return m, syncFolder(filepath.Dir(out))
}

// removeStale removes what backups left that were killed.
func removeStale(dir, pattern string) {
	list, _ := filepath.Glob(filepath.Join(dir, pattern))
	for _, path := range list {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > stageAge {
			os.RemoveAll(path)
		}
	}
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrInvalid) {
		return err // systems without it say that they are not allowed to
	}
	return nil
}

// write stages what changes, and writes the backup to w.
func write(ctx context.Context, src Source, w io.Writer, out string, o Options) error {
	stage, err := os.MkdirTemp(src.Data, stagePattern)
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	now := o.Now
	if now == nil {
		now = time.Now
	}
	h := Header{Format: Format, Made: now().UTC().Truncate(time.Millisecond), Version: build.Read().Version, State: "sqlite", Readings: "none"}
	contents := filepath.Join(stage, "files")
	if err := os.Mkdir(contents, 0o700); err != nil {
		return err
	}
	// A file is there before its row and until after it: with what is there before and after the
	// state was taken, all of it that the state names is there.
	if err := stageFiles(filepath.Join(src.Data, "files"), contents); err != nil {
		return err
	}
	if err := store.TakeSnapshot(ctx, cmp.Or(src.Database, src.Data), stage); err != nil {
		return err
	}
	if err := stageFiles(filepath.Join(src.Data, "files"), contents); err != nil {
		return err
	}
	if src.Database != "" {
		h.State = "postgres"
	}
	// Readings come after the state: what a rule has yet to write is written again then, not lost.
	readings := filepath.Join(src.Data, table.FileName)
	if _, err := os.Stat(readings); src.TableDatabase != "" {
		h.Readings = "postgres"
	} else if err == nil {
		h.Readings = "sqlite"
		if err := store.TakeFileSnapshot(ctx, readings, filepath.Join(stage, table.FileName)); err != nil {
			return err
		}
	}
	b, err := newWriter(w, h, o.Passphrase, cmp.Or(o.Cost, defaultCost))
	if err != nil {
		return err
	}
	if b.out.Rows, err = inspect(ctx, filepath.Join(stage, store.FileName)); err != nil {
		return err
	}
	if h.Readings == "sqlite" {
		if b.out.ReadingsRows, err = inspect(ctx, filepath.Join(stage, table.FileName)); err != nil {
			return err
		}
	}
	if err := b.folder(ctx, stage, func(string) bool { return true }); err != nil {
		return err
	}
	avoid, _ := filepath.Abs(filepath.Dir(out))
	err = b.folder(ctx, src.Data, func(name string) bool {
		if !kept(name) {
			return false
		}
		// A folder of backups in the data folder is not part of them.
		path, err := filepath.Abs(filepath.Join(src.Data, filepath.FromSlash(name)))
		return err != nil || path != avoid && path != filepath.Join(avoid, filepath.Base(out))
	})
	if err != nil {
		return err
	}
	return b.close()
}

// kept tells which files of a data folder are copied as they are. Of the others some are staged, and
// some belong to the running server.
func kept(name string) bool {
	switch name {
	case store.FileName, table.FileName, "endpoint.json", "endpoint.json.new", "ticket-keys", "files", "lost+found":
		return false
	}
	base := name[strings.LastIndexByte(name, '/')+1:]
	for _, end := range []string{"-wal", "-shm", "-journal", ".copy"} {
		if strings.HasPrefix(base, store.FileName) && strings.HasSuffix(base, end) || strings.HasPrefix(base, table.FileName) && strings.HasSuffix(base, end) {
			return false
		}
	}
	for _, begin := range []string{".backup-", ".restore-", ".new-", ".berth-backup-"} {
		if strings.HasPrefix(base, begin) {
			return false
		}
	}
	return !(strings.HasPrefix(base, FilePrefix) && strings.Contains(base, FileSuffix))
}

// stageFiles links the files of a folder into another, or copies those that cannot be linked. Names of
// uploads that are under way are passed over.
func stageFiles(from, to string) error {
	list, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), "upload-") || strings.HasPrefix(e.Name(), ".new-") {
			continue
		}
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		err := os.Link(source, target)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = copyFile(source, target)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// folder adds the files below a folder that want takes, by name.
func (b *writer) folder(ctx context.Context, dir string, want func(name string) bool) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		name := filepath.ToSlash(rel)
		if !want(name) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			return nil
		}
		info, err := os.Stat(path) // of what a link leads to
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || !safe(name) {
			b.out.Left = append(b.out.Left, name)
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return b.add(name, info.Size(), info.Mode().Perm()&0o755, cancelled{ctx, f})
	})
}

// cancelled reads until a context ends.
type cancelled struct {
	ctx context.Context
	io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}
