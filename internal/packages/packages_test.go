package packages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

const (
	prefix = "arn:aws:iot:us-east-1:000000000000:package/"
	token  = "0123456789abcdef0123456789abcdef0123"
)

type bench struct {
	*Catalogue
	t       testing.TB
	dir     string
	db      *store.DB
	shadows *shadow.Service
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) open() {
	ctx := context.Background()
	var err error
	b.db = storetest.Open(b.t, b.dir)
	reg, err := registry.Open(ctx, b.db, registry.Config{})
	b.check(err)
	r, err := router.New(ctx, topic.AWS, b.db)
	b.check(err)
	b.shadows, err = shadow.Open(ctx, shadow.Config{Store: b.db, Router: r, Log: slog.New(slog.DiscardHandler)})
	b.check(err)
	b.Catalogue, err = Open(ctx, Config{Store: b.db, Registry: reg, Shadows: b.shadows})
	b.check(err)
}

func (b *bench) close() {
	b.Catalogue.Close()
	b.shadows.Close()
	b.db.Close()
}

func (b *bench) version(pkg, name string, actions ...Action) {
	b.t.Helper()
	ctx := context.Background()
	if _, err := b.CreatePackage(ctx, pkg, "", token); err != nil {
		b.t.Fatal(err)
	}
	_, err := b.CreatePackageVersion(ctx, Version{Package: pkg, Name: name, Attributes: map[string]string{"url": pkg + "-" + name}}, "")
	b.check(err)
	for _, a := range actions {
		b.check(b.UpdatePackageVersion(ctx, pkg, name, VersionUpdate{Action: a}))
	}
}

func TestEveryStatusAndAction(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		from Status
		a    Action
		to   Status
		ok   bool
	}{
		{Draft, Publish, Published, true}, {Draft, Deprecate, Draft, false},
		{Published, Publish, Published, true}, {Published, Deprecate, Deprecated, true},
		{Deprecated, Publish, Published, true}, {Deprecated, Deprecate, Deprecated, true},
		{Draft, "DELETE", Draft, false},
	} {
		if to, ok := tc.from.After(tc.a); to != tc.to || ok != tc.ok {
			t.Errorf("%s after %s: %s %v", tc.from, tc.a, to, ok)
		}
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.version("fw", "1.0")
	text := "new"
	for name, tc := range map[string]struct {
		do   func() error
		want error
	}{
		"0 same token":  {func() error { _, err := b.CreatePackage(ctx, "fw", "", token); return err }, nil},
		"0 other token": {func() error { _, err := b.CreatePackage(ctx, "fw", "", ""); return err }, ErrConflict},
		"0 bad token":   {func() error { _, err := b.CreatePackage(ctx, "fw2", "", "short"); return err }, ErrInvalid},
		"0 bad name":    {func() error { _, err := b.CreatePackage(ctx, "f w", "", ""); return err }, ErrInvalid},
		"0 version again": {func() error {
			_, err := b.CreatePackageVersion(ctx, Version{Package: "fw", Name: "1.0"}, "")
			return err
		}, ErrConflict},
		"0 no package": {func() error { _, err := b.CreatePackageVersion(ctx, Version{Package: "x", Name: "1"}, ""); return err }, ErrInvalid},
		"0 recipe": {func() error {
			_, err := b.CreatePackageVersion(ctx, Version{Package: "fw", Name: "2", Recipe: "{"}, "")
			return err
		}, ErrInvalid},
		"0 attributes": {func() error {
			_, err := b.CreatePackageVersion(ctx, Version{Package: "fw", Name: "2", Attributes: map[string]string{"a": strings.Repeat("x", 3072)}}, "")
			return err
		}, ErrInvalid},
		"0 default draft": {func() error { return b.UpdatePackage(ctx, "fw", PackageUpdate{Default: pointer("1.0")}) }, ErrConflict},
		"0 deprecate":     {func() error { return b.UpdatePackageVersion(ctx, "fw", "1.0", VersionUpdate{Action: Deprecate}) }, ErrConflict},
		"0 draft changes": {func() error {
			return b.UpdatePackageVersion(ctx, "fw", "1.0", VersionUpdate{Attributes: map[string]string{"a": "b"}, Artifact: &Artifact{&S3Location{"b", "k", ""}}})
		}, nil},
		"0 job of a draft": {func() error { return b.Check(ctx, []string{prefix + "fw/version/1.0"}) }, ErrInvalid},
		"0 with versions":  {func() error { return b.DeletePackage(ctx, "fw") }, ErrInvalid},
		"0 both": {func() error {
			return b.UpdatePackage(ctx, "fw", PackageUpdate{Default: pointer("1.0"), UnsetDefault: true})
		}, ErrInvalid},
		"0 unknown": {func() error { return b.UpdatePackage(ctx, "none", PackageUpdate{}) }, ErrNotFound},
		"0 delete unknown": {func() error {
			return errors.Join(b.DeletePackage(ctx, "none"), b.DeletePackageVersion(ctx, "none", "1"))
		}, nil},
	} {
		if err := tc.do(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.check(b.UpdatePackageVersion(ctx, "fw", "1.0", VersionUpdate{Action: Publish}))
	b.check(b.UpdatePackage(ctx, "fw", PackageUpdate{Default: pointer("1.0"), Description: &text}))
	b.check(b.UpdatePackageVersion(ctx, "fw", "1.0", VersionUpdate{Description: &text, Action: Deprecate}))
	b.check(b.Check(ctx, []string{prefix + "fw/version/1.0", prefix + "fw/version/$null"}))
	for _, bad := range []error{b.UpdatePackageVersion(ctx, "fw", "1.0", VersionUpdate{Attributes: map[string]string{}})} {
		if !errors.Is(bad, ErrConflict) {
			t.Error(bad)
		}
	}
	for _, arn := range []string{"", prefix + "fw", prefix + "fw/version/", prefix + "/version/1", "arn:aws:iot:us-east-1:111111111111:package/fw/version/1.0"} {
		if err := b.Check(ctx, []string{arn}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", arn, err)
		}
	}
	if err := b.Check(ctx, []string{prefix + "fw/version/9"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	v, err := b.GetPackageVersion(ctx, "fw", "1.0")
	if err != nil || v.Status != Deprecated || v.Description != text || v.Attributes["a"] != "b" || v.Artifact.S3Location.Key != "k" || v.ARN != prefix+"fw/version/1.0" {
		t.Errorf("%+v %v", v, err)
	}
	if err := b.DeletePackageVersion(ctx, "fw", "1.0"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	b.check(b.UpdatePackage(ctx, "fw", PackageUpdate{UnsetDefault: true}))
	b.check(b.DeletePackageVersion(ctx, "fw", "1.0"))
	b.check(b.DeletePackage(ctx, "fw"))
	if _, err := b.GetPackage(ctx, "fw"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func pointer[T any](v T) *T { return &v }

func TestPages(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	for i := range 5 {
		b.version(fmt.Sprint("p", i), "1", Publish)
		_, err := b.CreatePackageVersion(ctx, Version{Package: "p0", Name: fmt.Sprint("2.", i)}, "")
		b.check(err)
	}
	var names []string
	for page := (Page{Limit: 2}); ; {
		list, next, err := b.ListPackages(ctx, page)
		b.check(err)
		for _, p := range list {
			names = append(names, p.Name)
		}
		if page.Token = next; next == "" {
			break
		}
	}
	if want := []string{"p0", "p1", "p2", "p3", "p4"}; !cmp.Equal(names, want) {
		t.Errorf("%v", names)
	}
	list, next, err := b.ListPackageVersions(ctx, "p0", Draft, Page{Limit: 4})
	if err != nil || len(list) != 4 || next == "" {
		t.Fatalf("%d %q %v", len(list), next, err)
	}
	if list, next, err = b.ListPackageVersions(ctx, "p0", Draft, Page{Limit: 4, Token: next}); err != nil || len(list) != 1 || next != "" {
		t.Errorf("%d %q %v", len(list), next, err)
	}
	for _, page := range []Page{{Limit: 101}, {Limit: -1}, {Token: "?"}} {
		if _, _, err := b.ListPackages(ctx, page); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", page, err)
		}
	}
}

// TestInstalledSurvivesRestart notes an installation in a transaction that is the last before the
// catalogue goes away; the next one writes the shadow.
func TestInstalledSurvivesRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	b.version("fw", "1.0", Publish)
	b.version("app", "2", Publish)
	note := func(versions ...string) {
		t.Helper()
		b.check(b.db.Write(ctx, func(tx *store.Tx) error { return b.InstalledTx(tx, "lamp", versions) }))
	}
	note(prefix + "fw/version/1.0") // nothing is configured yet
	b.check(b.UpdatePackageConfiguration(ctx, pointer(true), pointer("arn:aws:iam::000000000000:role/r")))
	b.Catalogue.Close()
	note(prefix+"fw/version/1.0", prefix+"app/version/2", prefix+"gone/version/3")
	note(prefix + "app/version/$null")
	b.close()
	b.open()
	reported := func() map[string]any {
		document, err := b.shadows.Get(ctx, shadow.ID{Thing: "lamp", Shadow: Shadow})
		if err != nil {
			return nil
		}
		var d struct {
			State struct{ Reported map[string]any }
		}
		b.check(json.Unmarshal(document, &d))
		return d.State.Reported
	}
	want := map[string]any{"fw": map[string]any{"version": "1.0", "attributes": map[string]any{"url": "fw-1.0"}}}
	for {
		left := 0
		b.check(b.db.QueryRow(ctx, `SELECT count(*) FROM package_installed`, nil, &left))
		if left == 0 {
			break
		}
	}
	if got := reported(); !cmp.Equal(got, want) {
		t.Errorf("%s", cmp.Diff(want, got))
	}
	if c, err := b.GetPackageConfiguration(ctx); err != nil || !c.Enabled || c.Role == "" {
		t.Errorf("%+v %v", c, err)
	}
}
