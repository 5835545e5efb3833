package virtualesp

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/berth-iot/berth/esp/chip"
)

// defaultBaud is the rate of the UART after a reset, until a SYNC shows another.
const defaultBaud = 115200

// Error codes of a ROM.
const (
	romInvalidMessage = 0x05
	romFailed         = 0x06
	romChecksum       = 0x07
	romFlashWrite     = 0x08
	romFlashRead      = 0x09
	romReadLength     = 0x0A
	romDeflate        = 0x0B
	romAdler          = 0x0C
	romParameter      = 0x0D
)

// Error codes of a stub.
const (
	stubDataLength  = 0xC0
	stubChecksum    = 0xC1
	stubInvalid     = 0xC3
	stubSPI         = 0xC4
	stubNotInFlash  = 0xC6
	stubInflate     = 0xC7
	stubTooLittle   = 0xC8
	stubTooMuch     = 0xC9
	stubUnknown     = 0xFF
	maxStubPacket   = 0x1000
	romReadBlock    = 64
	headerLen       = 8
	dataHeaderLen   = 16
	romDefaultFlash = 4 << 20
	maxStubFrame    = chip.StubBlock + dataHeaderLen + headerLen
	maxROMFrame     = chip.RAMBlock + dataHeaderLen + headerLen
	romSyncValue    = 0x55201207
	syncLen         = 36
)

// effect is what a command does beyond its answer.
type effect struct {
	reset bool // the chip starts anew
	run   bool // and leaves the loader, whatever its boot pin says
	baud  int  // the UART's new rate
}

// loader is the serial protocol of a chip in download mode: its ROM's or, once a stub was
// loaded and started, the stub's. It is a state machine without goroutine and clock: frame
// takes a request; answers go to send, waiting to pause.
type loader struct {
	id    identity
	flash *Flash
	regs  *registers
	count *tally
	time  Timing
	send  func(payload []byte)
	pause func(time.Duration)

	stub    bool
	limit   uint32 // size of the flash as SPI_SET_PARAMS told it
	ram     *transfer
	loaded  []chip.Region
	write   *transfer
	reading *reading
	failed  byte // what a stub found after it had answered
}

func (l *loader) frameLimit() int {
	if l.stub {
		return maxStubFrame
	}
	return maxROMFrame
}

// answer is what a command replies with. A code other than 0 is an error.
type answer struct {
	value uint32
	data  []byte
	code  byte
	quiet bool // no reply at all
	effect
}

func fail(code byte) answer { return answer{code: code} }

// pick returns the ROM's or the stub's code for the same mishap.
func (l *loader) pick(rom, stub byte) byte {
	if l.stub {
		return stub
	}
	return rom
}

func (l *loader) bad(rom, stub byte) answer { return fail(l.pick(rom, stub)) }

// frame takes one request. What is none gets no reply.
func (l *loader) frame(f []byte) effect {
	if l.reading != nil {
		l.acknowledged(f)
		return effect{}
	}
	if len(f) < headerLen || f[0] != 0 {
		l.count.add(func(c *Counters) { c.BadFrames++ })
		return effect{}
	}
	op, size, checksum := f[1], int(binary.LittleEndian.Uint16(f[2:])), binary.LittleEndian.Uint32(f[4:])
	data := f[headerLen:]
	var a answer
	var then func()
	switch {
	case size != len(data):
		a = l.bad(romInvalidMessage, stubDataLength)
	case l.failed != 0:
		a, l.failed = fail(l.failed), 0
	default:
		a, then = l.command(op, data, checksum)
	}
	l.count.command(op, a.code != 0)
	if !a.quiet {
		if l.locked(op) {
			// What secure download mode has switched off is answered under another
			// opcode; that is how esptool knows the mode.
			op = 0
		}
		l.reply(op, a)
	}
	if a.code == 0 && then != nil {
		then()
	}
	return a.effect
}

func (l *loader) reply(op byte, a answer) {
	status := []byte{0, 0}
	switch {
	case a.code != 0 && l.stub:
		status = []byte{a.code, 0}
	case a.code != 0:
		status = []byte{1, a.code}
	}
	if !l.stub && l.id.chip.StatusLen == 4 {
		status = append(status, 0, 0)
	}
	data := append(a.data[:len(a.data):len(a.data)], status...)
	p := append([]byte{1, op}, byte(len(data)), byte(len(data)>>8))
	p = binary.LittleEndian.AppendUint32(p, a.value)
	l.send(append(p, data...))
}

// locked tells whether secure download mode has switched a command off.
func (l *loader) locked(op byte) bool {
	switch op {
	case opMemBegin, opMemData, opMemEnd, opReadReg, opWriteReg, opSPIFlashMD5, opReadFlashSlow:
		return l.id.security.SecureDownload
	}
	return false
}

// knows tells whether the loader that runs has the command.
func (l *loader) knows(op byte) bool {
	c, old := l.id.chip, l.id.chip.ImageID == chip.NoID
	if l.locked(op) {
		return false
	}
	switch op {
	case opSync, opFlashBegin, opFlashData, opFlashEnd, opMemBegin, opMemData, opMemEnd, opReadReg, opWriteReg:
		return true
	case opSPIAttach, opSPISetParams:
		return l.stub || c.ROMAttach
	case opChangeBaudrate:
		return l.stub || !old
	case opFlashDeflBegin, opFlashDeflData, opFlashDeflEnd:
		return l.stub || c.ROMDeflate
	case opSPIFlashMD5:
		return l.stub || c.ROMMD5
	case opReadFlashSlow:
		return !l.stub && !old
	case opGetSecurityInfo:
		return c.SecurityInfoLen > 0
	case opEraseFlash, opEraseRegion, opReadFlash, opRunUserCode:
		return l.stub
	}
	return false
}

// command carries out one command. The function it returns runs after the reply.
func (l *loader) command(op byte, data []byte, checksum uint32) (answer, func()) {
	if !l.knows(op) {
		return l.bad(romInvalidMessage, stubUnknown), nil
	}
	words := make([]uint32, len(data)/4)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	switch op { // commands with as much data as they like
	case opFlashData, opFlashDeflData:
		return l.flashData(op, data, words, checksum)
	case opMemData:
		return l.memData(data, words, checksum), nil
	case opWriteReg:
		return l.writeReg(data, words), nil
	}
	if n := l.words(op); len(data) != 4*n {
		// A stub takes the two words that a ROM's SPI_ATTACH has.
		if !(op == opSPIAttach && l.stub && len(data) == 8) {
			return l.bad(romInvalidMessage, stubDataLength), nil
		}
	}
	switch op {
	case opSync:
		return l.sync(data), nil
	case opReadReg:
		return answer{value: l.regs.read(words[0])}, nil
	case opMemBegin:
		return l.memBegin(words), nil
	case opMemEnd:
		return l.memEnd(words)
	case opFlashBegin, opFlashDeflBegin:
		return l.flashBegin(words, op == opFlashDeflBegin), nil
	case opFlashEnd, opFlashDeflEnd:
		return l.flashEnd(words[0]), nil
	case opSPIAttach:
		l.regs.spi.attached = true
		return answer{}, nil
	case opSPISetParams:
		l.limit = words[1]
		return answer{}, nil
	case opSPIFlashMD5:
		return l.flashMD5(words[0], words[1]), nil
	case opReadFlashSlow:
		return l.readSlow(words[0], words[1]), nil
	case opChangeBaudrate:
		if words[0] == 0 || words[0] > 1<<24 {
			return l.bad(romParameter, stubDataLength), nil
		}
		return answer{effect: effect{baud: int(words[0])}}, nil
	case opGetSecurityInfo:
		return answer{data: l.id.securityInfo()}, nil
	case opEraseFlash:
		return l.erase(0, uint32(l.flash.Size())), nil
	case opEraseRegion:
		if words[0]%SectorSize != 0 || words[1]%SectorSize != 0 {
			return fail(stubDataLength), nil
		}
		return l.erase(words[0], words[1]), nil
	case opReadFlash:
		return l.readFlash(words)
	case opRunUserCode:
		return answer{quiet: true, effect: effect{reset: true, run: true}}, nil
	}
	return l.bad(romInvalidMessage, stubInvalid), nil
}

// words is how many words of data a command has.
func (l *loader) words(op byte) int {
	switch op {
	case opSync:
		return syncLen / 4
	case opReadReg, opFlashEnd, opFlashDeflEnd:
		return 1
	case opMemEnd, opChangeBaudrate, opEraseRegion, opReadFlashSlow:
		return 2
	case opSPIAttach:
		if l.stub {
			return 1
		}
		return 2
	case opFlashBegin, opFlashDeflBegin:
		if !l.stub && l.id.chip.BeginEncrypted {
			return 5
		}
		return 4
	case opMemBegin, opSPIFlashMD5, opReadFlash:
		return 4
	case opSPISetParams:
		return 6
	}
	return 0
}

func (l *loader) sync(data []byte) answer {
	for i, b := range data {
		if i < 4 && b != "\x07\x07\x12\x20"[i] || i >= 4 && b != 0x55 {
			return l.bad(romInvalidMessage, stubInvalid)
		}
	}
	a := answer{value: romSyncValue}
	if l.stub {
		a.value = 0
	}
	for range 7 { // and the eighth as the reply
		l.reply(opSync, a)
	}
	return a
}

// writeReg takes one or more sets of address, value, mask and delay.
func (l *loader) writeReg(data []byte, words []uint32) answer {
	if len(data) == 0 || len(data)%16 != 0 {
		return l.bad(romInvalidMessage, stubTooLittle)
	}
	for ; len(words) > 0; words = words[4:] {
		if l.time.BaudRate {
			l.pause(time.Duration(min(words[3], 1e6)) * time.Microsecond)
		}
		l.regs.write(words[0], words[1], words[2])
	}
	return answer{effect: effect{reset: l.regs.fired}}
}

// erase erases sectors and takes the time for it.
func (l *loader) erase(offset, size uint32) answer {
	if err := l.flash.Erase(offset, size); err != nil {
		return l.bad(romFailed, stubSPI)
	}
	l.pause(l.time.erasing(offset, size))
	return answer{}
}

// inFlash tells whether size bytes from offset are in the flash, as the loader knows it.
func (l *loader) inFlash(offset, size uint32) bool {
	return uint64(offset)+uint64(size) <= uint64(min(l.limit, uint32(l.flash.Size())))
}

func (l *loader) flashMD5(offset, size uint32) answer {
	if !l.regs.spi.attached || !l.inFlash(offset, size) {
		return l.bad(romFailed, stubSPI)
	}
	h := md5.New()
	if _, err := io.Copy(h, io.NewSectionReader(l.flash, int64(offset), int64(size))); err != nil {
		return l.bad(romFlashRead, stubSPI)
	}
	l.pause(l.time.hashing(size))
	sum := h.Sum(nil)
	if !l.stub {
		sum = []byte(hex.EncodeToString(sum))
	}
	return answer{data: sum}
}

// readSlow is the READ_FLASH of a ROM: at most 64 bytes, always answered with 64.
func (l *loader) readSlow(offset, size uint32) answer {
	switch {
	case size > romReadBlock:
		return fail(romReadLength)
	case !l.regs.spi.attached || !l.inFlash(offset, size):
		return fail(romFlashRead)
	}
	p := make([]byte, romReadBlock)
	if _, err := l.flash.ReadAt(p[:size], int64(offset)); err != nil && !errors.Is(err, io.EOF) {
		return fail(romFlashRead)
	}
	return answer{data: p}
}

// reading is a READ_FLASH of a stub that is under way.
type reading struct {
	offset, left, packet uint32
	sent                 uint32
	sum                  []byte
}

// readFlash answers and then sends packets, each when the one before is acknowledged, and
// the MD5 of all of them. More than one packet in flight is not done: stubs never did it.
func (l *loader) readFlash(words []uint32) (answer, func()) {
	offset, size, packet := words[0], words[1], words[2]
	if packet == 0 || packet > maxStubPacket || words[3] == 0 {
		return fail(stubDataLength), nil
	}
	if !l.inFlash(offset, size) {
		return fail(stubSPI), nil
	}
	h := md5.New()
	if _, err := io.Copy(h, io.NewSectionReader(l.flash, int64(offset), int64(size))); err != nil {
		return fail(stubSPI), nil
	}
	return answer{}, func() {
		l.reading = &reading{offset: offset, left: size, packet: packet, sum: h.Sum(nil)}
		l.readOn()
	}
}

func (l *loader) readOn() {
	r := l.reading
	if r.left == 0 {
		l.reading = nil
		l.send(r.sum)
		return
	}
	p := make([]byte, min(r.left, r.packet))
	if _, err := l.flash.ReadAt(p, int64(r.offset)); err != nil {
		l.reading, l.failed = nil, stubSPI
		return
	}
	n := uint32(len(p))
	r.offset, r.left, r.sent = r.offset+n, r.left-n, r.sent+n
	l.send(p)
}

// acknowledged takes the host's word on how many bytes it has. Any other frame ends the
// reading.
func (l *loader) acknowledged(f []byte) {
	if len(f) != 4 {
		l.reading.left = 0
		l.readOn()
		return
	}
	if binary.LittleEndian.Uint32(f) == l.reading.sent {
		l.readOn()
	}
}
