package session

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// TrafficWindow is the time over which the messages of a client are counted for Talkers.
const TrafficWindow = 10 * time.Second

const ticksOfWindow = int(TrafficWindow / tick)

// traffic counts the messages of a connection.
type traffic struct {
	received, sent atomic.Uint64
	// Of the last whole window, and at its end; guarded by Sessions.mu.
	window, end [2]uint64
}

func (a *Sessions) measureTraffic() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		t := &c.traffic
		now := [2]uint64{t.received.Load(), t.sent.Load()}
		t.window = [2]uint64{now[0] - t.end[0], now[1] - t.end[1]}
		t.end = now
	}
}

// Talker is a connected client with the PUBLISH packets that came from it and went to it, in the last
// whole window and since it connected.
type Talker struct {
	ClientID, ThingName      string
	Received, Sent           uint64
	ReceivedTotal, SentTotal uint64
}

// Talkers returns up to n clients with the most messages in the last window, without those that had none.
func (a *Sessions) Talkers(n int) []Talker {
	if n <= 0 {
		return nil
	}
	most := func(x, y Talker) int {
		return cmp.Or(cmp.Compare(y.Received+y.Sent, x.Received+x.Sent), cmp.Compare(x.ClientID, y.ClientID))
	}
	var out []Talker
	a.mu.Lock()
	for c := range a.conns {
		t := &c.traffic
		if t.window[0]+t.window[1] == 0 {
			continue
		}
		out = append(out, Talker{c.request.ClientID, c.request.ThingName, t.window[0], t.window[1], t.received.Load(), t.sent.Load()})
		if len(out) >= 2*n+64 { // keep few, whatever the number of connections
			slices.SortFunc(out, most)
			out = out[:n]
		}
	}
	a.mu.Unlock()
	slices.SortFunc(out, most)
	return out[:min(n, len(out))]
}
