package partition

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// magic begins every row of a partition, md5Magic the row of the checksum.
const (
	magic    = "\xAA\x50"
	md5Magic = "\xEB\xEB\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"
)

// IsBinary tells a binary table from a CSV by how it begins.
func IsBinary(b []byte) bool {
	return bytes.HasPrefix(b, []byte(magic)) || bytes.HasPrefix(b, []byte(md5Magic)) || len(b) >= rowLength && blank(b[:rowLength])
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != 0xFF {
			return false
		}
	}
	return true
}

// Binary returns the table as it lies in flash: MaxLength bytes. It does not
// verify the table. Names longer than 16 bytes are cut, as the generator does.
func (t Table) Binary(opt Options) ([]byte, error) {
	b := make([]byte, 0, MaxLength)
	for _, p := range t {
		row := make([]byte, rowLength)
		copy(row, magic)
		row[2], row[3] = byte(p.Type), byte(p.Subtype)
		binary.LittleEndian.PutUint32(row[4:], p.Offset)
		binary.LittleEndian.PutUint32(row[8:], p.Size)
		copy(row[12:12+nameLen], p.Name)
		binary.LittleEndian.PutUint32(row[28:], uint32(p.Flags))
		b = append(b, row...)
	}
	if !opt.NoMD5 {
		sum := md5.Sum(b)
		b = append(append(b, md5Magic...), sum[:]...)
	}
	if len(b) >= MaxLength {
		return nil, errorf("Binary partition table length (%d) longer than max: at most %d rows, the MD5 and the end marker included", len(b), MaxLength/rowLength)
	}
	return append(b, bytes.Repeat([]byte{0xFF}, MaxLength-len(b))...), nil
}

// ParseBinary reads a binary table up to its end marker and checks its MD5; it
// does not verify the table. warnings speak of flags that are not known.
func ParseBinary(b []byte, opt Options) (t Table, warnings []string, err error) {
	rows := md5.New() // of the rows before, the MD5 row left out
	for at := 0; ; at += rowLength {
		switch {
		case at == len(b):
			return nil, warnings, errorf("Partition table is missing an end-of-table marker")
		case len(b)-at < rowLength:
			return nil, warnings, errorf("Partition table length must be a multiple of 32 bytes")
		}
		row := b[at:][:rowLength]
		switch {
		case blank(row):
			return t, warnings, nil
		case !opt.NoMD5 && bytes.HasPrefix(row, []byte(md5Magic[:2])):
			if sum := rows.Sum(nil); !bytes.Equal(sum, row[16:]) {
				return nil, warnings, errorf("MD5 checksums don't match! (computed: 0x%x, parsed: 0x%x)", sum, row[16:])
			}
			continue
		case !bytes.HasPrefix(row, []byte(magic)):
			return nil, warnings, errorf("Invalid magic bytes (%s) for partition definition", pythonBytes(row[:2]))
		}
		rows.Write(row)
		p := Partition{
			Type:    Type(row[2]),
			Subtype: Subtype(row[3]),
			Offset:  binary.LittleEndian.Uint32(row[4:]),
			Size:    binary.LittleEndian.Uint32(row[8:]),
			Flags:   Flags(binary.LittleEndian.Uint32(row[28:])),
		}
		name, _, _ := bytes.Cut(row[12:12+nameLen], []byte{0})
		if !utf8.Valid(name) {
			return nil, warnings, errorf("Partition name %q is not UTF-8 text", name)
		}
		if bytes.ContainsAny(name, ",\r\n") {
			return nil, warnings, errorf("Partition name %q has a comma or a line end in it", name)
		}
		p.Name = string(name)
		if unknown := p.Flags &^ (Encrypted | Readonly); unknown != 0 {
			warnings = append(warnings, fmt.Sprintf("WARNING: Partition definition had unknown flag(s) 0x%08x. Newer binary format?", uint32(unknown)))
			p.Flags &^= unknown
		}
		t = append(t, p)
	}
}

// pythonBytes writes bytes as the generator's messages have them.
func pythonBytes(b []byte) string {
	var s strings.Builder
	s.WriteString("b'")
	for _, c := range b {
		switch {
		case c == '\'' || c == '\\':
			s.WriteByte('\\')
			s.WriteByte(c)
		case c == '\n':
			s.WriteString(`\n`)
		case c == '\r':
			s.WriteString(`\r`)
		case c == '\t':
			s.WriteString(`\t`)
		case c >= ' ' && c <= '~':
			s.WriteByte(c)
		default:
			fmt.Fprintf(&s, `\x%02x`, c)
		}
	}
	return s.String() + "'"
}
