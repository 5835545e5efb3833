package hostport

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/berth-iot/berth/esp/serial"
)

// Telnet's bytes (RFC 854) and the COM-PORT-OPTION of RFC 2217.
const (
	telnetSE   = 240
	telnetSB   = 250
	telnetWill = 251
	telnetWont = 252
	telnetDo   = 253
	telnetDont = 254
	telnetIAC  = 255

	optionBinary  = 0
	optionSGA     = 3
	optionComPort = 44

	comSetBaud    = 1
	comSetSize    = 2
	comSetParity  = 3
	comSetStop    = 4
	comSetControl = 5

	controlDTROn = 8 // 9 is off
	controlRTSOn = 11
)

// remote is a serial port behind a server that speaks RFC 2217, such as ser2net. What it confirms is
// not waited for: a server carries out what it is told in order.
type remote struct {
	conn net.Conn

	mu    sync.Mutex // of what is sent
	parse func(*remote, byte) (out byte, isData bool)
	verb  byte
}

// farewell bounds how long a server may take to hang up.
const farewell = time.Second

// dialRemote connects and agrees on binary data and the option.
func dialRemote(conn net.Conn) (*remote, error) {
	r := &remote{conn: conn, parse: (*remote).plain}
	hello := []byte{}
	for _, option := range []byte{optionComPort, optionBinary, optionSGA} {
		hello = append(hello, telnetIAC, telnetWill, option, telnetIAC, telnetDo, option)
	}
	hello = append(hello, subnegotiation(comSetSize, 8)...)
	hello = append(hello, subnegotiation(comSetParity, 1)...) // none
	hello = append(hello, subnegotiation(comSetStop, 1)...)
	if err := r.send(hello); err != nil {
		return nil, err
	}
	return r, r.SetBaud(serial.DefaultBaud)
}

func subnegotiation(command byte, value ...byte) []byte {
	b := []byte{telnetIAC, telnetSB, optionComPort, command}
	return append(append(b, escape(value)...), telnetIAC, telnetSE)
}

func escape(b []byte) []byte {
	out := make([]byte, 0, len(b)+8)
	for _, c := range b {
		if out = append(out, c); c == telnetIAC {
			out = append(out, telnetIAC)
		}
	}
	return out
}

func (r *remote) send(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.conn.Write(b)
	return err
}

func (r *remote) Read(p []byte) (int, error) {
	for {
		n, err := r.conn.Read(p)
		kept := 0
		for _, in := range p[:n] {
			if out, isData := r.parse(r, in); isData {
				p[kept] = out
				kept++
			}
		}
		if kept > 0 || err != nil || len(p) == 0 {
			return kept, err
		}
	}
}

func (r *remote) Write(p []byte) (int, error) {
	if err := r.send(escape(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close says goodbye first: a connection that is closed with something unread in it may lose what was
// sent last, the end of a reset.
func (r *remote) Close() error {
	if c, ok := r.conn.(*net.TCPConn); ok && c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(farewell)) == nil {
		_, _ = io.Copy(io.Discard, c)
	}
	return r.conn.Close()
}

func (r *remote) SetDeadline(t time.Time) error { return r.conn.SetDeadline(t) }

// SetLines asserts or releases both lines, RTS last.
func (r *remote) SetLines(dtr, rts bool) error {
	code := func(on byte, set bool) byte {
		if set {
			return on
		}
		return on + 1
	}
	if err := r.send(append(subnegotiation(comSetControl, code(controlDTROn, dtr)), subnegotiation(comSetControl, code(controlRTSOn, rts))...)); err != nil {
		return fmt.Errorf("set DTR and RTS: %w", err)
	}
	return nil
}

// SetBaud changes the rate in bit/s.
func (r *remote) SetBaud(baud int) error {
	return r.send(subnegotiation(comSetBaud, binary.BigEndian.AppendUint32(nil, uint32(baud))...))
}

func (r *remote) plain(b byte) (byte, bool) {
	if b == telnetIAC {
		r.parse = (*remote).command
		return 0, false
	}
	return b, true
}

func (r *remote) command(b byte) (byte, bool) {
	r.parse = (*remote).plain
	switch b {
	case telnetIAC:
		return telnetIAC, true
	case telnetWill, telnetWont, telnetDo, telnetDont:
		r.verb, r.parse = b, (*remote).option
	case telnetSB:
		r.parse = (*remote).skip
	}
	return 0, false
}

// option refuses what was not asked for; the rest is an answer. That the connection is broken is seen
// at the next Read.
func (r *remote) option(b byte) (byte, bool) {
	r.parse = (*remote).plain
	if b == optionBinary || b == optionSGA || b == optionComPort {
		return 0, false
	}
	switch r.verb {
	case telnetDo:
		_ = r.send([]byte{telnetIAC, telnetWont, b})
	case telnetWill:
		_ = r.send([]byte{telnetIAC, telnetDont, b})
	}
	return 0, false
}

// skip leaves out what the server confirms and tells.
func (r *remote) skip(b byte) (byte, bool) {
	if b == telnetIAC {
		r.parse = (*remote).skipIAC
	}
	return 0, false
}

func (r *remote) skipIAC(b byte) (byte, bool) {
	r.parse = (*remote).skip
	if b == telnetSE {
		r.parse = (*remote).plain
	}
	return 0, false
}
