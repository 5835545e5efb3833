// Package ota makes over-the-air updates as AWS IoT does for FreeRTOS devices (AWS IoT API reference,
// CreateOTAUpdate; FreeRTOS user guide, "OTA updates"): it signs the files, makes a stream of them for
// devices that load over MQTT, and a job whose document says what to load, from where, and with which
// signature.
//
// An update is created in the background, [CreatePending], [CreateInProgress], then [CreateComplete]
// or [CreateFailed] with the reason. Every step is on disk before the next one begins, and the names of
// the stream and the job and the job document are settled before either is made: a restart goes on
// where the last run stopped and makes nothing twice.
package ota

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/stream"
)

// Errors match one of these with errors.Is, or come from packages jobs, stream and codesign, from the
// registry or the store.
var (
	ErrNotFound = errors.New("OTA update not found")
	ErrExists   = errors.New("OTA update already exists")
	ErrInvalid  = errors.New("invalid OTA update")
)

// Error is a refusal: its kind is one of the sentinels.
type Error struct {
	Kind    error
	Message string
	// ID and ARN are the update in the way, with ErrExists.
	ID, ARN string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error { return refuse(ErrInvalid, format, args...) }

// Status is how far an update is.
type Status string

// Statuses, as AWS names them.
const (
	CreatePending    Status = "CREATE_PENDING"
	CreateInProgress Status = "CREATE_IN_PROGRESS"
	CreateComplete   Status = "CREATE_COMPLETE"
	CreateFailed     Status = "CREATE_FAILED"
	DeleteInProgress Status = "DELETE_IN_PROGRESS"
	DeleteFailed     Status = "DELETE_FAILED"
)

// Protocols.
const (
	MQTT = "MQTT"
	HTTP = "HTTP"
)

// Limits.
const (
	// MaxID keeps the name of the job within the 64 characters that a job's name may have.
	MaxID          = 56
	jobPrefix      = "AFR_OTA-"
	maxDescription = 2028
	maxValue       = 4096
	defaultExpiry  = 1800 // seconds
)

var (
	idPattern        = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,56}$`)
	algorithmPattern = regexp.MustCompile(`^[a-zA-Z0-9_]{1,32}$`)
)

// Update is an OTA update, with AWS's JSON names.
type Update struct {
	ID          string             `json:"otaUpdateId"`
	Description string             `json:"description,omitempty"`
	Targets     []string           `json:"targets"` // ARNs of things and thing groups
	Protocols   []string           `json:"protocols"`
	Selection   string             `json:"targetSelection"`
	Rollout     *jobs.Rollout      `json:"awsJobExecutionsRolloutConfig,omitempty"`
	Presigned   *jobs.PresignedURL `json:"awsJobPresignedUrlConfig,omitempty"`
	Abort       *Abort             `json:"awsJobAbortConfig,omitempty"`
	Timeout     *jobs.Timeout      `json:"awsJobTimeoutConfig,omitempty"`
	Files       []File             `json:"files"`
	RoleARN     string             `json:"roleArn,omitempty"`
	Additional  map[string]string  `json:"additionalParameters,omitempty"`

	Status            Status    `json:"-"`
	Failure           *Failure  `json:"-"` // why it failed
	Created, Modified time.Time `json:"-"`
}

// Abort are the criteria to give up, which have another name here than in a job.
type Abort struct {
	Criteria []jobs.AbortCriterion `json:"abortCriteriaList"`
}

func (a *Abort) job() *jobs.Abort {
	if a == nil {
		return nil
	}
	return &jobs.Abort{Criteria: a.Criteria}
}

// Failure is why an update could not be made or deleted.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// File is one file of an update.
type File struct {
	Name       string            `json:"fileName,omitempty"`
	Type       *int              `json:"fileType,omitempty"` // 0 to 255
	Version    string            `json:"fileVersion,omitempty"`
	Location   *FileLocation     `json:"fileLocation,omitempty"`
	Signing    *CodeSigning      `json:"codeSigning,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// FileLocation is a file of a stream that exists, or one in a bucket.
type FileLocation struct {
	Stream *StreamFile      `json:"stream,omitempty"`
	S3     *stream.Location `json:"s3Location,omitempty"`
}

// StreamFile is a file of a stream.
type StreamFile struct {
	StreamID string `json:"streamId,omitempty"`
	FileID   int    `json:"fileId"`
}

// CodeSigning says who signs a file: one of its members.
type CodeSigning struct {
	SignerJobID string           `json:"awsSignerJobId,omitempty"`
	Start       *StartSigning    `json:"startSigningJobParameter,omitempty"`
	Custom      *CustomSignature `json:"customCodeSigning,omitempty"`
}

// StartSigning has a profile of package codesign sign the file. A destination is taken and not used:
// the signature goes into the job document only.
type StartSigning struct {
	Parameter   *ProfileParameter `json:"signingProfileParameter,omitempty"`
	Profile     string            `json:"signingProfileName,omitempty"`
	Destination *Destination      `json:"destination,omitempty"`
}

// ProfileParameter may name another place of the certificate than the profile does.
type ProfileParameter struct {
	CertificateARN  string `json:"certificateArn,omitempty"`
	Platform        string `json:"platform,omitempty"`
	CertificatePath string `json:"certificatePathOnDevice,omitempty"`
}

// Destination is where AWS Signer would put a signed file.
type Destination struct {
	S3 *struct {
		Bucket string `json:"bucket,omitempty"`
		Prefix string `json:"prefix,omitempty"`
	} `json:"s3Destination,omitempty"`
}

// CustomSignature is a signature made elsewhere.
type CustomSignature struct {
	Signature *struct {
		Inline []byte `json:"inlineDocument,omitempty"`
	} `json:"signature,omitempty"`
	Chain *struct {
		Name   string `json:"certificateName,omitempty"`
		Inline string `json:"inlineDocument,omitempty"`
	} `json:"certificateChain,omitempty"`
	Hash      string `json:"hashAlgorithm,omitempty"`
	Algorithm string `json:"signatureAlgorithm,omitempty"`
}

// JobID is the name of the update's job.
func (u *Update) JobID() string { return jobPrefix + u.ID }

// uses reports whether devices may load by a protocol.
func (u *Update) uses(protocol string) bool { return slices.Contains(u.Protocols, protocol) }

// check looks at what can be judged without looking elsewhere, and fills in defaults.
func (u *Update) check() error {
	if !idPattern.MatchString(u.ID) {
		return invalid("otaUpdateId %q is not 1 to %d of a-z, A-Z, 0-9, _ and -", u.ID, MaxID)
	}
	if utf8.RuneCountInString(u.Description) > maxDescription || strings.ContainsFunc(u.Description, unicode.IsControl) {
		return invalid("description is not up to %d characters without control characters", maxDescription)
	}
	if len(u.Protocols) == 0 {
		u.Protocols = []string{MQTT}
	}
	for i, p := range u.Protocols {
		if p != MQTT && p != HTTP || slices.Contains(u.Protocols[:i], p) {
			return invalid("protocols %q are not MQTT, HTTP or both", u.Protocols)
		}
	}
	switch u.Selection {
	case "":
		u.Selection = jobs.Snapshot
	case jobs.Snapshot, jobs.Continuous:
	default:
		return invalid("targetSelection %q is not SNAPSHOT or CONTINUOUS", u.Selection)
	}
	if u.Presigned == nil {
		u.Presigned = &jobs.PresignedURL{}
	}
	if u.Presigned.ExpiresInSeconds == 0 {
		u.Presigned.ExpiresInSeconds = defaultExpiry
	}
	if n := u.Presigned.ExpiresInSeconds; n < 60 || n > 3600 {
		return invalid("expiresInSec is %d, not from 60 to 3600", n)
	}
	for _, err := range []error{u.Rollout.Check(), u.Abort.job().Check(), u.Timeout.Check(), checkMap("additionalParameters", u.Additional), u.checkFiles()} {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkMap(what string, m map[string]string) error {
	for k, v := range m {
		if len(v) > maxValue {
			return invalid("value of %q in %s has more than %d bytes", k, what, maxValue)
		}
	}
	return nil
}

func (u *Update) checkFiles() error {
	if n := len(u.Files); n < 1 || n > stream.MaxFiles {
		return invalid("%d files are not from 1 to %d", n, stream.MaxFiles)
	}
	existing := ""
	for i := range u.Files {
		f := &u.Files[i]
		if err := f.check(); err != nil {
			return err
		}
		id := ""
		if f.Location.Stream != nil {
			id = f.Location.Stream.StreamID
		}
		if i > 0 && id != existing {
			return invalid("all files must be in buckets, or in one stream")
		}
		existing = id
	}
	return nil
}

// stream returns the stream that the files are in already, or "".
func (u *Update) stream() string {
	if s := u.Files[0].Location.Stream; s != nil {
		return s.StreamID
	}
	return ""
}

func (f *File) check() error {
	switch {
	case f.Name == "" || len(f.Name) > 1024 || strings.ContainsFunc(f.Name, unicode.IsControl):
		return invalid("fileName %q is not 1 to 1024 characters without control characters", f.Name)
	case f.Type != nil && (*f.Type < 0 || *f.Type > 255):
		return invalid("fileType %d is not from 0 to 255", *f.Type)
	case f.Location == nil || (f.Location.Stream == nil) == (f.Location.S3 == nil):
		return invalid("fileLocation of file %q must have one of stream and s3Location", f.Name)
	case f.Location.Stream != nil && f.Location.Stream.StreamID == "":
		return invalid("the stream of file %q has no streamId", f.Name)
	}
	if err := checkMap("attributes", f.Attributes); err != nil {
		return err
	}
	return f.Signing.check(f.Name)
}

func (c *CodeSigning) check(name string) error {
	if c == nil { // devices that check the image themselves need no signature
		return nil
	}
	switch {
	case c.SignerJobID != "":
		return invalid("awsSignerJobId of file %q: there is no AWS Signer here; name a signing profile in startSigningJobParameter, or give the signature in customCodeSigning", name)
	case (c.Start == nil) == (c.Custom == nil):
		return invalid("codeSigning of file %q must have one of startSigningJobParameter and customCodeSigning", name)
	case c.Start != nil && c.Start.Profile == "":
		return invalid("startSigningJobParameter of file %q has no signingProfileName", name)
	case c.Start != nil:
		return nil
	case c.Custom.Signature == nil || len(c.Custom.Signature.Inline) == 0:
		return invalid("customCodeSigning of file %q has no signature", name)
	case !algorithmPattern.MatchString(c.Custom.Hash) || !algorithmPattern.MatchString(c.Custom.Algorithm):
		return invalid("customCodeSigning of file %q needs a hashAlgorithm and a signatureAlgorithm of letters and digits", name)
	}
	return nil
}
