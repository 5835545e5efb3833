package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// commits makes a database with a number of commits that are in its write-ahead log only, and returns its
// files as a kill would leave them.
func commits(t *testing.T, n int) map[string][]byte {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	db, err := Open(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(ctx, "test", []string{`CREATE TABLE item (id BIGINT PRIMARY KEY, data BLOB NOT NULL)`}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := db.Write(ctx, func(tx *Tx) error {
			_, err := tx.Exec(`INSERT INTO item VALUES (?, ?)`, i, make([]byte, 3000))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	files := make(map[string][]byte)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if files[suffix], err = os.ReadFile(filepath.Join(dir, FileName+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// open opens files and counts the items.
func open(t *testing.T, files map[string][]byte) (items int, err error) {
	t.Helper()
	dir := t.TempDir()
	for suffix, b := range files {
		if err := os.WriteFile(filepath.Join(dir, FileName+suffix), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return items, db.QueryRow(context.Background(), `SELECT count(*) FROM item`, nil, &items)
}

// TestDamagedLog damages the write-ahead log in every third frame and cuts it there: what opens has all
// commits, unless what is missing can have been a commit under way when the power failed.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	const n = 5
	files := commits(t, n)
	wal := files["-wal"]
	size := frameHeader + int(binary.BigEndian.Uint32(wal[8:]))
	if got, err := open(t, files); got != n || err != nil {
		t.Fatalf("after a kill: %d items, %v", got, err)
	}
	for _, power := range []bool{false, true} { // a power failure loses the index
		left := files["-shm"]
		if power {
			left = nil
		}
		for at := logHeader; at < len(wal); at += 3 * size {
			for name, changed := range map[string][]byte{"flipped": bytes.Clone(wal), "cut": bytes.Clone(wal[:at+size/2])} {
				if name == "flipped" {
					changed[at+size/2] ^= 1
				}
				with := map[string][]byte{"": files[""], "-wal": changed}
				if left != nil {
					with["-shm"] = left
				}
				got, err := open(t, with)
				switch {
				case errors.Is(err, ErrDamaged) && strings.Contains(err.Error(), "restore"):
				case power && name == "cut": // nothing tells how long the log was
				case err != nil:
					t.Errorf("%s in frame %d: %v", name, (at-logHeader)/size+1, err)
				case !power, got < n-1:
					t.Errorf("%s in frame %d: opens with %d items of %d", name, (at-logHeader)/size+1, got, n)
				}
			}
		}
	}
	for name, with := range map[string]map[string][]byte{
		"no log":     {"": files[""], "-shm": files["-shm"]},
		"empty log":  {"": files[""], "-shm": files["-shm"], "-wal": {}},
		"bad header": {"": files[""], "-wal": append([]byte{1}, wal[1:]...)},
	} {
		if _, err := open(t, with); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGiveUpDamagedLog follows the advice in the error.
func TestGiveUpDamagedLog(t *testing.T) {
	t.Parallel()
	files := commits(t, 6)
	size := frameHeader + int(binary.BigEndian.Uint32(files["-wal"][8:]))
	files["-wal"][len(files["-wal"])-3*size] ^= 1
	_, err := open(t, files)
	if !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	var keep int
	_, advice, _ := strings.Cut(err.Error(), "truncate -s ")
	if _, err := fmt.Sscan(advice, &keep); err != nil {
		t.Fatal(err)
	}
	files["-wal"] = files["-wal"][:keep]
	delete(files, "-shm")
	if got, err := open(t, files); err != nil || got == 0 || got == 6 {
		t.Errorf("%d items, %v", got, err)
	}
}

// TestDamagedFile damages the database itself.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	db, err := Open(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(ctx, "test", []string{`CREATE TABLE item (id BIGINT PRIMARY KEY, data BLOB NOT NULL)`}); err != nil {
		t.Fatal(err)
	}
	if err := db.Write(ctx, func(tx *Tx) error {
		for i := range 100 {
			if _, err := tx.Exec(`INSERT INTO item VALUES (?, ?)`, i, make([]byte, 3000)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	last := len(whole) - page
	for name, damage := range map[string]func(b []byte) []byte{
		"cut by a page":              func(b []byte) []byte { return b[:last] },
		"cut in a page":              func(b []byte) []byte { return b[:last+100] },
		"header of the last page":    func(b []byte) []byte { copy(b[last:], bytes.Repeat([]byte{0xff}, 16)); return b },
		"last page empty":            func(b []byte) []byte { clear(b[last:]); return b },
		"pages exchanged":            func(b []byte) []byte { copy(b[last:], b[last-10*page:last-9*page]); return b },
		"first page":                 func(b []byte) []byte { b[0] = 'x'; return b },
		"the schema":                 func(b []byte) []byte { clear(b[100:200]); return b },
		"not a database, by content": func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) },
	} {
		_, err := open(t, map[string][]byte{"": damage(bytes.Clone(whole))})
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzLog reads logs and their indexes with any bytes.
func FuzzLog(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(make([]byte, logHeader), make([]byte, 136))
	header := []byte{0x37, 0x7f, 0x06, 0x82, 0, 0x2d, 0xe2, 0x18, 0, 0, 2, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	sum := logSum(binary.LittleEndian, [2]uint32{}, header)
	header = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(header, sum[0]), sum[1])
	f.Add(append(header, make([]byte, 2*(frameHeader+512))...), make([]byte, 136))
	f.Fuzz(func(t *testing.T, log, index []byte) {
		state, err := readLog(bytes.NewReader(log))
		if err != nil || state.committed > state.frames {
			t.Error(state, err)
		}
		parseLogIndex(index).missing("x", state)
	})
}
