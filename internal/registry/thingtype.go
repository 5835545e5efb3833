package registry

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

// ThingType is what things of one kind have in common. Its name cannot change; it can be
// deprecated, and deleted [TypeDeletionDelay] after that.
type ThingType struct {
	Name, ID, ARN string
	ThingTypeProperties
	Created    time.Time
	Deprecated time.Time // zero unless deprecated
}

// ThingTypeProperties is what a user says about a thing type.
type ThingTypeProperties struct {
	Description string
	Searchable  []string               // attribute names, at most 3
	Propagating []PropagatingAttribute // become user properties of the things' MQTT 5 messages
}

// PropagatingAttribute names a user property and the attribute of the thing or the connection
// that it is filled from; exactly one of the two is set.
type PropagatingAttribute struct {
	UserPropertyKey     string `json:"userPropertyKey"`
	ThingAttribute      string `json:"thingAttribute,omitempty"`
	ConnectionAttribute string `json:"connectionAttribute,omitempty"`
}

// TypeDeletionDelay is how long a thing type must have been deprecated before it can be deleted.
const TypeDeletionDelay = 5 * time.Minute

const maxSearchable = 3

func (p *ThingTypeProperties) check() error {
	if err := checkDescription("thingTypeProperties.thingTypeDescription", p.Description); err != nil {
		return err
	}
	if len(p.Searchable) > maxSearchable {
		return refuse(ErrInvalid, "%d searchable attributes are more than %d", len(p.Searchable), maxSearchable)
	}
	for _, name := range p.Searchable {
		if err := searchableName.check(name); err != nil {
			return err
		}
	}
	for _, a := range p.Propagating {
		if err := userPropertyKey.check(a.UserPropertyKey); err != nil {
			return err
		}
		if (a.ThingAttribute == "") == (a.ConnectionAttribute == "") {
			return refuse(ErrInvalid, "propagating attribute %s must name either a thing attribute or a connection attribute", a.UserPropertyKey)
		}
		rule, name := propagatedThing, a.ThingAttribute
		if name == "" {
			rule, name = propagatedConnection, a.ConnectionAttribute
		}
		if err := rule.check(name); err != nil {
			return err
		}
	}
	return nil
}

const thingTypeColumns = `name, id, description, searchable, propagating, created, deprecated`

func (r *Registry) scanThingType(row store.Row) (*ThingType, error) {
	var t ThingType
	var searchable, propagating string
	var created, deprecated int64
	if err := row.Scan(&t.Name, &t.ID, &t.Description, &searchable, &propagating, &created, &deprecated); err != nil {
		return nil, err
	}
	t.ARN, t.Created, t.Deprecated = r.ARN("thingtype/"+t.Name), instant(created), instant(deprecated)
	return &t, errors.Join(json.Unmarshal([]byte(searchable), &t.Searchable), json.Unmarshal([]byte(propagating), &t.Propagating))
}

func (r *Registry) thingType(rd reader, name string) (*ThingType, error) {
	t, err := r.scanThingType(one(rd, `SELECT `+thingTypeColumns+` FROM thing_type WHERE name = ?`, name))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "thing type %s not found", name)
	}
	return t, err
}

// checkUsableType refuses a type that new things cannot have; "" is usable.
func checkUsableType(rd reader, name string) error {
	if name == "" {
		return nil
	}
	var deprecated int64
	err := rd.QueryRow(`SELECT deprecated FROM thing_type WHERE name = ?`, []any{name}, &deprecated)
	switch {
	case errors.Is(err, store.ErrNoRows):
		return refuse(ErrNotFound, "thing type %s not found", name)
	case err != nil:
		return err
	case deprecated != 0:
		return refuse(ErrInvalid, "thing type %s is deprecated and takes no new things", name)
	}
	return nil
}

// CreateThingType makes a thing type. Making the same one again succeeds; ErrAlreadyExists when
// one of that name differs.
func (r *Registry) CreateThingType(ctx context.Context, name string, p ThingTypeProperties, tags []Tag) (*ThingType, error) {
	var t *ThingType
	err := r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := errors.Join(thingTypeName.check(name), p.check()); err != nil {
			return err
		}
		old, err := r.thingType(tx, name)
		if err == nil {
			if old.Description != p.Description || !slices.Equal(old.Searchable, p.Searchable) || !slices.Equal(old.Propagating, p.Propagating) {
				return exists(old.ID, old.ARN, "thing type %s already exists with different properties", name)
			}
			t = old
			return nil
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		t = &ThingType{Name: name, ID: uuid.NewString(), ARN: r.ARN("thingtype/" + name), ThingTypeProperties: p, Created: r.now()}
		_, err = tx.Exec(`INSERT INTO thing_type (`+thingTypeColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			name, t.ID, p.Description, encode(p.Searchable), encode(p.Propagating), millis(t.Created), 0)
		if err != nil {
			return err
		}
		ch.note(Change{Kind: ThingTypeChange, Operation: Created, Type: t})
		return setTags(tx, "thingtype/"+name, tags)
	})
	return t, err
}

// DescribeThingType returns a thing type, or ErrNotFound.
func (r *Registry) DescribeThingType(ctx context.Context, name string) (*ThingType, error) {
	if err := thingTypeName.check(name); err != nil {
		return nil, err
	}
	return r.thingType(r.reader(ctx), name)
}

// ThingTypeUpdate changes properties of a thing type; nil fields stay as they are.
type ThingTypeUpdate struct {
	Description *string
	Searchable  []string
	Propagating []PropagatingAttribute
}

// UpdateThingType changes a thing type's properties. ErrNotFound.
func (r *Registry) UpdateThingType(ctx context.Context, name string, up ThingTypeUpdate) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := thingTypeName.check(name); err != nil {
			return err
		}
		t, err := r.thingType(tx, name)
		if err != nil {
			return err
		}
		p := t.ThingTypeProperties
		if up.Description != nil {
			p.Description = *up.Description
		}
		if up.Searchable != nil {
			p.Searchable = up.Searchable
		}
		if up.Propagating != nil {
			p.Propagating = up.Propagating
		}
		if err := p.check(); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE thing_type SET description = ?, searchable = ?, propagating = ? WHERE name = ?`,
			p.Description, encode(p.Searchable), encode(p.Propagating), name); err != nil {
			return err
		}
		t.ThingTypeProperties = p
		ch.note(Change{Kind: ThingTypeChange, Operation: Updated, Type: t})
		return ch.query(tx, `SELECT p.principal FROM thing t JOIN thing_principal p ON p.thing = t.name WHERE t.type = ? LIMIT ?`, name)
	})
}

// DeprecateThingType closes a type to new things, or opens it again. ErrNotFound.
func (r *Registry) DeprecateThingType(ctx context.Context, name string, undo bool) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := thingTypeName.check(name); err != nil {
			return err
		}
		t, err := r.thingType(tx, name)
		if err != nil {
			return err
		}
		if !undo && !t.Deprecated.IsZero() {
			return nil // the first date counts
		}
		date := millis(r.now())
		if undo {
			date = 0
		}
		t.Deprecated = instant(date)
		ch.note(Change{Kind: ThingTypeChange, Operation: Updated, Type: t})
		_, err = tx.Exec(`UPDATE thing_type SET deprecated = ? WHERE name = ?`, date, name)
		return err
	})
}

// DeleteThingType removes a type that has been deprecated for [TypeDeletionDelay] and has no
// things; otherwise ErrInvalid. ErrNotFound.
func (r *Registry) DeleteThingType(ctx context.Context, name string) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := thingTypeName.check(name); err != nil {
			return err
		}
		t, err := r.thingType(tx, name)
		if err != nil {
			return err
		}
		if t.Deprecated.IsZero() {
			return refuse(ErrInvalid, "cannot delete thing type %s: deprecate it first", name)
		}
		if wait := TypeDeletionDelay - r.now().Sub(t.Deprecated); wait > 0 {
			return refuse(ErrInvalid, "Cannot delete thing type : %s. Please wait for 5 minutes after deprecation and then retry.", name)
		}
		used, err := has(tx, `SELECT count(*) FROM (SELECT 1 FROM thing WHERE type = ? LIMIT 1) AS t`, name)
		if err != nil {
			return err
		}
		if used {
			return refuse(ErrInvalid, "cannot delete thing type %s: there are still things of this type", name)
		}
		if err := dropTags(tx, "thingtype/"+name); err != nil {
			return err
		}
		ch.note(Change{Kind: ThingTypeChange, Operation: Deleted, Type: t})
		_, err = tx.Exec(`DELETE FROM thing_type WHERE name = ?`, name)
		return err
	})
}

// ListThingTypes lists thing types by name; with a name, that one alone if it exists.
func (r *Registry) ListThingTypes(ctx context.Context, name string, page Page) ([]*ThingType, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	query, args := `SELECT `+thingTypeColumns+` FROM thing_type WHERE name > ?`, []any{after[0]}
	if name != "" {
		query, args = query+` AND name = ?`, append(args, name)
	}
	return pageOf(r.reader(ctx), limit, query+` ORDER BY name LIMIT ?`, args, func(row store.Row) (*ThingType, []string, error) {
		t, err := r.scanThingType(row)
		if err != nil {
			return nil, nil, err
		}
		return t, []string{t.Name}, nil
	})
}
