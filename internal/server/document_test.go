package server_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestDocumentSourceLinkLocal: the server reads no job document from where a cloud has its machines'
// credentials.
func TestDocumentSourceLinkLocal(t *testing.T) {
	t.Parallel()
	const source = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
	r, err := http.NewRequest("GET", source, nil)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err := http.ProxyFromEnvironment(r); err != nil || proxy != nil {
		t.Skip("a proxy would be called instead")
	}
	f := start(t)
	f.newDevice("lamp", own)
	status, body := f.request("PUT", "/jobs/steal", map[string]any{"documentSource": source,
		"targets": []string{"arn:aws:iot:us-east-1:000000000000:thing/lamp"}})
	if status != 400 || !strings.Contains(string(body), "the address is not called") {
		t.Errorf("%d %s", status, body)
	}
}
