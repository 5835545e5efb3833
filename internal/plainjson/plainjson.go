// Package plainjson writes JSON as AWS does: without escape sequences for <, > and &, which
// encoding/json writes by default. Parsers on small devices hand strings over as they stand, and an
// address with \u0026 in it leads nowhere.
package plainjson

import (
	"bytes"
	"encoding/json"
)

// Marshal is json.Marshal without escaping <, > and &.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
