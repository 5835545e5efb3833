package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Nodes of a cluster have their contents in the database too, in pieces: an upload is acknowledged when they
// are there. Every node keeps a copy of all in its folder.

const shareSchema = `CREATE TABLE IF NOT EXISTS cluster_file (sha256 TEXT NOT NULL, number BIGINT NOT NULL, content BLOB NOT NULL,
	at BIGINT NOT NULL, PRIMARY KEY (sha256, number))`

const (
	pieceSize   = 512 << 10 // bytes; commits of others wait for one
	pullTimeout = 2 * time.Minute
	uploadTime  = time.Hour   // after which it did not end
	sharePause  = time.Minute // between looking for what nobody has told of
)

// Feed is the kind of change that nodes of a cluster tell each other.
const Feed = "file"

// errShare says that a content went out of the database while it was named.
var errShare = errors.New("the content is being deleted")

// Share makes the files those of all nodes of a cluster. key signs addresses, which must mean the same to all.
// Before anything else is asked of f.
func (f *Files) Share(ctx context.Context, key []byte) error {
	f.key, f.changed = key, make(chan struct{}, 1)
	return f.db.Create(ctx, shareSchema)
}

// Reload hears what other nodes have uploaded and deleted.
func (f *Files) Reload([]string) error {
	select {
	case f.changed <- struct{}{}:
	default:
	}
	return nil
}

// ShareLoop keeps a copy of everything in the folder until ctx ends. What was uploaded before there was a cluster
// goes to the database.
func (f *Files) ShareLoop(ctx context.Context, failed func(error)) {
	t := time.NewTicker(sharePause)
	defer t.Stop()
	for {
		if err := f.Gather(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-f.changed:
		}
	}
}

// Gather gets the contents that the folder lacks from the database, if nodes have left any there. In a cluster
// it also gives those that the database lacks, and removes those that no name has any more.
func (f *Files) Gather(ctx context.Context) error {
	if f.changed == nil {
		if there, err := f.db.Exists(ctx, "cluster_file"); err != nil || !there {
			return err
		}
	}
	// A node may have ended while it gave one: all of a content has to be there.
	shared, err := f.sums(ctx, `SELECT DISTINCT f.sha256 FROM file f JOIN (SELECT sha256, sum(length(content)) AS size FROM cluster_file GROUP BY sha256) c
		ON c.sha256 = f.sha256 AND c.size = f.size`)
	if err != nil {
		return err
	}
	named, err := f.sums(ctx, `SELECT DISTINCT sha256 FROM file`)
	if err != nil {
		return err
	}
	var errs []error
	for sum := range named {
		_, err := os.Stat(f.path(sum))
		switch here := err == nil; {
		case !here && shared[sum]:
			err = f.pull(ctx, sum)
		case here && !shared[sum] && f.changed != nil:
			err = f.push(ctx, sum)
		default:
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("share content %s: %w", sum, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if f.changed != nil {
		errs = append(errs, f.prune(ctx))
	}
	return errors.Join(errs...)
}

func (f *Files) sums(ctx context.Context, query string) (map[string]bool, error) {
	sums := make(map[string]bool)
	err := f.db.Query(ctx, query, nil, func(row store.Row) error {
		var sum string
		err := row.Scan(&sum)
		sums[sum] = true
		return err
	})
	return sums, err
}

// prune removes contents from the folder that another node has deleted.
func (f *Files) prune(ctx context.Context) error {
	f.changing.Lock() // an upload has its content here before it has a name
	defer f.changing.Unlock()
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	named, err := f.sums(ctx, `SELECT DISTINCT sha256 FROM file`)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if b, err := hex.DecodeString(e.Name()); err != nil || len(b) != sha256.Size || named[e.Name()] {
			continue
		}
		if err := os.Remove(f.path(e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// push writes a content of the folder to the database, piece by piece.
func (f *Files) push(ctx context.Context, sum string) error {
	content, err := os.Open(f.path(sum))
	if err != nil {
		return err
	}
	defer content.Close()
	for number := 0; ; number++ {
		piece := make([]byte, pieceSize)
		n, err := io.ReadFull(content, piece)
		if n == 0 && errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if err := f.db.WriteLoose(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO cluster_file (sha256, number, content, at) VALUES (?, ?, ?, `+store.Now+`) ON CONFLICT DO NOTHING`, sum, number, piece[:n])
			return err
		}); err != nil {
			return err
		}
	}
}

// Tidy removes from the database what uploads have left that did not end.
func (f *Files) Tidy(ctx context.Context) error {
	return f.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM cluster_file c WHERE at < `+store.Now+` - ? AND NOT EXISTS (SELECT FROM file f WHERE f.sha256 = c.sha256)`,
			uploadTime.Milliseconds())
		return err
	})
}

// whole fails with errShare unless the database has all of a content.
func (f *Files) whole(tx *store.Tx, sum string, size int64) error {
	if f.changed == nil {
		return nil
	}
	var there int64
	if err := tx.QueryRow(`SELECT coalesce(sum(length(content)), 0)::bigint FROM cluster_file WHERE sha256 = ?`, []any{sum}, &there); err != nil {
		return err
	}
	if there != size {
		return errShare
	}
	return nil
}

// pull reads a content from the database into the folder.
func (f *Files) pull(ctx context.Context, sum string) error {
	f.pulling.Lock()
	defer f.pulling.Unlock()
	if _, err := os.Stat(f.path(sum)); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	temp, err := os.CreateTemp(f.dir, "upload-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	hash := sha256.New()
	to := io.MultiWriter(temp, hash)
	err = f.db.Query(ctx, `SELECT content FROM cluster_file WHERE sha256 = ? ORDER BY number`, []any{sum}, func(row store.Row) error {
		var piece []byte
		err := row.Scan(&piece)
		if err == nil {
			_, err = to.Write(piece)
		}
		return err
	})
	if err == nil {
		err = temp.Sync()
	}
	if err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != sum {
		return fmt.Errorf("%w: not all of it is in the database", ErrNotFound)
	}
	return os.Rename(temp.Name(), f.path(sum))
}
