package broker

import (
	"net"
	"sync"
)

// httpListener is a net.Listener of TLS connections whose clients turned out to speak HTTP.
type httpListener struct {
	once   sync.Once
	conns  chan net.Conn
	closed chan struct{}
	end    sync.Once
}

func (h *httpListener) init() {
	h.once.Do(func() {
		h.conns = make(chan net.Conn)
		h.closed = make(chan struct{})
	})
}

// HTTP returns the listener to serve HTTPS from.
func (b *Broker) HTTP() net.Listener {
	b.http.init()
	return &b.http
}

func (h *httpListener) hand(c net.Conn) {
	h.init()
	select {
	case h.conns <- c:
	case <-h.closed:
		c.Close()
	}
}

// Accept implements net.Listener.
func (h *httpListener) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *httpListener) Close() error {
	h.end.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *httpListener) Addr() net.Addr { return &net.TCPAddr{} }
