// Package files keeps files that devices download, such as firmware, and hands them out over HTTPS to
// whoever has a signed address. Contents lie in a folder under their SHA-256; every upload under a
// name is a new version of it, and a signed address stands for one version, so that a download that
// goes on in ranges never mixes two.
package files

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/seal"
	"github.com/berth-iot/berth/internal/store"
)

// MaxSize is the largest file in bytes.
const MaxSize = 256 << 20

// Errors of this package match one of these with errors.Is, or come from the store or the disk.
var (
	ErrNotFound = errors.New("file not found")
	ErrName     = errors.New("invalid file name")
	ErrTooLarge = errors.New("file too large")
	ErrHash     = errors.New("content does not have the SHA-256 given")
)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)

var schema = []string{`
	CREATE TABLE file (name TEXT NOT NULL, version BIGINT NOT NULL, sha256 TEXT NOT NULL, size BIGINT NOT NULL,
		created_at BIGINT NOT NULL, PRIMARY KEY (name, version));
	CREATE INDEX file_by_content ON file (sha256)`}

// File is one version of a name.
type File struct {
	Name    string
	Version int64 // from 1
	SHA256  string
	Size    int64
	Created time.Time
}

// Files are the files of a server. Methods may be called concurrently.
type Files struct {
	db  *store.DB
	dir string
	key []byte
	now func() time.Time

	// changing keeps a deletion from taking the content of an upload of the same bytes.
	changing sync.Mutex

	changed chan struct{} // nil without a cluster: another node has uploaded or deleted something
	pulling sync.Mutex
}

// Open prepares the table and the folder, and makes the key of signatures at the first time; now may
// be nil for time.Now.
func Open(ctx context.Context, db *store.DB, dir string, now func() time.Time) (*Files, error) {
	if now == nil {
		now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open files: %w", err)
	}
	if err := db.Migrate(ctx, "files", schema); err != nil {
		return nil, err
	}
	f := &Files{db: db, dir: dir, now: now}
	return f, f.loadKey(filepath.Join(dir, "signing.key"))
}

func (f *Files) loadKey(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = make([]byte, sha256.Size)
		rand.Read(b)
		err = seal.WriteFile(path, b, 0o600)
	}
	if err == nil && len(b) != sha256.Size {
		err = fmt.Errorf("%s has %d bytes, not %d", path, len(b), sha256.Size)
	}
	if err != nil {
		return fmt.Errorf("open files: signing key: %w", err)
	}
	f.key = b
	return nil
}

func (f *Files) path(sum string) string { return filepath.Join(f.dir, sum) }

// Put stores a new version of a name. wanted is the SHA-256 that the content must have, in lower-case
// hexadecimal, or "" for any. ErrName, ErrTooLarge, ErrHash.
func (f *Files) Put(ctx context.Context, name, wanted string, content io.Reader) (*File, error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("%w: %q is not 1 to 128 letters, digits, dots, underscores and hyphens", ErrName, name)
	}
	temp, err := os.CreateTemp(f.dir, "upload-*")
	if err != nil {
		return nil, fmt.Errorf("store file %q: %w", name, err)
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(temp, hash), io.LimitReader(content, MaxSize+1))
	if err == nil {
		err = temp.Sync()
	}
	if err != nil {
		return nil, fmt.Errorf("store file %q: %w", name, err)
	}
	if size > MaxSize {
		return nil, fmt.Errorf("%w: the limit is %d bytes", ErrTooLarge, MaxSize)
	}
	v := &File{Name: name, SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size, Created: f.now()}
	if wanted != "" && wanted != v.SHA256 {
		return nil, ErrHash
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	if err := os.Rename(temp.Name(), f.path(v.SHA256)); err != nil {
		return nil, fmt.Errorf("store file %q: %w", name, err)
	}
	if d, err := os.Open(f.dir); err == nil { // so that the name is on disk before the row
		d.Sync()
		d.Close()
	}
	err = f.name(ctx, v)
	if err != nil {
		return nil, fmt.Errorf("store file %q: %w", name, err)
	}
	return v, nil
}

// name makes a content that is in the folder the next version of its name.
func (f *Files) name(ctx context.Context, v *File) error {
	for tries := 0; ; tries++ {
		if f.changed != nil {
			if err := f.push(ctx, v.SHA256); err != nil {
				return err
			}
		}
		err := f.db.Write(ctx, func(tx *store.Tx) error {
			if err := f.whole(tx, v.SHA256, v.Size); err != nil {
				return err
			}
			if err := tx.QueryRow(`SELECT coalesce(max(version), 0) + 1 FROM file WHERE name = ?`, []any{v.Name}, &v.Version); err != nil {
				return err
			}
			tx.Note(Feed, v.SHA256)
			_, err := tx.Exec(`INSERT INTO file (name, version, sha256, size, created_at) VALUES (?, ?, ?, ?, ?)`, v.Name, v.Version, v.SHA256, v.Size, v.Created.UnixMilli())
			return err
		})
		if tries == 3 || !errors.Is(err, errShare) {
			return err
		}
	}
}

func scan(row store.Row) (*File, error) {
	v := &File{}
	var created int64
	err := row.Scan(&v.Name, &v.Version, &v.SHA256, &v.Size, &created)
	v.Created = time.UnixMilli(created)
	return v, err
}

// Get returns a version of a name, the latest for 0. ErrNotFound.
func (f *Files) Get(ctx context.Context, name string, version int64) (*File, error) {
	var v *File
	err := f.db.Query(ctx, `SELECT name, version, sha256, size, created_at FROM file WHERE name = ? AND (version = ? OR ? = 0) ORDER BY version DESC LIMIT 1`,
		[]any{name, version, version}, func(row store.Row) (err error) {
			v, err = scan(row)
			return err
		})
	if err == nil && v == nil {
		err = fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	return v, err
}

// List returns the latest version of every name, by name.
func (f *Files) List(ctx context.Context) ([]*File, error) {
	list := []*File{}
	err := f.db.Query(ctx, `SELECT name, version, sha256, size, created_at FROM file AS f
		WHERE version = (SELECT max(version) FROM file WHERE name = f.name) ORDER BY name`, nil, func(row store.Row) error {
		v, err := scan(row)
		list = append(list, v)
		return err
	})
	return list, err
}

// Open returns the content of a version; the caller closes it.
func (f *Files) Open(v *File) (*os.File, error) {
	file, err := os.Open(f.path(v.SHA256))
	if errors.Is(err, fs.ErrNotExist) && f.changed != nil {
		if err := f.pull(context.Background(), v.SHA256); err != nil {
			return nil, fmt.Errorf("read file %q: %w", v.Name, err)
		}
		file, err = os.Open(f.path(v.SHA256))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the content of %q is gone", ErrNotFound, v.Name)
	}
	return file, err
}

// Delete removes a name with all its versions, and contents that no other name has. ErrNotFound.
func (f *Files) Delete(ctx context.Context, name string) error {
	f.changing.Lock()
	defer f.changing.Unlock()
	var orphans []string
	err := f.db.Write(ctx, func(tx *store.Tx) error {
		orphans = nil
		err := tx.Query(`SELECT DISTINCT sha256 FROM file AS f WHERE name = ? AND NOT EXISTS (SELECT 1 FROM file WHERE sha256 = f.sha256 AND name <> f.name)`,
			[]any{name}, func(row store.Row) error {
				var sum string
				err := row.Scan(&sum)
				orphans = append(orphans, sum)
				return err
			})
		if err != nil {
			return err
		}
		n, err := tx.Exec(`DELETE FROM file WHERE name = ?`, name)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: %q", ErrNotFound, name)
		}
		if err != nil || f.changed == nil {
			return err
		}
		for _, sum := range orphans {
			if _, err := tx.Exec(`DELETE FROM cluster_file WHERE sha256 = ?`, sum); err != nil {
				return err
			}
			tx.Note(Feed, sum)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, sum := range orphans {
		if err := os.Remove(f.path(sum)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete file %q: %w", name, err)
		}
	}
	return nil
}
