package stream

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"

	"github.com/fxamacker/cbor/v2"
)

// description is the answer to describe.
type description struct {
	Token   string     `json:"c,omitempty"`
	Version int        `json:"s"`
	Text    string     `json:"d"`
	Files   []fileSize `json:"r"`
}

type fileSize struct {
	ID   int   `json:"f"`
	Size int64 `json:"z"`
}

func describe(v *Stream, token string) description {
	d := description{Token: token, Version: v.Version, Text: v.Description}
	for _, f := range v.Files {
		d.Files = append(d.Files, fileSize{f.ID, f.Object.Size})
	}
	return d
}

// marshal writes an answer other than a block.
func marshal(f format, v any) []byte {
	encode := json.Marshal
	if f == formatCBOR {
		encode = cbor.Marshal
	}
	b, err := encode(v)
	if err != nil {
		return nil
	}
	return b
}

// block is one block of a file.
type block struct {
	token  string
	fileID int
	id     int64
	data   []byte
}

// append writes the answer that carries a block: with members c, f, l, i and p in this order.
func (b *block) append(f format, dst []byte) []byte {
	if f == formatCBOR {
		members := byte(4)
		if b.token != "" {
			members = 5
		}
		dst = append(dst, 0xa0|members)
		if b.token != "" {
			dst = append(append(dst, 0x61, 'c'), appendHead(nil, 3, uint64(len(b.token)))...)
			dst = append(dst, b.token...)
		}
		dst = appendHead(append(dst, 0x61, 'f'), 0, uint64(b.fileID))
		dst = appendHead(append(dst, 0x61, 'l'), 0, uint64(len(b.data)))
		dst = appendHead(append(dst, 0x61, 'i'), 0, uint64(b.id))
		dst = appendHead(append(dst, 0x61, 'p'), 2, uint64(len(b.data)))
		return append(dst, b.data...)
	}
	dst = append(dst, '{')
	if b.token != "" {
		dst = append(append(dst, `"c":`...), marshal(formatJSON, b.token)...)
		dst = append(dst, ',')
	}
	dst = strconv.AppendInt(append(dst, `"f":`...), int64(b.fileID), 10)
	dst = strconv.AppendInt(append(dst, `,"l":`...), int64(len(b.data)), 10)
	dst = strconv.AppendInt(append(dst, `,"i":`...), b.id, 10)
	dst = append(dst, `,"p":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b.data)
	return append(dst, `"}`...)
}

// appendHead writes the head of a CBOR data item in its shortest form (RFC 8949 section 3).
func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}
