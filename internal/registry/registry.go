// Package registry holds what the fleet is made of: things, thing types, thing groups, billing
// groups, certificates, CA certificates, policies and what is attached to what.
//
// It follows the registry chapters of the AWS IoT developer guide: names, limits, life cycles and
// idempotence are AWS's. Methods carry AWS's own verb and noun. The package owns its tables, knows
// no HTTP and no MQTT, and answers with errors in domain words (see [ErrNotFound] and its
// siblings). Every check and the write it guards run in one transaction.
package registry

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Config is what a registry must be told.
type Config struct {
	Account string           // 12 digits; default 000000000000
	Region  string           // default us-east-1
	Now     func() time.Time // default time.Now
}

// Live is told, after the commit, which live connections a change concerns: those of the given
// certificates, or all of them when the slice is nil. The identifier "" in the slice stands for
// connections without a certificate, which are judged by a policy's name alone.
type Live interface {
	PrincipalsChanged(certificateIDs []string)
}

// Members is told, after the commit, which things have joined or left thing groups or have been
// deleted; nil stands for any number of them. It must not block.
type Members interface {
	MembershipChanged(things []string)
}

// Registry is the registry of one account in one region. All methods may be called concurrently.
type Registry struct {
	db      *store.DB
	account string
	region  string
	prefix  string // of every ARN: arn:aws:iot:REGION:ACCOUNT:
	now     func() time.Time
	live    atomic.Pointer[Live]
	members atomic.Pointer[Members]
	cache   identityCache
}

// Open brings the registry's tables up to date and returns the registry.
func Open(ctx context.Context, db *store.DB, cfg Config) (*Registry, error) {
	if cfg.Account == "" {
		cfg.Account = "000000000000"
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if !accountPattern.MatchString(cfg.Account) {
		return nil, fmt.Errorf("open registry: account %q is not 12 digits", cfg.Account)
	}
	if err := db.Migrate(ctx, "registry", schema); err != nil {
		return nil, err
	}
	r := &Registry{
		db: db, account: cfg.Account, region: cfg.Region, now: cfg.Now,
		prefix: "arn:aws:iot:" + cfg.Region + ":" + cfg.Account + ":",
	}
	r.cache.init()
	return r, nil
}

var accountPattern = regexp.MustCompile(`^[0-9]{12}$`)

// Account returns the 12-digit account number.
func (r *Registry) Account() string { return r.account }

// Region returns the region's name.
func (r *Registry) Region() string { return r.region }

// SetLive names who is told about changes that concern live connections.
func (r *Registry) SetLive(live Live) { r.live.Store(&live) }

// SetMembers names who is told about changes of thing groups' members.
func (r *Registry) SetMembers(members Members) { r.members.Store(&members) }

// ARN returns the Amazon resource name of a resource such as "thing/T" or "policy/P".
func (r *Registry) ARN(resource string) string { return r.prefix + resource }

// resourceOf is the reverse of ARN; ok is false for another account, region or service.
func (r *Registry) resourceOf(arn string) (resource string, ok bool) {
	return strings.CutPrefix(arn, r.prefix)
}

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

func (r *Registry) reader(ctx context.Context) reader { return dbReader{ctx, r.db} }

// write runs fn in a transaction and, once it is on disk, announces whom it concerned. fn may run
// more than once, so it must set its results rather than add to them.
func (r *Registry) write(ctx context.Context, fn func(tx *store.Tx, ch *changes) error) error {
	var ch changes
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		ch = changes{}
		return fn(tx, &ch)
	})
	if err != nil {
		return err
	}
	if members := r.members.Load(); members != nil && len(ch.things) > 0 {
		(*members).MembershipChanged(ch.things)
	}
	if !ch.all && len(ch.certificates) == 0 {
		return nil
	}
	ids := ch.list()
	r.cache.forget(ids)
	if live := r.live.Load(); live != nil {
		(*live).PrincipalsChanged(ids)
	}
	return nil
}

// maxChanged is the number of certificates beyond which a change is announced to everybody.
const maxChanged = 1000

// changes collects the certificates whose identity a transaction alters, and the things whose
// groups.
type changes struct {
	certificates map[string]struct{}
	all          bool
	things       []string
}

// member notes a thing that joins or leaves groups.
func (c *changes) member(things ...string) { c.things = append(c.things, things...) }

func (c *changes) certificate(id string) {
	if c.all {
		return
	}
	if c.certificates == nil {
		c.certificates = make(map[string]struct{})
	}
	c.certificates[id] = struct{}{}
	if len(c.certificates) > maxChanged+1 {
		c.all, c.certificates = true, nil
	}
}

// principal notes a principal in its stored form; only certificates have live identities.
func (c *changes) principal(key string) {
	if id, ok := strings.CutPrefix(key, certPrefix); ok {
		c.certificate(id)
	}
}

// query notes the principals that a query returns; the query must end in LIMIT ?.
func (c *changes) query(tx *store.Tx, query string, args ...any) error {
	if c.all {
		return nil
	}
	return tx.Query(query, append(args, maxChanged+1), func(row store.Row) error {
		var key string
		if err := row.Scan(&key); err != nil {
			return err
		}
		c.principal(key)
		return nil
	})
}

// thing notes everybody attached to a thing.
func (c *changes) thing(tx *store.Tx, name string) error {
	return c.query(tx, `SELECT principal FROM thing_principal WHERE thing = ? LIMIT ?`, name)
}

// group notes everybody attached to a thing in a group or below it.
func (c *changes) group(tx *store.Tx, name string) error {
	return c.query(tx, `SELECT DISTINCT p.principal FROM group_ancestor a
		JOIN group_member m ON m.grp = a.grp
		JOIN thing_principal p ON p.thing = m.thing
		WHERE a.ancestor = ? LIMIT ?`, name)
}

// policy notes everybody a policy speaks about, and those who know it by name.
func (c *changes) policy(tx *store.Tx, name string) error {
	c.certificate("")
	var groups []string
	err := tx.Query(`SELECT target FROM policy_attachment WHERE policy = ? LIMIT ?`, []any{name, maxChanged + 2}, func(row store.Row) error {
		var target string
		if err := row.Scan(&target); err != nil {
			return err
		}
		if group, ok := strings.CutPrefix(target, groupPrefix); ok {
			groups = append(groups, group)
		} else {
			c.principal(target)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, group := range groups {
		if err := c.group(tx, group); err != nil {
			return err
		}
	}
	return nil
}

func (c *changes) list() []string {
	if c.all {
		return nil
	}
	ids := make([]string, 0, len(c.certificates))
	for id := range c.certificates {
		ids = append(ids, id)
	}
	return ids
}

func millis(t time.Time) int64 { return t.UnixMilli() }

// instant is the reverse of millis; zero stays the zero time.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
