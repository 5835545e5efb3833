package registry

import (
	"context"
	"encoding/json"
	"errors"
	"maps"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/store"
)

// Thing is a device as the registry knows it. Its default client identifier is its name.
type Thing struct {
	Name, ID, ARN string
	Type          string // thing type, or ""
	BillingGroup  string // or ""
	Attributes    map[string]string
	Version       int64 // starts at 1 and rises with every update
}

// NewThing is what CreateThing needs. Only the name is required.
type NewThing struct {
	Name, Type, BillingGroup string
	Attributes               map[string]string
}

// ThingUpdate is a change to a thing; zero fields change nothing.
type ThingUpdate struct {
	Type            string
	RemoveType      bool
	Attributes      map[string]string // nil leaves them; an empty value removes that attribute
	Merge           bool              // add to the attributes rather than replace them
	ExpectedVersion *int64
}

const thingColumns = `name, id, type, attributes, billing_group, version`

func (r *Registry) scanThing(row store.Row) (*Thing, error) {
	var t Thing
	var attributes string
	if err := row.Scan(&t.Name, &t.ID, &t.Type, &attributes, &t.BillingGroup, &t.Version); err != nil {
		return nil, err
	}
	t.ARN = r.ARN("thing/" + t.Name)
	return &t, json.Unmarshal([]byte(attributes), &t.Attributes)
}

// rowFunc lets a single-row query be read by the function that reads many.
type rowFunc func(dest ...any) error

func (f rowFunc) Scan(dest ...any) error { return f(dest...) }

func one(rd reader, query string, args ...any) store.Row {
	return rowFunc(func(dest ...any) error { return rd.QueryRow(query, args, dest...) })
}

func (r *Registry) thing(rd reader, name string) (*Thing, error) {
	t, err := r.scanThing(one(rd, `SELECT `+thingColumns+` FROM thing WHERE name = ?`, name))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "thing %s not found", name)
	}
	return t, err
}

func has(rd reader, query string, args ...any) (bool, error) {
	var n int
	err := rd.QueryRow(query, args, &n)
	return n > 0, err
}

// DescribeThing returns a thing, or ErrNotFound.
func (r *Registry) DescribeThing(ctx context.Context, name string) (*Thing, error) {
	if err := thingName.check(name); err != nil {
		return nil, err
	}
	return r.thing(r.reader(ctx), name)
}

// CreateThing makes a thing. Making the same thing again succeeds; ErrAlreadyExists when one of
// that name differs. ErrNotFound for an unknown type or billing group.
func (r *Registry) CreateThing(ctx context.Context, in NewThing) (*Thing, error) {
	var t *Thing
	err := r.write(ctx, func(tx *store.Tx, ch *changes) (err error) {
		t, err = r.createThing(tx, ch, in)
		return err
	})
	return t, err
}

func (r *Registry) createThing(tx *store.Tx, ch *changes, in NewThing) (*Thing, error) {
	if err := thingName.check(in.Name); err != nil {
		return nil, err
	}
	if in.Type != "" {
		if err := thingTypeName.check(in.Type); err != nil {
			return nil, err
		}
	}
	if in.BillingGroup != "" {
		if err := billingGroupName.check(in.BillingGroup); err != nil {
			return nil, err
		}
	}
	if err := checkAttributes(in.Attributes); err != nil {
		return nil, err
	}
	attributes := updateAttributes(nil, in.Attributes, false)
	if err := checkAttributeCount(in.Type, attributes); err != nil {
		return nil, err
	}
	old, err := r.thing(tx, in.Name)
	if err == nil {
		if old.Type != in.Type || old.BillingGroup != in.BillingGroup || !maps.Equal(old.Attributes, attributes) {
			return nil, exists(old.ID, old.ARN, "thing %s already exists in account with different attributes", in.Name)
		}
		return old, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err := checkUsableType(tx, in.Type); err != nil {
		return nil, err
	}
	if in.BillingGroup != "" {
		if _, err := r.billingGroup(tx, in.BillingGroup); err != nil {
			return nil, err
		}
	}
	t := &Thing{Name: in.Name, ID: uuid.NewString(), ARN: r.ARN("thing/" + in.Name), Type: in.Type, BillingGroup: in.BillingGroup, Attributes: attributes, Version: 1}
	_, err = tx.Exec(`INSERT INTO thing (name, id, type, attributes, billing_group, version, created) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		t.Name, t.ID, t.Type, encode(t.Attributes), t.BillingGroup, t.Version, millis(r.now()))
	if err != nil {
		return nil, err
	}
	ch.note(Change{Kind: ThingChange, Operation: Created, Thing: t})
	ch.associate(t, "", t.Type)
	return t, indexAttributes(tx, t.Name, nil, t.Attributes)
}

// associate notes that a thing has another thing type; "" is none.
func (c *changes) associate(t *Thing, old, now string) {
	if old == now {
		return
	}
	if old != "" {
		c.note(Change{Kind: TypeAssociationChange, Operation: Removed, Thing: t, Type: &ThingType{Name: old}})
	}
	if now != "" {
		c.note(Change{Kind: TypeAssociationChange, Operation: Added, Thing: t, Type: &ThingType{Name: now}})
	}
}

func checkAttributeCount(thingType string, attributes map[string]string) error {
	if n := len(attributes); thingType == "" && n > maxAttributesUntyped {
		return refuse(ErrInvalid, "%d attributes are more than the %d that a thing without a thing type may have", n, maxAttributesUntyped)
	} else if n > maxAttributesTyped {
		return refuse(ErrInvalid, "%d attributes are more than the %d that a thing may have", n, maxAttributesTyped)
	}
	return nil
}

// indexAttributes brings the search table from the old attributes to the new ones.
func indexAttributes(tx *store.Tx, thing string, old, now map[string]string) error {
	for name, value := range old {
		if v, ok := now[name]; ok && v == value {
			continue
		}
		if _, err := tx.Exec(`DELETE FROM thing_attribute WHERE name = ? AND value = ? AND thing = ?`, name, value, thing); err != nil {
			return err
		}
	}
	for name, value := range now {
		if v, ok := old[name]; ok && v == value {
			continue
		}
		if _, err := tx.Exec(`INSERT INTO thing_attribute (name, value, thing) VALUES (?, ?, ?)`, name, value, thing); err != nil {
			return err
		}
	}
	return nil
}

// encode writes a map or list of strings as JSON; these cannot fail.
func encode(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// UpdateThing changes a thing's type and attributes. ErrNotFound, ErrVersionConflict.
func (r *Registry) UpdateThing(ctx context.Context, name string, up ThingUpdate) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error { return r.updateThing(tx, ch, name, up) })
}

func (r *Registry) updateThing(tx *store.Tx, ch *changes, name string, up ThingUpdate) error {
	if err := thingName.check(name); err != nil {
		return err
	}
	if up.Type != "" && up.RemoveType {
		return refuse(ErrInvalid, "a thing type cannot be given and removed at once")
	}
	if up.Type != "" {
		if err := thingTypeName.check(up.Type); err != nil {
			return err
		}
	}
	if err := checkAttributes(up.Attributes); err != nil {
		return err
	}
	t, err := r.thing(tx, name)
	if err != nil {
		return err
	}
	if err := checkVersion("thing "+name, t.Version, up.ExpectedVersion); err != nil {
		return err
	}
	old, oldType := t.Attributes, t.Type
	if up.Attributes != nil {
		t.Attributes = updateAttributes(old, up.Attributes, up.Merge)
	}
	if up.Type != "" && up.Type != t.Type {
		if err := checkUsableType(tx, up.Type); err != nil {
			return err
		}
		t.Type = up.Type
	}
	if up.RemoveType {
		t.Type = ""
	}
	if err := checkAttributeCount(t.Type, t.Attributes); err != nil {
		return err
	}
	if _, err := tx.Exec(`UPDATE thing SET type = ?, attributes = ?, version = version + 1 WHERE name = ?`, t.Type, encode(t.Attributes), name); err != nil {
		return err
	}
	if err := indexAttributes(tx, name, old, t.Attributes); err != nil {
		return err
	}
	t.Version++
	ch.note(Change{Kind: ThingChange, Operation: Updated, Thing: t})
	ch.associate(t, oldType, t.Type)
	return ch.thing(tx, name)
}

func checkVersion(what string, version int64, expected *int64) error {
	if expected != nil && *expected != version {
		return refuse(ErrVersionConflict, "%s is at version %d, not %d", what, version, *expected)
	}
	return nil
}

// DeleteThing removes a thing from the registry and from its groups. A thing that does not exist
// counts as deleted. ErrInvalid while principals are attached, ErrVersionConflict.
func (r *Registry) DeleteThing(ctx context.Context, name string, expectedVersion *int64) error {
	return r.write(ctx, func(tx *store.Tx, ch *changes) error {
		if err := thingName.check(name); err != nil {
			return err
		}
		t, err := r.thing(tx, name)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := checkVersion("thing "+name, t.Version, expectedVersion); err != nil {
			return err
		}
		attached, err := has(tx, `SELECT count(*) FROM (SELECT 1 FROM thing_principal WHERE thing = ? LIMIT 1) AS p`, name)
		if err != nil {
			return err
		}
		if attached {
			return refuse(ErrInvalid, "cannot delete: thing %s is still attached to one or more principals", name)
		}
		if err := indexAttributes(tx, name, t.Attributes, nil); err != nil {
			return err
		}
		if err := r.leaveAll(tx, ch, t); err != nil {
			return err
		}
		ch.associate(t, t.Type, "")
		ch.note(Change{Kind: ThingChange, Operation: Deleted, Thing: t})
		_, err = tx.Exec(`DELETE FROM thing WHERE name = ?`, name)
		return err
	})
}

// ThingFilter narrows ListThings. Fields combine.
type ThingFilter struct {
	Type           string
	AttributeName  string
	AttributeValue string // with AttributeName; "" with AttributePrefix finds every thing with that attribute
	Prefix         bool   // AttributeValue is a prefix
}

// ListThings lists things by name; by value and name when an attribute's prefix is asked for.
func (r *Registry) ListThings(ctx context.Context, f ThingFilter, page Page) ([]*Thing, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	if f.AttributeName == "" && f.AttributeValue != "" {
		return nil, "", refuse(ErrInvalid, "attributeValue needs attributeName")
	}
	rd := r.reader(ctx)
	byName := func(row store.Row) (*Thing, []string, error) {
		t, err := r.scanThing(row)
		if err != nil {
			return nil, nil, err
		}
		return t, []string{t.Name}, nil
	}
	if f.AttributeName != "" && (f.Prefix || f.AttributeValue == "") {
		return r.listThingsByPrefix(rd, f, limit, page)
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	switch {
	case f.AttributeName != "" && f.Type != "":
		return pageOf(rd, limit, `SELECT t.name, t.id, t.type, t.attributes, t.billing_group, t.version
			FROM thing_attribute a JOIN thing t ON t.name = a.thing
			WHERE a.name = ? AND a.value = ? AND a.thing > ? AND t.type = ? ORDER BY a.thing LIMIT ?`,
			[]any{f.AttributeName, f.AttributeValue, after[0], f.Type}, byName)
	case f.AttributeName != "":
		return pageOf(rd, limit, `SELECT t.name, t.id, t.type, t.attributes, t.billing_group, t.version
			FROM thing_attribute a JOIN thing t ON t.name = a.thing
			WHERE a.name = ? AND a.value = ? AND a.thing > ? ORDER BY a.thing LIMIT ?`,
			[]any{f.AttributeName, f.AttributeValue, after[0]}, byName)
	case f.Type != "":
		return pageOf(rd, limit, `SELECT `+thingColumns+` FROM thing WHERE type = ? AND name > ? ORDER BY name LIMIT ?`,
			[]any{f.Type, after[0]}, byName)
	}
	return pageOf(rd, limit, `SELECT `+thingColumns+` FROM thing WHERE name > ? ORDER BY name LIMIT ?`, []any{after[0]}, byName)
}

func (r *Registry) listThingsByPrefix(rd reader, f ThingFilter, limit int, page Page) ([]*Thing, string, error) {
	after, err := page.after(f.AttributeValue, "") // where the prefix begins
	if err != nil {
		return nil, "", err
	}
	query := `SELECT a.value, t.name, t.id, t.type, t.attributes, t.billing_group, t.version
		FROM thing_attribute a JOIN thing t ON t.name = a.thing
		WHERE a.name = ? AND a.value < ? AND (a.value, a.thing) > (?, ?)`
	args := []any{f.AttributeName, above(f.AttributeValue), after[0], after[1]}
	if f.Type != "" {
		query += ` AND t.type = ?`
		args = append(args, f.Type)
	}
	return pageOf(rd, limit, query+` ORDER BY a.value, a.thing LIMIT ?`, args, func(row store.Row) (*Thing, []string, error) {
		var value string
		t, err := r.scanThing(rowFunc(func(dest ...any) error { return row.Scan(append([]any{&value}, dest...)...) }))
		if err != nil {
			return nil, nil, err
		}
		return t, []string{value, t.Name}, nil
	})
}
