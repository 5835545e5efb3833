package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/berth-iot/berth/mqtt"
)

// Dial connects and waits for the server's answer. ctx bounds the dialling only. A refusal is a
// *RefusedError, everything else a *DialError.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if o.Version == 0 {
		o.Version = mqtt.V5
	}
	if o.MaxPacket == 0 {
		o.MaxPacket = mqtt.MaxRemaining + 5
	}
	conn, err := o.transport(ctx)
	if err != nil {
		return nil, &DialError{Where: o.where(), Err: err}
	}
	c := newClient(conn, &o)
	// The context ends a handshake that hangs by closing the connection under it.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = c.handshake(&o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		var refused *RefusedError
		if errors.As(err, &refused) {
			refused.Where = o.where()
			return nil, refused
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, &DialError{Where: o.where(), Err: err, Certificate: o.TLS != nil && len(o.TLS.Certificates) > 0, Connected: true}
	}
	c.start()
	return c, nil
}

// where names the server in errors; the signature of a WebSocket URL stays out.
func (o *Options) where() string {
	if o.WebSocket != "" {
		url, _, _ := strings.Cut(o.WebSocket, "?")
		return url
	}
	return o.Address
}

func (o *Options) transport(ctx context.Context) (net.Conn, error) {
	switch {
	case o.Dialer != nil:
		return o.Dialer(ctx)
	case o.WebSocket != "":
		return dialWebSocket(ctx, o.WebSocket, o.TLS)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", o.Address)
	if err != nil || o.TLS == nil {
		return conn, err
	}
	cfg := o.TLS.Clone()
	if cfg.ServerName == "" {
		if cfg.ServerName, _, err = net.SplitHostPort(o.Address); err != nil {
			conn.Close()
			return nil, err
		}
	}
	t := tls.Client(conn, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// statusError is an HTTP answer that is no switch to WebSocket.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string {
	if e.body == "" {
		return fmt.Sprintf("the server answers %d %s instead of opening a WebSocket", e.status, http.StatusText(e.status))
	}
	return fmt.Sprintf("the server answers %d %s instead of opening a WebSocket: %s", e.status, http.StatusText(e.status), e.body)
}

func dialWebSocket(ctx context.Context, url string, cfg *tls.Config) (net.Conn, error) {
	transport := &http.Transport{TLSClientConfig: cfg, Proxy: http.ProxyFromEnvironment}
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: transport},
		Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		transport.CloseIdleConnections()
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			var body []byte
			if resp.Body != nil {
				body, _ = io.ReadAll(io.LimitReader(resp.Body, 1024))
			}
			return nil, &statusError{resp.StatusCode, strings.TrimSpace(string(body))}
		}
		return nil, err
	}
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
}

// handshake sends CONNECT and reads CONNACK.
func (c *Client) handshake(o *Options) error {
	if _, err := c.conn.Write(ptr(o.connect()).Append(nil)); err != nil {
		return c.readAlert(err)
	}
	h, body, err := c.next()
	if err != nil {
		return err
	}
	if h.Type() != mqtt.CONNACK {
		return fmt.Errorf("the server answers CONNECT with %s", h.Type())
	}
	var ack mqtt.Connack
	if err := ack.Decode(body, c.version); err != nil {
		return err
	}
	if ack.Code != mqtt.Success {
		return &RefusedError{Code: ack.Code, Version: c.version, Reason: ack.Properties.ReasonString}
	}
	c.connack = ack
	c.keepAlive = o.KeepAlive
	p := &ack.Properties
	if p.Has(mqtt.PropServerKeepAlive) {
		c.keepAlive = time.Duration(p.ServerKeepAlive) * time.Second
	}
	quota := 65535
	if p.Has(mqtt.PropReceiveMaximum) {
		quota = int(p.ReceiveMaximum)
	}
	c.quota = make(chan struct{}, quota)
	c.clientID = o.ClientID
	if p.Has(mqtt.PropAssignedClientID) {
		c.clientID = p.AssignedClientID
	}
	return nil
}

// readAlert looks for the alert behind a failed write: with TLS 1.3 the server judges the client's
// certificate after the client's handshake is done.
func (c *Client) readAlert(err error) error {
	c.conn.SetReadDeadline(time.Now().Add(time.Second))
	if _, _, rerr := c.next(); rerr != nil && alert(rerr) != "" {
		return rerr
	}
	return err
}

func ptr[T any](v T) *T { return &v }
