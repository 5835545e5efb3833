package spiffs

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// File is one file to put into an image.
type File struct {
	// Name is the whole path on the device below the mount point, with its
	// leading slash: "/certs/device.crt". SPIFFS has no folders; the slashes
	// are part of the name.
	Name string
	Data []byte
}

// FilesIn reads every regular file of fsys in the order an image holds them:
// the files of a folder by name, then its sub-folders by name. A symbolic link
// to a file counts as the file; one to a folder is left out.
func FilesIn(fsys fs.FS) ([]File, error) {
	return filesIn(fsys, ".", nil)
}

func filesIn(fsys fs.FS, dir string, files []File) ([]File, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("spiffs: read folder: %w", err)
	}
	var folders []string
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		mode := entry.Type()
		if mode&fs.ModeSymlink != 0 {
			info, err := fs.Stat(fsys, name)
			if err != nil {
				return nil, fmt.Errorf("spiffs: follow link: %w", err)
			}
			if mode = info.Mode().Type(); mode.IsDir() {
				continue
			}
		}
		switch {
		case mode.IsDir():
			folders = append(folders, name)
		case mode.IsRegular():
			data, err := fs.ReadFile(fsys, name)
			if err != nil {
				return nil, fmt.Errorf("spiffs: read file: %w", err)
			}
			files = append(files, File{Name: "/" + name, Data: data})
		default:
			return nil, fmt.Errorf("spiffs: %q is neither a file nor a folder", name)
		}
	}
	for _, folder := range folders {
		if files, err = filesIn(fsys, folder, files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// BuildFS makes an image of size bytes from every file of fsys, in the order
// of [FilesIn].
func BuildFS(cfg Config, size int, fsys fs.FS) ([]byte, error) {
	// A geometry that cannot work is worth saying before a folder is read.
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	files, err := FilesIn(fsys)
	if err != nil {
		return nil, err
	}
	return Build(cfg, size, files)
}

// Build makes an image of size bytes, a multiple of the block size, that holds
// files in the order given; objects are numbered from 1 in that order. It
// fails with ErrGeometry, ErrName or ErrFull.
func Build(cfg Config, size int, files []File) ([]byte, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.checkSize(size); err != nil {
		return nil, err
	}
	if len(files) > maxObjectID {
		return nil, fmt.Errorf("%w: %d files, at most %d", ErrFull, len(files), maxObjectID)
	}
	b := builder{cfg: cfg, layout: cfg.layout(), image: bytes.Repeat([]byte{0xFF}, size), block: -1}
	seen := make(map[string]bool, len(files))
	for i, file := range files {
		if err := cfg.checkName(file.Name); err != nil {
			return nil, err
		}
		if seen[file.Name] {
			return nil, fmt.Errorf("%w: object name %q given twice", ErrName, file.Name)
		}
		seen[file.Name] = true
		if err := b.add(uint16(i+1), file); err != nil {
			return nil, err
		}
	}
	if cfg.Magic {
		b.writeMagic()
	}
	return b.image, nil
}

func (c Config) checkName(name string) error {
	switch {
	case len(name) > c.ObjectNameLen-1:
		return fmt.Errorf("%w: object name '%s' too long: %d bytes, at most %d with its leading slash", ErrName, name, len(name), c.ObjectNameLen-1)
	case name == "" || strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: object name %q is empty or has a NUL in it", ErrName, name)
	}
	return nil
}

// builder fills pages from the front of the image. Pages of one object follow
// one another: an index page, then the data pages it names, then the next
// index page.
type builder struct {
	cfg Config
	layout
	image []byte
	block int // being filled, -1 before the first
	used  int // pages taken in it, look-up pages left out
}

// page takes the next page for an object, enters id in the look-up table, and
// returns its bytes and page index.
func (b *builder) page(id uint16) ([]byte, int, error) {
	if b.block < 0 || b.used == b.usable {
		if (b.block+2)*b.cfg.BlockSize > len(b.image) {
			return nil, 0, fmt.Errorf("%w: the image size has been exceeded: %d bytes are too few for these files", ErrFull, len(b.image))
		}
		b.block++
		b.used = 0
	}
	start := b.block * b.cfg.BlockSize
	b.order.PutUint16(b.image[start+2*b.used:], id)
	index := b.block*b.pagesPerBlock + b.lookupPages + b.used
	b.used++
	return b.image[index*b.cfg.PageSize:][:b.cfg.PageSize], index, nil
}

func (b *builder) header(page []byte, id, span uint16, flags byte) {
	b.order.PutUint16(page[0:], id)
	b.order.PutUint16(page[2:], span)
	page[4] = flags
}

func (b *builder) add(id uint16, file File) error {
	fail := func(err error) error { return fmt.Errorf("add %q (%d bytes): %w", file.Name, len(file.Data), err) }

	head, _, err := b.page(id | idIndex)
	if err != nil {
		return fail(err)
	}
	b.header(head, id|idIndex, 0, flagsIndex)
	b.order.PutUint32(head[headerLenAligned:], uint32(len(file.Data)))
	head[headerLenAligned+4] = typeFile
	name := head[indexFixedLen:b.indexStart] // name, metadata and padding
	clear(name)
	copy(name, file.Name)

	table := head[b.indexStart:][:2*b.headEntries]
	indexSpan := uint16(0)
	for span, rest := uint16(0), file.Data; len(rest) > 0; span++ {
		for len(table) == 0 {
			next, _, err := b.page(id | idIndex)
			if err != nil {
				return fail(err)
			}
			indexSpan++
			b.header(next, id|idIndex, indexSpan, flagsIndex)
			table = next[headerLenAligned:][:2*b.indexEntries]
		}
		data, index, err := b.page(id)
		if err != nil {
			return fail(err)
		}
		b.header(data, id, span, flagsData)
		n := copy(data[headerLen:], rest)
		rest = rest[n:]
		b.order.PutUint16(table, uint16(index))
		table = table[2:]
	}
	return nil
}

func (b *builder) writeMagic() {
	blocks := len(b.image) / b.cfg.BlockSize
	for i := range blocks {
		end := i*b.cfg.BlockSize + b.lookupPages*b.cfg.PageSize
		b.order.PutUint16(b.image[end-4:], b.cfg.magic(blocks-i))
	}
}
