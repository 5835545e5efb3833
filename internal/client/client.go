package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// ErrClosed is what operations return after Close.
var ErrClosed = errors.New("the connection is closed")

// writeTimeout bounds one write; a server that takes nothing for so long is gone.
const writeTimeout = 30 * time.Second

// Client is one connection to a server. Its methods may be called concurrently. Close must be
// called also after the connection has ended by itself.
type Client struct {
	conn      net.Conn
	version   mqtt.Version
	maxPacket int
	onMessage func(Message)
	connack   mqtt.Connack
	clientID  string
	keepAlive time.Duration
	quota     chan struct{} // unacknowledged publishes that the server takes (section 4.9)

	buf  []byte // read and not yet consumed: buf[from:]
	from int

	writeMu sync.Mutex
	out     []byte

	mu       sync.Mutex
	lastID   uint16
	pending  map[uint16]*request
	pings    []chan struct{}
	received map[uint16]bool // QoS 2 messages that wait for PUBREL
	err      error

	done    chan struct{}
	running sync.WaitGroup
}

// request waits for the answer to a packet with an identifier.
type request struct {
	kind   mqtt.Type // the answer that ends it: PUBACK, PUBREC, PUBCOMP, SUBACK or UNSUBACK
	answer chan answer
}

type answer struct {
	code   mqtt.ReasonCode
	codes  []mqtt.ReasonCode
	reason string
}

func newClient(conn net.Conn, o *Options) *Client {
	c := &Client{
		conn:      conn,
		version:   o.Version,
		maxPacket: o.MaxPacket,
		onMessage: o.OnMessage,
		pending:   make(map[uint16]*request),
		received:  make(map[uint16]bool),
		done:      make(chan struct{}),
	}
	if c.onMessage == nil {
		c.onMessage = func(Message) {}
	}
	return c
}

func (c *Client) start() {
	c.running.Add(1)
	go c.read()
	if c.keepAlive > 0 {
		c.running.Add(1)
		go c.ping()
	}
}

// ClientID is the identifier of the session, the server's choice if it made one.
func (c *Client) ClientID() string { return c.clientID }

// Connack is the server's answer to CONNECT.
func (c *Client) Connack() mqtt.Connack { return c.connack }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection has ended: nil while it lasts, ErrClosed after Close, a
// *DisconnectError if the server gave its reason.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close sends DISCONNECT, so that the will is not published, and returns when nothing of the client
// is running any more. The error is that of an earlier end.
func (c *Client) Close(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	err := c.Err()
	if err == nil {
		_ = c.write(func(b []byte) []byte { return new(mqtt.Disconnect).Append(b, c.version) })
		c.end(ErrClosed)
	}
	c.running.Wait()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// end records the first reason, wakes everybody who waits and closes the connection.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	c.conn.Close()
}

// write appends a packet to an empty buffer and sends it.
func (c *Client) write(packet func([]byte) []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.out = packet(c.out[:0])
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.conn.Write(c.out)
	if cap(c.out) > 1<<16 {
		c.out = nil
	}
	return err
}

// next reads one packet; the body is valid until the following call.
func (c *Client) next() (mqtt.Header, []byte, error) {
	for {
		h, body, size, err := mqtt.Frame(c.buf[c.from:], c.maxPacket)
		if err != nil {
			return 0, nil, err
		}
		if body != nil {
			c.from += size
			return h, body, nil
		}
		if c.from > 0 {
			c.buf = c.buf[:copy(c.buf, c.buf[c.from:])]
			c.from = 0
		}
		if len(c.buf) == cap(c.buf) {
			grown := make([]byte, len(c.buf), max(4096, 2*cap(c.buf)))
			copy(grown, c.buf)
			c.buf = grown
		}
		n, err := c.conn.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		if err != nil && n == 0 {
			return 0, nil, err
		}
	}
}

// read is the goroutine that reads until the end.
func (c *Client) read() {
	defer c.running.Done()
	for {
		if c.keepAlive > 0 {
			c.conn.SetReadDeadline(time.Now().Add(c.keepAlive + c.keepAlive/2))
		}
		h, body, err := c.next()
		silent := errors.Is(err, os.ErrDeadlineExceeded)
		if err == nil {
			err = c.handle(h, body)
		}
		if err == nil {
			continue
		}
		var broken *mqtt.Error
		switch {
		case errors.As(err, &broken):
			_ = c.write(func(b []byte) []byte {
				return (&mqtt.Disconnect{Code: broken.Code}).Append(b, c.version)
			})
			err = fmt.Errorf("the server breaks the protocol: %w", err)
		case silent:
			err = fmt.Errorf("the server has not answered for %v: %w", c.keepAlive+c.keepAlive/2, err)
		case hungUp(err):
			err = errHungUp
		}
		c.end(err)
		return
	}
}

// ping keeps the connection alive until it ends.
func (c *Client) ping() {
	defer c.running.Done()
	tick := time.NewTicker(c.keepAlive * 3 / 4)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
			if err := c.write(mqtt.AppendPingreq); err != nil {
				c.end(fmt.Errorf("send PINGREQ: %w", err))
				return
			}
		}
	}
}
