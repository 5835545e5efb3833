package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// keepAlive is long enough that no PINGREQ is due in a run; it is the longest that AWS IoT takes.
const keepAlive = 1200

// bufferSize is what is read or written at once.
const bufferSize = 64 << 10

// link is a raw connection. One goroutine may read while another writes.
type link struct {
	conn    net.Conn
	version mqtt.Version
	buf     []byte
	n       int
}

// open connects and waits for CONNACK.
func open(ctx context.Context, t *Target, c *Config, name string) (*link, error) {
	return openFrom(ctx, new(net.Dialer), t, c, name)
}

// openFrom is open with a dialer of one's own.
func openFrom(ctx context.Context, from *net.Dialer, t *Target, c *Config, name string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if t.TLS != nil {
		secure := tls.Client(conn, t.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	l := &link{conn: conn, version: c.Version}
	hello := mqtt.Connect{Version: c.Version, CleanStart: !c.Persistent, KeepAlive: keepAlive, ClientID: name}
	if c.Persistent && c.Version == mqtt.V5 {
		hello.Properties.SessionExpiry = 3600
		hello.Properties.Mark(mqtt.PropSessionExpiry)
	}
	if err := l.greet(&hello); err != nil {
		conn.Close()
		return nil, fmt.Errorf("client %s: %w", name, err)
	}
	return l, nil
}

// openAll opens n links, some at a time: a server without TCP_NODELAY takes 40 ms for each.
func openAll(ctx context.Context, t *Target, c *Config, role string, n int) ([]*link, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	links := make([]*link, n)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, 16) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				var err error
				if links[i], err = open(ctx, t, c, clientID(c, role, i)); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		for _, l := range links {
			if l != nil {
				l.close()
			}
		}
		return nil, err
	}
	return links, nil
}

// greet reads just what it needs, so that an idle link holds no buffer of its own size.
func (l *link) greet(hello *mqtt.Connect) error {
	l.buf = make([]byte, 0, 256)
	if _, err := l.conn.Write(hello.Append(l.buf)); err != nil {
		return err
	}
	return l.answer(mqtt.CONNACK, func(body []byte) error {
		var ack mqtt.Connack
		if err := ack.Decode(body, l.version); err != nil {
			return err
		}
		if ack.Code != mqtt.Success {
			return fmt.Errorf("CONNECT is refused: %s (0x%02X)", ack.Code, byte(ack.Code))
		}
		return nil
	})
}

// answer reads one packet of type t, which no other may precede.
func (l *link) answer(t mqtt.Type, decode func(body []byte) error) error {
	var b [512]byte
	n := 0
	for {
		h, body, size, err := mqtt.Frame(b[:n], len(b))
		if err != nil {
			return err
		}
		if body != nil {
			if h.Type() != t || size != n {
				return fmt.Errorf("the server sends %s instead of %s", h.Type(), t)
			}
			return decode(body)
		}
		k, err := l.conn.Read(b[n:])
		if n += k; err != nil && k == 0 {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the server closes the connection instead of sending %s", t)
			}
			return err
		}
	}
}

func (l *link) subscribe(filter string, qos byte) error {
	l.conn.SetDeadline(time.Now().Add(30 * time.Second))
	defer l.conn.SetDeadline(time.Time{})
	s := mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: qos}}}
	if _, err := l.conn.Write(s.Append(nil, l.version)); err != nil {
		return err
	}
	return l.answer(mqtt.SUBACK, func(body []byte) error {
		var ack mqtt.Suback
		if err := ack.Decode(mqtt.SUBACK, body, l.version); err != nil {
			return err
		}
		if len(ack.Codes) != 1 || ack.Codes[0] != mqtt.ReasonCode(qos) {
			return fmt.Errorf("SUBSCRIBE to %s with QoS %d is answered %v", filter, qos, ack.Codes)
		}
		return nil
	})
}

// batch reads once and calls each for every whole packet. The bodies are valid during the call.
func (l *link) batch(each func(h mqtt.Header, body []byte) error) error {
	if cap(l.buf) < bufferSize {
		l.buf = make([]byte, bufferSize)
	}
	if l.n == len(l.buf) {
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
	}
	k, err := l.conn.Read(l.buf[l.n:])
	if k == 0 && err != nil {
		return err
	}
	b := l.buf[:l.n+k]
	for {
		h, body, size, err := mqtt.Frame(b, 2<<20)
		if err != nil {
			return err
		}
		if body == nil {
			l.n = copy(l.buf, b)
			return nil
		}
		if err := each(h, body); err != nil {
			return err
		}
		b = b[size:]
	}
}

// close says goodbye and closes at once.
func (l *link) close() {
	l.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	l.conn.Write(new(mqtt.Disconnect).Append(nil, l.version))
	l.conn.Close()
}

func clientID(c *Config, role string, i int) string {
	return c.ClientID + "-" + role + strconv.Itoa(i)
}
