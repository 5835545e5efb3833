// Package trend remembers how the server's counters moved, for people to look at: a sample every ten
// seconds for an hour, and one every five minutes for two days, in memory.
package trend

import (
	"context"
	"sync"
	"time"
)

// How often samples are taken, and how many are kept.
const (
	Fine       = 10 * time.Second
	FineKept   = 360
	Coarse     = 5 * time.Minute
	CoarseKept = 576
)

// Sample is the counters at one moment. All but Connected only grow while the server runs.
type Sample struct {
	Time       int64  `json:"timestamp"` // milliseconds since 1970
	Connected  int64  `json:"connected"` // clients now
	Connects   uint64 `json:"connects"`
	Refused    uint64 `json:"connectsRefused"`
	Received   uint64 `json:"messagesReceived"`
	Sent       uint64 `json:"messagesSent"`
	Dropped    uint64 `json:"messagesDropped"`
	Denied     uint64 `json:"denied"`
	Handshakes uint64 `json:"handshakesFailed"`
}

// History takes and keeps samples. Its methods may be called concurrently.
type History struct {
	take func() Sample

	mu     sync.Mutex
	fine   ring
	coarse ring
}

// New returns a history of what take reads; take need not set the time.
func New(take func() Sample) *History {
	return &History{take: take, fine: ring{most: FineKept}, coarse: ring{most: CoarseKept}}
}

// Loop takes samples until ctx ends.
func (h *History) Loop(ctx context.Context) {
	t := time.NewTicker(Fine)
	defer t.Stop()
	for {
		h.add(h.Now())
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Now returns the counters of this moment, which are not kept.
func (h *History) Now() Sample {
	s := h.take()
	s.Time = time.Now().UnixMilli()
	return s
}

func (h *History) add(s Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fine.add(s)
	// A tick that is a moment early counts.
	if last, ok := h.coarse.last(); !ok || s.Time-last.Time >= (Coarse-Fine/2).Milliseconds() {
		h.coarse.add(s)
	}
}

// Samples returns those kept, the oldest first.
func (h *History) Samples() (fine, coarse []Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fine.list(), h.coarse.list()
}

// ring keeps the latest samples.
type ring struct {
	most    int
	samples []Sample
	next    int
}

func (r *ring) add(s Sample) {
	if len(r.samples) < r.most {
		r.samples = append(r.samples, s)
		return
	}
	r.samples[r.next] = s
	r.next = (r.next + 1) % r.most
}

func (r *ring) last() (Sample, bool) {
	if len(r.samples) == 0 {
		return Sample{}, false
	}
	return r.samples[(r.next+len(r.samples)-1)%len(r.samples)], true
}

func (r *ring) list() []Sample {
	return append(append([]Sample{}, r.samples[r.next:]...), r.samples[:r.next]...)
}
