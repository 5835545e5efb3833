package accesskey_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/store/storetest"
)

var ctx = context.Background()

// open opens the keys in dir; close ends both.
func open(t *testing.T, dir string, now func() time.Time) (keys *accesskey.Keys, close func()) {
	t.Helper()
	db := storetest.Open(t, dir)
	t.Cleanup(func() { db.Close() })
	keys, err := accesskey.Open(ctx, db, dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return keys, func() { db.Close() }
}

func TestLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.UnixMilli(1_700_000_000_000).UTC()
	clock := func() time.Time { return now }
	keys, done := open(t, dir, clock)
	key, err := keys.Create(ctx, accesskey.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(key.ID) || len(key.Secret) != 40 {
		t.Errorf("%s with a secret of %d", key.ID, len(key.Secret))
	}
	if got, ok := keys.Lookup(key.ID); !ok || got.Secret != key.Secret || got.Role != accesskey.ReadOnly {
		t.Errorf("%v %v", got, ok)
	}
	if strings.Contains(key.String(), key.Secret) {
		t.Error("the secret is printed")
	}
	now = now.Add(time.Hour)
	keys.Used(key.ID)
	done()
	for _, file := range []string{"berth.db", "berth.db-wal"} {
		if text, err := os.ReadFile(filepath.Join(dir, file)); err == nil && bytes.Contains(text, []byte(key.Secret)) {
			t.Errorf("the secret lies in %s in the clear", file)
		}
	}

	keys, done = open(t, dir, clock)
	list, err := keys.List(ctx)
	if err != nil || len(list) != 1 || list[0].Secret != "" || !list[0].LastUsed.Equal(now) || !list[0].Created.Equal(now.Add(-time.Hour)) {
		t.Errorf("%+v %v", list, err)
	}
	if got, ok := keys.Lookup(key.ID); !ok || got.Secret != key.Secret {
		t.Error("the key did not survive a restart")
	}
	for _, enabled := range []bool{false, true, false} {
		if err := keys.SetEnabled(ctx, key.ID, enabled); err != nil {
			t.Fatal(err)
		}
		if _, ok := keys.Lookup(key.ID); ok != enabled {
			t.Errorf("enabled %v, found %v", enabled, ok)
		}
	}
	done()
	keys, done = open(t, dir, clock)
	if _, ok := keys.Lookup(key.ID); ok {
		t.Error("a disabled key came back")
	}
	if err := keys.Delete(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{keys.Delete(ctx, key.ID), keys.SetEnabled(ctx, key.ID, true)} {
		if !errors.Is(err, accesskey.ErrNotFound) {
			t.Error(err)
		}
	}
	if _, err := keys.Create(ctx, "king"); !errors.Is(err, accesskey.ErrInvalid) {
		t.Error(err)
	}
	done()
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, _ := open(t, dir, nil)
	first, made, err := keys.EnsureAdmin(ctx, dir, "", "")
	if err != nil || !made || first.Role != accesskey.Admin {
		t.Fatalf("%v %v %v", first, made, err)
	}
	file := filepath.Join(dir, accesskey.AdminFile)
	text, err := os.ReadFile(file)
	if want := "AWS_ACCESS_KEY_ID=" + first.ID + "\nAWS_SECRET_ACCESS_KEY=" + first.Secret + "\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
	if again, made, err := keys.EnsureAdmin(ctx, dir, "", ""); err != nil || made || again.ID != first.ID {
		t.Errorf("%v %v %v", again, made, err)
	}

	// The environment adds its key, and replaces the secret when it changes.
	for _, secret := range []string{"chosen-secret", "it's another"} {
		key, made, err := keys.EnsureAdmin(ctx, dir, "AKIACHOSEN0000000000", strings.ReplaceAll(secret, " ", "_"))
		if err != nil || !made {
			t.Fatal(err)
		}
		if got, ok := keys.Lookup(key.ID); !ok || got.Secret != strings.ReplaceAll(secret, " ", "_") {
			t.Errorf("%v", got)
		}
	}
	if text, _ := os.ReadFile(file); !strings.Contains(string(text), `AWS_SECRET_ACCESS_KEY='it'\''s_another'`) {
		t.Errorf("%s", text)
	}
	for _, bad := range [][2]string{{"AKIACHOSEN0000000000", ""}, {"", "secret"}, {"short", "secretsecret"}, {"AKIACHOSEN0000000001", "tiny"}} {
		if _, _, err := keys.EnsureAdmin(ctx, dir, bad[0], bad[1]); !errors.Is(err, accesskey.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := keys.Add(ctx, first.ID, "secretsecret", accesskey.Admin); !errors.Is(err, accesskey.ErrExists) {
		t.Error(err)
	}
}

func TestLostSealingKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, done := open(t, dir, nil)
	if _, err := keys.Create(ctx, accesskey.Admin); err != nil {
		t.Fatal(err)
	}
	done()
	if err := os.Remove(filepath.Join(dir, "secrets.key")); err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, dir)
	defer db.Close()
	if _, err := accesskey.Open(ctx, db, dir, nil); err == nil {
		t.Error("opened without the key that its secrets are sealed with")
	}
}
