// Package client is a small MQTT client, versions 3.1.1 and 5, for the command line and for tests.
//
// It connects over TCP, TLS or a signed WebSocket, publishes with QoS 0, 1 and 2, subscribes, and
// ends. It does not reconnect and keeps no state beyond the connection: the device library does.
// What goes wrong is said in words, and [Hint] says what to do about it.
package client

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// Options say where to connect and as whom. Of Dialer, WebSocket and Address the first that is set
// is used.
type Options struct {
	Address   string      // host:port
	TLS       *tls.Config // nil for plain TCP; with WebSocket the configuration of wss
	WebSocket string      // ws:// or wss:// URL with its signature; the subprotocol is mqtt
	Dialer    func(ctx context.Context) (net.Conn, error)

	Version       mqtt.Version  // 0 means mqtt.V5
	ClientID      string        // empty lets the server choose, which MQTT 3.1.1 allows with CleanStart only
	CleanStart    bool          // Clean Session in MQTT 3.1.1
	SessionExpiry time.Duration // MQTT 5, in whole seconds
	KeepAlive     time.Duration // in whole seconds, at most 65535; 0 turns it off
	UserName      string
	Password      []byte
	Will          *mqtt.Will

	// MaxPacket is the largest packet that the client takes, in bytes; 0 means the protocol's limit.
	MaxPacket int

	// OnMessage is called for every message, one at a time and in order, from the goroutine that
	// reads: it must not wait for the server, that is for Subscribe, Unsubscribe, Ping or Publish
	// with QoS above 0. A message with QoS 1 is acknowledged when the call returns. The payload is
	// the callee's to keep.
	OnMessage func(Message)
}

// Message is a message that is published or has arrived.
type Message struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Dup        bool            // arrived again
	Properties mqtt.Properties // MQTT 5
}

func (o *Options) connect() mqtt.Connect {
	c := mqtt.Connect{
		Version:     o.Version,
		CleanStart:  o.CleanStart,
		ClientID:    o.ClientID,
		KeepAlive:   uint16(min(o.KeepAlive/time.Second, 65535)),
		Will:        o.Will,
		HasUserName: o.UserName != "",
		UserName:    o.UserName,
		HasPassword: o.Password != nil,
		Password:    o.Password,
	}
	if s := o.SessionExpiry / time.Second; o.Version == mqtt.V5 && s > 0 {
		c.Properties.SessionExpiry = uint32(min(s, 0xFFFFFFFF))
		c.Properties.Mark(mqtt.PropSessionExpiry)
	}
	if o.Version == mqtt.V5 && o.MaxPacket > 0 {
		c.Properties.MaximumPacketSize = uint32(o.MaxPacket)
		c.Properties.Mark(mqtt.PropMaximumPacketSize)
	}
	return c
}
