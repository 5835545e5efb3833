package packages

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
)

// Shadow is the reserved named shadow that tells what is installed on a thing (AWS IoT developer
// guide, "Reserved named shadow"): `{"reported": {PACKAGE: {"version": NAME, "attributes": {…}}}}`.
const Shadow = "$package"

// removed in the place of a version's name says that the job takes the package away.
const removed = "$null"

// maxVersions is the number of versions that one job installs.
const maxVersions = 25

// Configuration says whether jobs note what they have installed. The role is stored only.
type Configuration struct {
	Enabled bool   `json:"enabled"`
	Role    string `json:"roleArn,omitempty"`
}

// GetPackageConfiguration returns the configuration.
func (c *Catalogue) GetPackageConfiguration(ctx context.Context) (Configuration, error) {
	return configuration(c.reader(ctx))
}

func configuration(rd reader) (out Configuration, err error) {
	err = rd.QueryRow(`SELECT enabled, role FROM package_configuration WHERE id = 0`, nil, &out.Enabled, &out.Role)
	if errors.Is(err, store.ErrNoRows) {
		err = nil
	}
	return out, err
}

// UpdatePackageConfiguration changes what is not nil.
func (c *Catalogue) UpdatePackageConfiguration(ctx context.Context, enabled *bool, role *string) error {
	return c.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		now, err := configuration(tx)
		if err != nil {
			return err
		}
		if enabled != nil {
			now.Enabled = *enabled
		}
		if role != nil {
			now.Role = *role
		}
		_, err = tx.Exec(`INSERT INTO package_configuration (id, enabled, role) VALUES (0, ?, ?)
			ON CONFLICT (id) DO UPDATE SET enabled = excluded.enabled, role = excluded.role`, now.Enabled, now.Role)
		return err
	})
}

// parse splits the ARN of a version.
func (c *Catalogue) parse(arn string) (pkg, version string, err error) {
	rest, ok := strings.CutPrefix(arn, c.packageARN(""))
	pkg, version, found := strings.Cut(rest, "/version/")
	if !ok || !found || !packagePattern.MatchString(pkg) || version != removed && !versionPattern.MatchString(version) {
		return "", "", invalid("%q is not the ARN of a package version of this account and region", arn)
	}
	return pkg, version, nil
}

// Check returns what is wrong with the versions that a job installs: they must be there and must not
// be drafts.
func (c *Catalogue) Check(ctx context.Context, arns []string) error {
	if len(arns) > maxVersions {
		return invalid("destinationPackageVersions has %d members, at most %d are allowed", len(arns), maxVersions)
	}
	for _, arn := range arns {
		pkg, version, err := c.parse(arn)
		if err != nil {
			return err
		}
		if version == removed {
			continue
		}
		v, err := c.GetPackageVersion(ctx, pkg, version)
		if err != nil {
			return err
		}
		if v.Status == Draft {
			return invalid("version %s of package %s is a draft", version, pkg)
		}
	}
	return nil
}

// InstalledTx notes, in the transaction in which a job has succeeded on a thing, what it has installed
// there. It does nothing unless the configuration says so.
func (c *Catalogue) InstalledTx(tx *store.Tx, thing string, arns []string) error {
	if now, err := configuration(tx); err != nil || !now.Enabled {
		return err
	}
	_, err := tx.Exec(`INSERT INTO package_installed (id, at, thing, versions) VALUES (?, ?, ?, ?)`, uuid.NewString(), c.now().UnixMicro(), thing, encode(arns))
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return err
}

// pause is how long the loop waits after a failure.
const pause = 5 * time.Second

func (c *Catalogue) installLoop(ctx context.Context) {
	for {
		err := c.install(ctx)
		if ctx.Err() != nil {
			return
		}
		var again <-chan time.Time
		if err != nil {
			c.cfg.Log.Error("installed packages could not be noted", "error", err)
			again = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-again:
		}
	}
}

// install writes the shadows of things on which jobs have succeeded, in their order.
func (c *Catalogue) install(ctx context.Context) error {
	// Whoever woke the loop may not have committed yet.
	if err := c.cfg.Store.Flush(ctx); err != nil {
		return err
	}
	type row struct{ id, thing, versions string }
	for {
		var list []row
		err := c.reader(ctx).Query(`SELECT id, thing, versions FROM package_installed ORDER BY at LIMIT 64`, nil, func(r store.Row) error {
			var next row
			err := r.Scan(&next.id, &next.thing, &next.versions)
			list = append(list, next)
			return err
		})
		if err != nil || len(list) == 0 {
			return err
		}
		for _, r := range list {
			var arns []string
			if err := json.Unmarshal([]byte(r.versions), &arns); err != nil {
				return err
			}
			if err := c.report(ctx, r.thing, arns); err != nil {
				return err
			}
			if err := c.cfg.Store.Write(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(`DELETE FROM package_installed WHERE id = ?`, r.id)
				return err
			}); err != nil {
				return err
			}
		}
	}
}

// report writes the shadow of one thing. A version that has been deleted meanwhile is left out, and a
// shadow that does not take the update stays as it is.
func (c *Catalogue) report(ctx context.Context, thing string, arns []string) error {
	reported := make(map[string]any)
	for _, arn := range arns {
		pkg, name, err := c.parse(arn)
		if err != nil {
			continue
		}
		if name == removed {
			reported[pkg] = nil
			continue
		}
		v, err := c.GetPackageVersion(ctx, pkg, name)
		if errors.Is(err, ErrNotFound) {
			c.cfg.Log.Warn("package version is gone", "package", pkg, "version", name, "thing", thing)
			continue
		}
		if err != nil {
			return err
		}
		attributes := v.Attributes
		if attributes == nil {
			attributes = map[string]string{}
		}
		reported[pkg] = map[string]any{"version": name, "attributes": attributes}
	}
	if len(reported) == 0 {
		return nil
	}
	_, err := c.cfg.Shadows.Update(ctx, shadow.ID{Thing: thing, Shadow: Shadow},
		[]byte(encode(map[string]any{"state": map[string]any{"reported": reported}})))
	if refusal := (*shadow.Error)(nil); errors.As(err, &refusal) && refusal.Code < 500 && refusal.Code != 429 {
		c.cfg.Log.Warn("shadow of packages not updated", "thing", thing, "error", err)
		return nil
	}
	return err
}
