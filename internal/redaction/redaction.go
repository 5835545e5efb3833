// Package redaction takes secrets out of JSON that is shown to people who need not know them: in the audit
// log, and to callers of the read-only role. It goes by names and looks, and rather hides too much.
package redaction

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// Hidden stands where a secret was.
const Hidden = "(hidden)"

// maxDepth bounds the recursion.
const maxDepth = 64

// Value returns a value of encoding/json without the strings and objects that are secret. It changes
// objects and arrays in place.
func Value(v any) any { return redact(v, 0) }

// JSON is Value for an encoded text; nil for what is not JSON.
func JSON(b []byte) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return nil
	}
	out, err := json.Marshal(Value(v))
	if err != nil {
		return nil
	}
	return out
}

func redact(v any, depth int) any {
	if depth > maxDepth {
		return Hidden
	}
	switch v := v.(type) {
	case map[string]any:
		named(v)
		for name, value := range v {
			if secretName(name) {
				if s, ok := value.(string); !ok || s != "" {
					v[name] = Hidden
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
			return Hidden
		}
		if strings.ContainsAny(v, "@=") {
			v = inURL.ReplaceAllString(v, "${1}"+Hidden+"@")
			v = inText.ReplaceAllString(v, "${1}"+Hidden)
		}
		return v
	}
	return v
}

// Passwords in URLs, such as postgres://user:password@host, and after their names in a query or in a text
// such as "host=h password=p".
var (
	inURL  = regexp.MustCompile(`(://[^/?#\s:@]*:)[^/?#\s]+@`)
	inText = regexp.MustCompile(`(?i)(\b(?:secret|password|passwd|pwd|token|apikey|api_key|access_token|sig|signature)\s*=\s*)('[^']*'|[^\s&;'"]+)`)
)

// named hides the value of an object that is a name and a value, such as an HTTP header.
func named(m map[string]any) {
	value, ok := m["value"].(string)
	if !ok || value == "" {
		return
	}
	for _, member := range []string{"key", "name"} {
		if name, ok := m[member].(string); ok && (secretName(name) || secretHeader(name)) {
			m["value"] = Hidden
		}
	}
}

func secretHeader(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"authorization", "cookie", "api-key", "apikey", "api_key"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
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
