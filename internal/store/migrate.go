package store

import (
	"context"
	"fmt"
	"strings"
)

// Migrate brings one component's tables up to date. Steps are numbered from 1 by their place in
// the list and applied once each, in order, in one transaction; the list only ever grows. A step
// may hold several statements separated by semicolons. `/*sqlite …*/` passes its inside to SQLite
// only. A database that is ahead of the list was written by a newer berth and is refused.
//
// The steps are kept in the database, so that it can be copied to another kind.
func (db *DB) Migrate(ctx context.Context, component string, steps []string) error {
	err := db.WriteLoose(ctx, func(tx *Tx) error {
		if t, ok := tx.run.(*postgresTx); ok && t.member != nil {
			if err := t.define(lockTransactionDefinitions); err != nil {
				return err
			}
		}
		for _, table := range bookkeeping {
			if err := tx.run.define(table); err != nil {
				return err
			}
		}
		var version, kept int
		err := tx.QueryRow(`SELECT version FROM schema_version WHERE component = ?`, []any{component}, &version)
		if err != nil && err != ErrNoRows {
			return err
		}
		if version > len(steps) {
			return fmt.Errorf("tables are at version %d, this berth knows up to %d: use the newer berth that wrote them", version, len(steps))
		}
		if err := tx.QueryRow(`SELECT count(*) FROM schema_step WHERE component = ?`, []any{component}, &kept); err != nil {
			return err
		}
		for i := kept; i < len(steps); i++ {
			if _, err := tx.Exec(`INSERT INTO schema_step (component, number, definition) VALUES (?, ?, ?)`, component, i+1, steps[i]); err != nil {
				return err
			}
		}
		if version == len(steps) {
			return nil
		}
		for i, step := range steps[version:] {
			for stmt := range strings.SplitSeq(step, ";") {
				if strings.TrimSpace(stmt) == "" {
					continue
				}
				if err := tx.run.define(stmt); err != nil {
					return fmt.Errorf("step %d: %w", version+i+1, err)
				}
			}
		}
		_, err = tx.Exec(`INSERT INTO schema_version (component, version) VALUES (?, ?)
			ON CONFLICT (component) DO UPDATE SET version = excluded.version`, component, len(steps))
		return err
	})
	if err != nil {
		return fmt.Errorf("migrate %s: %w", component, err)
	}
	return nil
}

// bookkeeping are the tables of this package: what has been done, and what with.
var bookkeeping = []string{
	`CREATE TABLE IF NOT EXISTS schema_version (component TEXT PRIMARY KEY, version BIGINT NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS schema_step (component TEXT NOT NULL, number BIGINT NOT NULL, definition TEXT NOT NULL, PRIMARY KEY (component, number))`,
}
