// Package stream delivers files to devices in blocks over MQTT, as AWS IoT MQTT-based file delivery
// does (AWS IoT developer guide, "MQTT-based file delivery"). A stream is a list of up to 50 files
// under identifiers from 0 to 255; devices ask for its description and for blocks on reserved topics
// ([Service.Owner]), in JSON or CBOR, and the answers go to whoever has subscribed to them.
//
// A stream stands for the contents that its files had when it was made or last updated: a file that
// gets a new version later is delivered in the old one, so that a download never mixes two. Files of
// the bucket [Bucket] are those of package files; objects of any other bucket are brought here, whole,
// when the stream is made.
//
// Requests wait in a line for each thing and are answered one after the other, things in turn, by a
// few workers. Blocks are read from the file as they are sent; nothing of a stream is kept in memory
// but its description.
package stream

import (
	"errors"
	"fmt"
	"time"
)

// Bucket is the name of the bucket that holds the server's own files.
const Bucket = "berth"

// Limits (AWS IoT Core quotas, "MQTT-based file delivery").
const (
	MaxFiles     = 50
	MaxFileID    = 255
	MinBlockSize = 256
	MaxBlockSize = 131072
	MaxOffset    = 98304 // in blocks
	MaxBlocks    = 98304
	// MaxBitmap is the most bytes of a bitmap: one bit for each of MaxBlocks.
	MaxBitmap = 12288
	// MaxAnswer is the most bytes that one request is answered with.
	MaxAnswer = 131072

	maxVersion     = 65535
	maxToken       = 64
	maxDescription = 2028
)

// What can be wrong with a request to the methods of Service. Errors match one of these with
// errors.Is, or come from the store.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("already exists")
	ErrInvalid      = errors.New("invalid request")
	ErrLimit        = errors.New("limit exceeded")
	ErrUnauthorized = errors.New("unauthorized")
)

// Error is a refusal: its kind is one of the sentinels.
type Error struct {
	Kind    error
	Message string
	// ID and ARN are the stream in the way, with ErrExists.
	ID, ARN string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error { return refuse(ErrInvalid, format, args...) }

// Location is where a file is, in the words of S3. The version is a number with Bucket; without one
// it is the latest at the time.
type Location struct {
	Bucket  string `json:"bucket,omitempty"`
	Key     string `json:"key,omitempty"`
	Version string `json:"version,omitempty"`
}

// Object is the content that a location stood for: a version of a file of package files.
type Object struct {
	Name    string `json:"name"`
	Version int64  `json:"version"`
	SHA256  string `json:"sha256"` // lower-case hexadecimal
	Size    int64  `json:"size"`   // bytes
}

// File is one file of a stream.
type File struct {
	ID       int       `json:"fileId"`
	Location *Location `json:"s3Location,omitempty"`
	// Object is what the location stands for. In a request nil means: whatever is there now.
	Object *Object `json:"-"`
}

// Stream is a stream.
type Stream struct {
	ID, ARN, Description, RoleARN string
	Version                       int // from 1, one more with each update
	Files                         []File
	Created, Updated              time.Time
}

// File returns the file of an identifier, or nil.
func (s *Stream) File(id int64) *File {
	for i := range s.Files {
		if int64(s.Files[i].ID) == id {
			return &s.Files[i]
		}
	}
	return nil
}
