package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/berth-iot/berth/internal/redaction"
)

// maxShown is how much of a body or a resource the audit log keeps, in bytes.
const maxShown = 16 << 10

// redacted returns JSON without the values that are secret by their names or their looks, shortened
// to maxShown bytes. Of what is not JSON it tells only the size.
func redacted(b []byte) string {
	if len(bytes.TrimSpace(b)) == 0 {
		return ""
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return fmt.Sprintf("(%d bytes)", len(b))
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if enc.Encode(redaction.Value(v)) != nil {
		return fmt.Sprintf("(%d bytes)", len(b))
	}
	text := strings.TrimSuffix(out.String(), "\n")
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}
