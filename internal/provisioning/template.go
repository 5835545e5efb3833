// Package provisioning brings devices into the registry: with a claim certificate over MQTT, with a
// certificate of one's own CA just in time, one by one through the API, or in bulk from a file.
//
// All ways end in a provisioning template (AWS IoT developer guide, "Provisioning templates"). A
// template is parsed once and expanded with parameters into what it asks for; both are pure. The
// registry carries that out in one transaction, so that a device is provisioned whole or not at all.
package provisioning

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// MaxTemplate is the length of a template in bytes. AWS IoT API reference, CreateProvisioningTemplate.
const MaxTemplate = 10240

// Types of resources in a template.
const (
	typeThing       = "AWS::IoT::Thing"
	typeCertificate = "AWS::IoT::Certificate"
	typePolicy      = "AWS::IoT::Policy"
)

// certificateParameters begin the names of parameters that the service supplies.
const certificateParameters = "AWS::IoT::Certificate::"

// CertificateIDParameter is the parameter that holds the identifier of the device's certificate.
const CertificateIDParameter = certificateParameters + "Id"

// Template is a provisioning template that has been checked. It is immutable.
type Template struct {
	parameters map[string]parameter
	mappings   mappings
	thing      *thingResource
	cert       *certificateResource
	policies   []policyResource // in the order of their logical names
	device     map[string]expression
}

type parameter struct {
	value    string // default
	optional bool
}

// mappings hold a string or a list of strings under map, first and second key.
type mappings map[string]map[string]map[string]value

// resource is a resource as it is written.
type resource struct {
	Type             string
	Properties       map[string]any
	OverrideSettings map[string]any
}

type thingResource struct {
	logical                  string
	name, thingType, billing expression
	attributes               map[string]expression
	groups                   expression // nil for none
	override                 map[string]string
}

type certificateResource struct {
	logical                                  string
	id, csr, pem, caPEM, status, attachments expression
	override                                 map[string]string
}

type policyResource struct {
	logical  string
	name     expression
	document expression // of the document's text
}

// ParseTemplate reads and checks the body of a template. Refusals match [ErrTemplate].
func ParseTemplate(body []byte) (*Template, error) {
	if len(body) > MaxTemplate {
		return nil, refuse(ErrTemplate, "template body: %d bytes are more than %d", len(body), MaxTemplate)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var sections map[string]any
	if err := dec.Decode(&sections); err != nil {
		return nil, refuse(ErrTemplate, "template body is not a JSON object: %s", problem(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, refuse(ErrTemplate, "template body: more follows the first JSON object")
	}
	t := &Template{parameters: make(map[string]parameter), mappings: make(mappings), device: make(map[string]expression)}
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		switch name {
		case "Parameters", "Mappings", "Resources", "DeviceConfiguration", "AWSTemplateFormatVersion", "Description":
		default:
			return nil, refuse(ErrTemplate, "template section %q is not known", name)
		}
	}
	// In this order: expressions are checked against parameters and mappings.
	for _, section := range []struct {
		name  string
		parse func(map[string]any) error
	}{
		{"Parameters", t.parseParameters},
		{"Mappings", t.parseMappings},
		{"Resources", t.parseResources},
		{"DeviceConfiguration", t.parseDevice},
	} {
		raw, there := sections[section.name]
		if !there {
			if section.name == "Resources" {
				return nil, refuse(ErrTemplate, "template has no section Resources")
			}
			continue
		}
		object, ok := raw.(map[string]any)
		if !ok {
			return nil, refuse(ErrTemplate, "template section %s is not an object", section.name)
		}
		if err := section.parse(object); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Template) parseParameters(section map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(section)) {
		decl, ok := section[name].(map[string]any)
		if !ok {
			return refuse(ErrTemplate, "parameter %q: its declaration is not an object", name)
		}
		if decl["Type"] != "String" {
			return refuse(ErrTemplate, `parameter %q: Type must be "String"`, name)
		}
		var p parameter
		if given, there := decl["Default"]; there {
			if p.value, p.optional = given.(string); !p.optional {
				return refuse(ErrTemplate, "parameter %q: Default is not a string", name)
			}
		}
		t.parameters[name] = p
	}
	return nil
}

func (t *Template) parseMappings(section map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(section)) {
		first, ok := section[name].(map[string]any)
		if !ok {
			return refuse(ErrTemplate, "mapping %q is not an object", name)
		}
		t.mappings[name] = make(map[string]map[string]value)
		for _, top := range slices.Sorted(maps.Keys(first)) {
			second, ok := first[top].(map[string]any)
			if !ok {
				return refuse(ErrTemplate, "mapping %q: %q is not an object", name, top)
			}
			t.mappings[name][top] = make(map[string]value)
			for _, key := range slices.Sorted(maps.Keys(second)) {
				v, ok := plain(second[key])
				if !ok {
					return refuse(ErrTemplate, "mapping %q: %q %q is neither a string nor a list of strings", name, top, key)
				}
				t.mappings[name][top][key] = v
			}
		}
	}
	return nil
}

// plain is a value without functions.
func plain(raw any) (value, bool) {
	if s, ok := scalar(raw); ok {
		return value{text: s}, true
	}
	list, ok := raw.([]any)
	if !ok {
		return value{}, false
	}
	v := value{isList: true}
	for _, item := range list {
		s, ok := scalar(item)
		if !ok {
			return value{}, false
		}
		v.list = append(v.list, s)
	}
	return v, true
}

func (t *Template) parseResources(section map[string]any) error {
	for _, logical := range slices.Sorted(maps.Keys(section)) {
		r, err := parseResource(logical, section[logical])
		if err != nil {
			return err
		}
		switch r.Type {
		case typeThing:
			err = t.parseThing(logical, r)
		case typeCertificate:
			err = t.parseCertificate(logical, r)
		case typePolicy:
			err = t.parsePolicy(logical, r)
		default:
			err = refuse(ErrTemplate, "resource %q: Type %q is none of %s, %s and %s", logical, r.Type, typeThing, typeCertificate, typePolicy)
		}
		if err != nil {
			return err
		}
	}
	if len(section) == 0 {
		return refuse(ErrTemplate, "template has no resources")
	}
	return nil
}

func parseResource(logical string, raw any) (r resource, err error) {
	object, ok := raw.(map[string]any)
	if !ok {
		return r, refuse(ErrTemplate, "resource %q is not an object", logical)
	}
	for key, v := range object {
		ok := true
		switch key {
		case "Type":
			r.Type, ok = v.(string)
		case "Properties":
			r.Properties, ok = v.(map[string]any)
		case "OverrideSettings":
			r.OverrideSettings, ok = v.(map[string]any)
		default:
			return r, refuse(ErrTemplate, "resource %q: member %q is not known", logical, key)
		}
		if !ok {
			return r, refuse(ErrTemplate, "resource %q: %s has the wrong type", logical, key)
		}
	}
	return r, nil
}

// properties parses the properties of a resource that are texts, into the places given.
func (t *Template) properties(logical string, r resource, into map[string]*expression) error {
	for _, name := range slices.Sorted(maps.Keys(r.Properties)) {
		place, known := into[name]
		if !known {
			return refuse(ErrTemplate, "resource %q: property %q is not known", logical, name)
		}
		if place == nil {
			continue // the caller's
		}
		var err error
		if *place, err = t.expression(r.Properties[name]); err != nil {
			return fmt.Errorf("resource %q: %s: %w", logical, name, err)
		}
	}
	return nil
}

// overrides reads override settings. The guide's text names keys in capitals with underscores, its
// samples as the properties; both are taken.
func overrides(logical string, r resource, allowed map[string]string) (map[string]string, error) {
	out := make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(r.OverrideSettings)) {
		name := strings.ToLower(strings.ReplaceAll(key, "_", ""))
		values, ok := allowed[name]
		if !ok {
			return nil, refuse(ErrTemplate, "resource %q: OverrideSettings has no key %q", logical, key)
		}
		setting, _ := r.OverrideSettings[key].(string)
		if setting == "" || !slices.Contains(strings.Fields(values), setting) {
			return nil, refuse(ErrTemplate, "resource %q: override setting %q must be one of %s", logical, key, values)
		}
		out[name] = setting
	}
	return out, nil
}

const (
	settings      = DoNothing + " " + Replace + " " + Fail
	mergeSettings = settings + " " + Merge
)

func (t *Template) parseThing(logical string, r resource) (err error) {
	if t.thing != nil {
		return refuse(ErrTemplate, "resources %q and %q are both things; a template has one", t.thing.logical, logical)
	}
	thing := &thingResource{logical: logical}
	if err := t.properties(logical, r, map[string]*expression{"ThingName": &thing.name, "ThingTypeName": &thing.thingType,
		"BillingGroup": &thing.billing, "ThingGroups": &thing.groups, "AttributePayload": nil}); err != nil {
		return err
	}
	if thing.name == nil {
		return refuse(ErrTemplate, "resource %q: property ThingName is missing", logical)
	}
	if raw, there := r.Properties["AttributePayload"]; there {
		object, ok := raw.(map[string]any)
		if !ok {
			return refuse(ErrTemplate, "resource %q: AttributePayload is not an object", logical)
		}
		if thing.attributes, err = t.flat(object); err != nil {
			return fmt.Errorf("resource %q: AttributePayload: %w", logical, err)
		}
	}
	thing.override, err = overrides(logical, r, map[string]string{"attributepayload": mergeSettings, "thinggroups": mergeSettings,
		"thingtypename": settings, "billinggroup": settings})
	t.thing = thing
	return err
}

func (t *Template) flat(object map[string]any) (map[string]expression, error) {
	out := make(map[string]expression, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		x, err := t.expression(object[name])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		out[name] = x
	}
	return out, nil
}

func (t *Template) parseCertificate(logical string, r resource) (err error) {
	if t.cert != nil {
		return refuse(ErrTemplate, "resources %q and %q are both certificates; a template has one", t.cert.logical, logical)
	}
	c := &certificateResource{logical: logical}
	if err := t.properties(logical, r, map[string]*expression{"CertificateId": &c.id, "CertificateSigningRequest": &c.csr,
		"CertificatePem": &c.pem, "CACertificatePem": &c.caPEM, "Status": &c.status, "ThingPrincipalType": &c.attachments}); err != nil {
		return err
	}
	sources := 0
	for _, x := range []expression{c.id, c.csr, c.pem} {
		if x != nil {
			sources++
		}
	}
	if sources != 1 {
		return refuse(ErrTemplate, "resource %q: exactly one of CertificateId, CertificateSigningRequest and CertificatePem is needed", logical)
	}
	if c.caPEM != nil && c.pem == nil {
		return refuse(ErrTemplate, "resource %q: CACertificatePem goes with CertificatePem only", logical)
	}
	c.override, err = overrides(logical, r, map[string]string{"status": settings})
	t.cert = c
	return err
}

func (t *Template) parsePolicy(logical string, r resource) error {
	p := policyResource{logical: logical}
	if err := t.properties(logical, r, map[string]*expression{"PolicyName": &p.name, "PolicyDocument": nil}); err != nil {
		return err
	}
	if len(r.OverrideSettings) > 0 {
		return refuse(ErrTemplate, "resource %q: a policy has no OverrideSettings", logical)
	}
	if raw, there := r.Properties["PolicyDocument"]; there {
		x, err := t.document(raw)
		if err != nil {
			return fmt.Errorf("resource %q: PolicyDocument: %w", logical, err)
		}
		p.document = x
	}
	if p.name == nil && p.document == nil {
		return refuse(ErrTemplate, "resource %q: PolicyName or PolicyDocument is needed", logical)
	}
	t.policies = append(t.policies, p)
	return nil
}

func (t *Template) parseDevice(section map[string]any) (err error) {
	if t.device, err = t.flat(section); err != nil {
		return fmt.Errorf("DeviceConfiguration: %w", err)
	}
	return nil
}

// ForNewDevices reports why a template cannot serve devices that bring a certificate of their own,
// as those of types FLEET_PROVISIONING and JITP do; nil if it can.
func (t *Template) ForNewDevices() error {
	if t.cert == nil || t.cert.id == nil {
		return refuse(ErrTemplate, "template needs a resource of type %s with the property CertificateId", typeCertificate)
	}
	return nil
}
