package virtualesp

import (
	"encoding/binary"
	"io"
	"sync"
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
	comSetControl = 5
	comPurge      = 12
	comAnswer     = 100 // added to a command

	controlDTROn  = 8
	controlDTROff = 9
	controlRTSOn  = 11
	controlRTSOff = 12

	maxSubnegotiation = 64
)

// RFC2217 returns the chip's end of a serial line over a connection that speaks RFC 2217:
// DTR, RTS and the baud rate reach the chip as from a Port.
func RFC2217(conn io.ReadWriteCloser, c *Chip) io.ReadWriteCloser {
	return &comPort{ReadWriteCloser: conn, chip: c, parse: (*comPort).plain}
}

// comPort takes telnet apart, one byte at a time.
type comPort struct {
	io.ReadWriteCloser
	chip  *Chip
	write sync.Mutex
	parse func(*comPort, byte) (out byte, isData bool)
	verb  byte
	sub   []byte
}

func (p *comPort) Read(b []byte) (int, error) {
	for {
		n, err := p.ReadWriteCloser.Read(b)
		kept := 0
		for _, in := range b[:n] {
			if out, isData := p.parse(p, in); isData {
				b[kept] = out
				kept++
			}
		}
		if kept > 0 || err != nil || len(b) == 0 {
			return kept, err
		}
	}
}

func (p *comPort) Write(b []byte) (int, error) {
	escaped := make([]byte, 0, len(b))
	for _, c := range b {
		if escaped = append(escaped, c); c == telnetIAC {
			escaped = append(escaped, telnetIAC)
		}
	}
	if err := p.raw(escaped); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (p *comPort) raw(b []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	_, err := p.ReadWriteCloser.Write(b)
	return err
}

func (p *comPort) plain(b byte) (byte, bool) {
	if b == telnetIAC {
		p.parse = (*comPort).command
		return 0, false
	}
	return b, true
}

func (p *comPort) command(b byte) (byte, bool) {
	switch b {
	case telnetIAC:
		p.parse = (*comPort).plain
		return telnetIAC, true
	case telnetWill, telnetWont, telnetDo, telnetDont:
		p.verb, p.parse = b, (*comPort).option
	case telnetSB:
		p.sub, p.parse = p.sub[:0], (*comPort).subnegotiation
	default:
		p.parse = (*comPort).plain
	}
	return 0, false
}

// option agrees to what RFC 2217 needs and to nothing else. That the connection is broken
// is seen at the next Read.
func (p *comPort) option(b byte) (byte, bool) {
	p.parse = (*comPort).plain
	agreed := b == optionBinary || b == optionSGA || b == optionComPort
	switch {
	case p.verb == telnetDo && agreed:
		_ = p.raw([]byte{telnetIAC, telnetWill, b})
	case p.verb == telnetDo:
		_ = p.raw([]byte{telnetIAC, telnetWont, b})
	case p.verb == telnetWill && agreed:
		_ = p.raw([]byte{telnetIAC, telnetDo, b})
	case p.verb == telnetWill:
		_ = p.raw([]byte{telnetIAC, telnetDont, b})
	}
	return 0, false
}

func (p *comPort) subnegotiation(b byte) (byte, bool) {
	switch {
	case b == telnetIAC:
		p.parse = (*comPort).subnegotiationIAC
	case len(p.sub) < maxSubnegotiation:
		p.sub = append(p.sub, b)
	}
	return 0, false
}

func (p *comPort) subnegotiationIAC(b byte) (byte, bool) {
	if b == telnetSE {
		p.parse = (*comPort).plain
		p.comPort()
		return 0, false
	}
	p.parse = (*comPort).subnegotiation
	if b == telnetIAC && len(p.sub) < maxSubnegotiation {
		p.sub = append(p.sub, b)
	}
	return 0, false
}

// comPort carries out a subnegotiation and confirms it with the value it was asked for.
func (p *comPort) comPort() {
	if len(p.sub) < 2 || p.sub[0] != optionComPort || p.sub[1] >= comAnswer {
		return
	}
	value := p.sub[2:]
	switch p.sub[1] {
	case comSetBaud:
		if len(value) == 4 {
			if baud := binary.BigEndian.Uint32(value); baud != 0 && baud < 1<<24 {
				p.chip.hostBaud.Store(int64(baud))
			}
		}
	case comSetControl:
		if len(value) == 1 {
			switch value[0] {
			case controlDTROn, controlDTROff:
				p.chip.SetDTR(value[0] == controlDTROn)
			case controlRTSOn, controlRTSOff:
				p.chip.SetRTS(value[0] == controlRTSOn)
			}
		}
	case comPurge: // nothing is kept here
	}
	answer := []byte{telnetIAC, telnetSB, optionComPort, p.sub[1] + comAnswer}
	for _, b := range value {
		if answer = append(answer, b); b == telnetIAC {
			answer = append(answer, telnetIAC)
		}
	}
	_ = p.raw(append(answer, telnetIAC, telnetSE))
}
