package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/authorizer"
	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/console"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/eventconfig"
	"github.com/berth-iot/berth/internal/files"
	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/password"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/rules"
	"github.com/berth-iot/berth/internal/seal"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/stream"
)

// joinRouter connects the router with those of other nodes; without a cluster it does nothing.
func joinRouter(node *cluster.Node, routes *router.Router) (*cluster.Interest, error) {
	if node == nil {
		return nil, nil
	}
	node.OnEveryChange("retained", routes.RefreshRetained)
	return cluster.NewInterest(node, routes)
}

// leads is whether this node is the one that does what is done once; nil without a cluster.
func (s *Server) leads() func() bool {
	if s.node == nil {
		return nil
	}
	return s.node.Leader
}

// follow says who hears of which changes of other nodes.
func (s *Server) follow(reg *registry.Registry, keys *accesskey.Keys, kinds *eventconfig.Configuration, others *identities) {
	for kind, handle := range map[string]func([]string) error{
		registry.FeedPrincipals:    reg.PrincipalsChanged,
		registry.FeedThings:        func(names []string) error { return reg.ThingsChanged(names, false) },
		registry.FeedMembers:       func(names []string) error { return reg.ThingsChanged(names, true) },
		registry.FeedGroups:        reg.GroupsChanged,
		registry.FeedEvents:        reg.EventsWait,
		accesskey.Feed:             keys.Reload,
		eventconfig.Feed:           kinds.Reload,
		domain.Feed:                others.domains.Reload,
		password.Feed:              others.users.Reload,
		authorizer.Feed:            others.logins.authorizers.Reload,
		rules.Feed:                 s.rules.Reload,
		stream.Feed:                s.streams.Reload,
		shadow.Feed:                s.shadows.Reload,
		fleetindex.Feed:            s.index.Reload,
		fleetindex.FeedConnections: s.index.ReloadConnections,
	} {
		s.node.OnChange(kind, handle)
	}
	s.node.OnEveryChange("node", s.jobs.Reconsider)
	s.node.OnEveryChange("node", s.commands.Reconsider)
	reg.SetLeader(s.node.Leader)
	s.shadows.SetFollows(s.index.FollowsShadows)
	s.node.Lead("adopt deliveries of rules", 2*time.Second, s.rules.Adopt)
}

// startNode begins to follow the other nodes, after everything that they may change has been read.
func (s *Server) startNode(ctx context.Context, interest *cluster.Interest, secrets *seal.Box) error {
	if err := s.cfg.sameKeys(ctx, s.db); err != nil {
		return err
	}
	if err := s.sharePassword(ctx, secrets); err != nil { // that the console has made
		return err
	}
	go interest.Run()
	return s.node.Start(ctx)
}

// shareFiles makes uploaded files those of all nodes. A server that has left a cluster takes them along.
func (s *Server) shareFiles(ctx context.Context, stored *files.Files, secrets *seal.Box) error {
	if s.node == nil {
		return stored.Gather(ctx)
	}
	key, err := secrets.Derive("addresses of files")
	if err != nil {
		return err
	}
	if err := stored.Share(ctx, key); err != nil {
		return err
	}
	s.node.Lead("remove pieces of files without a name", time.Hour, stored.Tidy)
	go stored.ShareLoop(ctx, func(err error) { s.log.Error("share files", "error", err) })
	return nil
}

// sharePassword gives a node that has no password of the console yet that of the others, and notes this node's for
// those to come. Without a cluster it does nothing.
func (s *Server) sharePassword(ctx context.Context, secrets *seal.Box) error {
	if s.node == nil {
		return nil
	}
	const name = console.PasswordFile
	path := filepath.Join(s.cfg.Data, name)
	own, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return fmt.Errorf("share the console's password: %w", err)
	}
	if err := s.db.Create(ctx, `CREATE TABLE IF NOT EXISTS cluster_secret (name TEXT PRIMARY KEY, sealed BLOB NOT NULL)`); err != nil {
		return err
	}
	var sealed, others []byte
	err = s.db.QueryRow(ctx, `SELECT sealed FROM cluster_secret WHERE name = ?`, []any{name}, &sealed)
	if err == nil {
		if others, err = secrets.Unseal(name, sealed); err != nil {
			return nil // this node has another secrets.key, and is refused
		}
	}
	switch {
	case err != nil && !errors.Is(err, store.ErrNoRows):
		return fmt.Errorf("share the console's password: %w", err)
	case missing && others != nil:
		return seal.WriteFile(path, others, 0o600)
	case missing || bytes.Equal(own, others):
		return nil
	case others != nil:
		s.log.Warn("the console's password is not that of the other nodes: who signs in with it is signed in on this one only", "file", path)
	}
	return s.db.WriteLoose(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO cluster_secret (name, sealed) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed`, name, secrets.Seal(name, own))
		return err
	})
}
