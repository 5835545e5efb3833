package admin

import (
	"bytes"
	"context"
	"net/http"

	"github.com/berth-iot/berth/internal/provisioning"
)

// ndjson is an answer of one JSON object a line.
type ndjson []byte

func (h *Handler) activation(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	return h.Provisioning.Activation(ctx, r.PathValue("id"))
}

func (h *Handler) setActivation(ctx context.Context, r *http.Request, body []byte) (any, error) {
	var rule provisioning.Activation
	if err := decode(body, &rule); err != nil {
		return nil, err
	}
	return rule, h.Provisioning.SetActivation(ctx, r.PathValue("id"), rule)
}

func (h *Handler) removeActivation(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	return struct{}{}, h.Provisioning.RemoveActivation(ctx, r.PathValue("id"))
}

// report answers what became of the lines of a bulk registration.
func (h *Handler) report(failed bool) func(context.Context, *http.Request, []byte) (any, error) {
	return func(ctx context.Context, r *http.Request, _ []byte) (any, error) {
		var b bytes.Buffer
		err := h.Provisioning.Report(ctx, r.PathValue("id"), failed, &b)
		return ndjson(b.Bytes()), err
	}
}
