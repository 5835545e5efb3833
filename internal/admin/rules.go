package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/rules"
)

// ruleStats returns the counters of every rule.
func (h *Handler) ruleStats(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
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

func (h *Handler) deadLetters(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	list, err := h.Rules.DeadLetters(ctx, r.PathValue("name"), maxDeadLetters)
	return map[string]any{"deadLetters": list}, err
}

func (h *Handler) replay(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	n, err := h.Rules.Replay(ctx, r.PathValue("name"))
	return map[string]int{"replayed": n}, err
}

// tailPace is how often a line is sent to one who looks on at a rule that does nothing, so that the
// connection is known to be there.
const tailPace = 15 * time.Second

// tailRule streams what happens in a rule, a line of JSON for each event; empty lines say nothing.
func (h *Handler) tailRule(w http.ResponseWriter, r *http.Request) {
	_, err := h.admit(w, r, true, 0)
	var tail *rules.Tail
	if err == nil {
		tail, err = h.Rules.Tail(r.PathValue("name"))
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer tail.Close()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the request is read; its connection may last
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	lines := json.NewEncoder(w)
	beat := time.NewTicker(tailPace)
	defer beat.Stop()
	for err == nil {
		if err = control.Flush(); err != nil {
			return
		}
		select {
		case e := <-tail.Events:
			for err == nil {
				if err = lines.Encode(e); err != nil {
					return
				}
				select {
				case e = <-tail.Events:
					continue
				default:
				}
				break
			}
		case <-beat.C:
			_, err = w.Write([]byte("\n"))
		case <-tail.Done:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func ruleException(err error) *awsapi.Error {
	if errors.Is(err, rules.ErrLimit) {
		return &awsapi.Error{Type: "LimitExceededException", Status: 410, Message: err.Error()}
	}
	if errors.Is(err, rules.ErrNotFound) {
		return &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: err.Error()}
	}
	return nil
}
