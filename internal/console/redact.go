package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// maxShown is how much of a body or a resource the audit log keeps, in bytes.
const maxShown = 16 << 10

const hidden = "(hidden)"

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
	if enc.Encode(redact(v, 0)) != nil {
		return fmt.Sprintf("(%d bytes)", len(b))
	}
	text := strings.TrimSuffix(out.String(), "\n")
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// maxDepth bounds the recursion.
const maxDepth = 64

func redact(v any, depth int) any {
	if depth > maxDepth {
		return hidden
	}
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if secretName(name) {
				if s, ok := value.(string); !ok || s != "" {
					v[name] = hidden
				}
				continue
			}
			v[name] = redact(value, depth+1)
		}
		return v
	case []any:
		for i := range v {
			v[i] = redact(v[i], depth+1)
		}
		return v
	case string:
		if strings.Contains(v, "PRIVATE KEY-----") {
			return hidden
		}
		return v
	}
	return v
}

func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"secret", "password", "passphrase", "privatekey", "private_key", "private-key", "token"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
