package cluster

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy is a TCP proxy that can be cut: bytes stay where they are and new connections get nowhere, as when
// a network is torn, without anybody being told.
type proxy struct {
	listener net.Listener
	dial     func() (net.Conn, error)

	mu    sync.Mutex
	ready sync.Cond
	torn  bool
	ended bool
	conns map[net.Conn]struct{}
}

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
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			p.copy(way[1], way[0])
			done <- struct{}{}
		}()
	}
	<-done
}

func (p *proxy) copy(to io.Writer, from io.Reader) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if !p.pass() {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
