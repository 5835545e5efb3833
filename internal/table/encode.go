package table

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// The values of a row are a sequence, ascending by measure. Each begins with a uvarint of the
// measure's number times 16 plus a form.
const (
	formFalse   = iota // nothing follows
	formTrue           // nothing follows
	formString         // uvarint length, bytes
	formJSON           // uvarint length, bytes
	formFloat64        // 8 bytes, little endian
	formFloat32        // 4 bytes, little endian, when that loses nothing
	formDecimal        // and the forms after it: varint, to be divided by 10 to the power of form-formDecimal
)

// maxScale is the largest power of ten of a decimal; it makes the last form 15.
const maxScale = 15 - formDecimal

var powers = [maxScale + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

var errEncoding = errors.New("stored values cannot be read")

type numbered struct {
	number uint32
	value  Value
}

// appendValues encodes values, sorting them; of two with one number the later counts.
func appendValues(dst []byte, values []numbered) []byte {
	if !slices.IsSortedFunc(values, byNumber) {
		slices.SortStableFunc(values, byNumber)
	}
	for i, v := range values {
		if i+1 < len(values) && values[i+1].number == v.number {
			continue
		}
		dst = appendValue(dst, v.number, v.value)
	}
	return dst
}

func byNumber(a, b numbered) int { return int(a.number) - int(b.number) }

func appendValue(dst []byte, number uint32, v Value) []byte {
	tag := uint64(number) << 4
	switch v.kind {
	case KindBool:
		return binary.AppendUvarint(dst, tag|uint64(v.number))
	case KindString, KindJSON:
		form := uint64(formString)
		if v.kind == KindJSON {
			form = formJSON
		}
		dst = binary.AppendUvarint(dst, tag|form)
		dst = binary.AppendUvarint(dst, uint64(len(v.text)))
		return append(dst, v.text...)
	}
	if scale, mantissa, ok := decimal(v.number); ok {
		return binary.AppendVarint(binary.AppendUvarint(dst, tag|formDecimal+uint64(scale)), mantissa)
	}
	if f := float32(v.number); float64(f) == v.number {
		return binary.LittleEndian.AppendUint32(binary.AppendUvarint(dst, tag|formFloat32), math.Float32bits(f))
	}
	return binary.LittleEndian.AppendUint64(binary.AppendUvarint(dst, tag|formFloat64), math.Float64bits(v.number))
}

// decimal finds the shortest mantissa and scale that give exactly v. The quotient of two integers
// below 2^53 is the double nearest to the decimal number, which is what was parsed from its text.
func decimal(v float64) (scale int, mantissa int64, ok bool) {
	if v == 0 && math.Signbit(v) {
		return 0, 0, false
	}
	for scale, p := range powers {
		m := math.Round(v * p)
		if math.Abs(m) >= 1<<41 { // more than 6 bytes: no gain over a double
			return 0, 0, false
		}
		if m/p == v {
			return scale, int64(m), true
		}
	}
	return 0, 0, false
}

// nextValue decodes one value from the front of b and returns the rest. keep says whether texts are
// wanted; without it they are empty.
func nextValue(b []byte, keep func(number uint32) bool) (v numbered, rest []byte, err error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>4 > math.MaxInt32 {
		return v, nil, errEncoding
	}
	b = b[n:]
	v.number = uint32(tag >> 4)
	switch form := int(tag & 15); form {
	case formFalse, formTrue:
		v.value = Value{kind: KindBool, number: float64(form)}
	case formString, formJSON:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return v, nil, errEncoding
		}
		v.value.kind = KindString
		if form == formJSON {
			v.value.kind = KindJSON
		}
		if keep == nil || keep(v.number) {
			v.value.text = string(b[n : n+int(size)])
		}
		b = b[n+int(size):]
	case formFloat64:
		if len(b) < 8 {
			return v, nil, errEncoding
		}
		v.value = Number(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		b = b[8:]
	case formFloat32:
		if len(b) < 4 {
			return v, nil, errEncoding
		}
		v.value = Number(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		b = b[4:]
	default:
		m, n := binary.Varint(b)
		if n <= 0 {
			return v, nil, errEncoding
		}
		v.value = Number(float64(m) / powers[form-formDecimal])
		b = b[n:]
	}
	return v, b, nil
}

// state is what is known of a thing without reading its rows.
type state struct {
	rows, bytes int64
	first, last int64 // times
	measures    []stat
}

// stat is what is known of a measure of a thing.
type stat struct {
	number      uint32
	kinds       Kind
	count       int64
	first, last int64 // first may be too early after a deletion
	value       Value // at last
}

func (s *state) clone() *state {
	c := *s
	c.measures = slices.Clone(s.measures)
	return &c
}

func (s *state) stat(number uint32) *stat {
	i, ok := slices.BinarySearchFunc(s.measures, number, func(m stat, n uint32) int { return int(m.number) - int(n) })
	if !ok {
		s.measures = slices.Insert(s.measures, i, stat{number: number})
	}
	return &s.measures[i]
}

// add counts a row of some bytes that was written, with its values sorted.
func (s *state) add(at, size int64, values []numbered) {
	if s.rows == 0 || at < s.first {
		s.first = at
	}
	s.last = max(s.last, at)
	s.rows++
	s.bytes += size
	for i, v := range values {
		if i+1 < len(values) && values[i+1].number == v.number {
			continue
		}
		m := s.stat(v.number)
		m.kinds |= v.value.kind
		if m.count == 0 || at < m.first {
			m.first = at
		}
		if m.count == 0 || at >= m.last {
			m.last, m.value = at, v.value
		}
		m.count++
	}
}

// append encodes a state; decodeState is its inverse.
func (s *state) append(dst []byte) []byte {
	for _, n := range []int64{s.rows, s.bytes, s.first, s.last} {
		dst = binary.AppendVarint(dst, n)
	}
	for _, m := range s.measures {
		dst = append(dst, byte(m.kinds))
		for _, n := range []int64{m.count, m.first, m.last} {
			dst = binary.AppendVarint(dst, n)
		}
		dst = appendValue(dst, m.number, m.value)
	}
	return dst
}

func decodeState(b []byte) (*state, error) {
	s := new(state)
	numbers := func(to ...*int64) bool {
		for _, p := range to {
			v, n := binary.Varint(b)
			if n <= 0 {
				return false
			}
			*p, b = v, b[n:]
		}
		return true
	}
	if !numbers(&s.rows, &s.bytes, &s.first, &s.last) {
		return nil, errEncoding
	}
	for len(b) > 0 {
		m := stat{kinds: Kind(b[0])}
		b = b[1:]
		if !numbers(&m.count, &m.first, &m.last) {
			return nil, errEncoding
		}
		v, rest, err := nextValue(b, nil)
		if err != nil {
			return nil, err
		}
		m.number, m.value, b = v.number, v.value, rest
		if n := len(s.measures); n > 0 && s.measures[n-1].number >= m.number {
			return nil, errEncoding
		}
		s.measures = append(s.measures, m)
	}
	return s, nil
}
