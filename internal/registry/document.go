package registry

import (
	"bytes"
	"encoding/json"
)

// maxDocument is the length of a policy document in bytes, white space not counted. AWS IoT Core
// quotas, "Policy document size".
const maxDocument = 2048

// checkDocument refuses what is not a policy document.
func checkDocument(document []byte) error {
	n := 0
	for _, c := range document {
		if !bytes.ContainsRune([]byte(" \t\r\n"), rune(c)) {
			n++
		}
	}
	if n > maxDocument {
		return refuse(ErrMalformedPolicy, "the policy document has %d characters without white space, more than %d", n, maxDocument)
	}
	var d struct {
		Version   string
		Statement json.RawMessage
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return refuse(ErrMalformedPolicy, "policy document: %v", err)
	}
	if len(d.Statement) == 0 {
		return refuse(ErrMalformedPolicy, "policy document has no Statement")
	}
	return nil
}
