package chip

import (
	"math/bits"
	"testing"
)

func TestChipsAreFoundByEveryName(t *testing.T) {
	t.Parallel()
	seen := map[uint32]string{}
	for _, c := range All() {
		if got, ok := ByTarget(c.Name); !ok || got != c {
			t.Errorf("ByTarget(%q) = %v, %v", c.Name, got, ok)
		}
		if got, ok := ByID(c.ImageID); c.ImageID != NoID && (!ok || got != c) {
			t.Errorf("ByID(%d) = %v, %v", c.ImageID, got, ok)
		}
		for _, magic := range c.Magic {
			if got, ok := ByMagic(magic); !ok || got != c {
				t.Errorf("ByMagic(%#x) = %v, %v; also %s", magic, got, ok, seen[magic])
			}
			seen[magic] = c.Name
		}
	}
	if _, ok := ByID(NoID); ok {
		t.Error("ByID finds a chip without a number")
	}
	if _, ok := ByTarget("esp64"); ok {
		t.Error("ByTarget finds a chip that there is not")
	}
}

func TestChipsAreComplete(t *testing.T) {
	t.Parallel()
	for _, c := range All() {
		if c.StatusLen != 4 && c != ESP8266 || c.SPI.Base == 0 || c.SPI.W0 == 0 || c.UART.Date == 0 ||
			len(c.UART.CrystalMHz) == 0 || len(c.RAM) == 0 || len(c.FlashSizes) == 0 {
			t.Errorf("%s lacks something: %+v", c.Name, c)
		}
		for i, size := range c.FlashSizes {
			if bits.OnesCount(uint(size.Bytes)) != 1 || i > 0 && size.Bytes <= c.FlashSizes[i-1].Bytes {
				t.Errorf("%s: flash sizes %v", c.Name, c.FlashSizes)
			}
		}
		for _, r := range c.RAM {
			if r.Start >= r.End {
				t.Errorf("%s: region %x", c.Name, r)
			}
		}
		if n := len(c.Security.KeyPurposes); n != 0 && n != 6 {
			t.Errorf("%s: %d key purposes", c.Name, n)
		}
	}
}

func TestMACRoundTrip(t *testing.T) {
	t.Parallel()
	mac := [6]byte{0x7C, 0xDF, 0xA1, 0x01, 0x02, 0xFE}
	for _, c := range All() {
		got, err := c.MAC.Address(c.MAC.Words(mac))
		if err != nil || got != mac {
			t.Errorf("%s: %x, %v", c.Name, got, err)
		}
		if _, err := c.MAC.Address(nil); err == nil {
			t.Errorf("%s: an address out of no words", c.Name)
		}
	}
	old, err := ESP8266.MAC.Address([]uint32{0x03000000, 0x00010102, 0, 0})
	if want := [6]byte{0xAC, 0xD0, 0x74, 1, 2, 3}; err != nil || old != want {
		t.Errorf("ESP8266 with vendor 1: %x, %v, want %x", old, err, want)
	}
	if _, err := ESP32.MAC.Address([]uint32{0, 0}); err == nil {
		t.Error("ESP32: an address in blank eFuses")
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	f := Field{Shift: 18, Width: 3}
	if got := f.Of(f.In(0xFFFFFFFF, 5)); got != 5 {
		t.Errorf("got %d", got)
	}
	if got := f.In(0, 0xFF); got != 7<<18 {
		t.Errorf("a value too large spills: %#x", got)
	}
	c5 := ESP32C5.Security.KeyPurposes
	if c5[1] != (Field{0x600B4834, 27, 5}) || c5[2] != (Field{0x600B4838, 0, 5}) {
		t.Errorf("key purposes of ESP32-C5: %x", c5)
	}
}

// TestEraseSize checks against what the ROM of ESP8266 does: it erases the sectors
// up to the next block and then as many as it was asked for.
func TestEraseSize(t *testing.T) {
	t.Parallel()
	const sector = 0x1000
	for start := range uint32(40) {
		for sectors := range uint32(60) {
			asked := ESP8266.EraseSize(start*sector, sectors*sector) / sector
			erased := asked + min(asked, 16-start%16)
			if erased < sectors || erased > sectors+1 {
				t.Fatalf("%d sectors from %d: asks for %d, erases %d", sectors, start, asked, erased)
			}
		}
	}
	if got := ESP32.EraseSize(0x1000, 77); got != 77 {
		t.Errorf("ESP32: %d", got)
	}
}
