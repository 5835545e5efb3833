package registry

import (
	"context"
	"errors"

	"github.com/berth-iot/berth/internal/store"
)

// Ways in which a principal is attached to a thing.
const (
	ExclusiveThing    = "EXCLUSIVE_THING"
	NonExclusiveThing = "NON_EXCLUSIVE_THING"
)

// Attachment is a thing's principal or a principal's thing: Name is the ARN or the thing's name.
type Attachment struct {
	Name      string
	Exclusive bool
}

// Type returns the attachment's AWS name.
func (a Attachment) Type() string {
	if a.Exclusive {
		return ExclusiveThing
	}
	return NonExclusiveThing
}

// AttachThingPrincipal attaches a certificate (by ARN) or a Cognito identity to a thing; again is
// no error. kind is ExclusiveThing, NonExclusiveThing or "" for the latter. An exclusive principal
// has one thing only: ErrInvalid otherwise. ErrNotFound for either.
func (r *Registry) AttachThingPrincipal(ctx context.Context, thing, principalARN, kind string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error { return r.attachThing(tx, ch, thing, principalARN, kind) })
}

func (r *Registry) attachThing(tx *store.Tx, ch *changes, thing, principalARN, kind string) error {
	if err := thingName.check(thing); err != nil {
		return err
	}
	if kind == "" {
		kind = NonExclusiveThing
	}
	if err := oneOf(kind, "thingPrincipalType", ExclusiveThing, NonExclusiveThing); err != nil {
		return err
	}
	principal, err := r.principal(tx, principalARN)
	if err != nil {
		return err
	}
	if _, err := r.thing(tx, thing); err != nil {
		return err
	}
	exclusive := kind == ExclusiveThing
	if exclusive && principal == principalARN {
		return refuse(ErrInvalid, "only certificates can be attached exclusively")
	}
	// An exclusive attachment is the only one, so any other shows whether there is one.
	var otherExclusive int64
	err = tx.QueryRow(`SELECT exclusive FROM thing_principal WHERE principal = ? AND thing <> ? LIMIT 1`, []any{principal, thing}, &otherExclusive)
	switch {
	case errors.Is(err, store.ErrNoRows):
	case err != nil:
		return err
	case exclusive:
		return refuse(ErrInvalid, "principal %s is already attached to another thing and cannot be exclusive to %s", principalARN, thing)
	case otherExclusive != 0:
		return refuse(ErrInvalid, "principal %s is already attached exclusively to another thing", principalARN)
	}
	ch.principal(principal)
	_, err = tx.Exec(`INSERT INTO thing_principal (principal, thing, exclusive) VALUES (?, ?, ?)
		ON CONFLICT (principal, thing) DO UPDATE SET exclusive = excluded.exclusive`, principal, thing, number(exclusive))
	return err
}

// DetachThingPrincipal is the reverse; what is not attached is no error. ErrNotFound for either.
func (r *Registry) DetachThingPrincipal(ctx context.Context, thing, principalARN string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := thingName.check(thing); err != nil {
			return err
		}
		principal, err := r.principal(tx, principalARN)
		if err != nil {
			return err
		}
		if _, err := r.thing(tx, thing); err != nil {
			return err
		}
		ch.principal(principal)
		_, err = tx.Exec(`DELETE FROM thing_principal WHERE principal = ? AND thing = ?`, principal, thing)
		return err
	})
}

// ListThingPrincipals lists a thing's principals by ARN, of one kind if given. ErrNotFound.
func (r *Registry) ListThingPrincipals(ctx context.Context, thing, kind string, page Page) ([]Attachment, string, error) {
	if err := thingName.check(thing); err != nil {
		return nil, "", err
	}
	rd := r.reader(ctx)
	if _, err := r.thing(rd, thing); err != nil {
		return nil, "", err
	}
	found, next, err := listAttachments(rd, page, `SELECT principal, exclusive FROM thing_principal WHERE thing = ? AND principal > ?`, `principal`, thing, kind)
	for i := range found {
		found[i].Name = r.arnOf(found[i].Name)
	}
	return found, next, err
}

// ListPrincipalThings lists the things of a principal by name, of one kind if given. ErrNotFound.
func (r *Registry) ListPrincipalThings(ctx context.Context, principalARN, kind string, page Page) ([]Attachment, string, error) {
	rd := r.reader(ctx)
	principal, err := r.principal(rd, principalARN)
	if err != nil {
		return nil, "", err
	}
	return listAttachments(rd, page, `SELECT thing, exclusive FROM thing_principal WHERE principal = ? AND thing > ?`, `thing`, principal, kind)
}

func listAttachments(rd reader, page Page, query, order, of, kind string) ([]Attachment, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	args := []any{of, after[0]}
	if kind != "" {
		if err := oneOf(kind, "thingPrincipalType", ExclusiveThing, NonExclusiveThing); err != nil {
			return nil, "", err
		}
		query += ` AND exclusive = ?`
		args = append(args, number(kind == ExclusiveThing))
	}
	return pageOf(rd, limit, query+` ORDER BY `+order+` LIMIT ?`, args, func(row store.Row) (Attachment, []string, error) {
		var a Attachment
		var exclusive int64
		err := row.Scan(&a.Name, &exclusive)
		a.Exclusive = exclusive != 0
		return a, []string{a.Name}, err
	})
}
