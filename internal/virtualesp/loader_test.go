package virtualesp

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/berth-iot/berth/esp/chip"
)

func TestSyncIsAnsweredEightTimes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		data := append([]byte{7, 7, 0x12, 0x20}, bytes.Repeat([]byte{0x55}, 32)...)
		r := b.must(opSync, data)
		if len(b.sent) != 8 || b.stub != (r.value == 0) {
			t.Errorf("%d replies of value %#x", len(b.sent), r.value)
		}
		data[35] = 0
		if code := b.ask(opSync, data, 0).code; code == 0 {
			t.Error("a broken SYNC succeeds")
		}
	})
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		c := b.id.chip
		readReg := func(address uint32) uint32 { return b.must(opReadReg, le(address)).value }
		if got, ok := chip.ByMagic(readReg(chip.MagicRegister)); !ok || got != c {
			t.Errorf("magic register: %v", got)
		}
		var words []uint32
		for _, address := range c.MAC.Registers {
			words = append(words, readReg(address))
		}
		if mac, err := c.MAC.Address(words); err != nil || mac != testMAC {
			t.Errorf("MAC address %x, %v", mac, err)
		}
		mhz := int(readReg(c.UART.ClockDivider)) * defaultBaud / c.UART.Prescale / 1e6
		if want := c.UART.CrystalMHz[0]; mhz < want-1 || mhz > want {
			t.Errorf("crystal %d MHz, want %d", mhz, want)
		}
		info := b.ask(opGetSecurityInfo, nil, 0)
		switch {
		case c.SecurityInfoLen == 0:
			if want := b.pick(romInvalidMessage, stubUnknown); info.code != want {
				t.Errorf("GET_SECURITY_INFO: error %#x, want %#x", info.code, want)
			}
		case len(info.data) != c.SecurityInfoLen:
			t.Errorf("GET_SECURITY_INFO: %x", info.data)
		case len(info.data) == 20:
			if id := binary.LittleEndian.Uint32(info.data[12:]); int(id) != c.ImageID {
				t.Errorf("GET_SECURITY_INFO: chip %d", id)
			}
		}
	})
}

// spiCommand has the flash chip carry out a command, the way a host does it.
func (b *bench) spiCommand(command byte, data []byte, readBits uint32, address *uint32) uint32 {
	b.t.Helper()
	spi := b.id.chip.SPI
	write := func(offset, value uint32) {
		b.must(opWriteReg, le(spi.Base+offset, value, 0xFFFFFFFF, 0))
	}
	user, user1 := uint32(1<<31), uint32(0)
	if readBits > 0 {
		user |= spiUserMISO
	}
	if len(data) > 0 {
		user |= spiUserMOSI
	}
	if address != nil {
		user |= spiUserAddress
		user1 |= 23 << 26
		value := *address
		if spi.AddressMSB {
			value <<= 8
		}
		write(4, value)
	}
	mosi, miso := max(uint32(len(data))*8, 1)-1, max(readBits, 1)-1
	if spi.MOSILengths != 0 {
		write(spi.MOSILengths, mosi)
		write(spi.MISOLengths, miso)
	} else {
		user1 |= mosi<<17 | miso<<8
	}
	write(spi.USR1, user1)
	write(spi.USR, user)
	write(spi.USR2, 7<<28|uint32(command))
	padded := append(bytes.Clone(data), make([]byte, 4)...)
	for i := 0; i < max(len(data), 1); i += 4 {
		write(spi.W0+uint32(i), binary.LittleEndian.Uint32(padded[i:]))
	}
	write(0, spiCommandUser)
	if b.must(opReadReg, le(spi.Base)).value != 0 {
		b.t.Error("the SPI command does not end")
	}
	return b.must(opReadReg, le(spi.Base+spi.W0)).value
}

func TestFlashThroughSPIRegisters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		if b.id.chip.EraseBug && !b.stub {
			if code := b.begin(opFlashBegin, 0, 0, chip.ROMBlock, 0); code != 0 {
				t.Fatalf("FLASH_BEGIN: %#x", code)
			}
		}
		at := uint32(0x12345)
		if id := b.spiCommand(flashRDID, nil, 24, nil); id != b.flash.JEDEC() {
			t.Errorf("RDID %#x, want %#x", id, b.flash.JEDEC())
		}
		b.spiCommand(flashPP, []byte{1, 2, 3}, 0, &at)
		if got := read(t, b.flash, at, 3); !blank(got) {
			t.Errorf("programmed without WREN: %x", got)
		}
		b.spiCommand(flashWREN, nil, 0, nil)
		if status := b.spiCommand(flashRDSR, nil, 8, nil); status != statusWEL {
			t.Errorf("status %#x", status)
		}
		b.spiCommand(flashPP, []byte{1, 2, 3, 4, 5}, 0, &at)
		if got := b.spiCommand(flashREAD, nil, 32, &at); got != 0x04030201 {
			t.Errorf("read %#x", got)
		}
		b.spiCommand(flashWREN, nil, 0, nil)
		b.spiCommand(flashSE, nil, 0, &at)
		if got := read(t, b.flash, at, 5); !blank(got) {
			t.Errorf("after SE: %x", got)
		}
	})
}

func TestWriteAndVerify(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		const offset = 0x10000
		old := bytes.Repeat([]byte{0}, 0x9000)
		if err := b.flash.Program(offset, old); err != nil {
			t.Fatal(err)
		}
		image := append(noiseOf(5000, 1), bytes.Repeat([]byte("berth"), 4000)...)
		blockSize := uint32(chip.ROMBlock)
		if b.stub {
			blockSize = chip.StubBlock
		}
		write := func(op, dataOp byte, body []byte, size uint32) {
			t.Helper()
			blocks := (uint32(len(body)) + blockSize - 1) / blockSize
			if b.id.chip.EraseBug && !b.stub {
				size = b.id.chip.EraseSize(offset, size)
			}
			if code := b.begin(op, size, blocks, blockSize, offset); code != 0 {
				t.Fatalf("%s: error %#x", commandName(op), code)
			}
			for i := range blocks {
				part := body[i*blockSize : min(int((i+1)*blockSize), len(body))]
				if code := b.block(dataOp, i, part); code != 0 {
					t.Fatalf("%s %d: error %#x", commandName(dataOp), i, code)
				}
			}
			if got := read(t, b.flash, offset, len(image)); !bytes.Equal(got, image) {
				t.Fatalf("%s: the flash holds something else", commandName(dataOp))
			}
		}
		padded := append(bytes.Clone(image), bytes.Repeat([]byte{0xFF}, (int(blockSize)-len(image)%int(blockSize))%int(blockSize))...)
		write(opFlashBegin, opFlashData, padded, uint32(len(image)))
		// The sector that the image ends in was erased to its end.
		if got := read(t, b.flash, offset+uint32(len(image)), SectorSize-len(image)%SectorSize); !blank(got) {
			t.Error("the rest of the last sector is not erased")
		}
		if !b.id.chip.EraseBug || b.stub {
			write(opFlashDeflBegin, opFlashDeflData, deflate(image), uint32(len(image)))
			sum := md5.Sum(image)
			want := sum[:]
			if !b.stub {
				want = []byte(hex.EncodeToString(sum[:]))
			}
			if got := b.must(opSPIFlashMD5, le(offset, uint32(len(image)), 0, 0)).data; !bytes.Equal(got, want) {
				t.Errorf("MD5 %q, want %q", got, want)
			}
		} else if code := b.ask(opSPIFlashMD5, le(offset, 1, 0, 0), 0).code; code != romInvalidMessage {
			t.Errorf("ESP8266 knows SPI_FLASH_MD5: %#x", code)
		}
		if _, e := b.must(opFlashEnd, le(1)), b.effects[len(b.effects)-1]; b.stub == e.reset {
			t.Errorf("FLASH_END: %+v", e)
		}
	})
}

func TestROMChecks(t *testing.T) {
	t.Parallel()
	const size, offset = 0x2000, 0x10000
	body := bytes.Repeat([]byte{1}, chip.ROMBlock)
	sum := uint32(0xEF) // an even number of ones leaves the seed
	header := le(chip.ROMBlock, 0, 0, 0)
	begin := func(b *bench) { b.attach(); b.begin(opFlashBegin, size, 8, chip.ROMBlock, offset) }
	deflBegin := func(b *bench) { b.attach(); b.begin(opFlashDeflBegin, size, 8, chip.ROMBlock, offset) }
	for name, c := range map[string]struct {
		before func(b *bench)
		do     func(b *bench) byte
		want   byte
	}{
		"unknown command":     {nil, func(b *bench) byte { return b.ask(0x77, nil, 0).code }, romInvalidMessage},
		"command of a stub":   {nil, func(b *bench) byte { return b.ask(opEraseFlash, nil, 0).code }, romInvalidMessage},
		"data too short":      {nil, func(b *bench) byte { return b.ask(opReadReg, []byte{1}, 0).code }, romInvalidMessage},
		"no fifth word":       {(*bench).attach, func(b *bench) byte { return b.ask(opFlashBegin, le(0, 0, 1, 0), 0).code }, romInvalidMessage},
		"not attached":        {nil, func(b *bench) byte { return b.begin(opFlashBegin, size, 1, 64, offset) }, romFailed},
		"unaligned":           {(*bench).attach, func(b *bench) byte { return b.begin(opFlashBegin, size, 1, 64, 0x10010) }, romFailed},
		"past the end":        {(*bench).attach, func(b *bench) byte { return b.begin(opFlashBegin, 0x2000, 1, 64, 4<<20-0x1000) }, romFailed},
		"size overflows":      {(*bench).attach, func(b *bench) byte { return b.begin(opFlashBegin, 0xFFFFFFFF, 1, 64, 0x1000) }, romFailed},
		"blocks of a stub":    {(*bench).attach, func(b *bench) byte { return b.begin(opFlashBegin, size, 1, chip.StubBlock, offset) }, romInvalidMessage},
		"not encrypted":       {(*bench).attach, func(b *bench) byte { return b.ask(opFlashBegin, le(0, 0, 64, 0, 1), 0).code }, romParameter},
		"data before begin":   {(*bench).attach, func(b *bench) byte { return b.block(opFlashData, 0, body) }, romFailed},
		"wrong checksum":      {begin, func(b *bench) byte { return b.ask(opFlashData, append(header, body...), sum^1).code }, romChecksum},
		"wrong length":        {begin, func(b *bench) byte { return b.ask(opFlashData, append(header, body[1:]...), sum).code }, romInvalidMessage},
		"wrong sequence":      {begin, func(b *bench) byte { return b.block(opFlashData, 1, body) }, romFailed},
		"block too long":      {begin, func(b *bench) byte { return b.block(opFlashData, 0, append(body, 1)) }, romInvalidMessage},
		"data of other kind":  {begin, func(b *bench) byte { return b.block(opFlashDeflData, 0, body) }, romFailed},
		"end before begin":    {nil, func(b *bench) byte { return b.ask(opFlashEnd, le(0), 0).code }, romFailed},
		"no deflate stream":   {deflBegin, func(b *bench) byte { return b.block(opFlashDeflData, 0, body) }, romDeflate},
		"deflate breaks":      {deflBegin, func(b *bench) byte { return b.block(opFlashDeflData, 0, []byte{0x78, 0x9C, 7, 7, 7}) }, romDeflate},
		"wrong Adler":         {deflBegin, func(b *bench) byte { return b.block(opFlashDeflData, 0, broken(deflate([]byte("x")))) }, romAdler},
		"more than announced": {deflBegin, func(b *bench) byte { return b.block(opFlashDeflData, 0, deflate(make([]byte, size+1))) }, romFlashWrite},
		"MD5 past the end":    {(*bench).attach, func(b *bench) byte { return b.ask(opSPIFlashMD5, le(4<<20, 1, 0, 0), 0).code }, romFailed},
		"read too long":       {(*bench).attach, func(b *bench) byte { return b.ask(opReadFlashSlow, le(0, 65), 0).code }, romReadLength},
		"read past the end":   {(*bench).attach, func(b *bench) byte { return b.ask(opReadFlashSlow, le(4<<20, 1), 0).code }, romFlashRead},
		"RAM elsewhere":       {nil, func(b *bench) byte { return b.ask(opMemBegin, le(4, 1, 4, 0x1000), 0).code }, romInvalidMessage},
		"RAM data at once":    {nil, func(b *bench) byte { return b.block(opMemData, 0, body) }, romFailed},
		"baud rate 0":         {nil, func(b *bench) byte { return b.ask(opChangeBaudrate, le(0, 0), 0).code }, romParameter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, chip.ESP32C3, Faults{})
			if c.before != nil {
				c.before(b)
			}
			if code := c.do(b); code != c.want {
				t.Errorf("error %#x, want %#x", code, c.want)
			}
			if got := b.count.Failed; got != 1 {
				t.Errorf("%d failures counted", got)
			}
		})
	}
}

// broken is a stream with another checksum.
func broken(p []byte) []byte {
	p[len(p)-1] ^= 1
	return p
}

// TestSequenceGoesOnAfterAnError is what a host relies on that sends a block once more.
func TestSequenceGoesOnAfterAnError(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP32, Faults{})
	b.attach()
	b.begin(opFlashBegin, 0x1000, 4, chip.ROMBlock, 0)
	body := noiseOf(chip.ROMBlock, 3)
	if code := b.ask(opFlashData, append(le(chip.ROMBlock, 0, 0, 0), body...), 0x1FF).code; code != romChecksum {
		t.Fatalf("error %#x", code)
	}
	for i := range uint32(4) {
		if code := b.block(opFlashData, i, body); code != 0 {
			t.Fatalf("block %d: error %#x", i, code)
		}
	}
	if code := b.block(opFlashData, 4, body); code != romFailed {
		t.Errorf("a block more than announced: %#x", code)
	}
}

func TestStubTellsLate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		op, dataOp byte
		body       []byte
		want       byte
	}{
		"inflate":  {opFlashDeflBegin, opFlashDeflData, []byte("no stream"), stubInflate},
		"too much": {opFlashDeflBegin, opFlashDeflData, deflate(make([]byte, 0x1001)), stubTooMuch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, chip.ESP32S3, Faults{})
			b.startStub()
			if code := b.begin(c.op, 0x1000, 2, chip.StubBlock, 0); code != 0 {
				t.Fatal(code)
			}
			if code := b.block(c.dataOp, 0, c.body); code != 0 {
				t.Errorf("the block itself: error %#x", code)
			}
			if code := b.ask(opReadReg, le(0), 0).code; code != c.want {
				t.Errorf("the next command: error %#x, want %#x", code, c.want)
			}
			if code := b.ask(opReadReg, le(0), 0).code; code != 0 {
				t.Errorf("the one after: error %#x", code)
			}
		})
	}
}

func TestStubErases(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP8266, Faults{})
	b.startStub()
	if err := b.flash.Program(0x1000, make([]byte, 0x3000)); err != nil {
		t.Fatal(err)
	}
	if code := b.ask(opEraseRegion, le(0x2000, 0x800), 0).code; code != stubDataLength {
		t.Errorf("half a sector: %#x", code)
	}
	b.must(opEraseRegion, le(0x2000, 0x1000))
	got := read(t, b.flash, 0x1000, 0x3000)
	if blank(got[:0x1000]) || !blank(got[0x1000:0x2000]) || blank(got[0x2000:]) {
		t.Error("ERASE_REGION took the wrong sectors")
	}
	b.must(opEraseFlash, nil)
	if !blank(read(t, b.flash, 0, 4<<20)) {
		t.Error("ERASE_FLASH left something")
	}
}

func TestStubReadsFlash(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP32C6, Faults{})
	b.startStub()
	image := noiseOf(10000, 9)
	if err := b.flash.Program(0x1001, image); err != nil {
		t.Fatal(err)
	}
	b.must(opReadFlash, le(0x1001, uint32(len(image)), 0x1000, 64))
	var got []byte
	b.sent = b.sent[1:]
	for len(got) < len(image) {
		if len(b.sent) != 1 {
			t.Fatalf("%d frames after %d bytes", len(b.sent), len(got))
		}
		got = append(got, b.sent[0]...)
		b.sent = nil
		b.frame(le(uint32(len(got))))
	}
	sum := md5.Sum(image)
	if !bytes.Equal(got, image) || len(b.sent) != 1 || !bytes.Equal(b.sent[0], sum[:]) {
		t.Errorf("read %d bytes, then %x", len(got), b.sent)
	}
	b.must(opReadReg, le(0))
	if code := b.ask(opReadFlash, le(4<<20-1, 2, 0x1000, 1), 0).code; code != stubSPI {
		t.Errorf("past the end: %#x", code)
	}
	if code := b.ask(opReadFlash, le(0, 2, 0x1001, 1), 0).code; code != stubDataLength {
		t.Errorf("packets too long: %#x", code)
	}
}

func TestROMReadsFlashSlowly(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP32, Faults{})
	b.attach()
	if err := b.flash.Program(0x100, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := b.must(opReadFlashSlow, le(0x100, 5)).data; len(got) != 64 || string(got[:6]) != "hello\x00" {
		t.Errorf("%q", got)
	}
}

func TestCodeThatWasNotLoadedCrashes(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP32, Faults{})
	b.must(opMemBegin, le(4, 1, 4, 0x40080000))
	b.must(opMemEnd, le(0, 0x40090000))
	if e := b.effects[len(b.effects)-1]; !e.reset || b.stub {
		t.Errorf("%+v", e)
	}
}

func TestRAMCanBeReadBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP32, Faults{})
	b.must(opMemBegin, le(6, 1, 6, 0x40080002))
	b.block(opMemData, 0, []byte{1, 2, 3, 4, 5, 6})
	b.must(opMemEnd, le(1, 0))
	if got := b.must(opReadReg, le(0x40080000)).value; got != 0x02010000 {
		t.Errorf("%#x", got)
	}
	if got := b.must(opReadReg, le(0x40080004)).value; got != 0x06050403 {
		t.Errorf("%#x", got)
	}
}

func TestWornSectorFailsVerification(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP32, Faults{Worn: []uint32{0x1000}})
	b.attach()
	b.begin(opFlashBegin, 0x2000, 8, chip.ROMBlock, 0)
	for i := range uint32(8) {
		want := byte(0)
		if i >= 4 {
			want = romFlashWrite
		}
		if code := b.block(opFlashData, i, noiseOf(chip.ROMBlock, 1)); code != want {
			t.Fatalf("block %d: error %#x, want %#x", i, code, want)
		}
		if want != 0 {
			break
		}
	}
}

func TestSecurityShows(t *testing.T) {
	t.Parallel()
	for _, c := range chip.All() {
		if c.SecurityInfoLen == 0 {
			continue
		}
		b := newBench(t, c, Faults{Security: Security{SecureBoot: true, FlashEncryption: true, SecureDownload: true}})
		info := b.must(opGetSecurityInfo, nil).data
		if flags := binary.LittleEndian.Uint32(info); flags != flagSecureBoot|flagSecureDownload || info[4] != 1 {
			t.Errorf("%s: %x", c.Name, info)
		}
		if len(c.Security.KeyPurposes) > 0 && !slices.Equal(info[5:7], []byte{purposeXTSAES128, purposeSecureBoot}) {
			t.Errorf("%s: key purposes %x", c.Name, info[5:12])
		}
		b.sent = nil
		b.frame(request(opReadReg, le(0), 0))
		if r := b.parse(0, b.sent[0]); r.code != romInvalidMessage {
			t.Errorf("%s: READ_REG in secure download mode: %#x", c.Name, r.code)
		}
		b.attach()
		if code := b.ask(opFlashBegin, le(0, 0, 64, 0, 1), 0).code; code != 0 {
			t.Errorf("%s: encrypted download: %#x", c.Name, code)
		}
	}
}

func TestEraseBugOfESP8266(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP8266, Faults{})
	if err := b.flash.Program(0xE000, make([]byte, 0x6000)); err != nil {
		t.Fatal(err)
	}
	if code := b.begin(opFlashBegin, 0x3000, 12, chip.ROMBlock, 0xE000); code != 0 {
		t.Fatal(code)
	}
	if got := read(t, b.flash, 0xE000, 0x6000); !blank(got[:0x5000]) || blank(got[0x5000:]) {
		t.Error("three sectors from 0xE000 should be five: two to the next block count twice")
	}
}

func TestTimesAddUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, chip.ESP32, Faults{})
	b.time = Timing{EraseSector: time.Second, EraseBlock: time.Minute, ProgramPage: time.Millisecond}
	b.attach()
	b.begin(opFlashBegin, 0x12000, 72, chip.ROMBlock, 0xF000)
	if want := time.Minute + 2*time.Second; b.waited != want {
		t.Errorf("erased in %v, want %v", b.waited, want)
	}
	b.waited = 0
	b.block(opFlashData, 0, noiseOf(chip.ROMBlock, 1))
	if b.waited != 4*time.Millisecond {
		t.Errorf("programmed in %v", b.waited)
	}
}

// FuzzLoader feeds a stream to a chip as it would come over the wire.
func FuzzLoader(f *testing.F) {
	frames := func(requests ...[]byte) []byte {
		var p []byte
		for _, r := range requests {
			p = appendFrame(p, r)
		}
		return p
	}
	f.Add(uint8(1), false, frames(
		request(opSPIAttach, le(0, 0), 0), request(opFlashBegin, le(0x1000, 4, 0x400, 0), 0),
		request(opFlashData, append(le(1, 0, 0, 0), 1), 0xEE), request(opFlashEnd, le(0), 0)))
	f.Add(uint8(4), false, frames(
		request(opSPIAttach, le(0, 0), 0), request(opFlashDeflBegin, le(0x1000, 4, 0x400, 0, 0), 0),
		request(opFlashDeflData, append(le(3, 0, 0, 0), 0x78, 0x9C, 1), 0xEF^0x78^0x9C^1)))
	f.Add(uint8(4), true, frames(request(opReadFlash, le(0, 100, 10, 1), 0), le(10), le(20)))
	f.Add(uint8(0), true, frames(
		request(opWriteReg, le(0x60000240, 1, 0xFFFFFFFF, 0), 0), request(opWriteReg, le(0x60000200, 1<<18, 0xFFFFFFFF, 0), 0),
		request(opEraseRegion, le(0, 0x1000), 0), request(opSPIFlashMD5, le(0, 0x400000, 0, 0), 0)))
	f.Fuzz(func(t *testing.T, kind uint8, stub bool, stream []byte) {
		all := chip.All()
		b := newBench(t, all[int(kind)%len(all)], Faults{})
		if stub {
			b.startStub()
		}
		var d deframer
		for _, c := range stream {
			frame, _ := d.next(c, b.frameLimit())
			if frame != nil {
				b.frame(frame)
			}
			if len(b.sent) > 1000 {
				b.sent = nil
			}
		}
		if len(b.regs.words) > maxWords+64 {
			t.Errorf("%d words of registers", len(b.regs.words))
		}
	})
}
