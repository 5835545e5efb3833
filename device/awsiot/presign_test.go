package awsiot

import (
	"testing"
	"time"

	"github.com/berth-iot/berth/sigv4"
)

// TestPresignWebSocket: the device signs as package sigv4 does, which verifies on the server's side.
func TestPresignWebSocket(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("", 3600))
	for _, c := range []struct {
		host, region string
		credentials  Credentials
	}{
		{"iot.example.com", "us-east-1", Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret/+="}},
		{"localhost:8443", "eu-west-1", Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "s", SessionToken: "a/b+c=d é~"}},
	} {
		signer := sigv4.Signer{AccessKeyID: c.credentials.AccessKeyID, SecretAccessKey: c.credentials.SecretAccessKey,
			SessionToken: c.credentials.SessionToken, Region: c.region, Service: "iotdevicegateway"}
		if got, want := PresignWebSocket(c.host, c.region, c.credentials, at), signer.PresignWebSocket(c.host, 0, at); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
