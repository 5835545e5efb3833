package session

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// endings ends the connections of those who have lost their right to one, those included that are being
// admitted meanwhile and are in no list yet. Sessions.mu guards what is not atomic.
type endings struct {
	number atomic.Uint64 // of the last one
	recent []lost
}

// lost says who has lost the right to a connection.
type lost struct {
	number   uint64
	at       time.Time
	concerns func(c *Conn) bool
	end      ending
}

// endingsKept is longer than any connection takes from its first byte to its CONNACK.
const endingsKept = 5 * time.Minute

// Endings is a moment for Admission.Asked.
func (a *Sessions) Endings() uint64 { return a.endings.number.Load() + 1 }

// EndUser ends the connections of a user with a password.
func (a *Sessions) EndUser(name, reason string) {
	a.endThose(reason, func(c *Conn) bool {
		r := &c.request
		return r.Principal.Kind == Custom && r.Principal.ID == name && r.Grant != nil && r.Grant.UserPolicies != nil
	})
}

// EndServerName ends the connections that came to a server name, by SNI.
func (a *Sessions) EndServerName(name, reason string) {
	a.endThose(reason, func(c *Conn) bool { return strings.EqualFold(c.request.ServerName, name) })
}

func (a *Sessions) endThose(reason string, concerns func(c *Conn) bool) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := &a.endings
	e.recent = slices.DeleteFunc(e.recent, func(l lost) bool { return now.Sub(l.at) > endingsKept })
	l := lost{e.number.Add(1), now, concerns, ending{AuthError, mqtt.NotAuthorized, reason}}
	e.recent = append(e.recent, l)
	for c := range a.conns {
		if concerns(c) {
			c.end(l.end)
		}
	}
}

// missed ends a connection that has lost its right while it was admitted. a.mu is held.
func (e *endings) missed(c *Conn) {
	for _, l := range slices.Backward(e.recent) {
		if l.number < c.asked {
			return
		}
		if l.concerns(c) {
			c.end(l.end)
		}
	}
}
