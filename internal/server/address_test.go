package server

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestPresignS3(t *testing.T) {
	t.Parallel()
	creds := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct{ address, host, region string }{
		{"https://s3.eu-west-1.amazonaws.com/bucket/a/key", "s3.eu-west-1.amazonaws.com", "eu-west-1"},
		{"https://bucket.s3.eu-west-1.amazonaws.com/key", "bucket.s3.eu-west-1.amazonaws.com", "eu-west-1"},
		{"https://s3-us-west-2.amazonaws.com/bucket/key", "s3-us-west-2.amazonaws.com", "us-west-2"},
		{"https://bucket.s3.dualstack.eu-west-1.amazonaws.com/key", "bucket.s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1"},
		{"s3://bucket/a key", "bucket.s3.amazonaws.com", "us-east-1"},
	} {
		signed, ok := presignS3(context.Background(), creds, tc.address, 90*time.Second, at)
		u, err := url.Parse(signed)
		if !ok || err != nil {
			t.Errorf("%s: %q %v", tc.address, signed, err)
			continue
		}
		q := u.Query()
		if u.Host != tc.host || q.Get("X-Amz-Expires") != "90" || q.Get("X-Amz-Signature") == "" ||
			q.Get("X-Amz-Credential") != "AKIDEXAMPLE/20260102/"+tc.region+"/s3/aws4_request" {
			t.Errorf("%s: %s", tc.address, signed)
		}
	}
	for _, bad := range []string{"", "http://s3.amazonaws.com/b/k", "https://example.com/k", "https://s3.amazonaws.com.example.com/k", "ftp://x", "%"} {
		if signed, ok := presignS3(context.Background(), creds, bad, time.Minute, at); ok {
			t.Errorf("%s: %s", bad, signed)
		}
	}
}

func TestFetchDocumentRefuses(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{"file:///etc/passwd": "is not an address", "https://127.0.0.1:1/d": "refused"} {
		if _, _, err := fetchDocument(context.Background(), source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", source, err)
		}
	}
	for _, source := range []string{"s3://bucket/key", "https://bucket.s3.amazonaws.com/key"} {
		if _, ok, err := fetchDocument(context.Background(), source); ok || err != nil {
			t.Errorf("%s: %v %v", source, ok, err)
		}
	}
}
