package provisioning

import (
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// TestNullParameter: a parameter that is null is not given, in either form of payload.
func TestNullParameter(t *testing.T) {
	t.Parallel()
	bytes, err := cbor.Marshal(map[string]any{"certificateOwnershipToken": "t", "parameters": map[string]any{"A": nil, "B": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	for form, request := range map[format][]byte{formatCBOR: bytes, formatJSON: []byte(`{"certificateOwnershipToken":"t","parameters":{"A":null,"B":"b"}}`)} {
		p, err := form.decode(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := p.Parameters["A"]; ok || p.Parameters["B"] != "b" || p.Token != "t" {
			t.Errorf("form %d: %+v", form, p)
		}
		tmpl, err := ParseTemplate([]byte(thingTemplate(`"t"`)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tmpl.Expand(p.Parameters); !errors.Is(err, ErrParameters) {
			t.Errorf("form %d: %v", form, err)
		}
	}
}

// TestWords: a refusal is in the words of JSON and names what is wrong.
func TestWords(t *testing.T) {
	t.Parallel()
	_, err := formatJSON.decode([]byte(`{"parameters":{"SerialNumber":1}}`))
	if err == nil || !strings.Contains(err.Error(), "parameters cannot be a JSON number") {
		t.Error(err)
	}
	_, err = ParseTemplate([]byte(`1`))
	if err == nil || strings.Contains(err.Error(), "Go value") {
		t.Error(err)
	}
}
