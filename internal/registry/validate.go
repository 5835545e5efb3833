package registry

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"unicode"
	"unicode/utf8"
)

// constraint is a rule for a string member of a request, from the service model of AWS IoT.
type constraint struct {
	field    string
	min, max int
	pattern  *regexp.Regexp
	words    string // the pattern as AWS prints it
}

func newConstraint(field string, min, max int, pattern string) constraint {
	return constraint{field, min, max, regexp.MustCompile(`^(?:` + pattern + `)$`), pattern}
}

const namePattern = `[a-zA-Z0-9:_-]+`

var (
	thingName            = newConstraint("thingName", 1, 128, namePattern)
	thingTypeName        = newConstraint("thingTypeName", 1, 128, namePattern)
	thingGroupName       = newConstraint("thingGroupName", 1, 128, namePattern)
	billingGroupName     = newConstraint("billingGroupName", 1, 128, namePattern)
	policyName           = newConstraint("policyName", 1, 128, `[\w+=,.@-]+`)
	policyVersionID      = newConstraint("policyVersionId", 1, 19, `[0-9]+`)
	attributeName        = newConstraint("attributePayload.attributes", 1, 128, `[a-zA-Z0-9_.,@/:#-]+`)
	attributeValue       = newConstraint("attributePayload.attributes", 0, 800, `[a-zA-Z0-9_.,@/:#=\[\]-]*`)
	searchableName       = newConstraint("thingTypeProperties.searchableAttributes", 1, 128, `[a-zA-Z0-9_.,@/:#-]+`)
	userPropertyKey      = newConstraint("userPropertyKey", 1, 128, `[a-zA-Z0-9:$.]+`)
	propagatedThing      = newConstraint("thingAttribute", 1, 128, `[a-zA-Z0-9_.,@/:#-]+`)
	propagatedConnection = newConstraint("connectionAttribute", 1, 128, `[a-zA-Z0-9:.]+`)
	certificateID        = newConstraint("certificateId", 64, 64, `(0x)?[a-fA-F0-9]+`)
	awsAccountID         = newConstraint("targetAwsAccount", 12, 12, `[0-9]+`)
	templateName         = newConstraint("templateName", 1, 36, `[0-9A-Za-z_-]+`)
	tagKey               = newConstraint("tags.key", 1, 128, `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
	tagValue             = newConstraint("tags.value", 0, 256, `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
)

// check returns an ErrInvalid in the words AWS uses for a broken rule.
func (c constraint) check(value string) error {
	switch n := utf8.RuneCountInString(value); {
	case n < c.min:
		return violation(value, c.field, fmt.Sprintf("Member must have length greater than or equal to %d", c.min))
	case n > c.max:
		return violation(value, c.field, fmt.Sprintf("Member must have length less than or equal to %d", c.max))
	case !c.pattern.MatchString(value):
		return violation(value, c.field, "Member must satisfy regular expression pattern: "+c.words)
	}
	return nil
}

// violation words a broken constraint as AWS does; a long value is cut.
func violation(value, field, rule string) error {
	if len(value) > 200 {
		value = value[:200] + "…"
	}
	return refuse(ErrInvalid, "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", value, field, rule)
}

func oneOf(value, field string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return violation(value, field, fmt.Sprintf("Member must satisfy enum value set: %v", allowed))
}

// checkDescription takes up to 2028 visible characters and spaces.
func checkDescription(field, value string) error {
	if utf8.RuneCountInString(value) > 2028 {
		return violation(value, field, "Member must have length less than or equal to 2028")
	}
	for _, c := range value {
		if c != ' ' && (!unicode.IsGraphic(c) || unicode.IsSpace(c)) {
			return violation(value, field, `Member must satisfy regular expression pattern: [\p{Graph}\x20]*`)
		}
	}
	return nil
}

// checkMessage takes up to 128 characters of any kind.
func checkMessage(field, value string) error {
	if utf8.RuneCountInString(value) > 128 {
		return violation(value, field, "Member must have length less than or equal to 128")
	}
	return nil
}

// Attributes per thing. AWS IoT Core quotas, "Thing resource limits".
const (
	maxAttributesTyped   = 50
	maxAttributesUntyped = 3
	maxAttributesGroup   = 50
)

func checkAttributes(attributes map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if err := attributeName.check(name); err != nil {
			return err
		}
		if err := attributeValue.check(attributes[name]); err != nil {
			return err
		}
	}
	return nil
}

// updateAttributes applies an attribute payload: replace, or merge; an empty value removes.
func updateAttributes(old, given map[string]string, merge bool) map[string]string {
	out := make(map[string]string, len(old)+len(given))
	if merge {
		maps.Copy(out, old)
	}
	for name, value := range given {
		if value == "" {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}
