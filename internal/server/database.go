package server

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/berth-iot/berth/internal/store"
)

// store opens the database of the state: PostgreSQL if one is named, or a file in the data directory,
// which has the keys and uploaded files in either case.
func (c *Config) store(ctx context.Context, log *slog.Logger) (*store.DB, error) {
	if c.Database == "" {
		return store.Open(ctx, c.Data, log)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, err
	}
	db, err := store.OpenPostgres(ctx, c.Database, log)
	if err != nil {
		return nil, err
	}
	shown, _ := store.ParseURL(c.Database)
	log.Info("the state is in PostgreSQL", "database", shown)
	if _, err := os.Stat(filepath.Join(c.Data, store.FileName)); err == nil {
		log.Warn("the data directory has a database too, which is not used", "file", store.FileName)
	}
	return db, nil
}
