package virtualesp

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/berth-iot/berth/esp/chip"
)

var testMAC = [6]byte{0x7C, 0xDF, 0xA1, 0x0A, 0x0B, 0x0C}

// bench is a loader with a host at hand, without goroutines.
type bench struct {
	*loader
	t       *testing.T
	sent    [][]byte
	effects []effect
	waited  time.Duration
}

func newBench(t *testing.T, c *chip.Chip, faults Faults) *bench {
	t.Helper()
	b := &bench{t: t}
	id := identity{chip: c, mac: testMAC, crystal: c.UART.CrystalMHz[0], security: faults.Security}
	id.revision, id.pkg = typical(c)
	flash := flashOf(t, 4<<20)
	for _, at := range faults.Worn {
		flash.Wear(at)
	}
	b.loader = &loader{
		id: id, flash: flash, regs: newRegisters(id, flash), count: &tally{}, limit: romDefaultFlash,
		send:  func(p []byte) { b.sent = append(b.sent, bytes.Clone(p)) },
		pause: func(d time.Duration) { b.waited += d },
	}
	t.Cleanup(b.endWrite)
	return b
}

func le(words ...uint32) []byte {
	var p []byte
	for _, w := range words {
		p = binary.LittleEndian.AppendUint32(p, w)
	}
	return p
}

func request(op byte, data []byte, checksum uint32) []byte {
	p := append([]byte{0, op}, byte(len(data)), byte(len(data)>>8))
	return append(binary.LittleEndian.AppendUint32(p, checksum), data...)
}

// reply is an answer taken apart.
type reply struct {
	value uint32
	data  []byte
	code  byte // 0 if it succeeded
}

// ask sends a request and returns the one reply that came.
func (b *bench) ask(op byte, data []byte, checksum uint32) reply {
	b.t.Helper()
	b.sent = nil
	b.effects = append(b.effects, b.frame(request(op, data, checksum)))
	if len(b.sent) == 0 {
		b.t.Fatalf("%s: no reply", commandName(op))
	}
	return b.parse(op, b.sent[0])
}

func (b *bench) parse(op byte, p []byte) reply {
	b.t.Helper()
	n := b.id.chip.StatusLen
	if b.stub {
		n = chip.StubStatusLen
	}
	if len(p) < 8+n || p[0] != 1 || p[1] != op || int(binary.LittleEndian.Uint16(p[2:])) != len(p)-8 {
		b.t.Fatalf("%s: malformed reply %x", commandName(op), p)
	}
	r := reply{value: binary.LittleEndian.Uint32(p[4:]), data: p[8 : len(p)-n]}
	status := p[len(p)-n:]
	switch {
	case b.stub:
		r.code = status[0]
	case status[0] == 1:
		r.code = status[1]
	case status[0] != 0:
		b.t.Fatalf("%s: status %x", commandName(op), status)
	}
	return r
}

// must is ask where an error ends the test.
func (b *bench) must(op byte, data []byte) reply {
	b.t.Helper()
	r := b.ask(op, data, 0)
	if r.code != 0 {
		b.t.Fatalf("%s: error %#x", commandName(op), r.code)
	}
	return r
}

func (b *bench) block(op byte, sequence uint32, body []byte) byte {
	b.t.Helper()
	sum := uint32(0xEF)
	for _, c := range body {
		sum ^= uint32(c)
	}
	return b.ask(op, append(le(uint32(len(body)), sequence, 0, 0), body...), sum).code
}

func (b *bench) attach() {
	b.t.Helper()
	if b.id.chip.ROMAttach && !b.stub {
		b.must(opSPIAttach, le(0, 0))
		b.must(opSPISetParams, le(0, 4<<20, BlockSize, SectorSize, pageSize, 0xFFFF))
	}
}

// begin opens a download to flash and returns the error code.
func (b *bench) begin(op byte, size, blocks, blockSize, offset uint32) byte {
	b.t.Helper()
	words := []uint32{size, blocks, blockSize, offset}
	if b.id.chip.BeginEncrypted && !b.stub {
		words = append(words, 0)
	}
	return b.ask(op, le(words...), 0).code
}

// startStub loads something into RAM and starts it.
func (b *bench) startStub() {
	b.t.Helper()
	ram := b.id.chip.RAM[len(b.id.chip.RAM)-1]
	b.must(opMemBegin, le(100, 1, chip.RAMBlock, ram.Start))
	if code := b.block(opMemData, 0, bytes.Repeat([]byte{0xA5}, 100)); code != 0 {
		b.t.Fatalf("MEM_DATA: %#x", code)
	}
	b.sent = nil
	b.frame(request(opMemEnd, le(0, ram.Start+4), 0))
	if len(b.sent) != 2 || string(b.sent[1]) != "OHAI" || !b.stub {
		b.t.Fatalf("started the stub: %x", b.sent)
	}
}

func deflate(p []byte) []byte {
	var buf bytes.Buffer
	w := zlib.NewWriter(&buf)
	_, _ = w.Write(p)
	_ = w.Close()
	return buf.Bytes()
}

func noiseOf(n int, seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 0))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(random.Uint32())
	}
	return p
}

// each runs a test for every chip, with its ROM and with a stub.
func each(t *testing.T, run func(t *testing.T, b *bench)) {
	for _, c := range chip.All() {
		for _, stub := range []bool{false, true} {
			name := c.Target + "/rom"
			if stub {
				name = c.Target + "/stub"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, c, Faults{})
				if stub {
					b.startStub()
				}
				b.attach()
				run(t, b)
			})
		}
	}
}
