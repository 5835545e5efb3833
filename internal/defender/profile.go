package defender

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Profile is a set of behaviours that is held against the things of its targets.
type Profile struct {
	Name        string          `json:"-"`
	Description string          `json:"securityProfileDescription,omitempty"`
	Behaviors   []Behavior      `json:"behaviors,omitempty"`
	Alerts      json.RawMessage `json:"alertTargets,omitempty"`                // stored only: there is no SNS
	Retain      json.RawMessage `json:"additionalMetricsToRetain,omitempty"`   // stored only: all are retained
	RetainV2    json.RawMessage `json:"additionalMetricsToRetainV2,omitempty"` // stored only
	Export      json.RawMessage `json:"metricsExportConfig,omitempty"`         // stored only
	Meta
}

// ProfileUpdate is a change of a profile; nil leaves a member as it is.
type ProfileUpdate struct {
	Description                                              *string
	Behaviors                                                []Behavior
	Alerts, Retain, RetainV2, Export                         json.RawMessage
	DeleteBehaviors, DeleteAlerts, DeleteRetain, DropExports bool
	Expected                                                 *int64
}

const (
	maxBehaviors   = 100
	maxDescription = 1000
	maxProfiles    = 5 // of one target
)

// CheckBehaviors returns what is wrong with the behaviours of a profile, one error for each.
func CheckBehaviors(list []Behavior) (errs []error) {
	if len(list) > maxBehaviors {
		errs = append(errs, invalid("%d behaviors are more than %d", len(list), maxBehaviors))
	}
	seen := make(map[string]bool)
	for i := range list {
		if err := list[i].Check(); err != nil {
			errs = append(errs, err)
		}
		if seen[list[i].Name] {
			errs = append(errs, invalid("behavior %s is there twice", list[i].Name))
		}
		seen[list[i].Name] = true
	}
	return errs
}

func (p *Profile) check() error {
	for _, part := range []struct {
		name  string
		value *json.RawMessage
		first byte
	}{
		{"alertTargets", &p.Alerts, '{'}, {"additionalMetricsToRetain", &p.Retain, '['},
		{"additionalMetricsToRetainV2", &p.RetainV2, '['}, {"metricsExportConfig", &p.Export, '{'},
	} {
		switch v := *part.value; {
		case string(v) == "null":
			*part.value = nil
		case len(v) > 0 && v[0] != part.first:
			return invalid("%s has a wrong type", part.name)
		}
	}
	if len(p.Description) > maxDescription {
		return invalid("securityProfileDescription has more than %d characters", maxDescription)
	}
	if errs := CheckBehaviors(p.Behaviors); len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// ProfileARN returns a profile's Amazon resource name.
func (s *Service) ProfileARN(name string) string { return s.arn("securityprofile/" + name) }

// CreateSecurityProfile adds a profile. ErrAlreadyExists, ErrInvalid.
func (s *Service) CreateSecurityProfile(ctx context.Context, p Profile) error {
	if err := errors.Join(checkName("securityProfileName", p.Name), p.check()); err != nil {
		return err
	}
	return s.createObject(ctx, kindProfile, p.Name, p)
}

// DescribeSecurityProfile returns a profile. ErrNotFound.
func (s *Service) DescribeSecurityProfile(ctx context.Context, name string) (p Profile, err error) {
	p.Meta, err = readObject(s.reader(ctx), kindProfile, name, &p)
	p.Name = name
	return p, err
}

// UpdateSecurityProfile changes a profile. Violations of behaviours that are not there any more are
// invalidated. ErrNotFound, ErrInvalid, ErrVersionConflict.
func (s *Service) UpdateSecurityProfile(ctx context.Context, name string, u ProfileUpdate) error {
	return s.change(ctx, func(c *change) error {
		var p Profile
		m, err := readObject(c.tx, kindProfile, name, &p)
		if err != nil {
			return err
		}
		if u.Expected != nil && *u.Expected != m.Version {
			return refuse(ErrVersionConflict, "security profile %s has version %d, not %d", name, m.Version, *u.Expected)
		}
		if u.Description != nil {
			p.Description = *u.Description
		}
		if u.Behaviors != nil || u.DeleteBehaviors {
			p.Behaviors = u.Behaviors
		}
		for _, part := range []struct {
			to   *json.RawMessage
			from json.RawMessage
			drop bool
		}{{&p.Alerts, u.Alerts, u.DeleteAlerts}, {&p.Retain, u.Retain, u.DeleteRetain}, {&p.RetainV2, u.RetainV2, u.DeleteRetain}, {&p.Export, u.Export, u.DropExports}} {
			if part.from != nil || part.drop {
				*part.to = part.from
			}
		}
		if err := p.check(); err != nil {
			return err
		}
		if err := s.saveObject(c.tx, kindProfile, name, p); err != nil {
			return err
		}
		return c.invalidate(`profile = ?`, []any{name}, func(v *Violation) bool {
			return !slices.ContainsFunc(p.Behaviors, func(b Behavior) bool { return encode(b) == encode(v.Behavior) })
		})
	})
}

// DeleteSecurityProfile removes a profile with its targets; its violations are invalidated. One that
// is not there is no error. ErrVersionConflict.
func (s *Service) DeleteSecurityProfile(ctx context.Context, name string, expected *int64) error {
	return s.change(ctx, func(c *change) error {
		var p Profile
		m, err := readObject(c.tx, kindProfile, name, &p)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if expected != nil && *expected != m.Version {
			return refuse(ErrVersionConflict, "security profile %s has version %d, not %d", name, m.Version, *expected)
		}
		for _, query := range []string{`DELETE FROM defender_object WHERE kind = 'profile' AND name = ?`, `DELETE FROM defender_target WHERE profile = ?`,
			`DELETE FROM defender_streak WHERE profile = ?`} {
			if _, err := c.tx.Exec(query, name); err != nil {
				return err
			}
		}
		return c.invalidate(`profile = ?`, []any{name}, nil)
	})
}

// ListSecurityProfiles lists the names of profiles, all or those that use a metric or a dimension.
func (s *Service) ListSecurityProfiles(ctx context.Context, metric, dimension string, page Page) ([]string, string, error) {
	list, names, err := listObjects[Profile](s.reader(ctx), kindProfile)
	if err != nil {
		return nil, "", err
	}
	var out []string
	for i, p := range list {
		if metric == "" && dimension == "" || slices.ContainsFunc(p.Behaviors, func(b Behavior) bool {
			return (metric == "" || b.Metric == metric) && (dimension == "" || b.Dimension != nil && b.Dimension.Name == dimension)
		}) {
			out = append(out, names[i])
		}
	}
	return cut(out, page)
}

// Targets beside thing groups.
const (
	allThings          = "all/things"
	registeredThings   = "all/registered-things"
	unregisteredThings = "all/unregistered-things"
)

// target checks the ARN of a target and returns its resource.
func (s *Service) target(ctx context.Context, arn string) (string, error) {
	resource, ok := strings.CutPrefix(arn, s.arn(""))
	if group, found := strings.CutPrefix(resource, "thinggroup/"); ok && found {
		_, err := s.cfg.Registry.DescribeThingGroup(ctx, group)
		if errors.Is(err, registry.ErrNotFound) {
			err = refuse(ErrNotFound, "thing group %s cannot be found", group)
		}
		return resource, err
	}
	if ok && slices.Contains([]string{allThings, registeredThings, unregisteredThings}, resource) {
		return resource, nil
	}
	return "", invalid("%q is not the ARN of a thing group or of all things of this account and region", arn)
}

// AttachSecurityProfile holds a profile against a target: a thing group, or all (registered,
// unregistered) things. ErrNotFound, ErrInvalid, ErrLimit for more than 5 profiles of one target.
func (s *Service) AttachSecurityProfile(ctx context.Context, name, targetARN string) error {
	target, err := s.target(ctx, targetARN)
	if err != nil {
		return err
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := readObject(tx, kindProfile, name, &Profile{}); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO defender_target (target, profile) VALUES (?, ?) ON CONFLICT (target, profile) DO NOTHING`, target, name); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(`SELECT count(*) FROM defender_target WHERE target = ?`, []any{target}, &n); err != nil {
			return err
		}
		if n > maxProfiles {
			return refuse(ErrLimit, "%s has %d security profiles already", targetARN, maxProfiles)
		}
		return nil
	})
}

// DetachSecurityProfile takes a target from a profile. Violations of things that the profile does not
// concern any more end with their next report. ErrNotFound, ErrInvalid.
func (s *Service) DetachSecurityProfile(ctx context.Context, name, targetARN string) error {
	resource, ok := strings.CutPrefix(targetARN, s.arn(""))
	if !ok {
		return invalid("%q is not an ARN of this account and region", targetARN)
	}
	return s.change(ctx, func(c *change) error {
		if _, err := readObject(c.tx, kindProfile, name, &Profile{}); err != nil {
			return err
		}
		if _, err := c.tx.Exec(`DELETE FROM defender_target WHERE target = ? AND profile = ?`, resource, name); err != nil {
			return err
		}
		var left int
		if err := c.tx.QueryRow(`SELECT count(*) FROM defender_target WHERE profile = ?`, []any{name}, &left); err != nil || left > 0 {
			return err
		}
		return c.invalidate(`profile = ?`, []any{name}, nil)
	})
}

// ListTargetsForSecurityProfile lists the ARNs of a profile's targets. ErrNotFound.
func (s *Service) ListTargetsForSecurityProfile(ctx context.Context, name string, page Page) ([]string, string, error) {
	if _, err := s.DescribeSecurityProfile(ctx, name); err != nil {
		return nil, "", err
	}
	list, err := texts(s.reader(ctx), `SELECT target FROM defender_target WHERE profile = ? ORDER BY target`, name)
	if err != nil {
		return nil, "", err
	}
	for i := range list {
		list[i] = s.arn(list[i])
	}
	return cut(list, page)
}

// Mapping is a profile of a target.
type Mapping struct{ Profile, Target string }

// ListSecurityProfilesForTarget lists the profiles of a thing group or of all things; recursive adds
// those of the groups above it.
func (s *Service) ListSecurityProfilesForTarget(ctx context.Context, targetARN string, recursive bool, page Page) ([]Mapping, string, error) {
	target, err := s.target(ctx, targetARN)
	if err != nil {
		return nil, "", err
	}
	targets := []string{target}
	if group, ok := strings.CutPrefix(target, "thinggroup/"); ok && recursive {
		g, err := s.cfg.Registry.DescribeThingGroup(ctx, group)
		if err != nil {
			return nil, "", err
		}
		for _, above := range g.RootToParent {
			targets = append(targets, "thinggroup/"+above.Name)
		}
	}
	var out []Mapping
	for _, t := range targets {
		names, err := texts(s.reader(ctx), `SELECT profile FROM defender_target WHERE target = ? ORDER BY profile`, t)
		if err != nil {
			return nil, "", err
		}
		for _, name := range names {
			out = append(out, Mapping{name, s.arn(t)})
		}
	}
	return cut(out, page)
}

func texts(rd reader, query string, args ...any) (list []string, err error) {
	err = rd.Query(query, args, func(row store.Row) error {
		var text string
		err := row.Scan(&text)
		list = append(list, text)
		return err
	})
	return list, err
}

// profilesOf returns the profiles that are held against a thing.
func (s *Service) profilesOf(ctx context.Context, thing string) (map[string]Profile, error) {
	var any int
	if err := s.cfg.Store.QueryRow(ctx, `SELECT count(*) FROM defender_target`, nil, &any); err != nil || any == 0 {
		return nil, err
	}
	targets := map[string]bool{allThings: true}
	groups, _, err := s.cfg.Registry.ListThingGroupsForThing(ctx, thing, registry.Page{})
	switch {
	case errors.Is(err, registry.ErrNotFound):
		targets[unregisteredThings] = true
	case err != nil:
		return nil, err
	default:
		targets[registeredThings] = true
	}
	for _, ref := range groups {
		g, err := s.cfg.Registry.DescribeThingGroup(ctx, ref.Name)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		targets["thinggroup/"+ref.Name] = true
		for _, above := range g.RootToParent {
			targets["thinggroup/"+above.Name] = true
		}
	}
	out := make(map[string]Profile)
	for target := range targets {
		names, err := texts(s.reader(ctx), `SELECT profile FROM defender_target WHERE target = ?`, target)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			p, err := s.DescribeSecurityProfile(ctx, name)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			out[name] = p
		}
	}
	return out, nil
}
