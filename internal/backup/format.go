package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
)

// Format is the version of the format that this package writes, and the only one it reads.
const Format = 1

// What can be wrong with a backup; errors of this package match one of these or come from the disk or
// the database.
var (
	ErrNotBackup  = errors.New("not a backup of berth")
	ErrFormat     = errors.New("the backup was made by another version of berth")
	ErrDamaged    = errors.New("the backup is damaged or cut short")
	ErrEncrypted  = errors.New("the backup is encrypted: a passphrase is needed")
	ErrPassphrase = errors.New("the passphrase does not open the backup")
)

const (
	ageMagic     = "age-encryption.org/v1\n"
	headerName   = "backup.json"   // the first entry
	manifestName = "manifest.json" // the last
	dataPrefix   = "data/"         // of the files between them
	maxHeader    = 64 << 10        // bytes
	maxManifest  = 256 << 20       // bytes
	maxWork      = 20              // log2 of the cost of scrypt: 1 GiB of memory
)

// Header is the first entry of a backup.
type Header struct {
	Format   int       `json:"format"`
	Made     time.Time `json:"made"`     // when the state was as the backup has it
	Version  string    `json:"version"`  // of the berth that made it
	State    string    `json:"state"`    // "sqlite" or "postgres": where the state lay
	Readings string    `json:"readings"` // "sqlite", "postgres" (then they are not in the backup) or "none"
}

// Manifest is the last entry of a backup: what is in it.
type Manifest struct {
	Header
	Files        []File           `json:"files"`          // in the order of the entries
	Rows         map[string]int64 `json:"rows"`           // of each table of the state
	ReadingsRows map[string]int64 `json:"readingsRows"`   // of each table of readings.db
	Left         []string         `json:"left,omitempty"` // what is no file or folder in the data folder, such as a link to a folder
}

// File is a file of the data folder.
type File struct {
	Name   string      `json:"name"` // below the data folder, with slashes
	Size   int64       `json:"size"`
	Mode   fs.FileMode `json:"mode"` // permissions
	SHA256 string      `json:"sha256"`
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() int64 {
	n := int64(0)
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// writer writes a backup. Its methods are called in the order open, add for each file, close.
type writer struct {
	sealed io.WriteCloser // nil without passphrase
	zip    *gzip.Writer
	tar    *tar.Writer
	out    Manifest
}

// newWriter begins a backup on w. cost is log2 of the work of scrypt.
func newWriter(w io.Writer, h Header, passphrase string, cost int) (*writer, error) {
	b := &writer{out: Manifest{Header: h, Files: []File{}}}
	if passphrase != "" {
		to, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		to.SetWorkFactor(cost)
		if b.sealed, err = age.Encrypt(w, to); err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		w = b.sealed
	}
	b.zip, _ = gzip.NewWriterLevel(w, gzip.BestSpeed)
	b.tar = tar.NewWriter(b.zip)
	return b, b.document(headerName, h)
}

func (b *writer) document(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := b.tar.WriteHeader(b.entry(name, int64(len(text)), 0o600)); err != nil {
		return err
	}
	_, err = b.tar.Write(text)
	return err
}

func (b *writer) entry(name string, size int64, mode fs.FileMode) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: int64(mode), ModTime: b.out.Made.Truncate(time.Second)}
}

// add writes the first size bytes of content: a file that is appended to meanwhile is taken as it was.
func (b *writer) add(name string, size int64, mode fs.FileMode, content io.Reader) error {
	if err := b.tar.WriteHeader(b.entry(dataPrefix+name, size, mode)); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(b.tar, sum), content, size); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.out.Files = append(b.out.Files, File{name, size, mode, hex.EncodeToString(sum.Sum(nil))})
	return nil
}

// close writes the manifest and ends the backup; it does not close what was written to.
func (b *writer) close() error {
	if err := b.document(manifestName, &b.out); err != nil {
		return err
	}
	errs := []error{b.tar.Close(), b.zip.Close()}
	if b.sealed != nil {
		errs = append(errs, b.sealed.Close())
	}
	return errors.Join(errs...)
}

// unwrap returns the tar stream of a backup, and checks what follows it when it has been read.
func unwrap(r io.Reader, passphrase string, work int) (stream io.Reader, end func() error, err error) {
	in, wrong := bufio.NewReaderSize(r, 64<<10), ErrNotBackup
	if head, _ := in.Peek(len(ageMagic)); string(head) == ageMagic {
		if passphrase == "" {
			return nil, nil, ErrEncrypted
		}
		key, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, nil, err
		}
		key.SetMaxWorkFactor(work)
		plain, err := age.Decrypt(in, key)
		if none := (*age.NoIdentityMatchError)(nil); errors.As(err, &none) {
			return nil, nil, fmt.Errorf("%w: %w", ErrPassphrase, err)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		in, wrong = bufio.NewReaderSize(plain, 64<<10), ErrDamaged
	}
	zip, err := gzip.NewReader(in)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", wrong, err)
	}
	zip.Multistream(false)
	return zip, func() error {
		for _, rest := range []io.Reader{zip, in} { // their checks come with their ends
			if n, err := io.Copy(io.Discard, io.LimitReader(rest, 1)); n != 0 || err != nil {
				return fmt.Errorf("%w: something follows its end: %w", ErrDamaged, cmp.Or(err, io.ErrUnexpectedEOF))
			}
		}
		return nil
	}, nil
}

// read reads a backup as a whole and calls each for every file, whose name is below the data folder and
// safe to use. What each does not read is passed over. The manifest that it returns describes what was
// read; before it has returned, nothing is known to be right.
func read(r io.Reader, passphrase string, work int, each func(f File, content io.Reader) error) (*Manifest, error) {
	stream, end, err := unwrap(r, passphrase, work)
	if err != nil {
		return nil, err
	}
	in := tar.NewReader(stream)
	var header *Header
	found := []File{}
	names := make(map[string]bool)
	for {
		h, err := in.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, cmp.Or(noEOF(err), errors.New("it has no manifest")))
		}
		if h.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("%w: it has the entry %q", ErrNotBackup, h.Name)
		}
		for k := range h.PAXRecords {
			if strings.HasPrefix(k, "GNU.") { // a file with holes: little to read, much to write
				return nil, fmt.Errorf("%w: it has the entry %q", ErrNotBackup, h.Name)
			}
		}
		if header == nil {
			header = &Header{}
			if err := document(in, h, headerName, maxHeader, header); err != nil {
				return nil, err
			}
			if header.Format != Format {
				return nil, fmt.Errorf("%w: its format is %d, this berth reads %d", ErrFormat, header.Format, Format)
			}
			continue
		}
		name, ok := strings.CutPrefix(h.Name, dataPrefix)
		if !ok {
			m := &Manifest{}
			if err := document(in, h, manifestName, maxManifest, m); err != nil {
				return nil, err
			}
			if _, err := in.Next(); err != io.EOF {
				return nil, fmt.Errorf("%w: something follows its manifest", ErrDamaged)
			}
			if err := end(); err != nil {
				return nil, err
			}
			return m, m.compare(header, found)
		}
		if !safe(name) || names[name] {
			return nil, fmt.Errorf("%w: it has the file %q", ErrNotBackup, name)
		}
		names[name] = true
		f := File{Name: name, Size: h.Size, Mode: fs.FileMode(h.Mode) & 0o755}
		sum := sha256.New()
		content := io.TeeReader(in, sum)
		if err := each(f, content); err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
		}
		f.SHA256 = hex.EncodeToString(sum.Sum(nil))
		found = append(found, f)
	}
}

// noEOF is nil for the end of a stream, which is an error where it comes too early.
func noEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func document(in io.Reader, h *tar.Header, name string, limit int64, v any) error {
	if h.Name != name || h.Size > limit {
		return fmt.Errorf("%w: it has the entry %q", ErrNotBackup, h.Name)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	return nil
}

// compare checks that a manifest describes what was found.
func (m *Manifest) compare(h *Header, found []File) error {
	if len(m.Files) != len(found) || !m.Made.Equal(h.Made) || m.Format != h.Format {
		return fmt.Errorf("%w: its manifest has %d files, it has %d", ErrDamaged, len(m.Files), len(found))
	}
	for i, f := range m.Files {
		if f != found[i] {
			return fmt.Errorf("%w: %s is not what its manifest says", ErrDamaged, found[i].Name)
		}
	}
	return nil
}

// safe tells whether a name stays below the data folder on every system.
func safe(name string) bool {
	return fs.ValidPath(name) && name != "." && filepath.IsLocal(filepath.FromSlash(name)) && !strings.ContainsAny(name, "\\:\x00") && len(name) < 1024
}
