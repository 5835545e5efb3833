package serial

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/berth-iot/berth/esp/chip"
)

// fakeROM is a loader for tests of the conversation: a ROM or a stub in front of a flash in memory.
type fakeROM struct {
	chip    *chip.Chip
	flash   []byte
	regs    map[uint32]uint32
	stub    bool
	secInfo []byte // the answer to GET_SECURITY_INFO, if not of an open chip

	// fault is asked before a command is carried out.
	fault func(op byte, nth int) fault
	count map[byte]int
	text  string // said on connection and instead of every answer, by a chip in run mode
	mute  atomic.Bool

	at, blocks int
	inflate    []byte
	size       int
	begun      byte
	attached   bool
}

type fault int

const (
	none        fault = iota
	loseRequest       // it never arrives
	loseAnswer        // it is carried out
	spoilAnswer
	refuseChecksum
	refuseWrite
	worn     // write nothing, say nothing
	unplug   // the port closes
	toFlash  // the chip resets and runs its firmware
	toRAM    // the chip resets into download mode again
	twoBytes // status of two bytes
)

const testMAC = "24:0a:c4:01:02:03"

func newFake(c *chip.Chip) *fakeROM {
	f := &fakeROM{chip: c, flash: bytes.Repeat([]byte{0xFF}, 4<<20), regs: map[uint32]uint32{}, count: map[byte]int{}}
	if len(c.Magic) > 0 {
		f.regs[chip.MagicRegister] = c.Magic[0]
	}
	mac, _ := net.ParseMAC(testMAC)
	for i, w := range c.MAC.Words([6]byte(mac)) {
		f.regs[c.MAC.Registers[i]] |= w
	}
	return f
}

// port starts the loader and returns the other end.
func (f *fakeROM) port(t *testing.T) Port {
	t.Helper()
	near, far := net.Pipe()
	go f.serve(far)
	t.Cleanup(func() { _ = far.Close() })
	return near
}

func (f *fakeROM) serve(conn net.Conn) {
	defer conn.Close()
	out := make(chan []byte, 1024)
	defer close(out)
	go func() {
		for b := range out {
			if _, err := conn.Write(b); err != nil {
				_ = conn.Close()
			}
		}
	}()
	if f.text != "" {
		out <- []byte(f.text)
	}
	frames := make(chan []byte, 256)
	go func() {
		defer close(frames)
		var dec slipDecoder
		buf := make([]byte, 512)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			dec.feed(buf[:n])
			for frame, ok := dec.next(); ok; frame, ok = dec.next() {
				frames <- frame
			}
		}
	}()
	for frame := range frames {
		if f.mute.Load() || f.text != "" && f.text != "ets\r\n" {
			continue
		}
		if len(frame) < 8 || frame[0] != 0 {
			continue
		}
		op, data := frame[1], frame[8:]
		f.count[op]++
		what := none
		if f.fault != nil {
			what = f.fault(op, f.count[op])
		}
		switch what {
		case loseRequest:
			continue
		case unplug:
			return
		case toFlash:
			f.text = "ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
			out <- []byte(f.text)
			continue
		case toRAM:
			f.stub, f.attached, f.begun = false, false, 0
			continue
		case refuseChecksum:
			code := byte(codeChecksum)
			if f.stub {
				code = codeStubChecksum
			}
			out <- f.answer(op, 0, nil, code)
			continue
		case refuseWrite:
			out <- f.answer(op, 0, nil, codeFlashWrite)
			continue
		case twoBytes:
			out <- appendSLIP(nil, append(append([]byte{1, op}, 2, 0, 0, 0, 0, 0), 1, 5))
			continue
		}
		answers := f.do(op, data, byte(frame[4]), what == worn)
		for _, a := range answers {
			if what == loseAnswer {
				continue
			}
			if what == spoilAnswer {
				a = bytes.Clone(a)
				a[3] ^= 0x40
			}
			out <- a
		}
		if op == opReadFlash && what == none {
			f.stream(out, frames, data)
		}
	}
}

func (f *fakeROM) answer(op byte, value uint32, data []byte, code byte) []byte {
	status := f.chip.StatusLen
	if f.stub {
		status = 2
	}
	tail := make([]byte, status)
	if code != 0 {
		tail[0], tail[1] = 1, code
	}
	b := []byte{1, op}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)+status))
	b = binary.LittleEndian.AppendUint32(b, value)
	return appendSLIP(nil, append(append(b, data...), tail...))
}

func (f *fakeROM) do(op byte, data []byte, sum byte, worn bool) [][]byte {
	word := func(i int) uint32 {
		if len(data) < 4*i+4 {
			return 0
		}
		return binary.LittleEndian.Uint32(data[4*i:])
	}
	ok := [][]byte{f.answer(op, 0, nil, 0)}
	bad := [][]byte{f.answer(op, 0, nil, codeInvalid)}
	flash := func(at, n uint32) []byte { return f.flash[at%uint32(len(f.flash)):][:n] }
	switch op {
	case opSync:
		value := uint32(0x20120707)
		if f.stub {
			value = 0
		}
		var list [][]byte
		for range 8 {
			list = append(list, f.answer(op, value, nil, 0))
		}
		return list
	case opReadReg:
		return [][]byte{f.answer(op, f.regs[word(0)], nil, 0)}
	case opWriteReg:
		f.regs[word(0)] = word(1)
		if spi := f.chip.SPI; word(0) == spi.Base && word(1) == 1<<18 && f.regs[spi.Base+spi.USR2]&0xFF == 0x9F {
			f.regs[spi.Base] = 0
			f.regs[spi.Base+spi.W0] = 0x1640EF
			if len(f.flash) == 2<<20 {
				f.regs[spi.Base+spi.W0] = 0x1540EF
			}
		}
		return ok
	case opGetSecurityInfo:
		if f.secInfo != nil {
			return [][]byte{f.answer(op, 0, f.secInfo, 0)}
		}
		if f.chip.SecurityInfoLen == 0 {
			return bad
		}
		info := make([]byte, f.chip.SecurityInfoLen)
		if len(info) == 20 {
			info[12] = byte(f.chip.ImageID)
		}
		return [][]byte{f.answer(op, 0, info, 0)}
	case opSPIAttach:
		f.attached = true
		return ok
	case opSPISetParams, opChangeBaudrate, opMemBegin, opMemData:
		return ok
	case opMemEnd:
		f.stub = true
		return append(ok, appendSLIP(nil, []byte("OHAI")))
	case opFlashBegin, opFlashDeflBegin:
		want := 16
		if f.chip.BeginEncrypted && !f.stub {
			want = 20
		}
		if len(data) != want {
			return bad
		}
		f.begun, f.size, f.at, f.inflate = op, int(word(0)), int(word(3)), nil
		f.blocks = int(word(1))
		if !f.stub && f.attached || f.chip == chip.ESP8266 {
			erase := (word(0) + SectorSize - 1) &^ (SectorSize - 1)
			for i := range flash(word(3), erase) {
				f.flash[int(word(3))+i] = 0xFF
			}
		}
		return ok
	case opFlashData, opFlashDeflData:
		block := data[16:]
		want := byte(0xEF)
		for _, b := range block {
			want ^= b
		}
		switch {
		case f.begun != op-1 || !f.attached && f.chip != chip.ESP8266:
			return [][]byte{f.answer(op, 0, nil, codeFailed)}
		case sum != want:
			return [][]byte{f.answer(op, 0, nil, codeChecksum)}
		case worn:
			return ok
		case op == opFlashData:
			copy(f.flash[f.at:], block)
			f.at += len(block)
			return ok
		}
		f.inflate = append(f.inflate, block...)
		r, err := zlib.NewReader(bytes.NewReader(f.inflate))
		if err != nil {
			return [][]byte{f.answer(op, 0, nil, 0x0B)}
		}
		if int(word(1)) < f.blocks-1 {
			return ok
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return [][]byte{f.answer(op, 0, nil, 0x0B)}
		}
		copy(f.flash[f.at:], b)
		return ok
	case opFlashEnd:
		return ok
	case opReadFlashSlow:
		return [][]byte{f.answer(op, 0, flash(word(0), word(1)), 0)}
	case opSPIFlashMD5:
		if !f.attached {
			return [][]byte{f.answer(op, 0, nil, codeFailed)}
		}
		sum := md5.Sum(flash(word(0), word(1)))
		if f.stub {
			return [][]byte{f.answer(op, 0, sum[:], 0)}
		}
		return [][]byte{f.answer(op, 0, []byte(hex.EncodeToString(sum[:])), 0)}
	case opEraseFlash, opEraseRegion:
		at, n := word(0), word(1)
		if op == opEraseFlash {
			at, n = 0, uint32(len(f.flash))
		}
		copy(f.flash[at:at+n], bytes.Repeat([]byte{0xFF}, int(n)))
		return ok
	case opReadFlash:
		return ok
	}
	return bad
}

// stream sends flash as a stub does, a frame for each acknowledgement.
func (f *fakeROM) stream(out chan<- []byte, frames <-chan []byte, data []byte) {
	at, size, packet := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:]), binary.LittleEndian.Uint32(data[8:])
	for done := uint32(0); done < size; {
		n := min(packet, size-done)
		out <- appendSLIP(nil, f.flash[at+done:][:n])
		done += n
		ack, ok := <-frames
		if !ok || len(ack) != 4 || binary.LittleEndian.Uint32(ack) != done {
			return
		}
	}
	sum := md5.Sum(f.flash[at : at+size])
	out <- appendSLIP(nil, sum[:])
}

// open opens a session with a fake.
func open(t *testing.T, f *fakeROM, opt Options) *Session {
	t.Helper()
	s, err := Open(context.Background(), f.port(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
