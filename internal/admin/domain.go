package admin

import (
	"context"
	"net/http"
)

// ServerCertificate is a server certificate to be kept for domain configurations, in PEM, the leaf
// first.
type ServerCertificate struct {
	Certificate string `json:"certificate"`
	Key         string `json:"privateKey"`
}

func (h *Handler) addServerCertificate(ctx context.Context, _ *http.Request, body []byte) (any, error) {
	var in ServerCertificate
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	return h.Domains.AddCertificate(ctx, []byte(in.Certificate), []byte(in.Key))
}
