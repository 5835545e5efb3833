package session

import (
	"crypto/rand"
	"encoding/hex"
)

// Client is a connection as lifecycle events name it.
type Client struct {
	ClientID  string
	Principal string
	ThingName string // of a thing attached exclusively
	SourceIP  string
	SessionID string // 32 hexadecimal digits, new for every connection
}

// Lifecycle hears what clients do. Its methods are called one after another for each client
// identifier, without locks that publishing needs; they must not block.
type Lifecycle interface {
	Connected(c Client)
	// ConnectFailed tells of a connect that policies did not allow.
	ConnectFailed(c Client)
	Disconnected(c Client, reason DisconnectReason)
	Subscribed(c Client, filters []string)
	Unsubscribed(c Client, filters []string)
}

func (c *Conn) client() Client {
	return Client{ClientID: c.request.ClientID, Principal: c.request.Principal.ID, ThingName: c.request.ThingName,
		SourceIP: c.request.SourceIP.String(), SessionID: c.sessionID}
}

func newSessionID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Listeners lets several hear what clients do, one after another.
type Listeners []Lifecycle

// Connected implements Lifecycle.
func (l Listeners) Connected(c Client) {
	for _, each := range l {
		each.Connected(c)
	}
}

// ConnectFailed implements Lifecycle.
func (l Listeners) ConnectFailed(c Client) {
	for _, each := range l {
		each.ConnectFailed(c)
	}
}

// Disconnected implements Lifecycle.
func (l Listeners) Disconnected(c Client, reason DisconnectReason) {
	for _, each := range l {
		each.Disconnected(c, reason)
	}
}

// Subscribed implements Lifecycle.
func (l Listeners) Subscribed(c Client, filters []string) {
	for _, each := range l {
		each.Subscribed(c, filters)
	}
}

// Unsubscribed implements Lifecycle.
func (l Listeners) Unsubscribed(c Client, filters []string) {
	for _, each := range l {
		each.Unsubscribed(c, filters)
	}
}

// silence is the Lifecycle of a server without events.
type silence struct{}

func (silence) Connected(Client)                      {}
func (silence) ConnectFailed(Client)                  {}
func (silence) Disconnected(Client, DisconnectReason) {}
func (silence) Subscribed(Client, []string)           {}
func (silence) Unsubscribed(Client, []string)         {}
