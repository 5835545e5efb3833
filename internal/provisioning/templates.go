package provisioning

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Types of provisioning templates, fixed when one is created.
const (
	FleetProvisioning = "FLEET_PROVISIONING"
	JustInTime        = "JITP"
)

// maxTemplateVersions is the number of versions that a template keeps at most (AWS IoT Core quotas).
const maxTemplateVersions = 5

// Hook is called before a device is provisioned and may refuse it.
type Hook struct {
	PayloadVersion string // "2020-04-01"
	TargetARN      string // see Config: an http or https URL, exec: and a path, or a Lambda function
}

// TemplateInfo is a provisioning template as it is kept.
type TemplateInfo struct {
	Name, ARN, Type   string
	Description, Role string
	Enabled           bool
	Hook              *Hook // or nil
	Tags              []registry.Tag // of a new template
	DefaultVersion    int64
	Body              string // of the default version; left out of listings
	Created, Modified time.Time
}

// TemplateVersion is one version of a template. Versions are numbered from 1 and never reused.
type TemplateVersion struct {
	Version int64
	Default bool
	Body    string // left out of listings
	Created time.Time
}

// TemplateUpdate is a change to a template; zero fields change nothing.
type TemplateUpdate struct {
	Description, Role *string
	Enabled           *bool
	DefaultVersion    *int64
	Hook              *Hook
	RemoveHook        bool
}

func notFound(format string, args ...any) error {
	return &registry.Error{Kind: registry.ErrNotFound, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &registry.Error{Kind: registry.ErrInvalid, Message: fmt.Sprintf(format, args...)}
}

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

const templateColumns = `t.name, t.type, t.description, t.role, t.enabled, t.hook, t.hook_version, t.default_version, t.created, t.modified`

func (s *Service) scanTemplate(scan func(dest ...any) error, more ...any) (*TemplateInfo, error) {
	var t TemplateInfo
	var enabled, created, modified int64
	var h Hook
	err := scan(append([]any{&t.Name, &t.Type, &t.Description, &t.Role, &enabled, &h.TargetARN, &h.PayloadVersion, &t.DefaultVersion, &created, &modified}, more...)...)
	if err != nil {
		return nil, err
	}
	t.ARN, t.Enabled = s.templateARN(t.Name), enabled != 0
	t.Created, t.Modified = time.UnixMilli(created), time.UnixMilli(modified)
	if h.TargetARN != "" {
		t.Hook = &h
	}
	return &t, nil
}

func (s *Service) templateARN(name string) string {
	return s.cfg.Registry.ARN("provisioningtemplate/" + name)
}

func (s *Service) template(rd reader, name string) (*TemplateInfo, error) {
	var body string
	t, err := s.scanTemplate(func(dest ...any) error {
		return rd.QueryRow(`SELECT `+templateColumns+`, v.body FROM provisioning_template t
			JOIN provisioning_template_version v ON v.template = t.name AND v.version = t.default_version WHERE t.name = ?`, []any{name}, dest...)
	}, &body)
	if errors.Is(err, store.ErrNoRows) {
		return nil, notFound("provisioning template %s not found", name)
	}
	if err != nil {
		return nil, err
	}
	t.Body = body
	return t, nil
}

// checkBody parses a template that is to be kept.
func checkBody(body, kind string) error {
	t, err := ParseTemplate([]byte(body))
	if err != nil {
		return err
	}
	if err := t.ForNewDevices(); err != nil {
		return fmt.Errorf("template of type %s: %w", kind, err)
	}
	return nil
}

// CreateTemplate keeps a new template with version 1. ErrTemplate, registry.ErrAlreadyExists.
func (s *Service) CreateTemplate(ctx context.Context, t TemplateInfo) (*TemplateInfo, error) {
	if err := registry.CheckTemplateName(t.Name); err != nil {
		return nil, err
	}
	if err := registry.CheckDescription("description", t.Description); err != nil {
		return nil, err
	}
	switch t.Type {
	case "":
		t.Type = FleetProvisioning
	case FleetProvisioning:
	case JustInTime:
		if t.Hook != nil {
			return nil, invalid("a template of type JITP has no pre-provisioning hook")
		}
	default:
		return nil, invalid("template type %q is neither FLEET_PROVISIONING nor JITP", t.Type)
	}
	if err := checkBody(t.Body, t.Type); err != nil {
		return nil, err
	}
	h, err := s.hookColumns(t.Hook)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	t.ARN, t.DefaultVersion, t.Created, t.Modified = s.templateARN(t.Name), 1, now, now
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := s.template(tx, t.Name); err == nil {
			return &registry.Error{Kind: registry.ErrAlreadyExists, Message: fmt.Sprintf("provisioning template %s already exists", t.Name), ID: t.Name, ARN: t.ARN}
		} else if !errors.Is(err, registry.ErrNotFound) {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO provisioning_template (name, type, description, role, enabled, hook, hook_version, default_version, last_version, created, modified)
			VALUES (?, ?, ?, ?, ?, ?, ?, 1, 1, ?, ?)`, t.Name, t.Type, t.Description, t.Role, number(t.Enabled), h.TargetARN, h.PayloadVersion, now.UnixMilli(), now.UnixMilli()); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO provisioning_template_version (template, version, body, created) VALUES (?, 1, ?, ?)`, t.Name, t.Body, now.UnixMilli()); err != nil {
			return err
		}
		return s.cfg.Registry.SetTags(tx, "provisioningtemplate/"+t.Name, t.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &t, nil
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// payloadVersion is the only one there is.
const payloadVersion = "2020-04-01"

func (s *Service) hookColumns(h *Hook) (Hook, error) {
	if h == nil {
		return Hook{}, nil
	}
	if h.PayloadVersion != "" && h.PayloadVersion != payloadVersion {
		return Hook{}, invalid("payloadVersion %q of the pre-provisioning hook is not %s", h.PayloadVersion, payloadVersion)
	}
	return Hook{payloadVersion, h.TargetARN}, s.checkHook(h.TargetARN)
}

// DescribeTemplate returns a template with its default version, or registry.ErrNotFound.
func (s *Service) DescribeTemplate(ctx context.Context, name string) (*TemplateInfo, error) {
	if err := registry.CheckTemplateName(name); err != nil {
		return nil, err
	}
	return s.template(dbReader{ctx, s.cfg.Store}, name)
}

// UpdateTemplate changes a template. registry.ErrNotFound.
func (s *Service) UpdateTemplate(ctx context.Context, name string, up TemplateUpdate) error {
	if err := registry.CheckTemplateName(name); err != nil {
		return err
	}
	if up.Hook != nil && up.RemoveHook {
		return invalid("a pre-provisioning hook cannot be given and removed at once")
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		t, err := s.template(tx, name)
		if err != nil {
			return err
		}
		if up.Description != nil {
			if err := registry.CheckDescription("description", *up.Description); err != nil {
				return err
			}
			t.Description = *up.Description
		}
		if up.Role != nil {
			t.Role = *up.Role
		}
		if up.Enabled != nil {
			t.Enabled = *up.Enabled
		}
		if up.DefaultVersion != nil {
			if _, err := s.version(tx, t, *up.DefaultVersion); err != nil {
				return err
			}
			t.DefaultVersion = *up.DefaultVersion
		}
		if up.RemoveHook {
			t.Hook = nil
		}
		if up.Hook != nil {
			if t.Type == JustInTime {
				return invalid("a template of type JITP has no pre-provisioning hook")
			}
			t.Hook = up.Hook
		}
		h, err := s.hookColumns(t.Hook)
		if err != nil && up.Hook != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE provisioning_template SET description = ?, role = ?, enabled = ?, hook = ?, hook_version = ?, default_version = ?, modified = ? WHERE name = ?`,
			t.Description, t.Role, number(t.Enabled), h.TargetARN, h.PayloadVersion, t.DefaultVersion, s.cfg.Now().UnixMilli(), name)
		return err
	})
}

// DeleteTemplate removes a template with all its versions. registry.ErrNotFound,
// registry.ErrDeleteConflict while a CA certificate uses it.
func (s *Service) DeleteTemplate(ctx context.Context, name string) error {
	if err := registry.CheckTemplateName(name); err != nil {
		return err
	}
	users, _, err := s.cfg.Registry.ListCACertificates(ctx, name, true, registry.Page{Limit: 1})
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return &registry.Error{Kind: registry.ErrDeleteConflict, Message: fmt.Sprintf("provisioning template %s is used by CA certificate %s", name, users[0].ID)}
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := s.template(tx, name); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM provisioning_template_version WHERE template = ?`, name); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM provisioning_template WHERE name = ?`, name); err != nil {
			return err
		}
		return s.cfg.Registry.DropTags(tx, "provisioningtemplate/"+name)
	})
}

// bounds reads a page of a listing whose key is one text.
func bounds(p registry.Page) (limit int, after string, err error) {
	if limit = p.Limit; limit == 0 {
		limit = registry.MaxPage
	}
	if limit < 0 || limit > registry.MaxPage {
		return 0, "", invalid("page size %d is not between 1 and %d", limit, registry.MaxPage)
	}
	key, err := base64.StdEncoding.DecodeString(p.Token)
	if err != nil {
		return 0, "", invalid("the pagination token is not valid")
	}
	return limit, string(key), nil
}

// cut ends a page whose query asked for one row more.
func cut[T any](rows []T, limit int, key func(T) string) ([]T, string) {
	if len(rows) <= limit {
		return rows, ""
	}
	rows = rows[:limit]
	return rows, base64.StdEncoding.EncodeToString([]byte(key(rows[limit-1])))
}

// ListTemplates lists templates by name.
func (s *Service) ListTemplates(ctx context.Context, page registry.Page) ([]*TemplateInfo, string, error) {
	limit, after, err := bounds(page)
	if err != nil {
		return nil, "", err
	}
	var list []*TemplateInfo
	err = s.cfg.Store.Query(ctx, `SELECT `+templateColumns+` FROM provisioning_template t WHERE t.name > ? ORDER BY t.name LIMIT ?`, []any{after, limit + 1}, func(row store.Row) error {
		t, err := s.scanTemplate(row.Scan)
		list = append(list, t)
		return err
	})
	list, next := cut(list, limit, func(t *TemplateInfo) string { return t.Name })
	return list, next, err
}

func (s *Service) version(rd reader, t *TemplateInfo, number int64) (*TemplateVersion, error) {
	v := TemplateVersion{Version: number, Default: number == t.DefaultVersion}
	var created int64
	err := rd.QueryRow(`SELECT body, created FROM provisioning_template_version WHERE template = ? AND version = ?`, []any{t.Name, number}, &v.Body, &created)
	if errors.Is(err, store.ErrNoRows) {
		return nil, notFound("provisioning template %s has no version %d", t.Name, number)
	}
	v.Created = time.UnixMilli(created)
	return &v, err
}

// CreateVersion adds a version, as the default if asked. registry.ErrVersionsLimit for a sixth.
func (s *Service) CreateVersion(ctx context.Context, name, body string, setDefault bool) (*TemplateVersion, error) {
	t, err := s.DescribeTemplate(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := checkBody(body, t.Type); err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	v := &TemplateVersion{Default: setDefault, Body: body, Created: now}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := s.template(tx, name); err != nil {
			return err
		}
		var count int
		if err := tx.QueryRow(`SELECT count(*) FROM provisioning_template_version WHERE template = ?`, []any{name}, &count); err != nil {
			return err
		}
		if count >= maxTemplateVersions {
			return &registry.Error{Kind: registry.ErrVersionsLimit, Message: fmt.Sprintf("provisioning template %s already has %d versions", name, count)}
		}
		if err := tx.QueryRow(`SELECT last_version + 1 FROM provisioning_template WHERE name = ?`, []any{name}, &v.Version); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO provisioning_template_version (template, version, body, created) VALUES (?, ?, ?, ?)`, name, v.Version, body, now.UnixMilli()); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE provisioning_template SET last_version = ?, modified = ? WHERE name = ?`, v.Version, now.UnixMilli(), name); err != nil || !setDefault {
			return err
		}
		_, err := tx.Exec(`UPDATE provisioning_template SET default_version = ? WHERE name = ?`, v.Version, name)
		return err
	})
	return v, err
}

// DescribeVersion returns one version. registry.ErrNotFound.
func (s *Service) DescribeVersion(ctx context.Context, name string, number int64) (*TemplateVersion, error) {
	t, err := s.DescribeTemplate(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.version(dbReader{ctx, s.cfg.Store}, t, number)
}

// DeleteVersion removes a version that is not the default (registry.ErrDeleteConflict).
func (s *Service) DeleteVersion(ctx context.Context, name string, number int64) error {
	if err := registry.CheckTemplateName(name); err != nil {
		return err
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		t, err := s.template(tx, name)
		if err != nil {
			return err
		}
		v, err := s.version(tx, t, number)
		if err != nil {
			return err
		}
		if v.Default {
			return &registry.Error{Kind: registry.ErrDeleteConflict, Message: fmt.Sprintf("version %d is the default of provisioning template %s", number, name)}
		}
		_, err = tx.Exec(`DELETE FROM provisioning_template_version WHERE template = ? AND version = ?`, name, number)
		return err
	})
}

// ListVersions lists a template's versions, the oldest first.
func (s *Service) ListVersions(ctx context.Context, name string, page registry.Page) ([]*TemplateVersion, string, error) {
	limit, after, err := bounds(page)
	if err != nil {
		return nil, "", err
	}
	t, err := s.DescribeTemplate(ctx, name)
	if err != nil {
		return nil, "", err
	}
	from, err := strconv.ParseInt("0"+after, 10, 64)
	if err != nil {
		return nil, "", invalid("the pagination token is not valid")
	}
	var list []*TemplateVersion
	err = s.cfg.Store.Query(ctx, `SELECT version, created FROM provisioning_template_version WHERE template = ? AND version > ? ORDER BY version LIMIT ?`,
		[]any{name, from, limit + 1}, func(row store.Row) error {
			var v TemplateVersion
			var created int64
			err := row.Scan(&v.Version, &created)
			v.Default, v.Created = v.Version == t.DefaultVersion, time.UnixMilli(created)
			list = append(list, &v)
			return err
		})
	list, next := cut(list, limit, func(v *TemplateVersion) string { return strconv.FormatInt(v.Version, 10) })
	return list, next, err
}
