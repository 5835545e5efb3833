package virtualesp

import (
	"bytes"
	"errors"

	"github.com/berth-iot/berth/esp/chip"
)

// transfer is a write to RAM or flash between its BEGIN and its END command.
type transfer struct {
	offset     uint32 // where the next byte goes
	left       uint32 // bytes still announced
	blocks     uint32 // data commands still announced
	blockSize  uint32
	sequence   uint32 // of the next data command
	eraseFrom  uint32 // a stub erases as it goes: from here
	erasedEnd  uint32 // first address not erased, and for a stub not to be erased
	compressed *inflater
}

// payload checks the header of a data command and returns what follows it.
func (l *loader) payload(d *transfer, data []byte, words []uint32, checksum uint32) ([]byte, byte) {
	if len(data) < dataHeaderLen {
		return nil, l.pick(romInvalidMessage, stubTooLittle)
	}
	if d == nil {
		return nil, l.pick(romFailed, stubNotInFlash)
	}
	body := data[dataHeaderLen:]
	switch {
	case uint64(words[0]) != uint64(len(body)):
		return nil, l.pick(romInvalidMessage, stubTooMuch)
	case uint64(len(body)) > uint64(d.blockSize):
		return nil, l.pick(romInvalidMessage, stubTooMuch)
	}
	sum := byte(0xEF)
	for _, b := range body {
		sum ^= b
	}
	switch {
	case uint32(sum) != checksum:
		return nil, l.pick(romChecksum, stubChecksum)
	case words[1] != d.sequence || d.blocks == 0:
		return nil, l.pick(romFailed, stubInvalid)
	}
	d.sequence, d.blocks = d.sequence+1, d.blocks-1
	return body, 0
}

func (l *loader) inRAM(address uint32, size uint64) bool {
	for _, r := range l.id.chip.RAM {
		if r.Contains(address, size) {
			return true
		}
	}
	return false
}

func (l *loader) memBegin(words []uint32) answer {
	size, blocks, blockSize, offset := words[0], words[1], words[2], words[3]
	if blockSize > chip.RAMBlock && !l.stub || blockSize > chip.StubBlock || !l.inRAM(offset, uint64(size)) {
		return l.bad(romInvalidMessage, stubDataLength)
	}
	l.ram = &transfer{offset: offset, left: size, blocks: blocks, blockSize: blockSize}
	if len(l.loaded) < 64 { // as many as any image has segments, and then some
		l.loaded = append(l.loaded, chip.Region{Start: offset, End: offset + size})
	}
	return answer{}
}

func (l *loader) memData(data []byte, words []uint32, checksum uint32) answer {
	body, code := l.payload(l.ram, data, words, checksum)
	if code != 0 {
		return fail(code)
	}
	if uint64(len(body)) > uint64(l.ram.left) {
		return l.bad(romInvalidMessage, stubTooMuch)
	}
	l.regs.load(l.ram.offset, body)
	l.ram.offset += uint32(len(body))
	l.ram.left -= uint32(len(body))
	return answer{}
}

// memEnd ends a download to RAM and, unless told to stay, starts it. The virtual chip has
// no processor: it takes whatever was loaded for the stub. Code that was not loaded crashes.
func (l *loader) memEnd(words []uint32) (answer, func()) {
	if l.ram == nil {
		return l.bad(romFailed, stubNotInFlash), nil
	}
	l.ram = nil
	if words[0] != 0 {
		return answer{}, nil
	}
	for _, r := range l.loaded {
		if r.Contains(words[1], 4) {
			return answer{}, func() {
				l.stub, l.loaded = true, nil
				l.endWrite()
				// A stub attaches the flash when it starts.
				l.limit, l.regs.spi.attached = uint32(l.flash.Size()), true
				l.send([]byte("OHAI"))
			}
		}
	}
	return answer{effect: effect{reset: true}}, nil
}

// endWrite forgets a download to flash.
func (l *loader) endWrite() {
	if l.write != nil && l.write.compressed != nil {
		l.write.compressed.close()
	}
	l.write = nil
}

func (l *loader) flashBegin(words []uint32, compressed bool) answer {
	size, blocks, blockSize, offset := words[0], words[1], words[2], words[3]
	l.endWrite()
	if len(words) > 4 && words[4] != 0 && !l.id.security.FlashEncryption {
		return fail(romParameter)
	}
	if blockSize > chip.StubBlock || !l.stub && blockSize > chip.RAMBlock {
		return l.bad(romInvalidMessage, stubDataLength)
	}
	if l.id.chip.EraseBug { // that ROM attaches the flash by itself
		l.regs.spi.attached = true
	}
	d := &transfer{offset: offset, left: size, blocks: blocks, blockSize: blockSize}
	up := func(n uint64) uint64 { return (n + SectorSize - 1) &^ (SectorSize - 1) }
	end := up(uint64(offset) + uint64(size))
	switch {
	case size == 0:
		d.eraseFrom, d.erasedEnd = offset, offset
	case !l.regs.spi.attached || !l.inFlash(offset, size):
		return l.bad(romFailed, stubSPI)
	case l.stub:
		d.eraseFrom, d.erasedEnd = offset&^(SectorSize-1), uint32(end)
		if code := l.eraseTo(d, d.eraseFrom+1); code != 0 {
			return fail(code)
		}
	case offset%SectorSize != 0:
		return fail(romFailed)
	default:
		if l.id.chip.EraseBug {
			asked := uint32(up(uint64(size))) / SectorSize
			end += uint64(min(asked, 16-offset/SectorSize%16)) * SectorSize
			d.left = blocks * blockSize
		}
		end = min(end, uint64(l.flash.Size()))
		if a := l.erase(offset, uint32(end)-offset); a.code != 0 {
			return a
		}
		d.eraseFrom, d.erasedEnd = uint32(end), uint32(end)
	}
	if compressed {
		d.compressed = newInflater()
	}
	l.write = d
	return answer{}
}

// eraseTo erases what a stub has not erased yet before address.
func (l *loader) eraseTo(d *transfer, address uint32) byte {
	for d.eraseFrom < min(address, d.erasedEnd) {
		step := uint32(SectorSize)
		if d.eraseFrom%BlockSize == 0 && d.erasedEnd-d.eraseFrom >= BlockSize {
			step = BlockSize
		}
		if a := l.erase(d.eraseFrom, step); a.code != 0 {
			return a.code
		}
		d.eraseFrom += step
	}
	return 0
}

// flashData takes a block. A ROM writes it and answers; a stub answers and writes, so that
// the next block is on the wire meanwhile, and tells of a mishap at the next command.
func (l *loader) flashData(op byte, data []byte, words []uint32, checksum uint32) (answer, func()) {
	d := l.write
	if d != nil && (op == opFlashDeflData) != (d.compressed != nil) {
		d = nil
	}
	body, code := l.payload(d, data, words, checksum)
	if code != 0 {
		return fail(code), nil
	}
	if !l.stub {
		return fail(l.writeBlock(d, body)), nil
	}
	body = bytes.Clone(body)
	return answer{}, func() { l.failed = l.writeBlock(d, body) }
}

// writeBlock writes a block as it came and returns an error code or 0.
func (l *loader) writeBlock(d *transfer, body []byte) byte {
	if d.compressed == nil {
		return l.program(d, body)
	}
	var code byte
	stop := errors.New("write failed")
	err := d.compressed.feed(body, func(p []byte) error {
		if code = l.program(d, p); code != 0 {
			return stop
		}
		return nil
	})
	switch {
	case err == nil:
		return 0
	case errors.Is(err, stop):
		return code
	case errors.Is(err, errAdler):
		return l.pick(romAdler, stubInflate)
	}
	return l.pick(romDeflate, stubInflate)
}

// program writes plain bytes to flash. What exceeds the size that was announced is padding
// and dropped, if it is 0xFF; a stub drops whatever it is in a download that is not
// compressed. The ROM reads back what it wrote.
func (l *loader) program(d *transfer, p []byte) byte {
	if uint64(len(p)) > uint64(d.left) {
		if !(l.stub && d.compressed == nil) && !blank(p[d.left:]) {
			return l.pick(romFlashWrite, stubTooMuch)
		}
		p = p[:d.left]
	}
	if len(p) == 0 {
		return 0
	}
	end := d.offset + uint32(len(p))
	if l.stub {
		if code := l.eraseTo(d, end); code != 0 {
			return code
		}
	} else if end > d.erasedEnd && !blank(p[max(int64(d.erasedEnd)-int64(d.offset), 0):]) {
		return romFlashWrite
	}
	if !l.inFlash(d.offset, uint32(len(p))) {
		return l.pick(romFlashWrite, stubSPI)
	}
	if err := l.flash.Program(d.offset, p); err != nil {
		return l.pick(romFlashWrite, stubSPI)
	}
	l.pause(l.time.programming(len(p)))
	if !l.stub {
		back := make([]byte, len(p))
		if _, err := l.flash.ReadAt(back, int64(d.offset)); err != nil || !bytes.Equal(back, p) {
			return romFlashWrite
		}
	}
	d.offset, d.left = end, d.left-uint32(len(p))
	return 0
}

// flashEnd ends a download to flash. A ROM leaves by a reset (0) or straight into the
// application; a stub stays unless told to reset.
func (l *loader) flashEnd(stay uint32) answer {
	if l.write == nil {
		return l.bad(romFailed, stubNotInFlash)
	}
	if l.stub && l.write.left != 0 {
		return fail(stubDataLength)
	}
	l.endWrite()
	return answer{effect: effect{reset: stay == 0 || !l.stub, run: stay != 0 && !l.stub}}
}
