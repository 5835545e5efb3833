package websocket

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/link"
)

// TestRefusals: every answer that is no WebSocket is one of the link's failures, and none shows the
// signature.
func TestRefusals(t *testing.T) {
	t.Parallel()
	status, ahead := http.StatusForbidden, time.Duration(0)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		w.WriteHeader(status)
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	asked := 0
	tr := &Transport{Address: strings.TrimPrefix(server.URL, "https://"), Name: "example.com", Roots: roots,
		Credentials: func(context.Context) (awsiot.Credentials, error) {
			asked++
			return awsiot.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "s", SessionToken: "token", Expires: time.Now().Add(time.Hour)}, nil
		}}
	for _, c := range []struct {
		status int
		ahead  time.Duration
		want   link.FailureKind
	}{{403, 0, link.Refused}, {403, time.Hour, link.WrongClock}, {403, -time.Hour, link.WrongClock}, {503, 0, link.Ended}, {429, 0, link.Ended}} {
		status, ahead = c.status, c.ahead
		_, err := tr.Dial(t.Context(), device.Identity{})
		var f *link.Failure
		if !errors.As(err, &f) || f.Kind != c.want || strings.Contains(err.Error(), "X-Amz") {
			t.Errorf("%d, %v: %v", c.status, c.ahead, err)
		}
	}
	if asked != 5 {
		t.Errorf("credentials were asked for %d times after refusals", asked)
	}
	tr.Roots = x509.NewCertPool()
	var f *link.Failure
	if _, err := tr.Dial(t.Context(), device.Identity{}); !errors.As(err, &f) || f.Kind != link.Untrusted || strings.Contains(err.Error(), "X-Amz") {
		t.Errorf("unknown authority: %v", err)
	}
	server.Close()
	if _, err := tr.Dial(t.Context(), device.Identity{}); !errors.As(err, &f) || f.Kind != link.Unreachable || strings.Contains(err.Error(), "X-Amz") {
		t.Errorf("no server: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	life := time.Hour
	asked := 0
	tr := &Transport{Address: "a1b2.iot.eu-west-1.amazonaws.com", Credentials: func(context.Context) (awsiot.Credentials, error) {
		asked++
		return awsiot.Credentials{AccessKeyID: "ASIA", Expires: time.Now().Add(life)}, nil
	}}
	for range 2 {
		if _, err := tr.credentials(t.Context()); err != nil || asked != 1 {
			t.Errorf("%d, %v", asked, err)
		}
	}
	tr.forget()
	life = renewBefore - time.Second
	for range 2 {
		_, _ = tr.credentials(t.Context())
	}
	if asked != 3 {
		t.Errorf("credentials at their end were asked for %d times", asked)
	}
	if tr.region() != "eu-west-1" || (&Transport{Address: "localhost:8443"}).region() != "us-east-1" {
		t.Error("region")
	}
}

func FuzzCredentials(f *testing.F) {
	f.Add([]byte(`{"credentials":{"accessKeyId":"A","secretAccessKey":"S","sessionToken":"T","expiration":"2026-01-02T03:04:05Z"}}`))
	f.Add([]byte(`{"credentials":{"expiration":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := readCredentials(b); err == nil && (c.AccessKeyID == "" || c.SecretAccessKey == "") {
			t.Error("half")
		}
	})
}
