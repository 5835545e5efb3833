package rules

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/berth-iot/berth/internal/rules/action"
)

// TestSecretIsRemembered for 15 minutes, and a refusal is not.
func TestSecretIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, t.TempDir(), quick)
		asked, status := 0, 400
		b.services.AWS = &action.AWS{Fixed: &aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
			HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				asked++
				body := []byte(`{"SecretString":"s","SecretBinary":"AQI="}`)
				return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{}, Request: r}, nil
			})}}}
		if _, err := b.secret("id", "SecretString", "r"); err == nil {
			t.Error("it was refused")
		}
		status = 200
		for range 3 {
			if v, err := b.secret("id", "SecretString", "r"); v != "s" || err != nil {
				t.Fatal(v, err)
			}
		}
		if v, err := b.secret("id", "SecretBinary", "r"); v != "AQI=" || err != nil || asked != 3 {
			t.Fatal(v, err, asked)
		}
		time.Sleep(secretAge + time.Second)
		if _, err := b.secret("id", "SecretString", "r"); err != nil || asked != 4 {
			t.Error(err, asked)
		}
		b.close()
	})
}
