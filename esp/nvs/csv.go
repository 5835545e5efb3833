package nvs

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// AddCSV writes the entries of one CSV file in the grammar of ESP-IDF's NVS
// partition generator: a first line that names the columns key, type, encoding
// and value, then one entry a line, lines that begin with # left out.
//
//	key,type,encoding,value
//	certs,namespace,,
//	thing,data,string,A4CF12ABCDEF
//	device_cert,file,binary,client.crt
//
// Types are namespace, data and file; encodings are u8 to u64, i8 to i64,
// string, hex2bin, base64, binary, blob_fill(n;0xXX) and blob_sz_fill(n;0xXX).
// open returns the content of a file named in the value column; it may be nil
// if no entry is of type file. Several files may be added one after another.
//
// Where the generator does something surprising, so does this, because the
// image must be the same: entries go into the namespace begun last, also after
// an older one is named again, and the Wi-Fi keys sta.ssid, sta.pswd and
// ap.ssid, ap.passwd, ap.authmode bring further entries with them. Warnings
// tells of the first.
func (w *Writer) AddCSV(r io.Reader, open func(name string) ([]byte, error)) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("nvs: read CSV: %w", err)
	}
	rows, err := parseCSV(data)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := w.addRow(row, open); err != nil {
			return fmt.Errorf("line %d: %w", row.line, err)
		}
	}
	return nil
}

// csvState is what one row of a CSV leaves for the next.
type csvState struct {
	namespace string // named last, which need not be the one that entries go into
	latest    string // begun last
	wifi      wifiKeys
}

func (w *Writer) warn(row csvRow, format string, args ...any) {
	w.warnings = append(w.warnings, fmt.Sprintf("line %d: ", row.line)+fmt.Sprintf(format, args...))
}

func (w *Writer) addRow(row csvRow, open func(string) ([]byte, error)) error {
	if err := checkName("key", row.key); err != nil {
		return err
	}
	if row.kind == "namespace" {
		before := len(w.namespaces)
		if _, err := w.namespace(row.key); err != nil {
			return err
		}
		w.csv.namespace = row.key
		if len(w.namespaces) > before {
			w.csv.latest = row.key
		}
		return nil
	}
	value := []byte(row.value)
	switch row.kind {
	case "data":
	case "file":
		if open == nil {
			return fmt.Errorf("%w: key `%s` is a file, and there is no folder to read it from", ErrCSV, row.key)
		}
		var err error
		if value, err = open(row.value); err != nil {
			return fmt.Errorf("nvs: read file for key `%s`: %w", row.key, err)
		}
	default:
		return fmt.Errorf("%w: key `%s` has type %q: it must be namespace, data or file", ErrCSV, row.key, row.kind)
	}
	if w.csv.latest == "" {
		return fmt.Errorf("%w: key `%s` stands before any namespace: the first entry must be one", ErrCSV, row.key)
	}
	if w.csv.namespace != w.csv.latest {
		w.warn(row, "key `%s` goes into namespace %q, the one begun last, and not into %q: keep the entries of a namespace together",
			row.key, w.csv.latest, w.csv.namespace)
	}
	return w.csv.wifi.add(row.key, value, func(key, encoding string, value []byte) error {
		return w.addValue(row, key, encoding, value)
	}, row.encoding)
}

// addValue writes one entry of a CSV into the namespace begun last.
func (w *Writer) addValue(row csvRow, key, encoding string, value []byte) error {
	name := [2]string{w.csv.latest, key}
	if w.seen[name] {
		w.warn(row, "key `%s` is written twice to namespace %q", key, w.csv.latest)
	}
	w.seen[name] = true
	namespace := w.namespaces[w.csv.latest]

	if strings.HasPrefix(encoding, "blob_fill") || strings.HasPrefix(encoding, "blob_sz_fill") {
		blob, err := fillBlob(key, encoding, value, w.size)
		if err != nil {
			return err
		}
		return w.blob(namespace, key, blob)
	}
	switch encoding := strings.ToLower(encoding); encoding {
	case "string":
		if !utf8.Valid(value) {
			return fmt.Errorf("%w: value of key `%s` is not UTF-8 text: use encoding binary", ErrEntry, key)
		}
		return w.whole(namespace, key, String, append(bytes.Clone(value), 0))
	case "binary":
		return w.blob(namespace, key, value)
	case "hex2bin":
		value = bytes.TrimSpace(value)
		if len(value)%2 != 0 {
			return fmt.Errorf("%w: %s: Invalid data length. Should be multiple of 2", ErrEntry, key)
		}
		blob := make([]byte, len(value)/2)
		if _, err := hex.Decode(blob, value); err != nil {
			return fmt.Errorf("%w: %s: Non-hexadecimal digit found: %w", ErrEntry, key, err)
		}
		return w.blob(namespace, key, blob)
	case "base64":
		blob, err := decodeBase64(value)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrEntry, key, err)
		}
		return w.blob(namespace, key, blob)
	case "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64":
		kind, v, err := parseNumber(encoding, string(value))
		if err != nil {
			return fmt.Errorf("%w: Packing error for '%s' key '%s' = '%s': %w", ErrEntry, encoding, key, value, err)
		}
		return w.number(namespace, key, kind, v)
	default:
		return fmt.Errorf("%w: %s: Unsupported encoding: it must be u8, i8, u16, i16, u32, i32, u64, i64, string, hex2bin, base64 or binary, for key `%s`", ErrEntry, encoding, key)
	}
}

// cType is the word that the generator's message has for an encoding.
func cType(encoding string) string {
	word := map[string]string{"8": "byte", "16": "short", "32": "int", "64": "long long"}[encoding[1:]]
	if encoding[0] == 'u' {
		return "u" + word
	}
	return word
}

// parseNumber takes a decimal integer as Python's int does: sign, blanks
// around it and single underscores within it are allowed.
func parseNumber(encoding, s string) (Type, uint64, error) {
	bits, _ := strconv.Atoi(encoding[1:])
	kind := Type(bits / 8)
	low, high := new(big.Int), new(big.Int).Lsh(big.NewInt(1), uint(bits))
	if encoding[0] == 'i' {
		kind |= 0x10
		high.Rsh(high, 1)
		low.Neg(high)
	}
	high.Sub(high, big.NewInt(1))

	digits := strings.TrimSpace(s)
	unsigned := strings.TrimPrefix(strings.TrimPrefix(digits, "-"), "+")
	if unsigned == "" || strings.Trim(unsigned, "0123456789_") != "" ||
		unsigned[0] == '_' || unsigned[len(unsigned)-1] == '_' || strings.Contains(unsigned, "__") || len(unsigned) > 64 {
		return 0, 0, fmt.Errorf("a decimal integer is needed")
	}
	v, ok := new(big.Int).SetString(strings.ReplaceAll(digits, "_", ""), 10)
	if !ok {
		return 0, 0, fmt.Errorf("a decimal integer is needed")
	}
	if v.Cmp(low) < 0 || v.Cmp(high) > 0 {
		return 0, 0, fmt.Errorf("%s format requires %s <= number <= %s", cType(encoding), low, high)
	}
	if v.Sign() < 0 {
		return kind, uint64(v.Int64()), nil
	}
	return kind, v.Uint64(), nil
}

// decodeBase64 takes base64 as Python's binascii does: anything outside the
// alphabet, such as line ends, is skipped, and padding ends the data.
func decodeBase64(s []byte) ([]byte, error) {
	var kept []byte
	for _, c := range s {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/':
			kept = append(kept, c)
			continue
		case c != '=' || len(kept)%4 < 2:
			continue
		}
		// Padding: what is missing from four must be made up of it.
		if rest := bytes.Count(s, []byte("=")); len(kept)%4+rest < 4 {
			return nil, fmt.Errorf("Incorrect padding of base64")
		}
		break
	}
	switch len(kept) % 4 {
	case 1:
		return nil, fmt.Errorf("Invalid base64-encoded string: number of data characters (%d) cannot be 1 more than a multiple of 4", len(kept))
	case 0:
	default:
		if bytes.IndexByte(s, '=') < 0 {
			return nil, fmt.Errorf("Incorrect padding of base64")
		}
	}
	blob := make([]byte, base64.RawStdEncoding.DecodedLen(len(kept)))
	n, err := base64.RawStdEncoding.Decode(blob, kept)
	return blob[:n], err
}

// fillBlob makes the value of blob_fill(n;0xXX), the value padded to n bytes,
// or blob_sz_fill(n;0xXX), the same with its length in four bytes before it.
func fillBlob(key, encoding string, value []byte, limit int) ([]byte, error) {
	bad := fmt.Errorf("%w: %s: Invalid encoding format: blob_fill(length;0xXX) is one, for key `%s`", ErrEntry, encoding, key)
	name, rest, _ := strings.Cut(encoding, "(")
	number, rest, ok := strings.Cut(rest, ";0x")
	if name != "blob_fill" && name != "blob_sz_fill" || !ok || len(rest) < 3 || rest[2] != ')' {
		return nil, bad
	}
	length, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, bad
	}
	padding, err := strconv.ParseUint(rest[:2], 16, 8)
	if err != nil {
		return nil, bad
	}
	if len(value) > int(length) {
		return nil, fmt.Errorf("%w: %s: Value length exceeds specified length", ErrEntry, key)
	}
	if int(length) > limit {
		return nil, fmt.Errorf("%w: key `%s` has a length of %d bytes, more than the partition", ErrFull, key, length)
	}
	var blob []byte
	if name == "blob_sz_fill" {
		blob = binary.LittleEndian.AppendUint32(blob, uint32(len(value)))
	}
	blob = append(blob, value...)
	return append(blob, bytes.Repeat([]byte{byte(padding)}, int(length)-len(value))...), nil
}
