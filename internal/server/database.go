package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/store"
)

// store opens the database of the state: PostgreSQL if one is named, or a file in the data directory,
// which has the keys and uploaded files in either case. The node is nil without a cluster.
func (c *Config) store(ctx context.Context, log *slog.Logger) (db *store.DB, node *cluster.Node, err error) {
	if c.Database == "" {
		db, err = store.Open(ctx, c.Data, log)
		return db, nil, err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, nil, err
	}
	if c.Cluster != "" {
		db, node, err = cluster.Open(ctx, cluster.Config{Database: c.Database, Bus: c.Cluster, Name: c.nodeName(), Lease: c.ClusterLease, Log: log})
	} else {
		db, err = store.OpenPostgres(ctx, c.Database, log)
	}
	if err != nil {
		return nil, nil, err
	}
	if c.Cluster != "" {
		log.Info("tables of readings are this node's own: they have what rules on this node have written")
	}
	shown, _ := store.ParseURL(c.Database)
	log.Info("the state is in PostgreSQL", "database", shown)
	if _, err := os.Stat(filepath.Join(c.Data, store.FileName)); err == nil {
		log.Warn("the data directory has a database too, which is not used", "file", store.FileName)
	}
	return db, node, nil
}

// nodeName is the name of this node: one data directory of one host is one node.
func (c *Config) nodeName() string {
	if c.Node != "" {
		return c.Node
	}
	host, _ := os.Hostname()
	dir, err := filepath.Abs(c.Data)
	if err != nil {
		dir = c.Data
	}
	return host + ":" + dir
}

// sameKeys refuses to be a node with other keys than the first one had: certificates and secrets of one
// would mean nothing to another.
func (c *Config) sameKeys(ctx context.Context, db *store.DB) error {
	h := sha256.New()
	for _, name := range []string{"ca.pem", "secrets.key"} {
		b, err := os.ReadFile(filepath.Join(c.Data, name))
		if err != nil {
			return fmt.Errorf("join the cluster: %w", err)
		}
		h.Write(b)
	}
	digest, first := hex.EncodeToString(h.Sum(nil)), ""
	if err := db.Create(ctx, `CREATE TABLE IF NOT EXISTS cluster_keys (id BIGINT PRIMARY KEY, digest TEXT NOT NULL)`); err != nil {
		return err
	}
	err := db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO cluster_keys (id, digest) VALUES (1, ?) ON CONFLICT (id) DO NOTHING`, digest); err != nil {
			return err
		}
		return tx.QueryRow(`SELECT digest FROM cluster_keys`, nil, &first)
	})
	if err == nil && first != digest {
		err = errors.New("join the cluster: ca.pem or secrets.key differ from those of the first node; copy ca.pem, ca.key, secrets.key and ticket-keys from its data directory")
	}
	return err
}
