// Package denial remembers why the server said no: refused connections, publishes, subscriptions
// and deliveries with the deciding policy, and TLS handshakes that failed, in words.
package denial

import (
	"sync"
	"time"
)

// Kinds of record.
const (
	Policy    = "policy"    // a policy said no, or none said yes
	Handshake = "handshake" // TLS could not be agreed on
	Protocol  = "protocol"  // the client broke the protocol or a limit
	Identity  = "identity"  // a custom authorizer did not accept who the client says it is
)

// Record is one refusal.
type Record struct {
	Time      time.Time `json:"time"`
	Kind      string    `json:"kind"`
	ClientID  string    `json:"clientId,omitempty"`
	Principal string    `json:"principal,omitempty"`
	SourceIP  string    `json:"sourceIp,omitempty"`
	Action    string    `json:"action,omitempty"`   // "iot:Publish"
	Resource  string    `json:"resource,omitempty"` // "topic/a/b"
	Policy    string    `json:"policy,omitempty"`   // the deciding policy
	Statement string    `json:"statement,omitempty"`
	Reason    string    `json:"reason"` // one sentence
}

// Log keeps the latest records, in memory. Its methods may be called concurrently.
type Log struct {
	mu      sync.Mutex
	records []Record // a ring
	next    int
	total   uint64
	budget  float64 // records that may be explained now
	filled  time.Time
}

// NewLog returns a log of the latest n records.
func NewLog(n int) *Log {
	return &Log{records: make([]Record, 0, n), budget: burst}
}

// perSecond and burst bound the records made, so that an attacker cannot buy the cost of
// explaining with cheap packets.
const (
	perSecond = 100
	burst     = 200
)

// Admit reports whether one more record may be made now; every denial is counted.
func (l *Log) Admit() bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	l.budget = min(burst, l.budget+perSecond*now.Sub(l.filled).Seconds())
	l.filled = now
	if l.budget < 1 {
		return false
	}
	l.budget--
	return true
}

// Add keeps a record. Call it after Admit said yes.
func (l *Log) Add(r Record) {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) < cap(l.records) {
		l.records = append(l.records, r)
		return
	}
	l.records[l.next] = r
	l.next = (l.next + 1) % len(l.records)
}

// Total is the number of denials since the start, recorded or not.
func (l *Log) Total() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Latest returns up to n records that match, the newest first. An empty clientID matches all.
func (l *Log) Latest(n int, clientID string) []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := []Record{}
	for i := len(l.records) - 1; i >= 0 && len(found) < n; i-- {
		r := l.records[(l.next+i)%len(l.records)]
		if clientID == "" || r.ClientID == clientID {
			found = append(found, r)
		}
	}
	return found
}
