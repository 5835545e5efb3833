package server

import (
	"context"

	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/router"
)

// joinRouter connects the router with those of other nodes; without a cluster it does nothing.
func joinRouter(node *cluster.Node, routes *router.Router) (*cluster.Interest, error) {
	if node == nil {
		return nil, nil
	}
	node.OnEveryChange("retained", routes.RefreshRetained)
	return cluster.NewInterest(node, routes)
}

// startNode begins to follow the other nodes, after everything that they may change has been read.
func (s *Server) startNode(ctx context.Context, interest *cluster.Interest) error {
	if err := s.cfg.sameKeys(ctx, s.db); err != nil {
		return err
	}
	go interest.Run()
	return s.node.Start(ctx)
}
