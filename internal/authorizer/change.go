package authorizer

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Limits of the service model of AWS IoT.
const (
	maxFunction  = 2048
	maxPublicKey = 5120
	minKeyBits   = 2048
	maxKeyBits   = 8192
)

var (
	namePattern     = regexp.MustCompile(`^[\w=,@-]{1,128}$`)
	tokenKeyPattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	keyNamePattern  = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)
)

// Update is a change to an authorizer; nil fields change nothing.
type Update struct {
	Function, TokenKeyName, Status *string
	PublicKeys                     map[string]string // added, or replaced by name
	CacheHTTP                      *bool
}

// check refuses what cannot be kept.
func (s *Service) check(a *Authorizer) error {
	switch {
	case !namePattern.MatchString(a.Name):
		return invalid(`authorizerName %q is not 1 to 128 of the characters [\w=,@-]`, a.Name)
	case a.Function == "" || len(a.Function) > maxFunction:
		return invalid("authorizerFunctionArn is empty or longer than %d characters", maxFunction)
	case a.TokenKeyName != "" && !tokenKeyPattern.MatchString(a.TokenKeyName):
		return invalid("tokenKeyName %q is not 1 to 128 of the characters [a-zA-Z0-9_-]", a.TokenKeyName)
	case a.Status != Active && a.Status != Inactive:
		return invalid("1 validation error detected: Value '%s' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [ACTIVE, INACTIVE]", a.Status)
	case !a.SigningDisabled && (a.TokenKeyName == "" || len(a.PublicKeys) == 0):
		return invalid("tokenKeyName and tokenSigningPublicKeys are required unless signing is disabled")
	}
	if err := s.cfg.Hooks.Check(a.Function); err != nil {
		return invalid("authorizerFunctionArn: %v", err)
	}
	_, err := parseKeys(a.PublicKeys)
	return err
}

// parseKeys reads public keys in PEM, in the order of their names.
func parseKeys(texts map[string]string) ([]*rsa.PublicKey, error) {
	var keys []*rsa.PublicKey
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		text := texts[name]
		if !keyNamePattern.MatchString(name) {
			return nil, invalid("tokenSigningPublicKeys: name %q is not 1 to 128 of the characters [a-zA-Z0-9:_-]", name)
		}
		block, _ := pem.Decode([]byte(text))
		if block == nil || len(text) > maxPublicKey {
			return nil, invalid("tokenSigningPublicKeys: %s is not a public key in PEM of at most %d characters", name, maxPublicKey)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			parsed, err = x509.ParsePKCS1PublicKey(block.Bytes)
		}
		key, ok := parsed.(*rsa.PublicKey)
		if err != nil || !ok || key.N.BitLen() < minKeyBits || key.N.BitLen() > maxKeyBits {
			return nil, invalid("tokenSigningPublicKeys: %s is not an RSA key of %d to %d bits", name, minKeyBits, maxKeyBits)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Create keeps a new authorizer; an empty status is ACTIVE. registry.ErrInvalid,
// registry.ErrAlreadyExists.
func (s *Service) Create(ctx context.Context, a Authorizer) (*Authorizer, error) {
	if a.Status == "" {
		a.Status = Active
	}
	if err := s.check(&a); err != nil {
		return nil, err
	}
	now := s.cfg.Now().UnixMilli()
	err := s.change(ctx, func(tx *store.Tx, st *state) error {
		keys, err := json.Marshal(a.PublicKeys)
		if err != nil {
			return err
		}
		n, err := tx.Exec(`INSERT INTO authorizer (name, function, token_key, public_keys, signing_disabled, cache_http, status, created, modified)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			a.Name, a.Function, a.TokenKeyName, string(keys), number(a.SigningDisabled), number(a.CacheHTTP), a.Status, now, now)
		if err == nil && n == 0 {
			return &registry.Error{Kind: registry.ErrAlreadyExists, Message: fmt.Sprintf("authorizer %s already exists", a.Name), ID: a.Name, ARN: s.cfg.ARN("authorizer/" + a.Name)}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Describe(a.Name)
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// change writes and reads the result back. fn gets what there is in its transaction: another node may have
// changed it a moment ago.
func (s *Service) change(ctx context.Context, fn func(tx *store.Tx, st *state) error) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, "")
		st, err := s.read(tx.Query)
		if err != nil {
			return err
		}
		return fn(tx, st)
	}); err != nil {
		return err
	}
	return s.load(context.WithoutCancel(ctx))
}

// Feed is the kind of change that nodes of a cluster tell each other.
const Feed = "authorizer"

// Reload reads again what another node has changed.
func (s *Service) Reload([]string) error {
	s.write.Lock()
	defer s.write.Unlock()
	return s.load(context.Background())
}

// Known reports in a transaction whether an authorizer exists.
func (s *Service) Known(tx *store.Tx, name string) (bool, error) {
	var n int
	err := tx.QueryRow(`SELECT count(*) FROM authorizer WHERE name = ?`, []any{name}, &n)
	return n > 0, err
}

// Update changes an authorizer; whether tokens are signed cannot change. registry.ErrNotFound,
// registry.ErrInvalid.
func (s *Service) Update(ctx context.Context, name string, up Update) (*Authorizer, error) {
	err := s.change(ctx, func(tx *store.Tx, st *state) error {
		old, err := st.describe(name)
		if err != nil {
			return err
		}
		a := *old
		a.PublicKeys = maps.Clone(old.PublicKeys)
		if a.PublicKeys == nil {
			a.PublicKeys = make(map[string]string)
		}
		maps.Copy(a.PublicKeys, up.PublicKeys)
		for _, f := range []struct{ to, from *string }{{&a.Function, up.Function}, {&a.TokenKeyName, up.TokenKeyName}, {&a.Status, up.Status}} {
			if f.from != nil {
				*f.to = *f.from
			}
		}
		if up.CacheHTTP != nil {
			a.CacheHTTP = *up.CacheHTTP
		}
		if err := s.check(&a); err != nil {
			return err
		}
		keys, err := json.Marshal(a.PublicKeys)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE authorizer SET function = ?, token_key = ?, public_keys = ?, cache_http = ?, status = ?, modified = ? WHERE name = ?`,
			a.Function, a.TokenKeyName, string(keys), number(a.CacheHTTP), a.Status, s.cfg.Now().UnixMilli(), name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Describe(name)
}

// Delete removes an authorizer that is INACTIVE and nobody's default. registry.ErrNotFound,
// registry.ErrDeleteConflict.
func (s *Service) Delete(ctx context.Context, name string) error {
	return s.change(ctx, func(tx *store.Tx, st *state) error {
		a, err := st.describe(name)
		if err != nil {
			return err
		}
		conflict := func(format string, args ...any) error {
			return &registry.Error{Kind: registry.ErrDeleteConflict, Message: fmt.Sprintf(format, args...)}
		}
		if st.usual == name {
			return conflict("authorizer %s is the default authorizer: call ClearDefaultAuthorizer first", name)
		}
		if s.cfg.InUse != nil {
			domain, err := s.cfg.InUse(tx, name)
			if err != nil {
				return err
			}
			if domain != "" {
				return conflict("authorizer %s is the default of domain configuration %s", name, domain)
			}
		}
		if a.Status == Active {
			return conflict("authorizer %s is ACTIVE: set it INACTIVE with UpdateAuthorizer first", name)
		}
		_, err = tx.Exec(`DELETE FROM authorizer WHERE name = ?`, name)
		return err
	})
}

// SetDefault makes an authorizer decide over clients that name none. registry.ErrNotFound,
// registry.ErrAlreadyExists while another one is the default.
func (s *Service) SetDefault(ctx context.Context, name string) (*Authorizer, error) {
	var a *Authorizer
	err := s.change(ctx, func(tx *store.Tx, st *state) (err error) {
		if a, err = st.describe(name); err != nil {
			return err
		}
		if usual := st.usual; usual != "" && usual != name {
			return &registry.Error{Kind: registry.ErrAlreadyExists, Message: fmt.Sprintf("authorizer %s is the default authorizer: call ClearDefaultAuthorizer first", usual),
				ID: usual, ARN: s.cfg.ARN("authorizer/" + usual)}
		}
		_, err = tx.Exec(`INSERT INTO authorizer_default (one, name) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET name = excluded.name`, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// ClearDefault leaves clients that name no authorizer without one. registry.ErrNotFound if there is
// no default.
func (s *Service) ClearDefault(ctx context.Context) error {
	return s.change(ctx, func(tx *store.Tx, st *state) error {
		n, err := tx.Exec(`DELETE FROM authorizer_default`)
		if err == nil && n == 0 {
			return notFound("there is no default authorizer")
		}
		return err
	})
}
