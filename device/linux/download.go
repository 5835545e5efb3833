package linux

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/berth-iot/berth/device/ota"
)

// Download is an ota.Fetcher over HTTP with ranges. Client decides whom to trust; nil means
// http.DefaultClient.
type Download struct{ Client *http.Client }

// Fetch asks for the bytes from an offset on.
func (d Download) Fetch(ctx context.Context, img ota.Image, offset int64, write func([]byte) error) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, img.URL, nil)
	if err != nil {
		return &ota.FinalError{Err: err}
	}
	if offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	client := d.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent:
	case resp.StatusCode == http.StatusOK:
		// The server knows no ranges: what is there already is skipped.
		if _, err := io.CopyN(io.Discard, resp.Body, offset); err != nil {
			return fmt.Errorf("download: %w", err)
		}
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		return &ota.FinalError{Err: fmt.Errorf("download: the server answers %s", resp.Status)}
	default:
		return fmt.Errorf("download: the server answers %s", resp.Status)
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if err := write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("download: %w", err)
		}
	}
}

// Verifier checks signatures with a pinned public key: ECDSA in ASN.1, or RSA with PKCS #1 v1.5, over
// SHA-256. Its result is for ota.Config.Verify.
func Verifier(key crypto.PublicKey) func(algorithm string, digest [32]byte, signature []byte) error {
	return func(algorithm string, digest [32]byte, signature []byte) error {
		switch k := key.(type) {
		case *ecdsa.PublicKey:
			if algorithm == "sha256-ecdsa" && ecdsa.VerifyASN1(k, digest[:], signature) {
				return nil
			}
		case *rsa.PublicKey:
			if algorithm == "sha256-rsa" {
				return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature)
			}
		}
		return errors.New("it was not made with the device's signing key")
	}
}
