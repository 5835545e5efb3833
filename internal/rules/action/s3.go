package action

import (
	"bytes"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// S3 writes the result as an object.
type S3 struct {
	RoleARN    string `json:"roleArn,omitempty"`
	BucketName string `json:"bucketName,omitempty"`
	Key        string `json:"key,omitempty"`
	CannedACL  string `json:"cannedAcl,omitempty"`
}

// Validate implements Action.
func (b *S3) Validate() error {
	if err := required("s3", "roleArn", b.RoleARN, "bucketName", b.BucketName, "key", b.Key); err != nil {
		return err
	}
	known := []string{"", "private", "public-read", "public-read-write", "aws-exec-read", "authenticated-read", "bucket-owner-read",
		"bucket-owner-full-control", "log-delivery-write"}
	if !slices.Contains(known, b.CannedACL) {
		return refuse("s3: cannedAcl %q is unknown", b.CannedACL)
	}
	return nil
}

// Destination implements Action.
func (b *S3) Destination() string { return b.BucketName }

// Do implements Action. Buckets elsewhere than at AWS are named in the path, as those servers know them.
func (b *S3) Do(ctx context.Context, s *Services, m *Message) error {
	cfg, err := s.AWS.config(ctx, "")
	if err != nil {
		return failure("s3", err)
	}
	api := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = ownEndpoint("S3") })
	in := &s3.PutObjectInput{Bucket: &b.BucketName, Key: &b.Key, Body: bytes.NewReader(m.Payload), ACL: types.ObjectCannedACL(b.CannedACL),
		ContentType: aws.String("application/json")}
	if m.Binary {
		in.ContentType = aws.String("application/octet-stream")
	}
	_, err = api.PutObject(ctx, in)
	return failure("s3", err)
}
