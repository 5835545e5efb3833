// Package securecert reads and writes the esp_secure_cert partition, in which
// Espressif's esp_secure_cert_mgr component looks for a device's certificate,
// private key and certificate authority.
//
// The partition is a list of TLV entries, one after another from its start:
// magic, flags, type, subtype, length, data filled up to 16 bytes, CRC-32. The
// first place without the magic ends it. See the component's docs/format.md.
package securecert

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Errors that this package wraps; errors.Is tells them apart.
var (
	// ErrFull means the entries do not fit the partition.
	ErrFull = errors.New("secure cert partition full")
	// ErrEntry means an entry that the format cannot hold.
	ErrEntry = errors.New("bad secure cert entry")
	// ErrNotSecureCert means the bytes do not begin with an entry.
	ErrNotSecureCert = errors.New("not a secure cert partition")
)

const (
	// PartitionType is the type of the partition, whose name is PartitionName.
	PartitionType = 0x3F
	// PartitionName is what the component looks for.
	PartitionName = "esp_secure_cert"
	// DefaultSize is the usual size of the partition, in bytes.
	DefaultSize = 0x2000

	magic     = 0xBA5EBA11
	headerLen = 12
	footerLen = 4
	alignment = 16
	// The component counts offsets in 16 bits.
	maxSize = 1 << 16
)

// Type says what an entry holds.
type Type uint8

// The types of entries.
const (
	CACert        Type = 0
	DeviceCert    Type = 1
	PrivateKey    Type = 2
	DSData        Type = 3 // key parameters encrypted for the DS peripheral
	DSContext     Type = 4 // and what the peripheral needs beside them
	ECDSAKeySalt  Type = 5
	SecurityCfg   Type = 6
	TEEKey        Type = 7
	SignatureData Type = 8
	Integrity     Type = 9
	UserData1     Type = 51 // up to UserData5
	UserData5     Type = 55
)

// String returns the name of the type, or its number.
func (t Type) String() string {
	names := []string{
		"ca_cert", "device_cert", "private_key", "ds_data", "ds_context", "ecdsa_key_salt", "sec_cfg",
		"tee_sec_storage_key", "signature_block", "integrity",
	}
	switch {
	case int(t) < len(names):
		return names[t]
	case t >= UserData1 && t <= UserData5:
		return fmt.Sprintf("user_data_%d", t-UserData1+1)
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Flags say how the data of an entry is kept.
type Flags uint8

// The flags.
const (
	// HMACEncrypted data must be decrypted with a key derived from an eFuse.
	HMACEncrypted Flags = 2 << 6
	// HMACDerived means the private key itself is derived from an eFuse.
	HMACDerived Flags = 1 << 6
	// ECDSAPeripheral means the private key is in an eFuse.
	ECDSAPeripheral Flags = 1 << 3
)

// Entry is one entry. Type and Subtype together must be unique.
type Entry struct {
	Type    Type
	Subtype uint8 // index among entries of one type, usually 0
	Flags   Flags
	// Data is the content. PEM text ends with a NUL, as the firmware passes it
	// on to TLS; see PEM.
	Data []byte
}

// PEM returns an entry with text as its data and the NUL that belongs after it.
func PEM(t Type, text []byte) Entry {
	return Entry{Type: t, Data: append(bytes.TrimRight(bytes.Clone(text), "\x00"), 0)}
}

// Credentials returns the entries of an identity in the order in which
// Espressif's tool writes them: device certificate, certificate authority,
// private key. Each is PEM text, or DER, which gets no NUL; those that are nil
// are left out.
func Credentials(deviceCert, caCert, privateKey []byte) []Entry {
	var entries []Entry
	for _, c := range []struct {
		t    Type
		data []byte
	}{{DeviceCert, deviceCert}, {CACert, caCert}, {PrivateKey, privateKey}} {
		switch {
		case c.data == nil:
		case bytes.Contains(c.data, []byte("-----BEGIN ")):
			entries = append(entries, PEM(c.t, c.data))
		default:
			entries = append(entries, Entry{Type: c.t, Data: bytes.Clone(c.data)})
		}
	}
	return entries
}

// DS returns the entries of a private RSA key of so many bits that is encrypted
// for the Digital Signature peripheral: its ciphertext, its initialisation
// vector of 16 bytes, and the eFuse key block (0 to 5) that can decrypt it.
func DS(ciphertext, iv []byte, bits int, efuseKey uint8) ([]Entry, error) {
	switch {
	case len(iv) != 16:
		return nil, fmt.Errorf("%w: DS initialisation vector has %d bytes, not 16", ErrEntry, len(iv))
	case bits < 1024 || bits > 4096 || bits%32 != 0:
		return nil, fmt.Errorf("%w: DS key of %d bits", ErrEntry, bits)
	case efuseKey > 5:
		return nil, fmt.Errorf("%w: eFuse key block %d: there are 0 to 5", ErrEntry, efuseKey)
	}
	data := binary.LittleEndian.AppendUint32(nil, uint32(bits/32-1))
	data = append(append(data, iv...), ciphertext...)
	context := []byte{0, 0, 0, 0, efuseKey, 0}
	context = binary.LittleEndian.AppendUint16(context, uint16(bits))
	return []Entry{{Type: DSData, Data: data}, {Type: DSContext, Data: context}}, nil
}

// checksum is esp_crc32_le(UINT32_MAX, …).
func checksum(b []byte) uint32 {
	return crc32.Update(^uint32(0), crc32.IEEETable, b)
}

// Append appends the bytes of the entry to dst, a multiple of 16.
func (e Entry) Append(dst []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	dst = append(dst, byte(e.Flags), 0, 0, 0, byte(e.Type), e.Subtype)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.Data)))
	dst = append(dst, e.Data...)
	dst = append(dst, make([]byte, -len(e.Data)&(alignment-1))...)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

// Build makes a partition of size bytes from entries, in their order.
func Build(size int, entries []Entry) ([]byte, error) {
	if size <= 0 || size > maxSize || size%4096 != 0 {
		return nil, fmt.Errorf("%w: partition size 0x%x: it must be a multiple of 0x1000, at most 0x10000", ErrFull, size)
	}
	b := make([]byte, 0, size)
	seen := make(map[[2]uint8]bool)
	for _, e := range entries {
		id := [2]uint8{uint8(e.Type), e.Subtype}
		switch {
		case seen[id]:
			return nil, fmt.Errorf("%w: %v %d is given twice", ErrEntry, e.Type, e.Subtype)
		case len(e.Data) > math.MaxUint16:
			return nil, fmt.Errorf("%w: %v has %d bytes, at most %d", ErrEntry, e.Type, len(e.Data), math.MaxUint16)
		}
		seen[id] = true
		b = e.Append(b)
	}
	if len(b) > size {
		return nil, fmt.Errorf("%w: entries take 0x%x bytes of 0x%x: make the partition larger or the certificates smaller", ErrFull, len(b), size)
	}
	return append(b, bytes.Repeat([]byte{0xFF}, size-len(b))...), nil
}

// Read takes apart a partition. It fails with ErrNotSecureCert if there is no
// entry at its start. problems says in words which entries are damaged; those
// are left out.
func Read(b []byte) (entries []Entry, problems []string, err error) {
	if len(b) < headerLen || binary.LittleEndian.Uint32(b) != magic {
		switch {
		case len(b) > 0 && erased(b):
			return nil, nil, fmt.Errorf("%w: erased", ErrNotSecureCert)
		case len(b) < headerLen:
			return nil, nil, fmt.Errorf("%w: %d bytes", ErrNotSecureCert, len(b))
		}
		return nil, nil, fmt.Errorf("%w: begins with 0x%08x, not 0x%x: another kind of file, an older format, or encrypted",
			ErrNotSecureCert, binary.LittleEndian.Uint32(b), uint32(magic))
	}
	seen := make(map[[2]uint8]bool)
	at := 0
	for len(b)-at >= headerLen && binary.LittleEndian.Uint32(b[at:]) == magic {
		header := b[at:]
		e := Entry{Flags: Flags(header[4]), Type: Type(header[8]), Subtype: header[9]}
		length := int(binary.LittleEndian.Uint16(header[10:]))
		filled := headerLen + (length+alignment-1)&^(alignment-1)
		if len(b)-at < filled+footerLen {
			return entries, append(problems, fmt.Sprintf("%v at 0x%x: %d bytes run over the end", e.Type, at, length)), nil
		}
		id := [2]uint8{uint8(e.Type), e.Subtype}
		switch {
		case checksum(header[:filled]) != binary.LittleEndian.Uint32(header[filled:]):
			problems = append(problems, fmt.Sprintf("%v at 0x%x: checksum does not match", e.Type, at))
		case seen[id]:
			// The component takes the first.
			problems = append(problems, fmt.Sprintf("%v at 0x%x: a second entry of subtype %d", e.Type, at, e.Subtype))
		default:
			seen[id] = true
			e.Data = bytes.Clone(header[headerLen:][:length])
			entries = append(entries, e)
		}
		at += filled + footerLen
	}
	if !erased(b[at:]) {
		problems = append(problems, fmt.Sprintf("bytes after the last entry, from 0x%x", at))
	}
	return entries, problems, nil
}

func erased(b []byte) bool {
	for _, c := range b {
		if c != 0xFF {
			return false
		}
	}
	return true
}
