// Package topic implements MQTT topic names and topic filters: validation, matching, shared
// subscriptions, an index of filters for publishing, a tree of names for retained messages, and
// AWS IoT's reserved topics.
//
// It follows MQTT 5.0 section 4.7 and the AWS IoT developer guide, "MQTT topics". Where AWS departs
// from the standard, [Rules] says which of the two applies: AWS IoT does not let "a/#" match "a".
package topic

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Rules are the limits and the matching rule that apply to names and filters.
type Rules struct {
	// MaxBytes is the longest name or filter in bytes of UTF-8; 0 means the protocol's 65,535.
	MaxBytes int
	// MaxSlashes is the largest number of slashes; negative means no limit. The prefix of a shared
	// subscription and of Basic Ingest does not count.
	MaxSlashes int
	// ParentMatch lets "a/#" match "a" as the MQTT standard has it [MQTT-4.7.1-2]; AWS IoT does not.
	ParentMatch bool
}

// AWS are the rules of AWS IoT Core.
var AWS = Rules{MaxBytes: 256, MaxSlashes: 7}

// Standard are the rules of MQTT 3.1.1 and 5.0.
var Standard = Rules{MaxSlashes: -1, ParentMatch: true}

// Errors of validation. They are wrapped with the name or filter concerned.
var (
	ErrEmpty     = errors.New("is empty")
	ErrTooLong   = errors.New("is too long")
	ErrTooDeep   = errors.New("has too many slashes")
	ErrWildcard  = errors.New("has a wildcard where none may be")
	ErrCharacter = errors.New("has a character that MQTT forbids")
	ErrShare     = errors.New("is not of the form $share/name/filter")
)

// CheckName reports why a topic name cannot be published to, or nil.
func (r Rules) CheckName(name string) error {
	if strings.ContainsAny(name, "+#") {
		return fmt.Errorf("topic %q %w", name, ErrWildcard)
	}
	if err := r.check(name, BasicIngestRest(name)); err != nil {
		return fmt.Errorf("topic %q %w", clip(name), err)
	}
	return nil
}

// CheckFilter reports why a topic filter cannot be subscribed to, or nil. It takes filters of
// shared subscriptions too.
func (r Rules) CheckFilter(filter string) error {
	rest := filter
	if strings.HasPrefix(filter, sharePrefix) {
		var ok bool
		if _, rest, ok = SplitShare(filter); !ok {
			return fmt.Errorf("topic filter %q %w", clip(filter), ErrShare)
		}
	}
	if err := r.check(rest, rest); err != nil {
		return fmt.Errorf("topic filter %q %w", clip(filter), err)
	}
	for i := 0; i < len(rest); i++ {
		alone := (i == 0 || rest[i-1] == '/') && (i+1 == len(rest) || rest[i+1] == '/')
		switch rest[i] {
		case '+': // [MQTT-4.7.1-3]
			if !alone {
				return fmt.Errorf("topic filter %q %w: + must fill a level", clip(filter), ErrWildcard)
			}
		case '#': // [MQTT-4.7.1-2]
			if !alone || i+1 != len(rest) {
				return fmt.Errorf("topic filter %q %w: # must be the last level", clip(filter), ErrWildcard)
			}
		}
	}
	return nil
}

// check tests what names and filters share; counted is the part that the limits apply to.
func (r Rules) check(s, counted string) error {
	if s == "" { // [MQTT-4.7.3-1]
		return ErrEmpty
	}
	if r.MaxBytes > 0 && len(counted) > r.MaxBytes || len(s) > 65535 {
		return ErrTooLong
	}
	if r.MaxSlashes >= 0 && strings.Count(counted, "/") > r.MaxSlashes+reservedSlashes(counted) {
		return ErrTooDeep
	}
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) { // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
		return ErrCharacter
	}
	return nil
}

func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

// Wild reports whether a filter has a wildcard.
func Wild(filter string) bool { return strings.ContainsAny(filter, "+#") }

const sharePrefix = "$share/"

// SplitShare splits the filter of a shared subscription into its share name and topic filter
// (MQTT 5.0 section 4.8.2); ok is false when the filter is not shared or badly formed.
func SplitShare(filter string) (share, rest string, ok bool) {
	s, found := strings.CutPrefix(filter, sharePrefix)
	if !found {
		return "", "", false
	}
	share, rest, found = strings.Cut(s, "/")
	if !found || share == "" || rest == "" || len(share) > 128 || strings.ContainsAny(share, "+#") {
		return "", "", false
	}
	return share, rest, true
}

// Match reports whether a valid filter, not shared, matches a valid name.
func (r Rules) Match(filter, name string) bool {
	if name != "" && name[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false // [MQTT-4.7.2-1]
	}
	return matchLevels(filter, name, r.ParentMatch)
}

// matchLevels is Match from a level on.
func matchLevels(filter, name string, parent bool) bool {
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		n, nrest, nmore := strings.Cut(name, "/")
		if f != "+" && f != n {
			return false
		}
		switch {
		case !fmore && !nmore:
			return true
		case fmore && !nmore:
			return parent && frest == "#"
		case !fmore:
			return false
		}
		filter, name = frest, nrest
	}
}
