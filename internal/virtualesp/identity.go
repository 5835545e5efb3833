package virtualesp

import (
	"encoding/binary"
	"math/bits"

	"github.com/berth-iot/berth/esp/chip"
)

// identity is what is burned into a chip.
type identity struct {
	chip     *chip.Chip
	mac      [6]byte
	revision int // 100 × major + minor
	pkg      int
	crystal  int
	security Security
	port     byte
}

// Security is what eFuses have locked.
type Security struct {
	SecureBoot      bool
	FlashEncryption bool
	// SecureDownload leaves of the ROM loader only what writes flash.
	SecureDownload bool
}

// typical is the revision and the package of a chip as they are sold.
func typical(c *chip.Chip) (revision, pkg int) {
	switch c {
	case chip.ESP32:
		return 301, 1
	case chip.ESP32S2, chip.ESP32P4, chip.ESP32C5:
		return 100, 0
	case chip.ESP32S3, chip.ESP32C6:
		return 2, 0
	case chip.ESP32C3:
		return 4, 0
	case chip.ESP32C2:
		return 102, 0
	case chip.ESP32H2:
		return 1, 0
	}
	return 0, 0
}

// burn sets the eFuses and the constants of the ROM.
func (id identity) burn(words map[uint32]uint32) {
	set := func(f chip.Field, v uint32) { words[f.Address] = f.In(words[f.Address], v) }
	// spread puts a value into fields, lowest bits into the last.
	spread := func(fields []chip.Field, v uint32) {
		for i := len(fields) - 1; i >= 0; i-- {
			set(fields[i], v)
			v >>= fields[i].Width
		}
	}
	c := id.chip
	words[chip.MagicRegister] = c.Magic[0]
	for i, w := range c.MAC.Words(id.mac) {
		words[c.MAC.Registers[i]] |= w
	}
	major, minor := uint32(id.revision/100), uint32(id.revision%100)
	if c.Revision.MajorCounts {
		major = 1<<major - 1
	}
	spread(c.Revision.Major, major)
	spread(c.Revision.Minor, minor)
	spread(c.Revision.Package, uint32(id.pkg))
	if c.Port.Register != 0 {
		register := c.Port.Register
		if c.Port.RegisterBefore != 0 && id.revision < c.Port.BeforeRevision {
			register = c.Port.RegisterBefore
		}
		words[register] = uint32(id.port)
	}
	if id.security.SecureBoot && c.Security.SecureBoot.Address != 0 {
		// Both bits of ESP32: V1 is bit 4, V2 bit 5.
		set(c.Security.SecureBoot, 1<<(c.Security.SecureBoot.Width-1))
	}
	if id.security.FlashEncryption && c.Security.CryptCount.Address != 0 {
		set(c.Security.CryptCount, 1)
		if p := c.Security.KeyPurposes; p != nil {
			set(p[0], purposeXTSAES128)
		}
	}
	if id.security.SecureBoot && c.Security.KeyPurposes != nil {
		set(c.Security.KeyPurposes[1], purposeSecureBoot)
	}
}

// Key purposes in eFuses.
const (
	purposeXTSAES128  = 4
	purposeSecureBoot = 9
)

// Flags of GET_SECURITY_INFO.
const (
	flagSecureBoot     = 1 << 0
	flagSecureDownload = 1 << 2
)

// securityInfo returns the answer to GET_SECURITY_INFO: flags, how often flash encryption
// was switched, seven key purposes and, but for ESP32-S2, the numbers of chip and revision.
func (id identity) securityInfo() []byte {
	info := make([]byte, 20)
	var flags uint32
	if id.security.SecureBoot {
		flags |= flagSecureBoot
	}
	if id.security.SecureDownload {
		flags |= flagSecureDownload
	}
	binary.LittleEndian.PutUint32(info, flags)
	words := map[uint32]uint32{}
	id.burn(words)
	crypt := id.chip.Security.CryptCount
	info[4] = byte(bits.OnesCount32(crypt.Of(words[crypt.Address])))
	for i, f := range id.chip.Security.KeyPurposes {
		info[5+i] = byte(f.Of(words[f.Address]))
	}
	binary.LittleEndian.PutUint32(info[12:], uint32(id.chip.ImageID))
	binary.LittleEndian.PutUint32(info[16:], uint32(id.revision%100))
	return info[:id.chip.SecurityInfoLen]
}
