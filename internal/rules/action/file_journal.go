package action

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// journals are the files that lines are appended to. Those that become Parquet have hidden names:
//
//	.NAME.log          is written to
//	.NAME.TIME.log     is being made into NAME with the time before its end
//
// What an earlier server left of both becomes Parquet at the next start.
type journals struct {
	c    *Connections
	root *os.Root

	mu      sync.Mutex
	open    map[string]*journal
	convert chan string // rolled journals
	stop    chan struct{}
	stopped sync.WaitGroup
}

type journalKind struct {
	name    string
	parquet bool
	age     time.Duration // of parquet
	bytes   int64
}

// place is where lines are written.
func (k *journalKind) place() string {
	if !k.parquet {
		return k.name
	}
	return path.Join(path.Dir(k.name), "."+path.Base(k.name)+journalEnd)
}

const (
	journalEnd   = ".log"
	maxOpenFiles = 128
	fileIdle     = time.Minute
	rollInterval = time.Second
	rollStamp    = "20060102T150405.000000000Z"
)

type journal struct {
	kind  journalKind
	mu    sync.Mutex
	file  *os.File // nil after it was closed
	size  int64
	begun time.Time
	used  atomic.Int64 // time of the last append, nanoseconds
}

// journals returns what appends to files, and opens the folder the first time.
func (c *Connections) journals() (*journals, error) {
	c.files.Lock()
	defer c.files.Unlock()
	if c.closed {
		return nil, errConnectionsClosed
	}
	if c.journal != nil {
		return c.journal, nil
	}
	if err := os.MkdirAll(c.folder, 0o700); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	root, err := os.OpenRoot(c.folder)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	j := &journals{c: c, root: root, open: make(map[string]*journal), convert: make(chan string, 1024), stop: make(chan struct{})}
	left := j.left()
	j.stopped.Go(func() {
		for _, name := range left {
			j.finish(name)
		}
		j.loop()
	})
	c.journal = j
	return j, nil
}

// resumeFiles finishes what an earlier server left.
func (c *Connections) resumeFiles() {
	if info, err := os.Stat(c.folder); c.folder == "" || err != nil || !info.IsDir() {
		return
	}
	if _, err := c.journals(); err != nil {
		c.log.Error("files of rules cannot be opened", "error", err)
	}
}

func (c *Connections) closeFiles() {
	c.files.Lock()
	j := c.journal
	if c.closed {
		j = nil
	}
	c.closed = true
	c.files.Unlock()
	if j == nil {
		return
	}
	close(j.stop)
	j.stopped.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range j.open {
		o.file.Close()
	}
	j.root.Close()
}

// left rolls what was being written to, and returns all that is to become Parquet.
func (j *journals) left() []string {
	var list []string
	err := fs.WalkDir(j.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		if err != nil || d.IsDir() || base[0] != '.' || !strings.HasSuffix(base, journalEnd) {
			return err
		}
		if _, _, ok := rolledName(name); !ok {
			to := rollName(name, time.Now())
			if err := j.root.Rename(name, to); err != nil {
				return err
			}
			name = to
		}
		list = append(list, name)
		return nil
	})
	if err != nil {
		j.c.log.Error("files of rules that were not finished cannot be found", "error", err)
	}
	return list
}

// appendFile returns when lines are on disk.
func (c *Connections) appendFile(kind journalKind, lines []byte) error {
	j, err := c.journals()
	if err != nil {
		return err
	}
	for {
		o, err := j.get(kind)
		if err != nil {
			return fmt.Errorf("file: %w", err)
		}
		o.mu.Lock()
		if o.file == nil { // was closed meanwhile
			o.mu.Unlock()
			continue
		}
		o.kind = kind // the newest rule's numbers count
		err = o.append(lines)
		if err != nil || kind.parquet && o.size >= kind.bytes {
			j.put(o, err == nil)
		}
		o.mu.Unlock()
		if err != nil {
			return fmt.Errorf("file: write %q: %w", kind.name, err)
		}
		return nil
	}
}

// get opens a journal or returns the open one.
func (j *journals) get(kind journalKind) (*journal, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	place := kind.place()
	if o := j.open[place]; o != nil {
		return o, nil
	}
	if len(j.open) >= maxOpenFiles {
		j.closeOldest()
	}
	dir := path.Dir(place)
	if err := j.root.MkdirAll(dir, 0o700); err != nil {
		return nil, permanentPath(err)
	}
	f, err := j.root.OpenFile(place, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, permanentPath(err)
	}
	o := &journal{kind: kind, file: f, begun: time.Now()}
	o.used.Store(o.begun.UnixNano())
	if o.size, err = wholeLines(f); err == nil {
		err = j.syncFolder(dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	j.open[place] = o
	return o, nil
}

// permanentPath marks paths that can never be: a folder where a file should be, or the reverse, or a
// link out of the folder.
func permanentPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && (strings.Contains(p.Err.Error(), "escapes") || strings.Contains(p.Err.Error(), "directory") || errors.Is(err, fs.ErrExist)) && !errors.Is(err, fs.ErrNotExist) {
		return Permanent(err)
	}
	return err
}

// syncFolder makes new and renamed files in a folder last.
func (j *journals) syncFolder(dir string) error {
	d, err := j.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// closeOldest closes the file that was not used for longest, of those that are not in use. The lock is
// held.
func (j *journals) closeOldest() {
	var oldest *journal
	for _, o := range j.open {
		if oldest != nil && o.used.Load() >= oldest.used.Load() || !o.mu.TryLock() {
			continue
		}
		if oldest != nil {
			oldest.mu.Unlock()
		}
		oldest = o
	}
	if oldest != nil {
		j.end(oldest, oldest.kind.parquet && oldest.size > 0)
		oldest.mu.Unlock()
	}
}

// put closes a journal whose lock is held, and rolls it if that is wanted.
func (j *journals) put(o *journal, roll bool) {
	j.mu.Lock() // so that nobody opens what is about to be renamed
	defer j.mu.Unlock()
	j.end(o, roll)
}

// end is put with both locks held.
func (j *journals) end(o *journal, roll bool) {
	place := o.kind.place()
	if j.open[place] == o {
		delete(j.open, place)
	}
	o.file.Close()
	o.file = nil
	if !roll {
		return
	}
	to := rollName(place, time.Now())
	if err := j.root.Rename(place, to); err != nil {
		j.c.log.Error("a file of a rule cannot be rolled", "file", o.kind.name, "error", err)
		return
	}
	select {
	case j.convert <- to:
	default: // at the next start
	}
}

// append writes lines whole and syncs them. What was written in part is taken back.
func (o *journal) append(lines []byte) error {
	o.used.Store(time.Now().UnixNano())
	_, err := o.file.Write(lines)
	if err == nil {
		err = o.file.Sync()
	}
	if err != nil {
		return errors.Join(err, o.file.Truncate(o.size))
	}
	o.size += int64(len(lines))
	return nil
}

// wholeLines cuts off what a crash left of a line that was never acknowledged, and returns the size.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	size := end
	buffer := make([]byte, 64<<10)
	for size > 0 {
		n := min(size, int64(len(buffer)))
		if _, err := f.ReadAt(buffer[:n], size-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buffer[:n], '\n'); i >= 0 {
			size += int64(i) + 1 - n
			break
		}
		size -= n
	}
	if size == end {
		return size, nil
	}
	return size, f.Truncate(size)
}

// loop closes files that are idle, rolls those that are old, and makes Parquet.
func (j *journals) loop() {
	tick := time.NewTicker(rollInterval)
	defer tick.Stop()
	for {
		select {
		case <-j.stop:
			return
		case name := <-j.convert:
			j.finish(name)
		case <-tick.C:
			j.tidy(time.Now())
		}
	}
}

func (j *journals) tidy(now time.Time) {
	j.mu.Lock()
	var list []*journal
	for _, o := range j.open {
		list = append(list, o)
	}
	j.mu.Unlock()
	for _, o := range list {
		o.mu.Lock()
		switch {
		case o.file == nil:
		case o.kind.parquet && now.Sub(o.begun) >= o.kind.age:
			j.put(o, o.size > 0)
		case !o.kind.parquet && now.UnixNano()-o.used.Load() >= int64(fileIdle):
			j.put(o, false)
		}
		o.mu.Unlock()
	}
}
