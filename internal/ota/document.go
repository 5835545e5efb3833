package ota

import (
	"encoding/json"
	"fmt"
	"strings"
)

// authScheme is how devices use an address, in a job document.
const authScheme = "aws.s3.presigned"

// document is the job document that FreeRTOS devices parse. What does not apply is left out.
type document struct {
	OTA struct {
		Protocols []string       `json:"protocols"`
		Stream    string         `json:"streamname,omitempty"`
		Files     []documentFile `json:"files"`
	} `json:"afr_ota"`
}

// documentFile is one file of it. Its signature is under a name that tells the algorithms, such as
// sig-sha256-ecdsa.
type documentFile struct {
	path, certificate string
	size              int64 // bytes
	id                int
	kind              *int
	url               string
	algorithms        string // such as sha256-ecdsa; "" for no signature
	signature         string // base64
}

// MarshalJSON implements json.Marshaler.
func (f documentFile) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(struct {
		Path        string `json:"filepath"`
		Size        int64  `json:"filesize"`
		ID          int    `json:"fileid"`
		Certificate string `json:"certfile,omitempty"`
		Kind        *int   `json:"fileType,omitempty"`
		URL         string `json:"update_data_url,omitempty"`
		Scheme      string `json:"auth_scheme,omitempty"`
	}{f.path, f.size, f.id, f.certificate, f.kind, f.url, map[bool]string{true: authScheme}[f.url != ""]})
	if err != nil || f.algorithms == "" {
		return b, err
	}
	// The name's characters have been checked.
	return fmt.Appendf(b[:len(b)-1], `,"sig-%s":"%s"}`, f.algorithms, f.signature), nil
}

func (d *document) text() (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(d)
	return strings.TrimSuffix(b.String(), "\n"), err
}
