// Package accesskey keeps the key pairs with which callers sign their requests (AWS Signature
// Version 4).
//
// An identifier is `AKIA` and 16 characters, a secret 40, as AWS's are, so that every SDK takes
// them. Verifying a signature needs the secret itself; it lies in the store sealed with AES-256-GCM
// under the key in `secrets.key` (mode 0600), so that a copy of the database alone signs nothing.
package accesskey

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/seal"
	"github.com/berth-iot/berth/internal/store"
)

// Roles of a key.
const (
	Admin    = "admin"
	ReadOnly = "read-only"
)

// What can be wrong; errors of this package match one of these or come from the store.
var (
	ErrNotFound = errors.New("access key not found")
	ErrInvalid  = errors.New("invalid access key")
	ErrExists   = errors.New("access key already exists")
)

// Key is an access key. The secret is known to Create's caller and to Lookup's.
type Key struct {
	ID, Secret string
	Role       string // Admin or ReadOnly
	Enabled    bool
	Created    time.Time
	LastUsed   time.Time // zero if never; kept to the minute or so
}

// String leaves the secret out, so that a key may be logged.
func (k Key) String() string { return k.ID + " (" + k.Role + ")" }

// Keys are the access keys of one data folder. All methods may be called concurrently.
type Keys struct {
	db  *store.DB
	box *seal.Box
	now func() time.Time
	end func(id string)

	mu    sync.RWMutex
	cache map[string]*entry // every key: there are few
}

type entry struct {
	Key
	used  atomic.Int64 // milliseconds since 1970
	saved atomic.Int64 // of used, as in the store
}

var schema = []string{`CREATE TABLE access_key (
	id TEXT PRIMARY KEY, secret BLOB NOT NULL, role TEXT NOT NULL, enabled BIGINT NOT NULL, created BIGINT NOT NULL, last_used BIGINT NOT NULL
)`}

// Open loads the keys; dir holds secrets.key, which is made on first use. now may be nil.
func Open(ctx context.Context, db *store.DB, dir string, now func() time.Time) (*Keys, error) {
	if now == nil {
		now = time.Now
	}
	if err := db.Migrate(ctx, "accesskey", schema); err != nil {
		return nil, err
	}
	k := &Keys{db: db, now: now, cache: make(map[string]*entry)}
	var n int
	if err := db.QueryRow(ctx, `SELECT count(*) FROM access_key`, nil, &n); err != nil {
		return nil, fmt.Errorf("open access keys: %w", err)
	}
	box, err := seal.Open(dir, n == 0)
	if err != nil {
		return nil, fmt.Errorf("open access keys: %w", err)
	}
	k.box = box
	if err := k.load(ctx); err != nil {
		return nil, fmt.Errorf("open access keys: %w", err)
	}
	return k, nil
}

// Feed is the kind of change that nodes of a cluster tell each other of keys.
const Feed = "accesskey"

// Reload reads the keys again, which another node has changed, and ends what is open with those that are no
// good any more.
func (k *Keys) Reload(ids []string) error {
	if err := k.load(context.Background()); err != nil {
		return err
	}
	for _, id := range ids {
		if _, good := k.Lookup(id); !good && k.end != nil && id != "" {
			k.end(id)
		}
	}
	return nil
}

func (k *Keys) load(ctx context.Context) error {
	cache := make(map[string]*entry)
	err := k.db.Query(ctx, `SELECT id, secret, role, enabled, created, last_used FROM access_key`, nil, func(row store.Row) error {
		var e entry
		var sealed []byte
		var enabled, created, used int64
		if err := row.Scan(&e.ID, &sealed, &e.Role, &enabled, &created, &used); err != nil {
			return err
		}
		secret, err := k.box.Unseal(e.ID, sealed)
		if err != nil {
			return fmt.Errorf("access key %s: %w", e.ID, err)
		}
		e.Secret, e.Enabled, e.Created = string(secret), enabled != 0, time.UnixMilli(created).UTC()
		e.used.Store(used)
		e.saved.Store(used)
		cache[e.ID] = &e
		return nil
	})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cache = cache
	return nil
}

var (
	idPattern     = regexp.MustCompile(`^\w{16,128}$`)
	secretPattern = regexp.MustCompile(`^[!-~]{8,128}$`)
)

func newID() string {
	var b [10]byte
	rand.Read(b[:])
	return "AKIA" + base32.StdEncoding.EncodeToString(b[:])
}

func newSecret() string {
	var b [30]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
}

// Create makes a key of a role. ErrInvalid for an unknown role.
func (k *Keys) Create(ctx context.Context, role string) (Key, error) {
	return k.Add(ctx, newID(), newSecret(), role)
}

// Add stores a key pair that was chosen elsewhere: an identifier of 16 to 128 letters, digits and
// underscores and a secret of 8 to 128 visible ASCII characters. ErrInvalid, ErrExists.
func (k *Keys) Add(ctx context.Context, id, secret, role string) (Key, error) {
	if role != Admin && role != ReadOnly {
		return Key{}, fmt.Errorf("%w: role %q is neither %s nor %s", ErrInvalid, role, Admin, ReadOnly)
	}
	if !idPattern.MatchString(id) {
		return Key{}, fmt.Errorf("%w: an identifier has 16 to 128 letters, digits and underscores", ErrInvalid)
	}
	if !secretPattern.MatchString(secret) {
		return Key{}, fmt.Errorf("%w: a secret has 8 to 128 visible ASCII characters", ErrInvalid)
	}
	e := &entry{Key: Key{ID: id, Secret: secret, Role: role, Enabled: true, Created: k.now().UTC().Truncate(time.Millisecond)}}
	err := k.db.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO access_key (id, secret, role, enabled, created, last_used) VALUES (?, ?, ?, 1, ?, 0) ON CONFLICT (id) DO NOTHING`,
			id, k.box.Seal(id, []byte(secret)), role, e.Created.UnixMilli())
		if err == nil && n == 0 {
			return fmt.Errorf("create access key %s: %w", id, ErrExists)
		}
		tx.Note(Feed, id)
		return err
	})
	if err != nil {
		return Key{}, err
	}
	k.mu.Lock()
	k.cache[id] = e
	k.mu.Unlock()
	return e.Key, nil
}

// List returns all keys without their secrets, oldest first.
func (k *Keys) List(ctx context.Context) ([]Key, error) {
	var keys []Key
	err := k.db.Query(ctx, `SELECT id FROM access_key ORDER BY created, id`, nil, func(row store.Row) error {
		var id string
		if err := row.Scan(&id); err != nil {
			return err
		}
		k.mu.RLock()
		e := k.cache[id]
		k.mu.RUnlock()
		if e == nil {
			return nil
		}
		key := e.Key
		key.Secret = ""
		if used := e.used.Load(); used != 0 {
			key.LastUsed = time.UnixMilli(used).UTC()
		}
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

// OnEnd names what is called after a key was disabled or deleted, to end what is open with it. It must be
// called before keys are used.
func (k *Keys) OnEnd(end func(id string)) { k.end = end }

// SetEnabled disables a key or enables it again. ErrNotFound.
func (k *Keys) SetEnabled(ctx context.Context, id string, enabled bool) error {
	value := 0
	if enabled {
		value = 1
	}
	return k.change(ctx, id, `UPDATE access_key SET enabled = ? WHERE id = ?`, []any{value, id}, func() {
		old := k.cache[id]
		e := &entry{Key: old.Key}
		e.Enabled = enabled
		e.used.Store(old.used.Load())
		e.saved.Store(old.saved.Load())
		k.cache[id] = e
	})
}

// Delete removes a key. ErrNotFound.
func (k *Keys) Delete(ctx context.Context, id string) error {
	return k.change(ctx, id, `DELETE FROM access_key WHERE id = ?`, []any{id}, func() { delete(k.cache, id) })
}

func (k *Keys) change(ctx context.Context, id, query string, args []any, apply func()) error {
	err := k.db.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(query, args...)
		if err == nil && n == 0 {
			return fmt.Errorf("access key %s: %w", id, ErrNotFound)
		}
		tx.Note(Feed, id)
		return err
	})
	if err != nil {
		return err
	}
	k.mu.Lock()
	if k.cache[id] != nil {
		apply()
	}
	e := k.cache[id]
	k.mu.Unlock()
	if k.end != nil && (e == nil || !e.Enabled) {
		k.end(id)
	}
	return nil
}

// usedEvery is how often the time of last use reaches the store at most.
const usedEvery = int64(time.Minute / time.Millisecond)

// Lookup returns an enabled key with its secret, from memory.
func (k *Keys) Lookup(id string) (Key, bool) {
	k.mu.RLock()
	e := k.cache[id]
	k.mu.RUnlock()
	if e == nil || !e.Enabled {
		return Key{}, false
	}
	return e.Key, true
}

// Used notes that a request signed with the key was accepted.
func (k *Keys) Used(id string) {
	k.mu.RLock()
	e := k.cache[id]
	k.mu.RUnlock()
	if e == nil {
		return
	}
	now := k.now().UnixMilli()
	e.used.Store(now)
	if saved := e.saved.Load(); now-saved >= usedEvery && e.saved.CompareAndSwap(saved, now) {
		k.db.Submit(func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE access_key SET last_used = ? WHERE id = ?`, now, id)
			return err
		}, func(error) {}) // losing a time of last use costs nothing
	}
}
