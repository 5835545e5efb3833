package stream

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/topic"
)

// Codes of rejections (AWS IoT developer guide, "Handling errors from AWS IoT MQTT-based file
// delivery"). Unauthorized and ETagMismatch do not occur: objects are brought here when the stream is
// made.
const (
	codeTopic      = "InvalidTopic"
	codeJSON       = "InvalidJson"
	codeCBOR       = "InvalidCbor"
	codeRequest    = "InvalidRequest"
	codeBlockSize  = "BlockSizeOutOfBounds"
	codeOffset     = "OffsetOutOfBounds"
	codeBlockCount = "BlockCountLimitExceeded"
	codeBitmap     = "BlockBitmapLimitExceeded"
	codeNotFound   = "ResourceNotFound"
	codeVersion    = "VersionMismatch"
	codeInternal   = "InternalError"
)

// rejection is an answer that refuses a request.
type rejection struct {
	Code    string `json:"o"`
	Message string `json:"m"`
	Token   string `json:"c,omitempty"`
}

func (r *rejection) Error() string { return r.Code + ": " + r.Message }

func reject(code, format string, args ...any) error {
	return &rejection{Code: code, Message: fmt.Sprintf(format, args...)}
}

// format is how a payload is written.
type format uint8

const (
	formatJSON format = iota
	formatCBOR
)

func (f format) String() string {
	if f == formatCBOR {
		return "cbor"
	}
	return "json"
}

// address is what a topic says.
type address struct {
	prefix string // $aws/things/T/streams/S/
	thing  string
	stream string
	get    bool // else describe
	format format
	valid  bool // format and stream are what they can be
}

// parseTopic reads the topic of a request. ok is false for any other topic.
func parseTopic(name string) (a address, ok bool) {
	thing, rest, ok := topic.Thing(name)
	if !ok {
		return a, false
	}
	if rest, ok = strings.CutPrefix(rest, "streams/"); !ok {
		return a, false
	}
	part := strings.Split(rest, "/")
	if len(part) != 3 || part[1] != "get" && part[1] != "describe" {
		return a, false
	}
	a = address{prefix: name[:len(name)-len(part[1])-len(part[2])-1], thing: thing, stream: part[0], get: part[1] == "get", valid: idPattern.MatchString(part[0])}
	switch part[2] {
	case "json":
	case "cbor":
		a.format = formatCBOR
	default:
		a.valid = false
	}
	return a, true
}

// request is what a device asks for. Pointers are nil for members that are not there.
type request struct {
	token     string
	Version   *int64 `json:"s"`
	FileID    *int64 `json:"f"`
	BlockSize *int64 `json:"l"`
	Offset    *int64 `json:"o"`
	Count     *int64 `json:"n"`
	bitmap    []byte // nil for none
}

// decodeMode takes what devices send and refuses what only wastes memory.
func decodeMode() cbor.DecMode {
	m, err := cbor.DecOptions{MaxMapPairs: 64, MaxArrayElements: 64, MaxNestedLevels: 4, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive, TagsMd: cbor.TagsForbidden}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}

// parse reads a request. What it returns has a client token if that was right, even with an error,
// which is a *rejection. An empty payload is an empty request.
func parse(f format, mode cbor.DecMode, payload []byte) (r request, err error) {
	if f == formatCBOR {
		var body struct {
			request
			Token  cbor.RawMessage `cbor:"c"`
			Bitmap cbor.RawMessage `cbor:"b"`
		}
		if len(payload) > 0 {
			err = mode.Unmarshal(payload, &body)
		}
		r = body.request
		return r, r.finish(f, err, mode.Unmarshal, body.Token, body.Bitmap)
	}
	var body struct {
		request
		Token  json.RawMessage `json:"c"`
		Bitmap json.RawMessage `json:"b"`
	}
	switch {
	case len(bytes.TrimSpace(payload)) == 0:
	case !utf8.Valid(payload):
		err = reject(codeJSON, "the payload is not UTF-8")
	default:
		err = json.Unmarshal(payload, &body)
	}
	r = body.request
	return r, r.finish(f, err, json.Unmarshal, body.Token, body.Bitmap)
}

// finish reads client token and bitmap and names what is wrong.
func (r *request) finish(f format, err error, unmarshal func([]byte, any) error, token, bitmap []byte) error {
	if len(token) > 0 {
		var s *string
		if unmarshal(token, &s) != nil {
			return reject(codeRequest, "the client token c is not a string")
		}
		if s != nil && len(*s) > maxToken {
			return reject(codeRequest, "the client token c has more than %d bytes", maxToken)
		}
		if s != nil {
			r.token = *s
		}
	}
	if err != nil {
		return refused(f, err)
	}
	if len(bitmap) > 0 {
		return r.setBitmap(f, unmarshal, bitmap)
	}
	return nil
}

func refused(f format, err error) error {
	if known := (*rejection)(nil); errors.As(err, &known) {
		return err
	}
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		return reject(codeRequest, "member %q cannot be a JSON %s", kind.Field, kind.Value)
	}
	if kind := (*cbor.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		return reject(codeRequest, "a member cannot be a CBOR %s", kind.CBORType)
	}
	if f == formatCBOR {
		return reject(codeCBOR, "the payload is not valid CBOR")
	}
	return reject(codeJSON, "the payload is not valid JSON")
}

// setBitmap takes a string of hexadecimal digits, with or without 0x, or in CBOR a byte string. Bit 0
// of the first byte stands for the block at the offset.
func (r *request) setBitmap(f format, unmarshal func([]byte, any) error, raw []byte) error {
	var s *string
	if unmarshal(raw, &s) == nil {
		if s == nil {
			return nil
		}
		digits := strings.TrimPrefix(strings.TrimPrefix(*s, "0x"), "0X")
		if len(digits) > 2*MaxBitmap {
			return reject(codeBitmap, "the bitmap b has more than %d bytes", MaxBitmap)
		}
		var err error
		if r.bitmap, err = hex.DecodeString(digits); err != nil {
			return reject(codeRequest, "the bitmap b is not pairs of hexadecimal digits")
		}
		return nil
	}
	if f != formatCBOR || unmarshal(raw, &r.bitmap) != nil {
		return reject(codeRequest, "the bitmap b has the wrong type")
	}
	if len(r.bitmap) > MaxBitmap {
		return reject(codeBitmap, "the bitmap b has more than %d bytes", MaxBitmap)
	}
	return nil
}

// selection are blocks of a file.
type selection struct {
	file      *File
	blockSize int64
	blocks    []int64 // ascending, at least one
}

// choose checks a request for blocks against the stream and returns those that are sent now: at most
// MaxAnswer bytes. Blocks beyond the end of the file are left out.
func (r *request) choose(v *Stream) (c selection, err error) {
	switch {
	case r.FileID == nil:
		return c, reject(codeRequest, "the file identifier f is missing")
	case r.BlockSize == nil:
		return c, reject(codeRequest, "the block size l is missing")
	case *r.BlockSize < MinBlockSize || *r.BlockSize > MaxBlockSize:
		return c, reject(codeBlockSize, "the block size %d is not from %d to %d", *r.BlockSize, MinBlockSize, MaxBlockSize)
	case r.Offset != nil && (*r.Offset < 0 || *r.Offset > MaxOffset):
		return c, reject(codeOffset, "the offset %d is not from 0 to %d", *r.Offset, MaxOffset)
	case r.Count != nil && (*r.Count < 0 || *r.Count > MaxBlocks):
		return c, reject(codeBlockCount, "the number of blocks %d is not from 0 to %d", *r.Count, MaxBlocks)
	case r.Version != nil && *r.Version != int64(v.Version):
		return c, reject(codeVersion, "the stream's version is %d, not %d", v.Version, *r.Version)
	}
	c.blockSize = *r.BlockSize
	if c.file = v.File(*r.FileID); c.file == nil {
		return c, reject(codeNotFound, "the stream has no file %d", *r.FileID)
	}
	offset, most := int64(0), MaxAnswer/c.blockSize
	if r.Offset != nil {
		offset = *r.Offset
	}
	if r.Count != nil && *r.Count > 0 { // 0 asks for nothing, which is no reason to be silent
		most = min(most, *r.Count)
	}
	end := (c.file.Object.Size + c.blockSize - 1) / c.blockSize
	if r.bitmap == nil {
		for i := offset; i < min(end, offset+most); i++ {
			c.blocks = append(c.blocks, i)
		}
	} else {
		for i := int64(0); i < int64(len(r.bitmap))*8 && offset+i < end && int64(len(c.blocks)) < most; i++ {
			if r.bitmap[i/8]>>(i%8)&1 == 1 {
				c.blocks = append(c.blocks, offset+i)
			}
		}
	}
	if len(c.blocks) == 0 {
		return c, reject(codeNotFound, "file %d has %d blocks of %d bytes, and none of those asked for", c.file.ID, end, c.blockSize)
	}
	return c, nil
}
