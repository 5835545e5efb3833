package action

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/berth-iot/berth/sigv4"
)

// TestHTTPBatch posts arrays with a signature.
func TestHTTPBatch(t *testing.T) {
	t.Parallel()
	verifier := sigv4.Verifier{Region: "eu-west-1", Services: []string{"execute-api"}, Secret: func(id string) (string, bool) { return "b", id == "a" }}
	var bodies []string
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if _, err := verifier.Verify(r, b); err != nil {
			t.Error(err)
		}
		bodies = append(bodies, r.Header.Get("Content-Type")+" "+string(b))
	}))
	defer web.Close()
	_, s := newCloud(t)
	fields := `{"url":"` + web.URL + `/p","enableBatching":true,"batchConfig":{"maxBatchSize":3},"headers":[{"key":"x-a","value":"1"}],
		"auth":{"sigv4":{"signingRegion":"eu-west-1","serviceName":"execute-api","roleArn":"r"}}}`
	h := decode(t, "http", fields).(*HTTP)
	if n, bytes, linger := h.BatchLimits(); n != 3 || bytes != 5120 || linger != 20*time.Millisecond || h.Batch() == "" || !h.BatchByTopic() {
		t.Error(n, bytes, linger, h.Batch())
	}
	list := []Delivery{{h, &Message{Payload: []byte(`{"n":1}`)}}, {h, &Message{Payload: []byte{0xff}, Binary: true}}, {h, &Message{Payload: []byte(`2`)}}}
	for i, err := range h.DoBatch(context.Background(), s, list) {
		if err != nil {
			t.Error(i, err)
		}
	}
	if err := h.Do(context.Background(), s, list[0].Message); err != nil {
		t.Error(err)
	}
	want := []string{"application/octet-stream \xff", `application/json [{"n":1},2]`, `application/json [{"n":1}]`}
	if len(bodies) != len(want) {
		t.Fatalf("%q", bodies)
	}
	for i := range want {
		if bodies[i] != want[i] {
			t.Errorf("%q", bodies[i])
		}
	}
	k, _ := KindOf("http")
	for _, bad := range []string{`{"url":"http://x/","batchConfig":{"maxBatchSize":11}}`, `{"url":"http://x/","batchConfig":{"maxBatchOpenMs":1}}`, `{"url":"http://x/","auth":{"sigv4":{}}}`} {
		if a, err := k.Decode([]byte(bad)); err != nil || a.Validate() == nil {
			t.Error(bad, err)
		}
	}
}
