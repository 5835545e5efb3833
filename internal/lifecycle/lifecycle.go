// Package lifecycle publishes what clients do on the topics under $aws/events/presence/ and
// $aws/events/subscriptions/ (AWS IoT developer guide, "Lifecycle events"). It implements
// session.Lifecycle.
package lifecycle

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/plainjson"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/session"
)

// Events publishes lifecycle events. Clients whose identifier holds # or + get none: their topics
// could not be published to.
type Events struct {
	router *router.Router
	log    *slog.Logger

	mu       sync.Mutex
	versions map[string]version // by client identifier
	swept    time.Time
}

// version counts the connections of a client identifier. It starts again at 0 once the client was
// away for an hour.
type version struct {
	number int64
	online bool
	left   time.Time
}

// forgetAfter is how long a client may be away before its version number starts again.
const forgetAfter = time.Hour

// New returns events that go out through a router.
func New(r *router.Router, log *slog.Logger) *Events {
	return &Events{router: r, log: log, versions: make(map[string]version), swept: time.Now()}
}

// event holds the fields of every lifecycle event, in AWS's order; those that do not apply are left
// out.
type event struct {
	ClientID                  string   `json:"clientId"`
	ThingName                 string   `json:"thingName,omitempty"` // of an exclusively attached thing
	Timestamp                 int64    `json:"timestamp"`           // milliseconds
	EventType                 string   `json:"eventType"`
	ConnectFailureReason      string   `json:"connectFailureReason,omitempty"`
	ClientInitiatedDisconnect *bool    `json:"clientInitiatedDisconnect,omitempty"`
	SessionIdentifier         string   `json:"sessionIdentifier,omitempty"`
	PrincipalIdentifier       string   `json:"principalIdentifier"`
	DisconnectReason          string   `json:"disconnectReason,omitempty"`
	IPAddress                 string   `json:"ipAddress,omitempty"`
	Topics                    []string `json:"topics,omitempty"`
	VersionNumber             *int64   `json:"versionNumber,omitempty"`
}

func (e *Events) publish(family, kind string, c session.Client, fill func(*event)) {
	if strings.ContainsAny(c.ClientID, "#+") || c.ClientID == "" {
		return
	}
	topic := "$aws/events/" + family + "/" + kind + "/" + c.ClientID
	if !e.router.Heard(topic) {
		return
	}
	ev := event{ClientID: c.ClientID, ThingName: c.ThingName, Timestamp: time.Now().UnixMilli(), EventType: kind,
		SessionIdentifier: c.SessionID, PrincipalIdentifier: c.Principal}
	fill(&ev)
	payload, err := plainjson.Marshal(ev)
	if err != nil {
		e.log.Error("lifecycle event", "client_id", c.ClientID, "error", err)
		return
	}
	e.router.Publish(&router.Publication{Topic: topic, Payload: payload, QoS: 1,
		Origin: &router.Origin{Protocol: "service"}}, nil)
}

// Connected implements session.Lifecycle.
func (e *Events) Connected(c session.Client) {
	n := e.arrive(c.ClientID)
	e.publish("presence", "connected", c, func(ev *event) { ev.IPAddress, ev.VersionNumber = c.SourceIP, &n })
}

// ConnectFailed implements session.Lifecycle.
func (e *Events) ConnectFailed(c session.Client) {
	e.publish("presence", "connect_failed", c, func(ev *event) {
		ev.IPAddress, ev.ConnectFailureReason = c.SourceIP, "AUTHORIZATION_FAILED"
	})
}

// Disconnected implements session.Lifecycle.
func (e *Events) Disconnected(c session.Client, reason session.DisconnectReason) {
	n := e.leave(c.ClientID)
	asked := reason == session.ClientInitiated
	e.publish("presence", "disconnected", c, func(ev *event) {
		ev.ClientInitiatedDisconnect, ev.DisconnectReason, ev.VersionNumber = &asked, string(reason), &n
	})
}

// Subscribed implements session.Lifecycle.
func (e *Events) Subscribed(c session.Client, filters []string) {
	e.publish("subscriptions", "subscribed", c, func(ev *event) { ev.Topics = filters })
}

// Unsubscribed implements session.Lifecycle.
func (e *Events) Unsubscribed(c session.Client, filters []string) {
	e.publish("subscriptions", "unsubscribed", c, func(ev *event) { ev.Topics = filters })
}

// arrive returns the version number of a new connection; its disconnect carries the same one.
func (e *Events) arrive(clientID string) int64 {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(e.swept) > forgetAfter {
		e.swept = now
		for id, v := range e.versions {
			if !v.online && now.Sub(v.left) > forgetAfter {
				delete(e.versions, id)
			}
		}
	}
	v, known := e.versions[clientID]
	switch {
	case !known || !v.online && now.Sub(v.left) > forgetAfter:
		v = version{}
	default:
		v.number++
	}
	v.online = true
	e.versions[clientID] = v
	return v.number
}

func (e *Events) leave(clientID string) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := e.versions[clientID]
	v.online, v.left = false, time.Now()
	e.versions[clientID] = v
	return v.number
}
