package server

import (
	"context"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/authorizer"
	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/eventconfig"
	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/password"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/rules"
	"github.com/berth-iot/berth/internal/shadow"
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
func (s *Server) startNode(ctx context.Context, interest *cluster.Interest) error {
	if err := s.cfg.sameKeys(ctx, s.db); err != nil {
		return err
	}
	go interest.Run()
	return s.node.Start(ctx)
}
