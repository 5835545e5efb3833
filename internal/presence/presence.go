// Package presence remembers who connected and disconnected, and why, for people to look at: the
// latest events of all clients, in memory.
package presence

import (
	"maps"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/session"
)

// Kinds of event.
const (
	Connected     = "connected"
	Disconnected  = "disconnected"
	ConnectFailed = "connect_failed"
)

// Event is a connection that began, ended or was refused.
type Event struct {
	Time      int64  `json:"timestamp"` // milliseconds since 1970
	Kind      string `json:"eventType"`
	ClientID  string `json:"clientId"`
	ThingName string `json:"thingName,omitempty"` // of a thing attached exclusively
	Principal string `json:"principalIdentifier,omitempty"`
	SourceIP  string `json:"ipAddress,omitempty"`
	Reason    string `json:"disconnectReason,omitempty"`
}

// Log is a session.Lifecycle that keeps the latest events. It may be used concurrently.
type Log struct {
	now func() time.Time

	mu     sync.Mutex
	events []Event // a ring
	next   int
	ends   map[string]uint64
}

// NewLog returns a log of the latest n events, some 200 bytes each.
func NewLog(n int) *Log {
	return &Log{events: make([]Event, 0, n), now: time.Now, ends: make(map[string]uint64)}
}

func (l *Log) add(kind, reason string, c session.Client) {
	e := Event{l.now().UnixMilli(), kind, c.ClientID, c.ThingName, c.Principal, c.SourceIP, reason}
	l.mu.Lock()
	defer l.mu.Unlock()
	if kind == Disconnected {
		l.ends[reason]++
	}
	if len(l.events) < cap(l.events) {
		l.events = append(l.events, e)
		return
	}
	l.events[l.next] = e
	l.next = (l.next + 1) % len(l.events)
}

// Latest returns up to n events, the newest first: of the client identifier or thing of this name, or
// of all if name is empty.
func (l *Log) Latest(n int, name string) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := []Event{}
	for i := len(l.events) - 1; i >= 0 && len(found) < n; i-- {
		e := &l.events[(l.next+i)%len(l.events)]
		if name == "" || e.ClientID == name || e.ThingName == name {
			found = append(found, *e)
		}
	}
	return found
}

// Disconnects returns how many connections ended since the start, by reason.
func (l *Log) Disconnects() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.ends)
}

// Connected implements session.Lifecycle.
func (l *Log) Connected(c session.Client) { l.add(Connected, "", c) }

// ConnectFailed implements session.Lifecycle.
func (l *Log) ConnectFailed(c session.Client) { l.add(ConnectFailed, "AUTHORIZATION_FAILED", c) }

// Disconnected implements session.Lifecycle.
func (l *Log) Disconnected(c session.Client, reason session.DisconnectReason) {
	l.add(Disconnected, string(reason), c)
}

// Subscribed implements session.Lifecycle.
func (*Log) Subscribed(session.Client, []string) {}

// Unsubscribed implements session.Lifecycle.
func (*Log) Unsubscribed(session.Client, []string) {}
