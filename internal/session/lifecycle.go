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

// silence is the Lifecycle of a server without events.
type silence struct{}

func (silence) Connected(Client)                      {}
func (silence) ConnectFailed(Client)                  {}
func (silence) Disconnected(Client, DisconnectReason) {}
func (silence) Subscribed(Client, []string)           {}
func (silence) Unsubscribed(Client, []string)         {}
