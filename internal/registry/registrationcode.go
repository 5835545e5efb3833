package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/berth-iot/berth/internal/store"
)

func registrationCode(rd reader, account string) (code string, err error) {
	err = rd.QueryRow(`SELECT code FROM registration_code WHERE account = ?`, []any{account}, &code)
	if errors.Is(err, store.ErrNoRows) {
		return "", nil
	}
	return code, err
}

// GetRegistrationCode returns the account's registration code, 64 hexadecimal digits, which proves
// in a verification certificate that the caller holds a CA's key. It is made on first use.
func (r *Registry) GetRegistrationCode(ctx context.Context) (string, error) {
	code, err := registrationCode(r.reader(ctx), r.account)
	if err != nil || code != "" {
		return code, err
	}
	var b [32]byte
	rand.Read(b[:])
	err = r.write(ctx, func(tx *store.Tx, _ *changes) (err error) {
		if _, err := tx.Exec(`INSERT INTO registration_code (account, code) VALUES (?, ?) ON CONFLICT (account) DO NOTHING`, r.account, hex.EncodeToString(b[:])); err != nil {
			return err
		}
		code, err = registrationCode(tx, r.account)
		return err
	})
	return code, err
}

// DeleteRegistrationCode forgets the code; the next one will differ. ErrNotFound when there is none.
func (r *Registry) DeleteRegistrationCode(ctx context.Context) error {
	return r.write(ctx, func(tx *store.Tx, _ *changes) error {
		n, err := tx.Exec(`DELETE FROM registration_code WHERE account = ?`, r.account)
		if err == nil && n == 0 {
			return refuse(ErrNotFound, "no registration code")
		}
		return err
	})
}
