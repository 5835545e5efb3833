package fleetindex

import (
	"slices"
	"strings"
)

// Names of the indexes.
const (
	Things      = "AWS_Things"
	ThingGroups = "AWS_ThingGroups"
)

// QueryVersion is the one version of the query language.
const QueryVersion = "2017-09-30"

// Modes of indexing.
const (
	Off               = "OFF"
	On                = "ON"
	Registry          = "REGISTRY"
	RegistryAndShadow = "REGISTRY_AND_SHADOW"
	Status            = "STATUS"
	Violations        = "VIOLATIONS"
)

// Types of fields.
const (
	Number  = "Number"
	String  = "String"
	Boolean = "Boolean"
)

// Limits of a configuration (AWS IoT Device Management quotas, "Fleet indexing").
const (
	maxCustomFields = 5
	maxShadowNames  = 10
)

// Field is a field that can be aggregated.
type Field struct {
	Name string `json:"name"`
	Type string `json:"type"` // Number, String or Boolean
}

// Filter narrows what is indexed.
type Filter struct {
	ShadowNames []string `json:"namedShadowNames,omitempty"`
}

// ThingConfiguration says what is indexed of things. Empty modes are OFF.
type ThingConfiguration struct {
	Mode         string  `json:"thingIndexingMode"`                       // OFF, REGISTRY or REGISTRY_AND_SHADOW
	Connectivity string  `json:"thingConnectivityIndexingMode,omitempty"` // OFF or STATUS
	Defender     string  `json:"deviceDefenderIndexingMode,omitempty"`    // OFF or VIOLATIONS
	NamedShadows string  `json:"namedShadowIndexingMode,omitempty"`       // OFF or ON
	Managed      []Field `json:"managedFields,omitempty"`                 // in answers
	Custom       []Field `json:"customFields,omitempty"`
	Filter       *Filter `json:"filter,omitempty"`
}

// GroupConfiguration says whether thing groups are indexed.
type GroupConfiguration struct {
	Mode    string  `json:"thingGroupIndexingMode"` // OFF or ON
	Managed []Field `json:"managedFields,omitempty"`
	Custom  []Field `json:"customFields,omitempty"`
}

// Configuration is what UpdateIndexingConfiguration sets and GetIndexingConfiguration answers.
type Configuration struct {
	Things ThingConfiguration `json:"thingIndexingConfiguration"`
	Groups GroupConfiguration `json:"thingGroupIndexingConfiguration"`
}

// names returns the named shadows that are indexed.
func (c *ThingConfiguration) names() []string {
	if c.NamedShadows != On || c.Filter == nil {
		return nil
	}
	return c.Filter.ShadowNames
}

func (c *ThingConfiguration) view() *view {
	v := &view{shadow: c.Mode == RegistryAndShadow, live: c.Connectivity == Status, defender: c.Defender == Violations}
	for _, name := range c.names() {
		if v.named == nil {
			v.named = make(map[string]bool)
		}
		v.named[name] = true
	}
	return v
}

// schema is what DescribeIndex calls the sources that are switched on.
func (c *ThingConfiguration) schema() string {
	switch {
	case c.Mode == Off:
		return Off
	case c.Defender == Violations || c.NamedShadows == On:
		return "MULTI_INDEXING_MODE"
	case c.Mode == Registry && c.Connectivity == Status:
		return "REGISTRY_AND_CONNECTIVITY_STATUS"
	case c.Connectivity == Status:
		return "REGISTRY_AND_SHADOW_AND_CONNECTIVITY_STATUS"
	}
	return c.Mode
}

// managed lists the fields that come with the sources that are switched on.
func (c *ThingConfiguration) managed() []Field {
	if c.Mode == Off {
		return nil
	}
	list := []Field{{"thingName", String}, {"thingId", String}, {"registry.version", Number}, {"registry.thingTypeName", String}, {"registry.thingGroupNames", String}}
	if c.Mode == RegistryAndShadow {
		list = append(list, Field{"shadow.version", Number}, Field{"shadow.hasDelta", Boolean})
	}
	if c.NamedShadows == On {
		list = append(list, Field{"shadow.name.*.version", Number}, Field{"shadow.name.*.hasDelta", Boolean})
	}
	if c.Connectivity == Status {
		list = append(list, Field{"connectivity.connected", Boolean}, Field{"connectivity.timestamp", Number}, Field{"connectivity.version", Number}, Field{"connectivity.disconnectReason", String})
	}
	if c.Defender == Violations {
		list = append(list, Field{"deviceDefender.violationCount", Number})
	}
	return list
}

func (c *GroupConfiguration) managed() []Field {
	if c.Mode != On {
		return nil
	}
	return []Field{{"thingGroupName", String}, {"thingGroupId", String}, {"description", String}, {"parentGroupNames", String}, {"version", Number}}
}

// fieldType returns the type of a field that may be aggregated, or "".
func fieldType(name string, managed, custom []Field) string {
	for _, f := range append(slices.Clip(managed), custom...) {
		prefix, suffix, star := strings.Cut(f.Name, "*")
		if f.Name == name || alias(f.Name, false) == alias(name, false) {
			return f.Type
		}
		if star && len(name) > len(prefix)+len(suffix) && strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) &&
			!strings.Contains(name[len(prefix):len(name)-len(suffix)], ".") {
			return f.Type
		}
	}
	return ""
}

func oneOf(field, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return refuse(ErrInvalid, "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy enum value set: %v", value, field, allowed)
}

// check completes a configuration and says what is wrong with it.
func (c *ThingConfiguration) check() error {
	for _, mode := range []*string{&c.Connectivity, &c.Defender, &c.NamedShadows} {
		if *mode == "" {
			*mode = Off
		}
	}
	for _, rule := range []struct {
		field, value string
		allowed      []string
	}{
		{"thingIndexingConfiguration.thingIndexingMode", c.Mode, []string{Off, Registry, RegistryAndShadow}},
		{"thingIndexingConfiguration.thingConnectivityIndexingMode", c.Connectivity, []string{Off, Status}},
		{"thingIndexingConfiguration.deviceDefenderIndexingMode", c.Defender, []string{Off, Violations}},
		{"thingIndexingConfiguration.namedShadowIndexingMode", c.NamedShadows, []string{Off, On}},
	} {
		if err := oneOf(rule.field, rule.value, rule.allowed...); err != nil {
			return err
		}
	}
	if c.Filter != nil && len(c.Filter.ShadowNames) == 0 {
		c.Filter = nil
	}
	switch {
	case c.Mode == Off && (c.Connectivity != Off || c.Defender != Off || c.NamedShadows != Off || len(c.Custom) > 0):
		return refuse(ErrInvalid, "thingIndexingMode is OFF, so nothing else can be indexed")
	case c.NamedShadows == On && c.Filter == nil:
		return refuse(ErrInvalid, "namedShadowIndexingMode is ON, but filter.namedShadowNames is empty")
	case c.NamedShadows == Off && c.Filter != nil:
		return refuse(ErrInvalid, "filter.namedShadowNames needs namedShadowIndexingMode ON")
	case len(c.names()) > maxShadowNames:
		return refuse(ErrInvalid, "%d named shadows are more than the %d that can be indexed", len(c.names()), maxShadowNames)
	}
	for _, name := range c.names() {
		if name == "" || len(name) > 64 || strings.Trim(name, "$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-") != "" {
			return refuse(ErrInvalid, "1 validation error detected: Value '%s' at 'filter.namedShadowNames' failed to satisfy constraint: Member must satisfy regular expression pattern: [$a-zA-Z0-9:_-]+", name)
		}
	}
	c.Managed = nil
	return checkCustom(c.Custom, c.managed(), func(name string) bool {
		if shadow, ok := strings.CutPrefix(name, "shadow.name."); ok {
			shadow, _, _ = strings.Cut(shadow, ".")
			return slices.Contains(c.names(), shadow)
		}
		return strings.HasPrefix(name, "attributes.") ||
			strings.HasPrefix(name, "shadow.") && c.Mode == RegistryAndShadow ||
			strings.HasPrefix(name, "deviceDefender.") && c.Defender == Violations
	})
}

func (c *GroupConfiguration) check() error {
	if err := oneOf("thingGroupIndexingConfiguration.thingGroupIndexingMode", c.Mode, Off, On); err != nil {
		return err
	}
	c.Managed = nil
	if c.Mode == Off && len(c.Custom) > 0 {
		return refuse(ErrInvalid, "thingGroupIndexingMode is OFF, so there can be no custom fields")
	}
	return checkCustom(c.Custom, c.managed(), func(name string) bool { return strings.HasPrefix(name, "attributes.") })
}

// checkCustom checks custom fields; indexed tells whether the modes index a field.
func checkCustom(custom, managed []Field, indexed func(name string) bool) error {
	if len(custom) > maxCustomFields {
		return refuse(ErrInvalid, "%d custom fields are more than the %d that there may be", len(custom), maxCustomFields)
	}
	seen := make(map[string]bool)
	for i := range custom {
		f := &custom[i]
		f.Name = strings.TrimSpace(f.Name)
		if err := oneOf("customFields.type", f.Type, Number, String, Boolean); err != nil {
			return err
		}
		switch {
		case fieldType(f.Name, managed, nil) != "":
			return refuse(ErrInvalid, "%s is a managed field and cannot be a custom field", f.Name)
		case seen[f.Name]:
			return refuse(ErrInvalid, "custom field %s is given twice", f.Name)
		case !indexed(f.Name):
			return refuse(ErrInvalid, "custom field %s is not indexed with these indexing modes", f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}
