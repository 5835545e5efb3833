package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// ErrDamaged is returned for a database file that cannot be trusted. The text says what to do.
var ErrDamaged = errors.New("the database is damaged")

// maxChecked is the size of a database up to which it is checked before it is used, about a second for
// each 250 MB; a larger one is checked checkDelay later.
const (
	maxChecked = 256 << 20
	checkDelay = 30 * time.Second
)

// damaged makes an error of SQLite's that says that a file is damaged an ErrDamaged.
func damaged(path string, err error) error {
	var e interface{ Code() int } // the driver's, or that of a scan
	if errors.As(err, &e) && (e.Code()&0xff == codeCorrupt || e.Code()&0xff == codeNotADB) {
		return fmt.Errorf("%w: %w; stop the server and restore %q from a backup, or recover what can be read with `sqlite3 %s .recover`", ErrDamaged, err, path, path)
	}
	return err
}

// Result codes of SQLite (https://www.sqlite.org/rescode.html).
const (
	codeCorrupt = 11
	codeNotADB  = 26
)

// quickCheck reads the whole database and compares its structure with itself.
func (s *sqlite) quickCheck(ctx context.Context) error {
	var faults []string
	rows, err := s.read.QueryContext(ctx, "PRAGMA quick_check(3)")
	if err != nil {
		return err
	}
	err = eachRow(rows, func(row Row) error {
		var line string
		err := row.Scan(&line)
		faults = append(faults, line)
		return err
	})
	if err == nil && (len(faults) != 1 || faults[0] != "ok") {
		err = fmt.Errorf("%w: %s; restore %q from a backup, or recover what can be read with `sqlite3 %s .recover`",
			ErrDamaged, strings.ReplaceAll(strings.Join(faults, ", "), "\n", " "), s.path, s.path)
	}
	return damaged(s.path, err)
}

// A write-ahead log (https://www.sqlite.org/fileformat2.html, section 4) is read up to the first frame
// whose checksum is wrong, and silently so: that is how a transaction ends that was being written when
// the power failed. A damaged frame before the end would take every later transaction along, although
// they were acknowledged. checkLog finds that in two ways. Each commit is on disk before the next begins,
// so that no more than one may be beyond the first bad frame. And the index of the log, which is changed
// after the log is on disk, may not know more than the log has; it is there after a kill, not always after a
// power failure.
func checkLog(path string) error {
	var err error
	for range 3 { // another process may be writing
		if err = checkLogOnce(path); !errors.Is(err, ErrDamaged) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func checkLogOnce(path string) error {
	index := readLogIndex(path + "-shm") // before the log, which grows
	f, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return index.missing(path, logState{})
	}
	if err != nil {
		return err
	}
	defer f.Close()
	state, err := readLog(bufio.NewReaderSize(f, 1<<18))
	if err != nil {
		return err
	}
	if state.broken || state.beyond > 1 {
		return lostCommits(path, state, fmt.Sprintf("frame %d of its write-ahead log cannot be read, and committed transactions come after it", state.frames+1))
	}
	return index.missing(path, state)
}

func lostCommits(path string, state logState, what string) error {
	keep := int64(0)
	if state.committed > 0 {
		keep = logHeader + int64(state.committed)*int64(frameHeader+state.pageSize)
	}
	return fmt.Errorf("%w: %s; restore the folder of %q from a backup, or give up what was written last with `truncate -s %d %s-wal; rm -f %s-shm`",
		ErrDamaged, what, path, keep, path, path)
}

const (
	logHeader   = 32
	frameHeader = 24
)

// logState is what is in a write-ahead log.
type logState struct {
	pageSize  int
	salt      [8]byte
	frames    int  // readable from the beginning
	committed int  // of them, up to the last commit
	beyond    int  // commits that seem to follow frames that are not readable
	broken    bool // the header is not one
}

// readLog reads a log to its end.
func readLog(r io.Reader) (state logState, err error) {
	var header [logHeader]byte
	if n, err := io.ReadFull(r, header[:]); err != nil {
		if n == 0 || header == [logHeader]byte{} || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return state, err
	}
	if header == [logHeader]byte{} {
		return state, nil // was made, and never written to disk
	}
	magic := binary.BigEndian.Uint32(header[:])
	var order binary.ByteOrder = binary.LittleEndian
	if magic&1 != 0 {
		order = binary.BigEndian
	}
	sum := logSum(order, [2]uint32{}, header[:24])
	state.pageSize = int(binary.BigEndian.Uint32(header[8:]))
	copy(state.salt[:], header[16:])
	if magic&^1 != 0x377f0682 || sum != bigEndianSum(header[24:]) || state.pageSize < 512 || state.pageSize > 65536 {
		state.broken = true
		return state, nil
	}
	frame := make([]byte, frameHeader+state.pageSize)
	for readable := true; ; {
		if _, err := io.ReadFull(r, frame); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = nil
			}
			return state, err
		}
		ours := bytes.Equal(frame[8:16], state.salt[:]) && binary.BigEndian.Uint32(frame) != 0
		commit := binary.BigEndian.Uint32(frame[4:]) != 0
		if readable {
			next := logSum(order, logSum(order, sum, frame[:8]), frame[frameHeader:])
			if readable = ours && next == bigEndianSum(frame[16:]); readable {
				sum = next
				if state.frames++; commit {
					state.committed = state.frames
				}
				continue
			}
		}
		if ours && commit {
			state.beyond++
		}
	}
}

func bigEndianSum(b []byte) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// logSum continues the checksum of the log's format over a multiple of eight bytes.
func logSum(order binary.ByteOrder, sum [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		sum[0] += order.Uint32(b) + sum[1]
		sum[1] += order.Uint32(b[4:]) + sum[0]
	}
	return sum
}

// logIndex is what the index of a log says (https://www.sqlite.org/walformat.html, section 2).
type logIndex struct {
	known  bool
	salt   [8]byte
	frames uint32 // committed
	copied uint32 // of them, to the database file
}

// readLogIndex reads the header of an index; of one that is not there nothing is known.
func readLogIndex(path string) (x logIndex) {
	f, err := os.Open(path)
	if err != nil {
		return x
	}
	defer f.Close()
	b := make([]byte, logIndexHeader)
	n, _ := io.ReadFull(f, b)
	return parseLogIndex(b[:n])
}

const logIndexHeader = 100 // twice 48 bytes, and the number of frames copied

// parseLogIndex reads a header. One that is not whole says nothing.
func parseLogIndex(b []byte) (x logIndex) {
	if len(b) < logIndexHeader || !bytes.Equal(b[:48], b[48:96]) || b[12] == 0 {
		return x
	}
	native := binary.NativeEndian
	var sum [2]uint32
	for i := 0; i < 40; i += 8 {
		sum[0] += native.Uint32(b[i:]) + sum[1]
		sum[1] += native.Uint32(b[i+4:]) + sum[0]
	}
	x.known = sum == [2]uint32{native.Uint32(b[40:]), native.Uint32(b[44:])}
	copy(x.salt[:], b[32:])
	x.frames, x.copied = native.Uint32(b[16:]), native.Uint32(b[96:])
	return x
}

// missing compares the index with the log.
func (x logIndex) missing(path string, state logState) error {
	gone := false
	switch {
	case !x.known:
	case state.pageSize == 0: // there is no log
		gone = x.frames > x.copied
	default:
		gone = x.salt == state.salt && int(x.frames) > state.committed
	}
	if !gone {
		return nil
	}
	return lostCommits(path, state, fmt.Sprintf("its write-ahead log ends after frame %d, %d were committed", state.committed, x.frames))
}
