package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/rules"
)

// ruleStats returns the counters of every rule.
func (h *handler) ruleStats(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
	list := h.Rules.AllStats()
	for i := range list {
		var err error
		if list[i].Waiting, list[i].Dead, err = h.Rules.Waiting(ctx, list[i].Rule); err != nil {
			return nil, err
		}
	}
	return map[string]any{"rules": append([]rules.Stats{}, list...)}, nil
}

// maxDeadLetters are listed at once.
const maxDeadLetters = 100

func (h *handler) deadLetters(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	list, err := h.Rules.DeadLetters(ctx, r.PathValue("name"), maxDeadLetters)
	return map[string]any{"deadLetters": list}, err
}

func (h *handler) replay(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	n, err := h.Rules.Replay(ctx, r.PathValue("name"))
	return map[string]int{"replayed": n}, err
}

func ruleException(err error) *awsapi.Error {
	if errors.Is(err, rules.ErrNotFound) {
		return &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: err.Error()}
	}
	return nil
}
