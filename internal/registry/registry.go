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
	"sync"
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

// Registry is the registry of one account in one region. All methods may be called concurrently.
type Registry struct {
	db      *store.DB
	account string
	region  string
	prefix  string // of every ARN: arn:aws:iot:REGION:ACCOUNT:
	now     func() time.Time
	live    atomic.Pointer[Live]
	events  atomic.Pointer[events]
	leads   atomic.Pointer[func() bool]
	cache   identityCache

	taggables sync.Map // kind → query that counts the resource of a name

	observing sync.RWMutex
	observers []Observer
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
	for kind, query := range map[string]string{
		"thingtype":    `SELECT count(*) FROM thing_type WHERE name = ?`,
		"thinggroup":   `SELECT count(*) FROM thing_group WHERE name = ?`,
		"billinggroup": `SELECT count(*) FROM billing_group WHERE name = ?`,
		"policy":       `SELECT count(*) FROM policy WHERE name = ?`,
		"cacert":       `SELECT count(*) FROM ca_certificate WHERE id = ?`,
	} {
		r.Taggable(kind, query)
	}
	return r, nil
}

var accountPattern = regexp.MustCompile(`^[0-9]{12}$`)

// Account returns the 12-digit account number.
func (r *Registry) Account() string { return r.account }

// Region returns the region's name.
func (r *Registry) Region() string { return r.region }

// SetLive names who is told about changes that concern live connections.
func (r *Registry) SetLive(live Live) { r.live.Store(&live) }

// SetLeader says when this server is the one of its cluster that publishes events.
func (r *Registry) SetLeader(leads func() bool) { r.leads.Store(&leads) }

// EventsWait takes what another node says of FeedEvents.
func (r *Registry) EventsWait([]string) error {
	if ev := r.events.Load(); ev != nil {
		ev.poke()
	}
	return nil
}

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
		if err := fn(tx, &ch); err != nil {
			return err
		}
		ch.tell(tx)
		return r.recordEvents(tx, ch.feed)
	})
	if err != nil {
		return err
	}
	r.announce(ch.feed)
	r.principalsChanged(&ch)
	return nil
}

// principalsChanged forgets identities and tells who has live connections.
func (r *Registry) principalsChanged(ch *changes) {
	if !ch.all && len(ch.certificates) == 0 {
		return
	}
	ids := ch.list()
	r.cache.forget(ids)
	if live := r.live.Load(); live != nil {
		(*live).PrincipalsChanged(ids)
	}
}

func millis(t time.Time) int64 { return t.UnixMilli() }

// instant is the reverse of millis; zero stays the zero time.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
