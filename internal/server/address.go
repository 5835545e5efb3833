package server

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/berth-iot/berth/internal/files"
)

// addresses signs what stands in the placeholders of job documents: berth://NAME for a file of this
// server, or berth://NAME?versionId=N for one version of it, and addresses of S3 if AWS credentials are configured in the environment or in ~/.aws.
type addresses struct {
	files *files.Files
	base  atomic.Pointer[string] // https://HOST:PORT, once it is known

	once        sync.Once
	credentials aws.CredentialsProvider
}

// signTimeout bounds the search for credentials and the signing.
const signTimeout = 5 * time.Second

func (a *addresses) sign(address string, expires time.Duration) (string, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), signTimeout)
	defer cancel()
	if name, ok := strings.CutPrefix(address, "berth://"); ok {
		base := a.base.Load()
		if base == nil {
			return "", false
		}
		version := int64(0)
		name, query, _ := strings.Cut(name, "?")
		if n, ok := strings.CutPrefix(query, "versionId="); ok {
			var err error
			if version, err = strconv.ParseInt(n, 10, 64); err != nil {
				return "", false
			}
		}
		path, err := a.files.Sign(ctx, name, version, expires)
		return *base + path, err == nil
	}
	a.once.Do(func() {
		cfg, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
		if err == nil {
			a.credentials = cfg.Credentials
		}
	})
	if a.credentials == nil {
		return "", false
	}
	creds, err := a.credentials.Retrieve(ctx)
	if err != nil {
		return "", false
	}
	return presignS3(ctx, creds, address, expires, time.Now())
}

// presignS3 returns an address of S3 with its signature for GET; false if it is not one.
func presignS3(ctx context.Context, creds aws.Credentials, address string, expires time.Duration, now time.Time) (string, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return "", false
	}
	if u.Scheme == "s3" && u.Host != "" {
		u = &url.URL{Scheme: "https", Host: u.Host + ".s3.amazonaws.com", Path: u.Path}
	}
	if u.Scheme != "https" || !isS3(u.Hostname()) {
		return "", false
	}
	q := u.Query()
	q.Set("X-Amz-Expires", strconv.Itoa(int(expires/time.Second)))
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", false
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
	signed, _, err := signer.PresignHTTP(ctx, creds, req, "UNSIGNED-PAYLOAD", "s3", regionOfS3(u.Hostname()), now)
	return signed, err == nil
}

// regionOfS3 reads the region from a host such as bucket.s3.eu-west-1.amazonaws.com.
func regionOfS3(host string) string {
	labels := strings.Split(strings.TrimSuffix(host, ".amazonaws.com"), ".")
	for i := len(labels) - 1; i >= 0; i-- {
		if region, ok := strings.CutPrefix(labels[i], "s3-"); ok {
			return region
		}
		if labels[i] == "s3" {
			for _, next := range labels[i+1:] {
				if next != "dualstack" {
					return next
				}
			}
			break
		}
	}
	return "us-east-1"
}

// fetch reads the job document that a documentSource names.
func (a *addresses) fetch(ctx context.Context, source string) (string, bool, error) {
	name, ok := strings.CutPrefix(source, "berth://")
	if !ok {
		return fetchDocument(ctx, source)
	}
	v, err := a.files.Get(ctx, name, 0)
	if err != nil {
		return "", false, err
	}
	content, err := a.files.Open(v)
	if err != nil {
		return "", false, err
	}
	defer content.Close()
	document, err := readDocument(content)
	return document, true, err
}
