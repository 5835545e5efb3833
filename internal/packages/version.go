package packages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Status is where a version stands in its life.
//
//	DRAFT ── Publish ──▶ PUBLISHED ◀── Publish ── DEPRECATED
//	                         └──────── Deprecate ─────▲
//
// AWS IoT developer guide, "Package version lifecycle".
type Status string

// States. Only a draft's contents may be changed; only a draft cannot be deployed.
const (
	Draft      Status = "DRAFT"
	Published  Status = "PUBLISHED"
	Deprecated Status = "DEPRECATED"
)

// Action moves a version on.
type Action string

// Actions.
const (
	Publish   Action = "PUBLISH"
	Deprecate Action = "DEPRECATE"
)

// After returns the status that follows an action; ok is false if the action is not possible. The
// state that the version is in already may be asked for again.
func (s Status) After(a Action) (next Status, ok bool) {
	switch {
	case a == Publish:
		return Published, true
	case a == Deprecate && s != Draft:
		return Deprecated, true
	}
	return s, false
}

// S3Location is an object in Amazon S3. It is only stored.
type S3Location struct {
	Bucket  string `json:"bucket,omitempty"`
	Key     string `json:"key,omitempty"`
	Version string `json:"version,omitempty"`
}

// Artifact is what a version was built to.
type Artifact struct {
	S3Location *S3Location `json:"s3Location,omitempty"`
}

// Version is a version of a package.
type Version struct {
	Package, Name, ARN string
	Description        string
	Attributes         map[string]string
	Artifact           *Artifact
	Recipe             string
	Status             Status
	Created, Modified  time.Time
}

// Limits (AWS IoT API reference, CreatePackageVersion).
const (
	maxAttributes = 3 << 10 // bytes of all names and values
	maxRecipe     = 3072
)

var attributeName = regexp.MustCompile(`^[a-zA-Z0-9:_-]+$`)

func (v *Version) check() error {
	size := 0
	for name, value := range v.Attributes {
		if !attributeName.MatchString(name) {
			return invalid("attribute name %q is not of a-z, A-Z, 0-9, :, _ and -", name)
		}
		if value == "" {
			return invalid("attribute %s has no value", name)
		}
		if err := checkText("attribute "+name, value, maxAttributes); err != nil {
			return err
		}
		size += len(name) + len(value)
	}
	if size > maxAttributes {
		return invalid("the attributes have %d bytes, at most %d are allowed", size, maxAttributes)
	}
	if len(v.Recipe) > maxRecipe {
		return invalid("recipe has %d characters, at most %d are allowed", len(v.Recipe), maxRecipe)
	}
	if v.Recipe != "" && !json.Valid([]byte(v.Recipe)) {
		return invalid("recipe is not JSON")
	}
	return checkText("description", v.Description, maxDescription)
}

func (c *Catalogue) versionARN(pkg, version string) string {
	return c.cfg.Registry.ARN("package/" + pkg + "/version/" + version)
}

func encode(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// CreatePackageVersion adds a draft. The same token again is the same request. ErrConflict for a name
// that is taken, ErrInvalid, also for a package that is not there.
func (c *Catalogue) CreatePackageVersion(ctx context.Context, v Version, token string) (*Version, error) {
	if err := errors.Join(checkPackage(v.Package), checkVersion(v.Name), v.check(), checkToken(token)); err != nil {
		return nil, err
	}
	v.ARN, v.Status, v.Created, v.Modified = c.versionARN(v.Package, v.Name), Draft, c.now(), c.now()
	return &v, c.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := c.readPackage(tx, v.Package); errors.Is(err, ErrNotFound) {
			return invalid("%v", err)
		} else if err != nil {
			return err
		}
		n, err := tx.Exec(`INSERT INTO package_version (`+versionColumns+`, token) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (package, name) DO NOTHING`,
			v.Package, v.Name, v.Description, encode(v.Attributes), encode(v.Artifact), v.Recipe, v.Status, v.Created.UnixMilli(), v.Modified.UnixMilli(), token)
		if err != nil || n > 0 {
			return err
		}
		return again(tx, `SELECT token FROM package_version WHERE package = ? AND name = ?`, []any{v.Package, v.Name}, token,
			fmt.Sprintf("version %s of package %s", v.Name, v.Package))
	})
}

const versionColumns = `package, name, description, attributes, artifact, recipe, status, created_at, modified_at`

func (c *Catalogue) scanVersion(row store.Row) (*Version, error) {
	v := &Version{}
	var attributes, artifact string
	var created, modified int64
	if err := row.Scan(&v.Package, &v.Name, &v.Description, &attributes, &artifact, &v.Recipe, &v.Status, &created, &modified); err != nil {
		return nil, err
	}
	v.ARN, v.Created, v.Modified = c.versionARN(v.Package, v.Name), instant(created), instant(modified)
	return v, errors.Join(json.Unmarshal([]byte(attributes), &v.Attributes), json.Unmarshal([]byte(artifact), &v.Artifact))
}

func (c *Catalogue) readVersion(rd reader, pkg, name string) (*Version, error) {
	if err := errors.Join(checkPackage(pkg), checkVersion(name)); err != nil {
		return nil, err
	}
	v, err := c.scanVersion(rowFunc(func(dest ...any) error {
		return rd.QueryRow(`SELECT `+versionColumns+` FROM package_version WHERE package = ? AND name = ?`, []any{pkg, name}, dest...)
	}))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "version %s of package %s cannot be found", name, pkg)
	}
	return v, err
}

// GetPackageVersion returns a version. ErrNotFound.
func (c *Catalogue) GetPackageVersion(ctx context.Context, pkg, name string) (*Version, error) {
	return c.readVersion(c.reader(ctx), pkg, name)
}

// VersionUpdate is a change of a version; nil leaves a member as it is.
type VersionUpdate struct {
	Description *string
	Attributes  map[string]string
	Artifact    *Artifact
	Recipe      *string
	Action      Action // "" for none
}

// UpdatePackageVersion changes a version and moves it on. What is in it can be changed in a draft only.
// ErrNotFound, ErrInvalid, ErrConflict.
func (c *Catalogue) UpdatePackageVersion(ctx context.Context, pkg, name string, u VersionUpdate) error {
	if u.Action != "" && u.Action != Publish && u.Action != Deprecate {
		return invalid("action is %q, not PUBLISH or DEPRECATE", u.Action)
	}
	return c.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		v, err := c.readVersion(tx, pkg, name)
		if err != nil {
			return err
		}
		conflict := func(what string) error {
			return &Error{Kind: ErrConflict, Message: fmt.Sprintf("version %s of package %s is %s and cannot be %s", name, pkg, v.Status, what), Resource: name}
		}
		if v.Status != Draft && (u.Attributes != nil || u.Artifact != nil || u.Recipe != nil) {
			return conflict("changed but for its description")
		}
		if u.Description != nil {
			v.Description = *u.Description
		}
		if u.Attributes != nil {
			v.Attributes = u.Attributes
		}
		if u.Artifact != nil {
			v.Artifact = u.Artifact
		}
		if u.Recipe != nil {
			v.Recipe = *u.Recipe
		}
		if err := v.check(); err != nil {
			return err
		}
		if u.Action != "" {
			next, ok := v.Status.After(u.Action)
			if !ok {
				return conflict("deprecated")
			}
			v.Status = next
		}
		_, err = tx.Exec(`UPDATE package_version SET description = ?, attributes = ?, artifact = ?, recipe = ?, status = ?, modified_at = ? WHERE package = ? AND name = ?`,
			v.Description, encode(v.Attributes), encode(v.Artifact), v.Recipe, v.Status, c.now().UnixMilli(), pkg, name)
		return err
	})
}

// DeletePackageVersion removes a version; one that is not there is no error. ErrInvalid for the default
// version of a package.
func (c *Catalogue) DeletePackageVersion(ctx context.Context, pkg, name string) error {
	if err := errors.Join(checkPackage(pkg), checkVersion(name)); err != nil {
		return err
	}
	return c.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		p, err := c.readPackage(tx, pkg)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Default == name {
			return invalid("version %s is the default of package %s", name, pkg)
		}
		_, err = tx.Exec(`DELETE FROM package_version WHERE package = ? AND name = ?`, pkg, name)
		return err
	})
}

// ListPackageVersions lists the versions of a package by name, all or those of a status.
func (c *Catalogue) ListPackageVersions(ctx context.Context, pkg string, status Status, page Page) ([]*Version, string, error) {
	if err := checkPackage(pkg); err != nil {
		return nil, "", err
	}
	after, limit, err := page.after()
	if err != nil {
		return nil, "", err
	}
	where, args := "package = ? AND name > ?", []any{pkg, after}
	switch status {
	case "":
	case Draft, Published, Deprecated:
		where, args = where+" AND status = ?", append(args, status)
	default:
		return nil, "", invalid("there is no status %q", status)
	}
	var list []*Version
	err = c.reader(ctx).Query(`SELECT `+versionColumns+` FROM package_version WHERE `+where+` ORDER BY name LIMIT ?`, append(args, limit+1), func(row store.Row) error {
		v, err := c.scanVersion(row)
		list = append(list, v)
		return err
	})
	list, next := cut(list, limit, func(v *Version) string { return v.Name })
	return list, next, err
}
