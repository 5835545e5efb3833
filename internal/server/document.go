package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/outbound"
)

// maxDocument is more than a job document may have.
const maxDocument = 64 << 10

// fetchDocument reads a job document from an HTTP or HTTPS address. Addresses of S3 are kept as they
// are.
func fetchDocument(ctx context.Context, source string) (string, bool, error) {
	u, err := url.Parse(source)
	if err != nil {
		return "", false, err
	}
	switch {
	case u.Scheme == "s3" || isS3(u.Hostname()):
		return "", false, nil
	case u.Scheme != "http" && u.Scheme != "https":
		return "", false, fmt.Errorf("%q is not an address of http, https or s3", source)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return "", false, err
	}
	transport := outbound.Transport(0)
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", false, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", false, fmt.Errorf("the answer is %s", res.Status)
	}
	document, err := readDocument(res.Body)
	return document, true, err
}

func readDocument(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDocument))
	return string(b), err
}

// isS3 reports whether a host is one of Amazon S3, such as s3.eu-west-1.amazonaws.com or
// bucket.s3.amazonaws.com.
func isS3(host string) bool {
	name, ok := strings.CutSuffix(host, ".amazonaws.com")
	if !ok {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "s3" || strings.HasPrefix(label, "s3-") {
			return true
		}
	}
	return false
}
