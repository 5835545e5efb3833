package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/table"
)

// ErrNotEmpty refuses to restore into a folder that has something.
var ErrNotEmpty = errors.New("the folder is not empty")

const restorePattern = ".restore-*"

// Verify restores a backup into a new folder in scratch, an existing folder or "" for the system's,
// checks all of it, and removes it again: every checksum, the databases page by page, the number of
// rows of each table, and that every uploaded file that the state names is there.
func Verify(ctx context.Context, path, passphrase, scratch string) (*Manifest, error) {
	dir, err := os.MkdirTemp(scratch, stagePattern)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	m, err := unpack(ctx, path, passphrase, dir)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", path, err)
	}
	return m, nil
}

// Restore unpacks a backup into the folder dir, which must be empty or not exist, and checks it like
// Verify before anything gets its place. With the URL of a PostgreSQL the state goes there, into a
// schema without tables, instead of dir. ErrNotEmpty, store.ErrNotEmpty.
//
// A folder that does not exist comes into being at once, complete. One that exists gets its database
// first and secrets.key last: a server does not start on what lies between. Its owner gets what root
// restores.
func Restore(ctx context.Context, path, passphrase, dir, database string) (_ *Manifest, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore %s: %w", path, err)
		}
	}()
	exists, err := empty(dir)
	if err != nil {
		return nil, err
	}
	parent := dir
	if !exists {
		if parent, err = filepath.Abs(filepath.Dir(dir)); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return nil, err
		}
	}
	stage, err := os.MkdirTemp(parent, restorePattern) // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(stage)
	m, err := unpack(ctx, path, passphrase, stage)
	if err != nil {
		return nil, err
	}
	if database != "" {
		if _, err := store.Copy(ctx, stage, database, nil); err != nil {
			return nil, err
		}
		for _, end := range []string{"", "-wal", "-shm"} {
			os.Remove(filepath.Join(stage, store.FileName+end))
		}
	}
	if exists {
		if err := giveAway(stage, dir); err != nil {
			return nil, err
		}
		err = move(stage, dir)
	} else {
		err = os.Rename(stage, dir)
	}
	if err != nil {
		return nil, err
	}
	return m, syncFolder(parent)
}

// empty tells whether a folder exists, and fails if it has something that a restore did not leave.
func empty(dir string) (exists bool, err error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	var left []string
	for _, e := range list {
		switch {
		case e.Name() == "lost+found":
		case e.IsDir() && strings.HasPrefix(e.Name(), strings.TrimSuffix(restorePattern, "*")):
			left = append(left, filepath.Join(dir, e.Name()))
		default:
			return true, fmt.Errorf("%w: %s has %s", ErrNotEmpty, dir, e.Name())
		}
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return true, err
		}
	}
	return true, nil
}

// move brings what is in a folder into another, the database first and secrets.key last.
func move(from, to string) error {
	list, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	rank := func(e fs.DirEntry) int {
		return slices.Index([]string{"secrets.key", store.FileName}, e.Name())
	}
	slices.SortStableFunc(list, func(a, b fs.DirEntry) int { // -1 for the others
		order := []int{1, 2, 0}
		return order[rank(a)+1] - order[rank(b)+1]
	})
	for _, e := range list {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return syncFolder(to)
}

// unpack writes the files of a backup into dir and checks them.
func unpack(ctx context.Context, path, passphrase, dir string) (*Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := read(cancelled{ctx, f}, passphrase, maxWork, func(f File, content io.Reader) error {
		return place(filepath.Join(dir, filepath.FromSlash(f.Name)), f.Mode, content)
	})
	if err == nil {
		err = check(ctx, dir, m)
	}
	if ended := ctx.Err(); ended != nil {
		return nil, ended
	}
	return m, err
}

// place writes a file to disk.
func place(path string, mode fs.FileMode, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode|0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, content); err != nil {
		if errors.As(err, new(*fs.PathError)) { // of the disk, not of the backup
			return err
		}
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// check compares what lies in a folder with its manifest, as far as checksums do not say it.
func check(ctx context.Context, dir string, m *Manifest) error {
	type database struct {
		name string
		rows map[string]int64
	}
	list := []database{{store.FileName, m.Rows}}
	if m.Readings == "sqlite" {
		list = append(list, database{table.FileName, m.ReadingsRows})
	}
	for _, d := range list {
		rows, err := inspect(ctx, filepath.Join(dir, d.name))
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, d.name, err)
		}
		if !maps.Equal(rows, d.rows) {
			return fmt.Errorf("%w: %s has other rows than its manifest says", ErrDamaged, d.name)
		}
	}
	for _, name := range []string{"secrets.key", "ca.pem", "ca.key"} {
		if !slices.ContainsFunc(m.Files, func(f File) bool { return f.Name == name }) {
			return fmt.Errorf("%w: %s is missing", ErrDamaged, name)
		}
	}
	return checkContents(ctx, dir, m)
}

// checkContents looks for the uploaded files that the state names; their names are their checksums.
func checkContents(ctx context.Context, dir string, m *Manifest) error {
	if _, ok := m.Rows["file"]; !ok {
		return nil
	}
	there := make(map[string]bool)
	for _, f := range m.Files {
		if name, ok := strings.CutPrefix(f.Name, "files/"); ok && name == f.SHA256 {
			there[name] = true
		}
	}
	s, err := store.OpenSnapshot(filepath.Join(dir, store.FileName))
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Query(ctx, `SELECT name, sha256 FROM file`, nil, func(row store.Row) error {
		var name, sum string
		if err := row.Scan(&name, &sum); err != nil {
			return err
		}
		if !there[sum] {
			return fmt.Errorf("%w: the content of the uploaded file %q is missing", ErrDamaged, name)
		}
		return nil
	})
}

// inspect checks a database file and counts its rows.
func inspect(ctx context.Context, path string) (map[string]int64, error) {
	s, err := store.OpenSnapshot(path)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Check(ctx); err != nil {
		return nil, err
	}
	return s.Rows(ctx)
}
