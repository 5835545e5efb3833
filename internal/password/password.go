// Package password keeps users who log in with a name and a password, for MQTT clients that have no
// certificates. Each is tied to policies of the registry. Only salted hashes are kept.
//
// AWS IoT has no such users; there a custom authorizer would be written for them. An authorizer that
// decides over a client goes before them here.
package password

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// User is a user as it is shown: without the hash.
type User struct {
	Name     string    `json:"userName"`
	Policies []string  `json:"policies"`
	Digest   string    `json:"hashDigest"` // of the hash, to tell whether the password is another
	Created  time.Time `json:"createdAt"`
	Modified time.Time `json:"lastModifiedAt"`
}

// Digest is that of a hash in its text form.
func Digest(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:8])
}

// Limits.
const (
	maxName     = 256 // bytes
	maxPolicies = 20
)

var policyPattern = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)

type user struct {
	User
	hash Hash
}

// Users keeps users. Its methods may be called concurrently.
type Users struct {
	db      *store.DB
	now     func() time.Time
	changed func(name string)
	write   sync.Mutex
	users   atomic.Pointer[map[string]*user]
	places  chan struct{} // for computing hashes, which is meant to be slow
	nobody  Hash          // compared with for users that do not exist, so that this takes as long
}

var schema = []string{`
CREATE TABLE password_user (name TEXT PRIMARY KEY, hash TEXT NOT NULL, policies TEXT NOT NULL, created BIGINT NOT NULL, modified BIGINT NOT NULL)`}

// Open prepares the table and reads the users. changed is told of users whose connections must end,
// because they are gone or have another password or other policies; nil for nobody.
func Open(ctx context.Context, db *store.DB, now func() time.Time, changed func(name string)) (*Users, error) {
	if now == nil {
		now = time.Now
	}
	if changed == nil {
		changed = func(string) {}
	}
	if err := db.Migrate(ctx, "password", schema); err != nil {
		return nil, err
	}
	u := &Users{db: db, now: now, changed: changed, places: make(chan struct{}, 2), nobody: NewHash([]byte("nobody"))}
	return u, u.load(ctx)
}

func (u *Users) load(ctx context.Context) error {
	users := make(map[string]*user)
	err := u.db.Query(ctx, `SELECT name, hash, policies, created, modified FROM password_user`, nil, func(row store.Row) error {
		var one user
		var hash, policies string
		var created, modified int64
		if err := row.Scan(&one.Name, &hash, &policies, &created, &modified); err != nil {
			return err
		}
		var err error
		if one.hash, err = ParseHash(hash); err != nil {
			return fmt.Errorf("user %q: %w", one.Name, err)
		}
		if err := json.Unmarshal([]byte(policies), &one.Policies); err != nil {
			return fmt.Errorf("user %q: policies: %w", one.Name, err)
		}
		one.Digest, one.Created, one.Modified = Digest(hash), time.UnixMilli(created).UTC(), time.UnixMilli(modified).UTC()
		users[one.Name] = &one
		return nil
	})
	if err != nil {
		return fmt.Errorf("read users: %w", err)
	}
	u.users.Store(&users)
	return nil
}

// Any reports whether there are users. It is quick.
func (u *Users) Any() bool { return len(*u.users.Load()) > 0 }

// List returns all users in the order of their names.
func (u *Users) List() []User {
	users := *u.users.Load()
	list := make([]User, 0, len(users))
	for _, name := range slices.Sorted(maps.Keys(users)) {
		list = append(list, users[name].User)
	}
	return list
}

// Get returns a user, or registry.ErrNotFound.
func (u *Users) Get(name string) (User, error) {
	if one := (*u.users.Load())[name]; one != nil {
		return one.User, nil
	}
	return User{}, &registry.Error{Kind: registry.ErrNotFound, Message: fmt.Sprintf("user %q not found", name)}
}

func invalid(format string, args ...any) error {
	return &registry.Error{Kind: registry.ErrInvalid, Message: fmt.Sprintf(format, args...)}
}

// Put makes a user or changes it. The policies need not exist: until they do, they allow nothing.
// registry.ErrInvalid.
func (u *Users) Put(ctx context.Context, name string, hash Hash, policies []string) (User, error) {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return User{}, invalid("userName %.40q is not UTF-8 of 1 to %d bytes", name, maxName)
	}
	if len(policies) == 0 || len(policies) > maxPolicies {
		return User{}, invalid("user %q: want 1 to %d policies", name, maxPolicies)
	}
	for _, p := range policies {
		if !policyPattern.MatchString(p) {
			return User{}, invalid("user %q: policy name %.140q is not 1 to 128 of the characters [\\w+=,.@-]", name, p)
		}
	}
	texts, err := json.Marshal(policies)
	if err != nil {
		return User{}, err
	}
	old := (*u.users.Load())[name]
	now := u.now().UnixMilli()
	err = u.change(ctx, name, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO password_user (name, hash, policies, created, modified) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, policies = excluded.policies, modified = excluded.modified`,
			name, hash.String(), string(texts), now, now)
		return err
	})
	if err != nil {
		return User{}, err
	}
	if old != nil && (old.Digest != Digest(hash.String()) || !slices.Equal(old.Policies, policies)) {
		u.changed(name)
	}
	return u.Get(name)
}

// SetPolicies ties a user to other policies. registry.ErrNotFound, registry.ErrInvalid.
func (u *Users) SetPolicies(ctx context.Context, name string, policies []string) (User, error) {
	one := (*u.users.Load())[name]
	if one == nil {
		return u.Get(name)
	}
	return u.Put(ctx, name, one.hash, policies)
}

// Delete removes a user. registry.ErrNotFound.
func (u *Users) Delete(ctx context.Context, name string) error {
	err := u.change(ctx, name, func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM password_user WHERE name = ?`, name)
		if err == nil && n == 0 {
			err = &registry.Error{Kind: registry.ErrNotFound, Message: fmt.Sprintf("user %q not found", name)}
		}
		return err
	})
	if err == nil {
		u.changed(name)
	}
	return err
}

func (u *Users) change(ctx context.Context, name string, fn func(tx *store.Tx) error) error {
	u.write.Lock()
	defer u.write.Unlock()
	if err := u.db.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, name)
		return fn(tx)
	}); err != nil {
		return err
	}
	return u.load(context.WithoutCancel(ctx))
}

// Feed is the kind of change that nodes of a cluster tell each other.
const Feed = "password"

// Reload reads again what another node has changed.
func (u *Users) Reload(names []string) error {
	u.write.Lock()
	defer u.write.Unlock()
	before := *u.users.Load()
	if err := u.load(context.Background()); err != nil {
		return err
	}
	now := *u.users.Load()
	for _, name := range names {
		if a, b := before[name], now[name]; a != nil && (b == nil || a.Digest != b.Digest || !slices.Equal(a.Policies, b.Policies)) {
			u.changed(name)
		}
	}
	return nil
}

// ErrRefused says that name and password do not belong together, or that there is no such user.
var ErrRefused = errors.New("user name or password is not right")

// ErrBusy says that too many log in at a time.
var ErrBusy = errors.New("too many users log in at a time")

// Attempt is what an attempt to log in is held back by. Its functions are called when it is the attempt's
// turn and before the turn is over, so that many at once are no more than one after the other.
type Attempt struct {
	Allowed func() error // its error is returned instead of judging the password
	Refused func()       // the password was wrong
}

// Authenticate returns the policies of a user. Errors are ErrRefused, or ErrBusy after five seconds of
// waiting for others' turns, or the attempt's.
func (u *Users) Authenticate(ctx context.Context, name string, password []byte, by Attempt) (policies []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	select {
	case u.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ErrBusy
	}
	defer func() { <-u.places }()
	if by.Allowed != nil {
		if err := by.Allowed(); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil && by.Refused != nil {
			by.Refused()
		}
	}()
	one := (*u.users.Load())[name]
	if one == nil {
		u.nobody.Matches(password)
		return nil, fmt.Errorf("%w: there is no user %.128q", ErrRefused, name)
	}
	if !one.hash.Matches(password) {
		return nil, fmt.Errorf("%w: that is not the password of user %.128q", ErrRefused, name)
	}
	return one.Policies, nil
}
