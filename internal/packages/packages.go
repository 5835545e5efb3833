// Package packages is the software package catalogue: packages, their versions with a life cycle, and
// the reserved named shadow $package in which the jobs service notes what it has installed. It follows
// the chapter "Software Package Catalog" of the AWS IoT developer guide.
//
// What may follow a version's status ([Status.After]) is a pure function. Jobs call [Catalogue.Check]
// when they are made and [Catalogue.InstalledTx] in the transaction in which an execution succeeds; the
// shadow is written after it, at least once, also after a restart.
package packages

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
)

// What can be wrong with a request. Errors of this package match one of these with errors.Is, or come
// from the store.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
	ErrInvalid  = errors.New("invalid request")
)

// Error is a refusal: its kind is one of the sentinels.
type Error struct {
	Kind     error
	Message  string
	Resource string // with ErrConflict: what is in the way
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error { return refuse(ErrInvalid, format, args...) }

// Count counts the packages of a name, and the versions named PACKAGE/version/VERSION.
const Count = `SELECT count(*) FROM (SELECT name FROM package UNION ALL SELECT package || '/version/' || name FROM package_version) AS p WHERE name = ?`

// schema: token is that of the request that created the row.
var schema = []string{`
	CREATE TABLE package (name TEXT PRIMARY KEY, description TEXT NOT NULL, default_version TEXT NOT NULL, token TEXT NOT NULL,
		created_at BIGINT NOT NULL, modified_at BIGINT NOT NULL);
	CREATE TABLE package_version (package TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, attributes TEXT NOT NULL,
		artifact TEXT NOT NULL, recipe TEXT NOT NULL, status TEXT NOT NULL, token TEXT NOT NULL, created_at BIGINT NOT NULL,
		modified_at BIGINT NOT NULL, PRIMARY KEY (package, name)) /*sqlite WITHOUT ROWID*/;
	CREATE TABLE package_configuration (id BIGINT PRIMARY KEY, enabled BIGINT NOT NULL, role TEXT NOT NULL);
	CREATE TABLE package_installed (id TEXT PRIMARY KEY, at BIGINT NOT NULL, thing TEXT NOT NULL, versions TEXT NOT NULL)`}

// Config is what a Catalogue works with.
type Config struct {
	Store    *store.DB
	Registry *registry.Registry
	Shadows  *shadow.Service
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
}

// Catalogue keeps packages and their versions. Its methods may be called concurrently.
type Catalogue struct {
	cfg     Config
	wake    chan struct{}
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// Open prepares the tables and goes on with what jobs have installed.
func Open(ctx context.Context, cfg Config) (*Catalogue, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Store.Migrate(ctx, "packages", schema); err != nil {
		return nil, err
	}
	c := &Catalogue{cfg: cfg, wake: make(chan struct{}, 1)}
	run, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.workers.Go(func() { c.installLoop(run) })
	return c, nil
}

// Close stops; what is left goes on after the next Open.
func (c *Catalogue) Close() {
	c.cancel()
	c.workers.Wait()
}

func (c *Catalogue) now() time.Time { return c.cfg.Now().Truncate(time.Millisecond) }

// reader is a transaction, or the database outside one.
type reader interface {
	QueryRow(query string, args []any, dest ...any) error
	Query(query string, args []any, scan func(row store.Row) error) error
}

type dbReader struct {
	ctx context.Context
	db  *store.DB
}

func (r dbReader) QueryRow(query string, args []any, dest ...any) error {
	return r.db.QueryRow(r.ctx, query, args, dest...)
}

func (r dbReader) Query(query string, args []any, scan func(row store.Row) error) error {
	return r.db.Query(r.ctx, query, args, scan)
}

func (c *Catalogue) reader(ctx context.Context) reader { return dbReader{ctx, c.cfg.Store} }

type rowFunc func(dest ...any) error

func (f rowFunc) Scan(dest ...any) error { return f(dest...) }

var (
	packagePattern = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)
	versionPattern = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
	tokenPattern   = regexp.MustCompile(`^\S{36,64}$`)
)

func checkPackage(name string) error {
	if !packagePattern.MatchString(name) {
		return invalid("packageName %q is not 1 to 128 of a-z, A-Z, 0-9, -, _ and .", name)
	}
	return nil
}

func checkVersion(name string) error {
	if !versionPattern.MatchString(name) {
		return invalid("versionName %q is not 1 to 64 of a-z, A-Z, 0-9, -, _ and .", name)
	}
	return nil
}

func checkToken(token string) error {
	if token != "" && !tokenPattern.MatchString(token) {
		return invalid("clientToken is not 36 to 64 characters without spaces")
	}
	return nil
}

// checkText takes up to max characters without control characters.
func checkText(what, s string, max int) error {
	if n := utf8.RuneCountInString(s); n > max {
		return invalid("%s has %d characters, at most %d are allowed", what, n, max)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.C, r) }) {
		return invalid("%s holds a control character", what)
	}
	return nil
}

// Page asks for a part of a listing: at most Limit results, 1 to [MaxPage], 0 for MaxPage.
type Page struct {
	Limit int
	Token string
}

// MaxPage is the largest number of results in one page.
const MaxPage = 100

// after returns the name after which a page begins and how much it holds.
func (p Page) after() (string, int, error) {
	limit := p.Limit
	if limit == 0 {
		limit = MaxPage
	}
	if limit < 1 || limit > MaxPage {
		return "", 0, invalid("maxResults is %d, not from 1 to %d", limit, MaxPage)
	}
	name, err := base64.StdEncoding.DecodeString(p.Token)
	if err != nil || len(name) > 0 && !packagePattern.Match(name) {
		return "", 0, invalid("nextToken is not valid")
	}
	return string(name), limit, nil
}

// cut makes a page of a list with one row too many.
func cut[T any](list []T, limit int, name func(T) string) ([]T, string) {
	if len(list) <= limit {
		return list, ""
	}
	list = list[:limit]
	return list, base64.StdEncoding.EncodeToString([]byte(name(list[limit-1])))
}

func instant(ms int64) time.Time { return time.UnixMilli(ms) }
