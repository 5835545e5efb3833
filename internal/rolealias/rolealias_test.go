package rolealias

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/sigv4"
)

var ctx = context.Background()

func TestAliases(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	s, err := Open(ctx, db, func(r string) string { return "arn:" + r }, nil)
	if err != nil {
		t.Fatal(err)
	}
	const role = "arn:aws:iam::123456789012:role/service/up"
	for name, a := range map[string]Alias{
		"name":         {Name: "a b", RoleARN: role},
		"no role":      {Name: "a"},
		"not a role":   {Name: "a", RoleARN: "arn:aws:iam::123456789012:user/up"},
		"no role name": {Name: "a", RoleARN: "arn:aws:iam::123456789012:role/"},
		"too short":    {Name: "a", RoleARN: role, Duration: 899 * time.Second},
		"too long":     {Name: "a", RoleARN: role, Duration: 43201 * time.Second},
	} {
		if _, err := s.Create(ctx, a); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, err := s.Create(ctx, Alias{Name: "a", RoleARN: role})
	if err != nil || a.Duration != time.Hour || a.Policy() != "up" || a.ARN != "arn:rolealias/a" {
		t.Fatalf("%+v %v", a, err)
	}
	if _, err := s.Create(ctx, Alias{Name: "a", RoleARN: role}); !errors.Is(err, registry.ErrAlreadyExists) {
		t.Error(err)
	}
	if a, err = s.Update(ctx, "a", "", 900*time.Second); err != nil || a.Duration != 900*time.Second || a.RoleARN != role {
		t.Errorf("%+v %v", a, err)
	}
	if a, err = s.Update(ctx, "a", "arn:aws:iam::123456789012:role/down", 0); err != nil || a.Policy() != "down" {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := s.Create(ctx, Alias{Name: "b", RoleARN: role}); err != nil {
		t.Error(err)
	}
	names, next, err := s.List(ctx, true, registry.Page{Limit: 1})
	if err != nil || len(names) != 1 || names[0] != "b" {
		t.Errorf("%v %v", names, err)
	}
	if names, next, err = s.List(ctx, true, registry.Page{Limit: 1, Token: next}); err != nil || len(names) != 1 || names[0] != "a" || next != "" {
		t.Errorf("%v %q %v", names, next, err)
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	_, updating := s.Update(ctx, "a", role, 0)
	for _, err := range []error{s.Delete(ctx, "a"), updating} {
		if !errors.Is(err, registry.ErrNotFound) {
			t.Error(err)
		}
	}
}

func newIssuer(t testing.TB, salt string, now func() time.Time) *Issuer {
	t.Helper()
	i, err := NewIssuer(func(purpose string) ([]byte, error) { return []byte(salt + purpose), nil }, now)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0).UTC()
	clock := func() time.Time { return now }
	i := newIssuer(t, "", clock)
	given := Session{Alias: "a", Policy: "p", CertificateID: "c", ThingName: "t", ThingType: "y"}
	creds, err := i.Issue(given, 900*time.Second)
	if err != nil || !regexp.MustCompile(`^ASIA[A-Z2-7]{16}$`).MatchString(creds.AccessKeyID) || len(creds.SecretAccessKey) != 40 || !creds.Expires.Equal(now.Add(900*time.Second)) {
		t.Fatalf("%+v %v", creds, err)
	}
	given.Expires = creds.Expires
	for name, from := range map[string]*Issuer{"the same": i, "after a restart": newIssuer(t, "", clock)} {
		if secret, ok := from.Secret(creds.AccessKeyID); !ok || secret != creds.SecretAccessKey {
			t.Errorf("%s: secret %q", name, secret)
		}
		if got, err := from.Session(creds.AccessKeyID, creds.SessionToken); err != nil || *got != given {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	other, err := i.Issue(given, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(creds.SessionToken)
	changed := base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(raw), `"p":"p"`, `"p":"q"`, 1)))
	for name, token := range map[string]string{"another's": other.SessionToken, "changed": changed, "empty": "", "short": "AAAA", "no base64": "!", "long": strings.Repeat("A", 5000)} {
		if _, err := i.Session(creds.AccessKeyID, token); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newIssuer(t, "other", clock).Session(creds.AccessKeyID, creds.SessionToken); !errors.Is(err, ErrToken) {
		t.Errorf("another server: %v", err)
	}
	for _, id := range []string{"AKIATESTTESTTESTTEST", "ASIA", ""} {
		if _, ok := i.Secret(id); ok {
			t.Errorf("%q has a secret", id)
		}
	}

	// A signed request: good until the credentials expire, whenever it was signed.
	v := sigv4.Verifier{Clock: clock, Secret: i.Secret, SessionToken: func(id, token string) error { _, err := i.Session(id, token); return err }}
	signer := sigv4.Signer{AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey, SessionToken: creds.SessionToken, Region: "r", Service: "iotdata"}
	verify := func() error {
		r, err := http.NewRequest("POST", "https://host/topics/t", nil)
		if err != nil {
			t.Fatal(err)
		}
		signer.Sign(r, nil, now)
		_, err = v.Verify(r, nil)
		return err
	}
	now = now.Add(899 * time.Second)
	if err := verify(); err != nil {
		t.Error(err)
	}
	now = now.Add(time.Second)
	if err := verify(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
	if _, err := i.Session(creds.AccessKeyID, creds.SessionToken); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

func FuzzSession(f *testing.F) {
	i := newIssuer(f, "", nil)
	creds, err := i.Issue(Session{Alias: "a", Policy: "p", CertificateID: "c"}, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(creds.AccessKeyID, creds.SessionToken)
	f.Add("ASIA", "")
	f.Add("ASIATESTTESTTESTTEST", "eyJpIjoiIn0=")
	f.Fuzz(func(t *testing.T, id, token string) {
		// Every process that fuzzes issues its own, all for the same session.
		if s, err := i.Session(id, token); err == nil && (len(id) != idLength || s.Policy != "p" || s.Alias != "a" || s.CertificateID != "c" || s.ThingName != "") {
			t.Errorf("%q is accepted with %q as %+v", id, token, s)
		}
	})
}
