package provisioning

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/internal/plainjson"
)

// format is the form of payloads, in both directions: the last level of the topic.
type format uint8

const (
	formatJSON format = iota
	formatCBOR        // RFC 8949
)

// payload is a request of a device; which members are used depends on the topic.
type payload struct {
	CSR        string     `json:"certificateSigningRequest"`
	Token      string     `json:"certificateOwnershipToken"`
	Parameters Parameters `json:"parameters"`
}

// credentials answers a request for a certificate.
type credentials struct {
	CertificateID  string `json:"certificateId"`
	CertificatePEM string `json:"certificatePem"`
	PrivateKey     string `json:"privateKey,omitempty"`
	Token          string `json:"certificateOwnershipToken"`
}

// registration answers a request to be provisioned.
type registration struct {
	DeviceConfiguration map[string]string `json:"deviceConfiguration"`
	ThingName           string            `json:"thingName"`
}

// rejection answers a request that failed.
type rejection struct {
	StatusCode   int    `json:"statusCode"`
	ErrorCode    string `json:"errorCode"`
	ErrorMessage string `json:"errorMessage"`
}

// decode reads a payload; an empty one is an empty map. Refusals match ErrParameters.
func (f format) decode(b []byte) (p payload, err error) {
	if len(b) == 0 {
		return p, nil
	}
	if f == formatCBOR {
		mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 8, MaxMapPairs: 1024, MaxArrayElements: 1024}.DecMode()
		if err != nil {
			return p, err
		}
		if b[0]>>5 != 5 { // major type of maps
			return p, refuse(ErrParameters, "the payload is not a CBOR map")
		}
		var in struct {
			CSR        string             `json:"certificateSigningRequest"`
			Token      string             `json:"certificateOwnershipToken"`
			Parameters map[string]*string `json:"parameters"`
		}
		if err := mode.Unmarshal(b, &in); err != nil {
			return payload{}, refuse(ErrParameters, "the payload is not a CBOR map of the expected members: %v", err)
		}
		return payload{in.CSR, in.Token, given(in.Parameters)}, nil
	}
	b = bytes.TrimRight(b, "\x00") // firmware in C sends the end of its string along
	if trimmed := bytes.TrimSpace(b); len(trimmed) == 0 {
		return p, nil
	} else if trimmed[0] != '{' {
		return p, refuse(ErrParameters, "the payload is not a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&p); err != nil {
		return payload{}, refuse(ErrParameters, "the payload is not a JSON object of the expected members: %s", problem(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return payload{}, refuse(ErrParameters, "the payload goes on after the JSON object")
	}
	return p, nil
}

// encode writes an answer.
func (f format) encode(answer any) ([]byte, error) {
	if f == formatCBOR {
		return cbor.Marshal(answer)
	}
	return plainjson.Marshal(answer)
}
