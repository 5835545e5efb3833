// Package broker is where bytes arrive: listeners for MQTT over TLS, MQTT over WebSocket and HTTPS
// publish. It finds out who is calling and hands MQTT connections to package session.
package broker

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/berth-iot/berth/internal/session"
)

// rawConn is a TCP connection whose writes never block. What the kernel does not take is kept and
// written by Drain. Reads tell before they wait, so that work can be finished and memory given
// back.
type rawConn struct {
	net.Conn
	rc     syscall.RawConn
	remote netip.AddrPort

	// of the reading goroutine
	read   func(fd uintptr) bool
	into   []byte         // read to here…
	in     *session.Input // …or, if nil, to here
	idle   func()
	n      int
	err    error
	waited bool
	ahead  session.Input // what was read for TLS and not yet decrypted

	// blocks makes Read and Write block, as TLS handshakes and HTTP expect. Without, Read returns what
	// was read ahead. It is set before anybody else reads or writes.
	blocks bool
	// turn is given back while a handshake waits for its client; nil outside handshakes.
	turn *turn

	mu      sync.Mutex // guards what follows
	write   func(fd uintptr) bool
	out     []byte
	written int
	werr    error
	pending []byte
}

func newRawConn(c net.Conn) (*rawConn, bool) {
	sc, ok := c.(syscall.Conn)
	if !ok || !canTry {
		return nil, false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, false
	}
	r := &rawConn{Conn: c, rc: rc, remote: remoteAddr(c)}
	r.read, r.write = r.tryRead, r.tryWrite
	return r, true
}

func remoteAddr(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// tryRead reads once if there is something to read; false waits until there is.
func (r *rawConn) tryRead(fd uintptr) bool {
	p := r.into
	if r.in != nil {
		p = r.in.Space()
	}
	for {
		r.n, r.err = readFD(fd, p)
		switch r.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if r.in != nil {
				r.in.Idle()
			}
			if !r.waited {
				r.waited = true
				if r.idle != nil {
					r.idle()
				}
				r.turn.leave()
			}
			return false
		}
		return true
	}
}

// nothingError says that there is nothing to read yet. It is temporary, which crypto/tls takes to mean
// that reading may go on later.
type nothingError struct{}

func (nothingError) Error() string   { return "nothing to read" }
func (nothingError) Timeout() bool   { return true }
func (nothingError) Temporary() bool { return true }

var errNothing error = nothingError{}

// Read implements net.Conn for crypto/tls.
func (r *rawConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !r.blocks {
		if n := r.ahead.Take(p); n > 0 {
			return n, nil
		}
		return 0, errNothing
	}
	r.into, r.waited = p, false
	err := r.rc.Read(r.read)
	r.into = nil
	if r.waited {
		r.turn.enter()
	}
	switch {
	case err != nil: // a deadline, perhaps, before anything was tried
		return 0, err
	case r.err != nil:
		return 0, r.err
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

// fill reads straight into an input buffer that is held only while there are bytes.
//
// Its frame and those below it are small: a goroutine that waits here fits a stack of 2 KiB.
func (r *rawConn) fill(in *session.Input, idle func()) error {
	r.in, r.idle, r.waited = in, idle, false
	err := r.rc.Read(r.read)
	r.in, r.idle = nil, nil
	switch {
	case err != nil:
		return err
	case r.err != nil:
		return r.err
	case r.n == 0:
		return io.EOF
	}
	in.Filled(r.n)
	return nil
}

// tryWrite writes once and never waits.
func (r *rawConn) tryWrite(fd uintptr) bool {
	for {
		r.written, r.werr = writeFD(fd, r.out)
		if r.werr != syscall.EINTR {
			return true
		}
	}
}

// Write takes all of p: it implements net.Conn for crypto/tls, whose records must not be torn.
func (r *rawConn) Write(p []byte) (int, error) {
	if r.blocks {
		return r.Conn.Write(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) > 0 {
		r.pending = append(r.pending, p...)
		return len(p), nil
	}
	r.out = p
	err := r.rc.Write(r.write)
	r.out = nil
	n := max(r.written, 0)
	if err == nil {
		err = r.werr
	}
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		return 0, err
	}
	if n < len(p) {
		r.pending = append(r.pending, p[n:]...)
	}
	return len(p), nil
}

func (r *rawConn) unwritten() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending)
}

// drainChunk is how much Drain writes at a time; a chunk is taken out of pending before it is
// written, so that others may add.
const drainChunk = 256 << 10

// drain writes what is pending, blocking.
func (r *rawConn) drain() error {
	for {
		r.mu.Lock()
		n := min(len(r.pending), drainChunk)
		if n == 0 {
			r.pending = nil
			r.mu.Unlock()
			return nil
		}
		chunk := r.pending[:n:n]
		r.mu.Unlock()
		// The chunk stays at the front of pending while it is written: the order is kept because
		// Write only appends, and append never changes bytes that are there.
		if _, err := r.Conn.Write(chunk); err != nil {
			return err
		}
		r.mu.Lock()
		r.pending = r.pending[n:]
		r.mu.Unlock()
	}
}

// interrupt makes reads return. A deadline, unlike Close, does not wait for them, and last words can
// still be written.
func (r *rawConn) interrupt() { r.Conn.SetReadDeadline(time.Unix(1, 0)) }

// resume undoes interrupt.
func (r *rawConn) resume() { r.Conn.SetReadDeadline(time.Time{}) }

// left reports whether the client has closed the connection. Bytes that nobody will read are thrown away.
func (r *rawConn) left() (closed bool) {
	r.rc.Control(func(fd uintptr) {
		var waste [512]byte
		for range 4 {
			n, err := readFD(fd, waste[:])
			if closed = n == 0 && err == nil; closed || n <= 0 && err != syscall.EINTR {
				return
			}
		}
	})
	return closed
}

// lingerTime is how long a closed connection waits for the client to close too.
const lingerTime = time.Second

// close closes the connection. To linger is to close the writing side and read until the client closes, so
// that the last packet, with its reason, is not lost to a reset because of bytes that nobody read.
func (r *rawConn) close(linger bool) error {
	if tcp, ok := r.Conn.(*net.TCPConn); ok && linger && !r.left() && r.unwritten() == 0 && tcp.CloseWrite() == nil {
		tcp.SetReadDeadline(time.Now().Add(lingerTime))
		var waste [512]byte
		for {
			if _, err := tcp.Read(waste[:]); err != nil {
				break
			}
		}
	}
	return r.Conn.Close()
}

// plain is MQTT straight over TCP. It implements session.Transport and session.Resting.
type plain struct{ *rawConn }

func (p plain) Fill(in *session.Input, idle func()) error { return p.fill(in, idle) }
func (p plain) Drain() error                              { return p.drain() }
func (p plain) Pending() int                              { return p.unwritten() }
func (p plain) Interrupt()                                { p.interrupt() }
func (p plain) Rested()                                   { p.resume() }
func (p plain) Parted()                                   {}
func (p plain) Close(linger bool) error                   { return p.close(linger) }
func (p plain) RemoteAddr() netip.AddrPort                { return p.remote }
func (p plain) Write(b []byte) (bool, error) {
	if _, err := p.rawConn.Write(b); err != nil {
		return false, err
	}
	return p.unwritten() > 0, nil
}
