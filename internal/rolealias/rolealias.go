// Package rolealias is role aliases and the temporary credentials that devices get for them with
// their certificates (AWS IoT developer guide, "Authorizing direct calls to AWS services using AWS
// IoT Core credential provider").
//
// AWS asks its Security Token Service for credentials of an IAM role. There is no IAM here: the
// credentials are berth's own, good for berth's data planes, and the last part of the role's ARN
// names the policy of the registry that says what they may do. `arn:aws:iam::ACCOUNT:role/uploader`
// stands for the policy `uploader`; while there is no such policy they may do nothing. The policy
// is looked up at every use, so that a change of it counts at once.
package rolealias

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Durations of credentials.
const (
	MinDuration     = 900 * time.Second
	MaxDuration     = 43200 * time.Second
	DefaultDuration = 3600 * time.Second
)

// Alias is a role alias.
type Alias struct {
	Name, ARN, RoleARN string
	Duration           time.Duration
	Created, Modified  time.Time
}

// Policy returns the name of the policy that stands for the alias's role.
func (a *Alias) Policy() string { return a.RoleARN[strings.LastIndexByte(a.RoleARN, '/')+1:] }

// Aliases are all role aliases. Their methods may be called concurrently.
type Aliases struct {
	db  *store.DB
	arn func(resource string) string
	now func() time.Time
}

// Count counts the role aliases of a name.
const Count = `SELECT count(*) FROM role_alias WHERE name = ?`

var schema = []string{`CREATE TABLE role_alias (
	name TEXT PRIMARY KEY, role TEXT NOT NULL, seconds BIGINT NOT NULL, created BIGINT NOT NULL, modified BIGINT NOT NULL
)`}

// Open prepares the table. arn makes ARNs, such as registry.Registry.ARN; now may be nil.
func Open(ctx context.Context, db *store.DB, arn func(resource string) string, now func() time.Time) (*Aliases, error) {
	if now == nil {
		now = time.Now
	}
	return &Aliases{db, arn, now}, db.Migrate(ctx, "rolealias", schema)
}

var (
	aliasPattern = regexp.MustCompile(`^[\w=,@-]{1,128}$`)
	rolePattern  = regexp.MustCompile(`^arn:[\w-]+:iam::[0-9]{12}:role/([!-~]+/)?[\w+=,.@-]{1,128}$`)
)

const maxRoleARN = 2048

func invalid(format string, args ...any) error {
	return &registry.Error{Kind: registry.ErrInvalid, Message: fmt.Sprintf(format, args...)}
}

func (a *Alias) check() error {
	switch {
	case !aliasPattern.MatchString(a.Name):
		return invalid(`roleAlias %.200q is not 1 to 128 of the characters [\w=,@-]`, a.Name)
	case len(a.RoleARN) > maxRoleARN || !rolePattern.MatchString(a.RoleARN):
		return invalid("roleArn %.200q is not the ARN of a role, such as arn:aws:iam::123456789012:role/NAME", a.RoleARN)
	case a.Duration < MinDuration || a.Duration > MaxDuration:
		return invalid("1 validation error detected: Value '%d' at 'credentialDurationSeconds' failed to satisfy constraint: Member must be from %d to %d",
			a.Duration/time.Second, MinDuration/time.Second, MaxDuration/time.Second)
	}
	return nil
}

// Create keeps a new role alias; a duration of 0 is [DefaultDuration]. registry.ErrInvalid,
// registry.ErrAlreadyExists.
func (s *Aliases) Create(ctx context.Context, a Alias) (*Alias, error) {
	if a.Duration == 0 {
		a.Duration = DefaultDuration
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	now := s.now().UnixMilli()
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO role_alias (name, role, seconds, created, modified) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			a.Name, a.RoleARN, int64(a.Duration/time.Second), now, now)
		if err == nil && n == 0 {
			return &registry.Error{Kind: registry.ErrAlreadyExists, Message: fmt.Sprintf("role alias %s already exists", a.Name), ID: a.Name, ARN: s.aliasARN(a.Name)}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Describe(ctx, a.Name)
}

func (s *Aliases) aliasARN(name string) string { return s.arn("rolealias/" + name) }

type reader interface {
	QueryRow(query string, args []any, dest ...any) error
}

type dbReader struct {
	ctx context.Context
	db  *store.DB
}

func (r dbReader) QueryRow(query string, args []any, dest ...any) error {
	return r.db.QueryRow(r.ctx, query, args, dest...)
}

func (s *Aliases) read(rd reader, name string) (*Alias, error) {
	a := Alias{Name: name, ARN: s.aliasARN(name)}
	var seconds, created, modified int64
	err := rd.QueryRow(`SELECT role, seconds, created, modified FROM role_alias WHERE name = ?`, []any{name}, &a.RoleARN, &seconds, &created, &modified)
	if errors.Is(err, store.ErrNoRows) {
		return nil, &registry.Error{Kind: registry.ErrNotFound, Message: fmt.Sprintf("role alias %.128s not found", name)}
	}
	if err != nil {
		return nil, err
	}
	a.Duration = time.Duration(seconds) * time.Second
	a.Created, a.Modified = time.UnixMilli(created).UTC(), time.UnixMilli(modified).UTC()
	return &a, nil
}

// Describe returns a role alias, or registry.ErrNotFound.
func (s *Aliases) Describe(ctx context.Context, name string) (*Alias, error) {
	return s.read(dbReader{ctx, s.db}, name)
}

// Update changes the role or the duration; zero values leave them. registry.ErrNotFound,
// registry.ErrInvalid.
func (s *Aliases) Update(ctx context.Context, name, roleARN string, duration time.Duration) (*Alias, error) {
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		a, err := s.read(tx, name)
		if err != nil {
			return err
		}
		if roleARN != "" {
			a.RoleARN = roleARN
		}
		if duration != 0 {
			a.Duration = duration
		}
		if err := a.check(); err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE role_alias SET role = ?, seconds = ?, modified = ? WHERE name = ?`, a.RoleARN, int64(a.Duration/time.Second), s.now().UnixMilli(), name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Describe(ctx, name)
}

// Delete removes a role alias; credentials that were given for it end in their time.
// registry.ErrNotFound.
func (s *Aliases) Delete(ctx context.Context, name string) error {
	return s.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := s.read(tx, name); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM role_alias WHERE name = ?`, name)
		return err
	})
}

// List lists the names of role aliases in order.
func (s *Aliases) List(ctx context.Context, descending bool, page registry.Page) ([]string, string, error) {
	order := "ASC"
	if descending {
		order = "DESC"
	}
	var names []string
	err := s.db.Query(ctx, `SELECT name FROM role_alias ORDER BY name `+order, nil, func(row store.Row) error {
		var name string
		err := row.Scan(&name)
		names = append(names, name)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return registry.PageOf(names, page, descending, func(name string) string { return name })
}
