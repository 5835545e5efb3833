package admin

import (
	"context"
	"net/http"

	"github.com/berth-iot/berth/internal/cluster"
)

// cluster answers which nodes there are; a server alone has none.
func (h *Handler) cluster(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
	if h.Cluster == nil {
		return &cluster.Status{Nodes: []cluster.Peer{}}, nil
	}
	return h.Cluster.Status(ctx)
}
