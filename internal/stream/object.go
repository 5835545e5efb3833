package stream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/files"
)

// fetchTimeout bounds the time in which an object is brought here.
const fetchTimeout = 5 * time.Minute

// Find returns what a location stands for now. An object of another bucket than Bucket is brought
// here and kept as a file of package files, which may take long. ErrNotFound, ErrUnauthorized,
// ErrInvalid.
func (s *Service) Find(ctx context.Context, l Location) (*Object, error) {
	switch {
	case l.Bucket == "":
		return nil, invalid("the s3Location has no bucket")
	case l.Key == "":
		return nil, invalid("the s3Location has no key")
	case l.Bucket == Bucket:
		return s.own(ctx, l)
	}
	return s.fetch(ctx, l)
}

func (s *Service) own(ctx context.Context, l Location) (*Object, error) {
	version := int64(0)
	if l.Version != "" {
		var err error
		if version, err = strconv.ParseInt(l.Version, 10, 64); err != nil || version < 1 {
			return nil, invalid("version %q of file %q is not a number from 1", l.Version, l.Key)
		}
	}
	v, err := s.cfg.Files.Get(ctx, l.Key, version)
	if errors.Is(err, files.ErrNotFound) {
		return nil, refuse(ErrNotFound, "file %q of bucket %s with version %q does not exist", l.Key, Bucket, l.Version)
	}
	if err != nil {
		return nil, err
	}
	return objectOf(v), nil
}

func objectOf(v *files.File) *Object { return &Object{v.Name, v.Version, v.SHA256, v.Size} }

// importName is the name under which an object of a bucket is kept.
func importName(l Location) string {
	sum := sha256.Sum256([]byte(l.Bucket + "\x00" + l.Key + "\x00" + l.Version))
	return "s3-" + hex.EncodeToString(sum[:16])
}

func (s *Service) fetch(ctx context.Context, l Location) (*Object, error) {
	name := importName(l)
	if l.Version != "" { // a version of an object never changes
		if v, err := s.cfg.Files.Get(ctx, name, 0); err == nil {
			return objectOf(v), nil
		}
	}
	if s.cfg.Fetch == nil {
		return nil, refuse(ErrUnauthorized, "bucket %q cannot be read: only files of bucket %s can", l.Bucket, Bucket)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	content, err := s.cfg.Fetch(ctx, l)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	v, err := s.cfg.Files.Put(ctx, name, "", content)
	if errors.Is(err, files.ErrTooLarge) {
		return nil, invalid("object %q of bucket %q has more than %d bytes", l.Key, l.Bucket, files.MaxSize)
	}
	if err != nil {
		return nil, err
	}
	return objectOf(v), nil
}

// locate fills in what the files of a request stand for.
func (s *Service) locate(ctx context.Context, list []File) ([]File, error) {
	if n := len(list); n < 1 || n > MaxFiles {
		return nil, invalid("%d files are not from 1 to %d", n, MaxFiles)
	}
	var seen [MaxFileID + 1]bool
	for _, f := range list {
		switch {
		case f.ID < 0 || f.ID > MaxFileID:
			return nil, invalid("fileId %d is not from 0 to %d", f.ID, MaxFileID)
		case seen[f.ID]:
			return nil, invalid("fileId %d is there twice", f.ID)
		case f.Location == nil:
			return nil, invalid("file %d has no s3Location", f.ID)
		}
		seen[f.ID] = true
	}
	out := make([]File, len(list))
	for i, f := range list {
		if f.Object == nil {
			var err error
			if f.Object, err = s.Find(ctx, *f.Location); err != nil {
				return nil, err
			}
		}
		out[i] = f
	}
	return out, nil
}
