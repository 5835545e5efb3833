package commands

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/internal/plainjson"
)

// Format is the form of answers, in both directions: the last level of the topic.
type Format uint8

// Formats. The topic without a level for it takes JSON.
const (
	JSON Format = iota
	CBOR        // RFC 8949
)

const (
	contentJSON = "application/json"
	contentCBOR = "application/cbor"
)

// Reason says more about a status.
type Reason struct {
	Code        string `json:"reasonCode"`
	Description string `json:"reasonDescription,omitempty"`
}

// Result is one value that a device returns; one member is set.
type Result struct {
	S   *string `json:"S,omitempty"`
	B   *bool   `json:"B,omitempty"`
	BIN []byte  `json:"BIN,omitempty"`
}

// Response is what a device says about an execution.
type Response struct {
	Status Status
	Event  Event
	Reason *Reason
	Result map[string]Result // nil for none
}

var (
	reasonCode = regexp.MustCompile(`^[A-Z0-9_-]{1,64}$`)
	resultName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,32}$`)
)

const maxReason = 1024 // characters of a reason's description

// ParseResponse reads a device's message. ErrInvalid says which member is wrong; other errors that the
// payload is not of the format at all. Members that AWS does not name are ignored.
func ParseResponse(f Format, payload []byte) (*Response, error) {
	tree, err := f.decode(payload)
	if err != nil {
		return nil, err
	}
	r := &Response{}
	status, ok := tree["status"].(string)
	if !ok {
		return nil, invalid("status is missing or is not a string")
	}
	r.Status = Status(status)
	if r.Event, err = eventOf(r.Status); err != nil {
		return nil, err
	}
	if r.Reason, err = parseReason(tree["statusReason"]); err != nil {
		return nil, err
	}
	r.Result, err = f.parseResult(tree["result"])
	return r, err
}

func (f Format) decode(payload []byte) (tree map[string]any, err error) {
	if f == CBOR {
		mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 8, MaxMapPairs: 1024, MaxArrayElements: 1024,
			DefaultMapType: reflect.TypeFor[map[string]any]()}.DecMode()
		if err != nil {
			return nil, err
		}
		if err := mode.Unmarshal(payload, &tree); err != nil || tree == nil {
			return nil, refuse(errJSON, "the payload is not a CBOR map with text names")
		}
		return tree, nil
	}
	payload = bytes.TrimRight(payload, "\x00") // firmware in C sends the end of its string along
	if !utf8.Valid(payload) {
		return nil, refuse(errJSON, "the payload is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	if err := dec.Decode(&tree); err != nil || tree == nil {
		return nil, refuse(errJSON, "the payload is not a JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, refuse(errJSON, "the payload goes on after the JSON object")
	}
	return tree, nil
}

func parseReason(v any) (*Reason, error) {
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, invalid("statusReason is not an object")
	}
	code, ok := m["reasonCode"].(string)
	if !ok || !reasonCode.MatchString(code) {
		return nil, invalid("statusReason.reasonCode is not a string of 1 to 64 of A-Z, 0-9, _ and -")
	}
	r := &Reason{Code: code}
	if d, there := m["reasonDescription"]; there && d != nil {
		if r.Description, ok = d.(string); !ok {
			return nil, invalid("statusReason.reasonDescription is not a string")
		}
		if err := checkText("statusReason.reasonDescription", r.Description, maxReason); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (f Format) parseResult(v any) (map[string]Result, error) {
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, invalid("result is not an object")
	}
	if len(m) == 0 {
		return nil, invalid("at least 1 command execution result is required")
	}
	out := make(map[string]Result, len(m))
	for name, v := range m {
		if !resultName.MatchString(name) {
			return nil, invalid("the name %q of a result is not 1 to 32 of a-z, A-Z, 0-9, _ and -", name)
		}
		member, ok := v.(map[string]any)
		if !ok || len(member) != 1 {
			return nil, invalid("result %s is not an object with one of s, b and bin", name)
		}
		var r Result
		for kind, v := range member {
			switch v := v.(type) {
			case string:
				switch {
				case kind == "s" && v != "" && !strings.Contains(v, "\x00"):
					r.S = &v
				case kind == "bin" && f == JSON:
					r.BIN, _ = base64.StdEncoding.DecodeString(v)
				}
			case bool:
				if kind == "b" {
					r.B = &v
				}
			case []byte:
				if kind == "bin" {
					r.BIN = v
				}
			}
			if r.S == nil && r.B == nil && len(r.BIN) == 0 {
				return nil, invalid("result %s: %s is not s with a text, b with a boolean or bin with bytes, in base64 in JSON", name, kind)
			}
		}
		out[name] = r
	}
	return out, nil
}

// accepted and rejected are the answers to a device.
type accepted struct {
	Execution string `json:"executionId"`
}

type rejected struct {
	Code      string `json:"error"`
	Message   string `json:"errorMessage"`
	Execution string `json:"executionId"`
}

func reject(execution string, err error) rejected {
	r := rejected{"InternalError", "an internal error occurred", execution}
	for _, k := range []struct {
		kind error
		code string
	}{
		{errJSON, "InvalidJson"}, {ErrInvalid, "InvalidRequest"}, {ErrTransition, "InvalidStateTransition"}, {ErrNotFound, "ResourceNotFound"},
	} {
		if errors.Is(err, k.kind) {
			r.Code, r.Message = k.code, err.Error()
		}
	}
	return r
}

func (f Format) encode(v any) []byte {
	encode := plainjson.Marshal
	if f == CBOR {
		encode = cbor.Marshal
	}
	b, err := encode(v)
	if err != nil {
		return nil
	}
	return b
}
