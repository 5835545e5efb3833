package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/berth-iot/berth/internal/backup"
)

// backups starts the schedule of backups, if there is one.
func (c *Config) backups(ctx context.Context, log *slog.Logger) (*backup.Schedule, error) {
	if c.BackupDir == "" {
		return nil, nil
	}
	passphrase, err := c.Passphrase()
	if err != nil {
		return nil, err
	}
	return backup.StartSchedule(ctx, backup.ScheduleConfig{Source: c.Source(), Dir: c.BackupDir, Every: c.BackupEvery, Keep: c.BackupKeep,
		Passphrase: passphrase, Log: log})
}

// Source is what a backup of this server saves.
func (c *Config) Source() backup.Source {
	return backup.Source{Data: c.Data, Database: c.Database, TableDatabase: c.TableDatabase}
}

// Passphrase is that of backups: the first line of a file, or the one of the environment; empty for none.
func (c *Config) Passphrase() (string, error) {
	if c.BackupSecret == "" {
		return c.BackupPassphrase, nil
	}
	b, err := os.ReadFile(c.BackupSecret)
	if err != nil {
		return "", fmt.Errorf("passphrase of backups: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("passphrase of backups: the first line of %s is empty", c.BackupSecret)
	}
	return line, nil
}
