package broker

import (
	"crypto/tls"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/session"
)

// secure is MQTT over TLS. It implements session.Transport and session.Resting.
//
// It reads ahead: what waits in the socket is taken in one read, as many records as there are, and TLS
// decrypts them out of that buffer without a system call each. While nothing waits no buffer is held.
type secure struct {
	raw *rawConn
	tls *tls.Conn
	dry bool // of the reading goroutine: TLS has used up what was read
}

// Fill waits for bytes and decrypts one record.
func (s *secure) Fill(in *session.Input, idle func()) error {
	for {
		if s.dry {
			in.Idle()
			if err := s.raw.fill(&s.raw.ahead, idle); err != nil {
				return err
			}
			s.dry = false
		}
		n, err := s.tls.Read(in.Space())
		if n > 0 {
			in.Filled(n)
			return nil
		}
		if err == nil {
			continue
		}
		if err != errNothing {
			return err
		}
		s.dry = true
	}
}

// Rested gives back what TLS keeps besides its keys.
func (s *secure) Rested() {
	s.raw.resume()
	trim(s.tls)
}

// Parted gives back what was read ahead: the goodbye of TLS, as a rule.
func (s *secure) Parted() { s.raw.ahead.Drop() }

func (s *secure) Write(b []byte) (bool, error) {
	if _, err := s.tls.Write(b); err != nil {
		return false, err
	}
	return s.raw.unwritten() > 0, nil
}

func (s *secure) Drain() error               { return s.raw.drain() }
func (s *secure) Pending() int               { return s.raw.unwritten() }
func (s *secure) Interrupt()                 { s.raw.interrupt() }
func (s *secure) RemoteAddr() netip.AddrPort { return s.raw.remote }

// Close says goodbye to TLS only where that cannot block, and to those who still listen.
func (s *secure) Close(linger bool) error {
	if s.raw.unwritten() == 0 && !s.raw.left() {
		s.raw.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		s.tls.CloseWrite()
	}
	return s.raw.close(linger)
}

// blocking is a Transport over any stream that only knows how to block, such as a WebSocket.
type blocking struct {
	stream
	remote  netip.AddrPort
	pending chan []byte
	left    atomic.Int64
}

// stream is what blocking needs of a connection.
type stream interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	SetReadDeadline(t time.Time) error
	Close() error
}

func newBlocking(s stream, remote netip.AddrPort) *blocking {
	return &blocking{stream: s, remote: remote, pending: make(chan []byte, 1)}
}

func (b *blocking) Fill(in *session.Input, idle func()) error {
	idle()
	n, err := b.stream.Read(in.Space())
	in.Filled(n)
	if n > 0 {
		return nil
	}
	return err
}

// Write leaves the bytes to Drain. Sessions call the two in turn, never Write twice without Drain.
func (b *blocking) Write(p []byte) (bool, error) {
	b.left.Add(int64(len(p)))
	b.pending <- append([]byte(nil), p...)
	return true, nil
}

func (b *blocking) Drain() error {
	for {
		select {
		case p := <-b.pending:
			_, err := b.stream.Write(p)
			b.left.Add(-int64(len(p)))
			if err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (b *blocking) Close(bool) error           { return b.stream.Close() }
func (b *blocking) Pending() int               { return int(b.left.Load()) }
func (b *blocking) Interrupt()                 { b.stream.SetReadDeadline(time.Unix(1, 0)) }
func (b *blocking) RemoteAddr() netip.AddrPort { return b.remote }
