package server_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	if _, ok := v.(http.Header); ok {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unmarshal(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
}
