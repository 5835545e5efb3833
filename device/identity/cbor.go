package identity

import (
	"errors"

	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// The provisioning topics carry maps of text, in JSON or in CBOR (RFC 8949). CBOR is read and
// written as the same values.

// errCBOR is returned for bytes that are not one CBOR item of maps, texts, integers and simple
// values.
var errCBOR = errors.New("not a CBOR map of texts")

// appendCBOR appends an object; members that are not text or objects are left out.
func appendCBOR(dst []byte, v jsondoc.Value) []byte {
	var members []jsondoc.Member
	for _, m := range v.Members() {
		if m.Value.IsObject() || m.Value.IsText() {
			members = append(members, m)
		}
	}
	dst = appendHead(dst, 5, uint64(len(members)))
	for _, m := range members {
		dst = appendText(dst, m.Key)
		if m.Value.IsObject() {
			dst = appendCBOR(dst, m.Value)
		} else {
			dst = appendText(dst, m.Value.Text())
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte { return append(appendHead(dst, 3, uint64(len(s))), s...) }

// appendHead appends a major type with its argument in the shortest form.
func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return append(dst, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(dst, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	dst = append(dst, major|27)
	for shift := 56; shift >= 0; shift -= 8 {
		dst = append(dst, byte(n>>shift))
	}
	return dst
}

// parseCBOR reads one item that fills b.
func parseCBOR(b []byte) (jsondoc.Value, error) {
	v, rest, ok := item(b, 0)
	if !ok || len(rest) > 0 {
		return jsondoc.Value{}, errCBOR
	}
	return v, nil
}

// head reads a major type and its argument; indefinite lengths are not used by AWS IoT.
func head(b []byte) (major byte, n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, 0, nil, false
	}
	major, short := b[0]>>5, b[0]&31
	b = b[1:]
	if short < 24 {
		return major, uint64(short), b, true
	}
	if short > 27 {
		return 0, 0, nil, false
	}
	size := 1 << (short - 24)
	if len(b) < size {
		return 0, 0, nil, false
	}
	for _, c := range b[:size] {
		n = n<<8 | uint64(c)
	}
	return major, n, b[size:], true
}

func item(b []byte, depth int) (v jsondoc.Value, rest []byte, ok bool) {
	major, n, rest, ok := head(b)
	if !ok || depth > 8 {
		return v, nil, false
	}
	switch major {
	case 0, 1:
		if n > 1<<62 {
			return v, nil, false
		}
		i := int64(n)
		if major == 1 {
			i = -1 - i
		}
		return jsondoc.Int(i), rest, true
	case 3:
		if n > uint64(len(rest)) {
			return v, nil, false
		}
		return jsondoc.String(string(rest[:n])), rest[n:], true
	case 5:
		if n > uint64(len(rest)) || n > 256 {
			return v, nil, false
		}
		v = jsondoc.Object()
		for range n {
			major, size, after, ok := head(rest)
			if !ok || major != 3 || size > uint64(len(after)) {
				return v, nil, false
			}
			var member jsondoc.Value
			key := string(after[:size])
			if member, rest, ok = item(after[size:], depth+1); !ok {
				return v, nil, false
			}
			v.Set(key, member)
		}
		return v, rest, true
	}
	return v, nil, false
}
