package cluster

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy is a TCP proxy that can be cut: bytes stay where they are and new connections get nowhere, as when
// a network is torn, without anybody being told.
type proxy struct {
	listener net.Listener
	dial     func() (net.Conn, error)

	trap atomic.Pointer[trap]

	mu    sync.Mutex
	ready sync.Cond
	torn  bool
	ended bool
	conns map[net.Conn]struct{}
}

// link is a connection through a proxy.
type link struct{ client, server net.Conn }

// trap looks at bytes before they go on to the server, or back. It returns how many do; if not all, the
// connection ends after them.
type trap func(l *link, back bool, b []byte) int

func startProxy(t testing.TB, dial func() (net.Conn, error)) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, dial: dial, conns: make(map[net.Conn]struct{})}
	p.ready.L = &p.mu
	t.Cleanup(p.close)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// cut tears the network, or mends it.
func (p *proxy) cut(torn bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.torn = torn
	p.ready.Broadcast()
}

// drop ends all connections; while the network is torn, new ones come about no more than before.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for c := range p.conns {
		c.Close()
	}
	p.ready.Broadcast()
}

// pass waits while the network is torn.
func (p *proxy) pass() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.torn && !p.ended {
		p.ready.Wait()
	}
	return !p.ended
}

func (p *proxy) track(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	if p.ended {
		c.Close()
	}
}

func (p *proxy) serve(in net.Conn) {
	p.track(in)
	defer func() {
		in.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, in)
	}()
	if !p.pass() {
		return
	}
	out, err := p.dial()
	if err != nil {
		return
	}
	p.track(out)
	defer func() {
		out.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, out)
	}()
	done := make(chan struct{}, 2)
	l := &link{in, out}
	for _, back := range []bool{false, true} {
		go func() {
			p.copy(l, back)
			done <- struct{}{}
		}()
	}
	<-done
}

func (p *proxy) copy(l *link, back bool) {
	from, to := l.client, l.server
	if back {
		from, to = to, from
	}
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if !p.pass() {
				return
			}
			pass := n
			if t := p.trap.Load(); t != nil {
				pass = (*t)(l, back, b[:n])
			}
			if _, err := to.Write(b[:pass]); err != nil || pass < n {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
