package broker

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"time"

	"github.com/berth-iot/berth/internal/session"
)

// Handshakes bounds the TLS handshakes under way, so that devices that come back all at once, or
// somebody who only opens connections, do not take the processor from those that are connected. The
// zero value of a field takes its default.
type Handshakes struct {
	// Computing is how many may use a processor at a time: three quarters of the processors, at least
	// 1. One that waits for its client does not count.
	Computing int
	// Begun is how many may be under way, waiting for their clients or their turn: 1024. One source
	// may have three quarters of them.
	Begun int
	// Waiting is how many connections may wait before their handshake begins: 32,768. Beyond that the
	// source that has most waiting loses its newest.
	Waiting int
}

func (b *Broker) limitHandshakes() {
	h := b.Handshakes
	if h.Computing == 0 {
		h.Computing = max(1, runtime.GOMAXPROCS(0)*3/4)
	}
	if h.Begun == 0 {
		h.Begun = 1024
	}
	if h.Waiting == 0 {
		h.Waiting = 32 << 10
	}
	b.computing = newTurns(h.Computing, h.Computing, h.Begun+1)
	b.begun = newTurns(h.Begun, max(1, h.Begun*3/4), h.Waiting)
}

// HandshakesNow are the numbers of connections with a handshake under way and waiting for one.
func (b *Broker) HandshakesNow() (begun, waiting int) {
	b.begin.Do(b.limitHandshakes)
	return b.begun.counts()
}

// handshakeTimeout bounds the TLS handshake, from when it begins.
const handshakeTimeout = 10 * time.Second

// queue begins a connection's handshake when it is its turn. Until then it has no goroutine.
func (b *Broker) queue(ctx context.Context, c net.Conn, cfg *tls.Config, http bool) {
	from := remoteAddr(c).Addr()
	b.begun.add(from, func() {
		b.serve(c, func() {
			next := b.handshake(ctx, c, cfg, http)
			b.begun.done(from)
			if next != nil {
				next()
			}
		})
	}, func() {
		b.counters.HandshakesDropped.Add(1)
		b.warn("too many connections wait for their TLS handshake", "remote", c.RemoteAddr())
		c.Close()
	})
}

// handshake agrees on TLS and returns what is to be done with the connection; nil for nothing more.
func (b *Broker) handshake(ctx context.Context, c net.Conn, cfg *tls.Config, http bool) (next func()) {
	defer func() {
		if next == nil {
			c.Close()
		}
	}()
	stream := c
	raw, tries := newRawConn(c)
	u := &turn{turns: b.computing, from: remoteAddr(c).Addr()}
	defer u.leave() // whatever happens
	if tries {
		raw.blocks, raw.turn = true, u
		stream = raw
	}
	t := tls.Server(stream, cfg)
	asked := b.Sessions.Endings()
	c.SetDeadline(time.Now().Add(handshakeTimeout))
	u.enter()
	err := t.HandshakeContext(context.WithoutCancel(ctx))
	u.leave()
	c.SetDeadline(time.Time{})
	cs := t.ConnectionState()
	if len(cs.PeerCertificates) > 0 {
		if _, ok := b.newcomers.LoadAndDelete(cs.PeerCertificates[0]); ok && err == nil {
			err = b.admit(ctx, cs.PeerCertificates[0])
		}
	}
	if err != nil {
		b.handshakeFailed(remoteAddr(c), t, err)
		return nil
	}
	if cs.DidResume {
		b.counters.Resumed.Add(1)
	}
	if tries {
		raw.turn = nil
	}
	d := b.Domains.Lookup(cs.ServerName)
	if !speaksMQTT(cs.NegotiatedProtocol, http, d) {
		return func() { b.http.hand(t) }
	}
	adm := b.admission(&cs, d)
	adm.Asked = asked
	var transport session.Transport
	if tries {
		raw.blocks = false
		transport = &secure{raw: raw, tls: t}
		trim(t)
	} else {
		transport = newBlocking(t, remoteAddr(c))
	}
	return func() { b.Sessions.Accept(ctx, transport, adm) }
}
