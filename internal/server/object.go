package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/berth-iot/berth/internal/stream"
)

// objectExpiry is how long the address is good by which the server itself reads an object.
const objectExpiry = 10 * time.Minute

// objectAddress returns what tells where an object of S3 is. Buckets are taken to be in the server's
// region.
func objectAddress(region string) func(l stream.Location) string {
	return func(l stream.Location) string {
		u := url.URL{Scheme: "https", Host: "s3." + region + ".amazonaws.com", Path: "/" + l.Bucket + "/" + l.Key}
		if l.Version != "" {
			u.RawQuery = url.Values{"versionId": {l.Version}}.Encode()
		}
		return u.String()
	}
}

// object returns what opens an object of S3, with the AWS credentials of the environment or of ~/.aws.
func (a *addresses) object(region string) func(ctx context.Context, l stream.Location) (io.ReadCloser, error) {
	address := objectAddress(region)
	return func(ctx context.Context, l stream.Location) (io.ReadCloser, error) {
		signed, ok := a.sign(address(l), objectExpiry)
		if !ok {
			return nil, &stream.Error{Kind: stream.ErrUnauthorized, Message: fmt.Sprintf(
				"bucket %q cannot be read: the server has no AWS credentials (files of the bucket %s need none)", l.Bucket, stream.Bucket)}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, signed, nil)
		if err != nil {
			return nil, err
		}
		return openObject(req, l)
	}
}

// maxObject is the largest object in bytes that rules read: descriptors and schemas.
const maxObject = 1 << 20

// bytes returns what reads a small object of S3 whole. Files of this server are in a bucket of their own.
func (a *addresses) bytes(region string) func(ctx context.Context, bucket, key string) ([]byte, error) {
	open := a.object(region)
	return func(ctx context.Context, bucket, key string) ([]byte, error) {
		read := func() (io.ReadCloser, error) { return open(ctx, stream.Location{Bucket: bucket, Key: key}) }
		if bucket == stream.Bucket {
			read = func() (io.ReadCloser, error) {
				v, err := a.files.Get(ctx, key, 0)
				if err != nil {
					return nil, err
				}
				return a.files.Open(v)
			}
		}
		r, err := read()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(io.LimitReader(r, maxObject))
	}
}

func openObject(req *http.Request, l stream.Location) (io.ReadCloser, error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if failed := (*url.Error)(nil); errors.As(err, &failed) {
			err = failed.Err // without the address, which is signed and would end up in the log
		}
		return nil, fmt.Errorf("read object %q of bucket %q: %w", l.Key, l.Bucket, err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	res.Body.Close()
	kind := error(stream.ErrUnauthorized)
	switch res.StatusCode {
	case http.StatusNotFound:
		kind = stream.ErrNotFound
	case http.StatusForbidden, http.StatusUnauthorized:
	default:
		return nil, fmt.Errorf("read object %q of bucket %q: the answer is %s", l.Key, l.Bucket, res.Status)
	}
	return nil, &stream.Error{Kind: kind, Message: fmt.Sprintf("object %q of bucket %q cannot be read: the answer is %s", l.Key, l.Bucket, res.Status)}
}
