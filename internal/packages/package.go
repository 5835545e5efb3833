package packages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

const maxDescription = 1024

// Package is a piece of software.
type Package struct {
	Name, ARN, Description string
	Default                string // name of a version, "" for none
	Created, Modified      time.Time
}

func (c *Catalogue) packageARN(name string) string { return c.cfg.Registry.ARN("package/" + name) }

// CreatePackage adds a package. The same token again is the same request. ErrConflict for a name that
// is taken, ErrInvalid.
func (c *Catalogue) CreatePackage(ctx context.Context, name, description, token string) (*Package, error) {
	if err := errors.Join(checkPackage(name), checkText("description", description, maxDescription), checkToken(token)); err != nil {
		return nil, err
	}
	p := &Package{Name: name, ARN: c.packageARN(name), Description: description, Created: c.now(), Modified: c.now()}
	return p, c.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO package (name, description, default_version, token, created_at, modified_at) VALUES (?, ?, '', ?, ?, ?)
			ON CONFLICT (name) DO NOTHING`, name, description, token, p.Created.UnixMilli(), p.Modified.UnixMilli())
		if err != nil || n > 0 {
			return err
		}
		return again(tx, `SELECT token FROM package WHERE name = ?`, []any{name}, token, "package "+name)
	})
}

// again is nil for a row that a request with this token has made.
func again(tx *store.Tx, query string, args []any, token, what string) error {
	var known string
	if err := tx.QueryRow(query, args, &known); err != nil {
		return err
	}
	if token == "" || known != token {
		return &Error{Kind: ErrConflict, Message: what + " already exists", Resource: what}
	}
	return nil
}

func (c *Catalogue) scanPackage(row store.Row) (*Package, error) {
	p := &Package{}
	var created, modified int64
	err := row.Scan(&p.Name, &p.Description, &p.Default, &created, &modified)
	p.ARN, p.Created, p.Modified = c.packageARN(p.Name), instant(created), instant(modified)
	return p, err
}

const packageColumns = `name, description, default_version, created_at, modified_at`

func (c *Catalogue) readPackage(rd reader, name string) (*Package, error) {
	if err := checkPackage(name); err != nil {
		return nil, err
	}
	p, err := c.scanPackage(rowFunc(func(dest ...any) error {
		return rd.QueryRow(`SELECT `+packageColumns+` FROM package WHERE name = ?`, []any{name}, dest...)
	}))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "package %s cannot be found", name)
	}
	return p, err
}

// GetPackage returns a package. ErrNotFound.
func (c *Catalogue) GetPackage(ctx context.Context, name string) (*Package, error) {
	return c.readPackage(c.reader(ctx), name)
}

// PackageUpdate is a change of a package; nil leaves a member as it is.
type PackageUpdate struct {
	Description, Default *string
	UnsetDefault         bool
}

// UpdatePackage changes the description and the default version, which must not be a draft.
// ErrNotFound, ErrInvalid, ErrConflict.
func (c *Catalogue) UpdatePackage(ctx context.Context, name string, u PackageUpdate) error {
	if u.Default != nil && u.UnsetDefault {
		return invalid("defaultVersionName and unsetDefaultVersion exclude each other")
	}
	return c.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		p, err := c.readPackage(tx, name)
		if err != nil {
			return err
		}
		if u.Description != nil {
			p.Description = *u.Description
			if err := checkText("description", p.Description, maxDescription); err != nil {
				return err
			}
		}
		if u.Default != nil {
			v, err := c.readVersion(tx, name, *u.Default)
			if err != nil {
				return err
			}
			if v.Status == Draft {
				return &Error{Kind: ErrConflict, Message: fmt.Sprintf("version %s of package %s is a draft and cannot be its default", v.Name, name), Resource: v.Name}
			}
			p.Default = v.Name
		}
		if u.UnsetDefault {
			p.Default = ""
		}
		_, err = tx.Exec(`UPDATE package SET description = ?, default_version = ?, modified_at = ? WHERE name = ?`, p.Description, p.Default, c.now().UnixMilli(), name)
		return err
	})
}

// DeletePackage removes a package without versions; one that is not there is no error. ErrInvalid for
// one that has versions.
func (c *Catalogue) DeletePackage(ctx context.Context, name string) error {
	if err := checkPackage(name); err != nil {
		return err
	}
	return c.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		var n int
		if err := tx.QueryRow(`SELECT count(*) FROM package_version WHERE package = ?`, []any{name}, &n); err != nil {
			return err
		}
		if n > 0 {
			return invalid("package %s has %d versions, which must be deleted first", name, n)
		}
		_, err := tx.Exec(`DELETE FROM package WHERE name = ?`, name)
		return err
	})
}

// ListPackages lists packages by name.
func (c *Catalogue) ListPackages(ctx context.Context, page Page) ([]*Package, string, error) {
	after, limit, err := page.after()
	if err != nil {
		return nil, "", err
	}
	var list []*Package
	err = c.reader(ctx).Query(`SELECT `+packageColumns+` FROM package WHERE name > ? ORDER BY name LIMIT ?`, []any{after, limit + 1}, func(row store.Row) error {
		p, err := c.scanPackage(row)
		list = append(list, p)
		return err
	})
	list, next := cut(list, limit, func(p *Package) string { return p.Name })
	return list, next, err
}
