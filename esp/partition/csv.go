package partition

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Parse reads a table, CSV or binary, and verifies it; binary says which of
// the two it was.
func Parse(b []byte, opt Options) (t Table, isBinary bool, warnings []string, err error) {
	isBinary = IsBinary(b)
	if isBinary {
		t, warnings, err = ParseBinary(b, opt)
	} else {
		t, err = ParseCSV(b, opt)
	}
	if err != nil {
		return nil, isBinary, warnings, err
	}
	more, err := t.Verify(opt)
	return t, isBinary, append(warnings, more...), err
}

// CSV returns the table as text, with the sizes in K or M where they are
// round. Types and subtypes without a name stand as decimal numbers.
func (t Table) CSV(opt Options) []byte {
	var b bytes.Buffer
	b.WriteString("# ESP-IDF Partition Table\n# Name, Type, SubType, Offset, Size, Flags\n")
	for _, p := range t {
		b.WriteString(p.row(opt) + "\n")
	}
	return b.Bytes()
}

func (p Partition) row(opt Options) string {
	size := fmt.Sprintf("0x%x", p.Size)
	switch {
	case p.Size%(1<<20) == 0:
		size = fmt.Sprintf("%dM", p.Size>>20)
	case p.Size%(1<<10) == 0:
		size = fmt.Sprintf("%dK", p.Size>>10)
	}
	return fmt.Sprintf("%s,%v,%s,0x%x,%s,%v", p.Name, p.Type, p.SubtypeName(opt), p.Offset, size, p.Flags)
}

// ParseCSV reads a table in the grammar of ESP-IDF: a line a partition, with
// name, type, subtype, offset, size and flags between commas; lines that begin
// with # are comments. Types and subtypes are names or numbers, numbers may be
// hexadecimal and may end in K or M. An empty offset is the next one that is
// free and aligned; a negative size is the end address. It does not verify the
// table; see Parse.
func ParseCSV(b []byte, opt Options) (Table, error) {
	text, err := decodeText(b)
	if err != nil {
		return nil, err
	}
	var list []csvRow
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for i, line := range lines {
		line, err := expand(line, opt.LookupEnv)
		if err != nil {
			return nil, errorf("Error at line %d: %v", i+1, err)
		}
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		row, err := parseRow(line, opt)
		if err != nil {
			return nil, errorf("Error at line %d: %v", i+1, err)
		}
		row.line = i + 1
		list = append(list, row)
	}
	return place(list, opt)
}

// decodeText takes UTF-8 and, with a byte order mark, UTF-16.
func decodeText(b []byte) (string, error) {
	if rest, ok := bytes.CutPrefix(b, []byte("\xEF\xBB\xBF")); ok {
		b = rest
	}
	little := bytes.HasPrefix(b, []byte("\xFF\xFE"))
	if little || bytes.HasPrefix(b, []byte("\xFE\xFF")) {
		var units []uint16
		for b = b[2:]; len(b) >= 2; b = b[2:] {
			if little {
				units = append(units, uint16(b[0])|uint16(b[1])<<8)
			} else {
				units = append(units, uint16(b[1])|uint16(b[0])<<8)
			}
		}
		return string(utf16.Decode(units)), nil
	}
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return "", errorf("neither a CSV nor a binary partition table: a binary one begins with aa 50")
	}
	return string(b), nil
}

// expand replaces $NAME and ${NAME} as far as they are known; a line that
// begins with an unknown one is an error, because it names no partition.
func expand(line string, lookup func(string) (string, bool)) (string, error) {
	if !strings.Contains(line, "$") {
		return line, nil
	}
	unknown := ""
	expanded := os.Expand(line, func(name string) string {
		if lookup != nil {
			if value, ok := lookup(name); ok {
				return value
			}
		}
		if strings.HasPrefix(line, "$"+name) {
			unknown = name
		}
		if strings.Contains(line, "${"+name+"}") {
			return "${" + name + "}"
		}
		return "$" + name
	})
	if unknown != "" {
		return "", fmt.Errorf("unknown variable '%s'", unknown)
	}
	return expanded, nil
}

// csvRow is a partition with what the CSV leaves open.
type csvRow struct {
	Partition
	line   int
	offset int64
	placed bool  // offset is given
	size   int64 // negative for an end address
}

func parseRow(line string, opt Options) (csvRow, error) {
	var row csvRow
	fields := append(strings.Split(line, ","), "", "", "", "", "")
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	row.Name = fields[0]
	if strings.IndexByte(row.Name, 0) >= 0 {
		return row, fmt.Errorf("name %q has a NUL in it", row.Name)
	}
	if fields[1] == "" {
		return row, fmt.Errorf("Field 'type' can't be left empty.")
	}
	n, err := parseInt(fields[1], typeNames())
	if err != nil {
		return row, err
	}
	if n < 0 || n > 0xFE {
		return row, fmt.Errorf("type %s is not between 0 and 0xfe", fields[1])
	}
	row.Type = Type(n)
	switch {
	case fields[2] != "":
		if n, err = parseInt(fields[2], subtypeNames(row.Type, opt.ExtraSubtypes)); err != nil {
			return row, err
		}
		if n < 0 || n > 0xFF {
			return row, fmt.Errorf("subtype %s is not between 0 and 0xff", fields[2])
		}
		row.Subtype = Subtype(n)
	case row.Type == App:
		return row, fmt.Errorf("App partition cannot have an empty subtype")
	default:
		row.Subtype = DataUndefined
	}
	if err := row.parseOffset(fields[3], opt); err != nil {
		return row, err
	}
	if err := row.parseSize(fields[4], opt); err != nil {
		return row, err
	}
	for flag := range strings.SplitSeq(fields[5], ":") {
		switch flag {
		case "encrypted":
			row.Flags |= Encrypted
		case "readonly":
			row.Flags |= Readonly
		case "":
		default:
			return row, fmt.Errorf("CSV flag column contains unknown flag '%s'", flag)
		}
	}
	return row, nil
}

func (row *csvRow) parseOffset(field string, opt Options) error {
	given := func(offset *uint32, name string) error {
		if offset == nil {
			return fmt.Errorf("%s bootloader offset is not defined. Please use --%s-bootloader-offset", name, strings.ToLower(name))
		}
		row.offset, row.placed = int64(*offset), true
		return nil
	}
	switch {
	case row.Type == Bootloader && row.Subtype == BootloaderPrimary:
		return given(opt.PrimaryBootloaderOffset, "Primary")
	case row.Type == Bootloader && row.Subtype == BootloaderRecovery:
		return given(opt.RecoveryBootloaderOffset, "Recovery")
	case row.Type == PartitionTable && row.Subtype == TablePrimary:
		row.offset, row.placed = int64(opt.offset()), true
		return nil
	case field == "":
		return nil
	}
	n, err := parseInt(field, nil)
	row.offset, row.placed = n, true
	if err == nil && n < 0 {
		return fmt.Errorf("offset %s is negative", field)
	}
	return err
}

func (row *csvRow) parseSize(field string, opt Options) (err error) {
	switch {
	case row.Type == Bootloader:
		if opt.PrimaryBootloaderOffset == nil {
			return fmt.Errorf("Primary bootloader offset is not defined. Please use --primary-bootloader-offset")
		}
		row.size = int64(opt.offset()) - int64(*opt.PrimaryBootloaderOffset)
	case row.Type == PartitionTable:
		row.size = Sector
	case field == "":
		return fmt.Errorf("Size field can't be empty")
	default:
		row.size, err = parseInt(field, nil)
	}
	return err
}

// place fills in the offsets and sizes that the CSV leaves to the tool.
func place(list []csvRow, opt Options) (Table, error) {
	t := make(Table, 0, len(list))
	end := int64(opt.tableEnd())
	for i := range list {
		row := &list[i]
		if !row.fixed() {
			if row.placed && row.offset < end {
				if i == 0 {
					return nil, errorf("CSV Error at line %d: Partitions overlap. Partition sets offset 0x%x. But partition table occupies the whole sector 0x%x. Use a free offset 0x%x or higher.",
						row.line, row.offset, opt.offset(), end)
				}
				return nil, errorf("CSV Error at line %d: Partitions overlap. Partition sets offset 0x%x. Previous partition ends 0x%x", row.line, row.offset, end)
			}
			if !row.placed {
				align := int64(row.Type.alignment())
				row.offset = (end + align - 1) / align * align
			}
			if row.size < 0 {
				row.size = -row.size - row.offset
			}
			end = row.offset + row.size
		}
		if row.size < 0 || row.offset+row.size > math.MaxUint32+1 {
			return nil, errorf("CSV Error at line %d: Partition %s at offset 0x%x would end at 0x%x, which is no address after it",
				row.line, row.Name, row.offset, row.offset+row.size)
		}
		row.Offset, row.Size = uint32(row.offset), uint32(row.size)
		t = append(t, row.Partition)
	}
	return t, nil
}

// parseInt reads a number as Python's int(v, 0) does, with K or M after it, or
// one of the keywords.
func parseInt(v string, keywords []keyword) (int64, error) {
	if n, ok := valueOf(strings.ToLower(v), keywords); ok {
		return int64(n), nil
	}
	if unit := strings.IndexByte("km", lastLower(v)); unit >= 0 {
		n, err := parseInt(v[:len(v)-1], keywords)
		shift := 10 * (unit + 1)
		if err == nil && (n >= 1<<20 || n <= -1<<20) {
			n = 1 << 40 // no address, and refused as such
		}
		return n << shift, err
	}
	digits := strings.TrimSpace(v)
	bare := strings.TrimLeft(digits, "+-")
	// Go takes 010 as octal, Python as a mistake.
	octal := len(bare) > 1 && bare[0] == '0' && strings.Trim(bare, "0_") != "" && bare[1] >= '0' && bare[1] <= '9'
	if n, err := strconv.ParseInt(digits, 0, 64); err == nil && !octal && n > -1<<40 && n < 1<<40 {
		return n, nil
	}
	if len(keywords) == 0 {
		return 0, fmt.Errorf("Invalid field value %s", v)
	}
	names := make([]string, 0, len(keywords))
	for _, k := range keywords {
		names = append(names, k.name)
	}
	return 0, fmt.Errorf("Value '%s' is not valid. Known keywords: %s", v, strings.Join(names, ", "))
}

func lastLower(v string) byte {
	if v == "" {
		return 0
	}
	return v[len(v)-1] | 0x20
}

// ParseExtraSubtype reads a project's own subtype as the build system hands it
// over: "data, my_config, 0x41".
func ParseExtraSubtype(s string) (ExtraSubtype, error) {
	fields := strings.Split(s, ",")
	if len(fields) < 3 {
		return ExtraSubtype{}, errorf("extra subtype %q: it must be type, name, number", s)
	}
	typ, ok := valueOf(strings.TrimSpace(fields[0]), typeNames())
	if !ok {
		return ExtraSubtype{}, errorf("extra subtype %q: Invalid partition type", s)
	}
	number := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(fields[2])), "0x")
	n, err := strconv.ParseUint(number, 16, 8)
	if err != nil {
		return ExtraSubtype{}, errorf("extra subtype %q: number must be hexadecimal, at most ff", s)
	}
	taken := subtypeNames(Type(typ), nil)
	if slices.ContainsFunc(taken, func(k keyword) bool { return k.value == int(n) }) {
		return ExtraSubtype{}, errorf("extra subtype %q: Found duplicate value in partition subtype", s)
	}
	return ExtraSubtype{Type: Type(typ), Name: strings.TrimSpace(fields[1]), Subtype: Subtype(n)}, nil
}
