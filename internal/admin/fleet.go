package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/trend"
)

// Fleet is how the server's connections fare.
type Fleet struct {
	Now     trend.Sample      `json:"now"`
	Samples []trend.Sample    `json:"samples"`     // of the last hour
	Coarse  []trend.Sample    `json:"longSamples"` // of the last two days
	Ends    map[string]uint64 `json:"disconnects"` // by reason, since the start
}

// fleet answers with counters and how they moved.
func (h *Handler) fleet(context.Context, *http.Request, []byte) (any, error) {
	out := Fleet{Now: h.Trend.Now(), Ends: h.Presence.Disconnects()}
	out.Samples, out.Coarse = h.Trend.Samples()
	return out, nil
}

// Talker is a connected client with its messages in the last window and since it connected.
type Talker struct {
	ClientID      string `json:"clientId"`
	ThingName     string `json:"thingName,omitempty"`
	Received      uint64 `json:"received"` // from the client
	Sent          uint64 `json:"sent"`     // to it
	ReceivedTotal uint64 `json:"receivedTotal"`
	SentTotal     uint64 `json:"sentTotal"`
}

// Bounds of a question for talkers.
const (
	usualTalkers = 10
	maxTalkers   = 100
)

// talkers lists the clients with the most messages just now.
func (h *Handler) talkers(_ context.Context, r *http.Request, _ []byte) (any, error) {
	n := usualTalkers
	if s := r.URL.Query().Get("max"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 || n > maxTalkers {
			return nil, awsapi.Invalid("max is %q, not a number from 1 to %d", s, maxTalkers)
		}
	}
	out := []Talker{}
	for _, t := range h.Talkers(n) {
		out = append(out, Talker(t))
	}
	return map[string]any{"talkers": out, "windowSeconds": session.TrafficWindow.Seconds()}, nil
}

// ExpiringCertificate is an active certificate whose end is near, or has been.
type ExpiringCertificate struct {
	ID       string      `json:"certificateId"`
	ARN      string      `json:"certificateArn"`
	NotAfter awsapi.Time `json:"notAfter"`
	Things   []string    `json:"things"`
}

// Bounds of a question for certificates.
const (
	maxExpiring   = 100
	expiringAhead = 30 * 24 * time.Hour
)

// expiring lists active certificates that end within 30 days, the first to end first.
func (h *Handler) expiring(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
	list, err := h.Registry.ExpiringCertificates(ctx, time.Now().Add(expiringAhead), maxExpiring)
	if err != nil {
		return nil, err
	}
	out := []ExpiringCertificate{}
	for _, c := range list {
		e := ExpiringCertificate{ID: c.ID, ARN: c.ARN, NotAfter: awsapi.Time(c.NotAfter), Things: []string{}}
		things, _, err := h.Registry.ListPrincipalThings(ctx, c.ARN, "", registry.Page{})
		if err != nil {
			return nil, err
		}
		for _, t := range things {
			e.Things = append(e.Things, t.Name)
		}
		out = append(out, e)
	}
	return map[string]any{"certificates": out}, nil
}
