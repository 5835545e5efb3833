package accesskey

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/berth-iot/berth/internal/seal"
)

// Environment variables that choose the first admin key.
const (
	EnvID     = "BERTH_ADMIN_ACCESS_KEY_ID"
	EnvSecret = "BERTH_ADMIN_SECRET_ACCESS_KEY"
)

// AdminFile is the name of the file that holds the admin key, in the data folder.
const AdminFile = "admin-credentials"

// EnsureAdmin makes the first admin key where there is no admin key yet and writes it to
// dir/admin-credentials (mode 0600) as lines of NAME=value that a shell can read. id and secret
// choose it (see [EnvID]); empty ones are made up. A chosen key is added, or its secret replaced,
// on later starts too, so that a change of the environment takes effect. made is false when
// nothing changed.
func (k *Keys) EnsureAdmin(ctx context.Context, dir, id, secret string) (key Key, made bool, err error) {
	if (id == "") != (secret == "") {
		return Key{}, false, fmt.Errorf("%w: %s and %s must be given together", ErrInvalid, EnvID, EnvSecret)
	}
	if id == "" {
		keys, err := k.List(ctx)
		if err != nil {
			return Key{}, false, err
		}
		for _, old := range keys {
			if old.Role == Admin {
				return old, false, nil
			}
		}
		id, secret = newID(), newSecret()
	} else if old, ok := k.Lookup(id); ok && old.Secret == secret && old.Role == Admin {
		return old, false, nil
	} else if err := k.Delete(ctx, id); err != nil && !errors.Is(err, ErrNotFound) {
		return Key{}, false, err
	}
	// The file comes first: a key nobody can read would lock the owner out after a crash.
	text := "AWS_ACCESS_KEY_ID=" + id + "\nAWS_SECRET_ACCESS_KEY=" + quote(secret) + "\n"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Key{}, false, fmt.Errorf("write admin key: %w", err)
	}
	if err := seal.WriteFile(filepath.Join(dir, AdminFile), []byte(text), 0o600); err != nil {
		return Key{}, false, fmt.Errorf("write admin key: %w", err)
	}
	key, err = k.Add(ctx, id, secret, Admin)
	return key, err == nil, err
}

// quote leaves a value that no shell would touch as it is and puts others in single quotes.
func quote(s string) string {
	out := []byte{'\''}
	plain := true
	for i := range len(s) {
		c := s[i]
		plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '/' || c == '+' || c == '=' || c == '_' || c == '-' || c == '.')
		if c == '\'' {
			out = append(out, `'\''`...)
		} else {
			out = append(out, c)
		}
	}
	if plain {
		return s
	}
	return string(append(out, '\''))
}
