package jobs

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits (AWS IoT API reference, CreateJob).
const (
	maxDocument      = 32768
	maxSource        = 1350
	maxDescription   = 2028
	maxTargets       = 100
	maxDetails       = 10
	maxDetail        = 1024
	maxReason        = 128
	maxSubstitutions = 10
	defaultExpiry    = time.Hour
)

// Target selections.
const (
	Snapshot   = "SNAPSHOT"
	Continuous = "CONTINUOUS"
)

var (
	idPattern     = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	thingPattern  = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)
	reasonPattern = regexp.MustCompile(`^[\p{Lu}\p{Nd}_]*$`)
)

// PresignedURL is for how long the addresses in a job document are good.
type PresignedURL struct {
	RoleARN          string `json:"roleArn,omitempty"`
	ExpiresInSeconds int64  `json:"expiresInSec,omitempty"` // 60 to 3600; default 3600
}

// Expiry is how long an address is good.
func (p *PresignedURL) Expiry() time.Duration {
	if p == nil || p.ExpiresInSeconds == 0 {
		return defaultExpiry
	}
	return time.Duration(p.ExpiresInSeconds) * time.Second
}

// Definition is what a job or a job template says. Its JSON names are AWS's.
type Definition struct {
	Description        string            `json:"description,omitempty"`
	DocumentSource     string            `json:"documentSource,omitempty"`
	Presigned          *PresignedURL     `json:"presignedUrlConfig,omitempty"`
	Rollout            *Rollout          `json:"jobExecutionsRolloutConfig,omitempty"`
	Abort              *Abort            `json:"abortConfig,omitempty"`
	Timeout            *Timeout          `json:"timeoutConfig,omitempty"`
	Retry              *Retry            `json:"jobExecutionsRetryConfig,omitempty"`
	Packages           []string          `json:"destinationPackageVersions,omitempty"`
	Schedule           *Schedule         `json:"schedulingConfig,omitempty"`
	TemplateARN        string            `json:"jobTemplateArn,omitempty"`
	DocumentParameters map[string]string `json:"documentParameters,omitempty"`
	Namespace          string            `json:"namespaceId,omitempty"`
}

// check looks at everything but the schedule, which depends on the time.
func (d *Definition) check() error {
	if err := checkText("description", d.Description); err != nil {
		return err
	}
	if len(d.DocumentSource) > maxSource {
		return invalid("documentSource has %d characters, the limit is %d", len(d.DocumentSource), maxSource)
	}
	if p := d.Presigned; p != nil && p.ExpiresInSeconds != 0 && (p.ExpiresInSeconds < 60 || p.ExpiresInSeconds > 3600) {
		return invalid("expiresInSec is %d, not from 60 to 3600", p.ExpiresInSeconds)
	}
	if d.Namespace != "" && !idPattern.MatchString(d.Namespace) {
		return invalid("namespaceId %q holds other characters than a-z, A-Z, 0-9, _ and -", d.Namespace)
	}
	for _, err := range []error{d.Rollout.Check(), d.Abort.Check(), d.Timeout.Check(), d.Retry.Check()} {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkID(what, id string) error {
	if !idPattern.MatchString(id) {
		return invalid("%s %q is not 1 to 64 of a-z, A-Z, 0-9, _ and -", what, id)
	}
	return nil
}

func checkText(what, s string) error {
	if utf8.RuneCountInString(s) > maxDescription {
		return invalid("%s has more than %d characters", what, maxDescription)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return invalid("%s holds control characters", what)
	}
	return nil
}

func checkReason(reason, comment string) error {
	if len(reason) > maxReason || !reasonPattern.MatchString(reason) {
		return invalid("reasonCode %q is not up to %d capital letters, digits and underscores", reason, maxReason)
	}
	return checkText("comment", comment)
}

// checkDocument returns what is wrong with a job document.
func checkDocument(document string) error {
	switch {
	case len(document) > maxDocument:
		return invalid("the job document has %d bytes, the limit is %d", len(document), maxDocument)
	case !utf8.ValidString(document) || !json.Valid([]byte(document)):
		return invalid("the job document is not valid JSON")
	case strings.Count(document, placeholderOpen) > maxSubstitutions:
		return invalid("the job document has more than %d substitutions", maxSubstitutions)
	}
	return nil
}

// checkDetails returns what is wrong with a device's status details.
func checkDetails(details map[string]string) error {
	if len(details) > maxDetails {
		return invalid("statusDetails has %d entries, the limit is %d", len(details), maxDetails)
	}
	for k, v := range details {
		if !thingPattern.MatchString(k) {
			return invalid("key %q of statusDetails is not 1 to 128 of a-z, A-Z, 0-9, :, _ and -", k)
		}
		if utf8.RuneCountInString(v) > maxDetail || v == "" || strings.ContainsFunc(v, unicode.IsControl) {
			return invalid("value of %q in statusDetails is not 1 to %d characters without control characters", k, maxDetail)
		}
	}
	return nil
}
