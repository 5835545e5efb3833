package provisioning

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Parameters are the values that a request has for the parameters of a template. One that is null is
// not given, so that a device without a serial number does not become the thing of an empty one.
type Parameters map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (p *Parameters) UnmarshalJSON(b []byte) error {
	var m map[string]*string
	err := json.Unmarshal(b, &m)
	*p = given(m)
	return err
}

func given(m map[string]*string) Parameters {
	if m == nil {
		return nil
	}
	p := make(Parameters, len(m))
	for name, value := range m {
		if value != nil {
			p[name] = *value
		}
	}
	return p
}

// problem words an error of encoding/json without its names of Go types.
func problem(err error) string {
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		if kind.Field == "" {
			return "it cannot be a JSON " + kind.Value
		}
		return fmt.Sprintf("%s cannot be a JSON %s", kind.Field, kind.Value)
	}
	return err.Error()
}
