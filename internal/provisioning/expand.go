package provisioning

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-iot/berth/internal/registry"
)

// Override settings: what becomes of a property of something that exists already.
const (
	DoNothing = registry.DoNothing
	Replace   = registry.Replace
	Fail      = registry.Fail
	Merge     = registry.Merge
)

// Plan is what a template asks for with given parameters.
type Plan struct {
	registry.Provisioning
	// CSR is the signing request of a certificate that is still to be issued, "" for none. Its PEM
	// goes into Certificate.PEM.
	CSR string
	// DeviceConfiguration is for the device.
	DeviceConfiguration map[string]string
	// Logical names of the resources in the template, "" for none.
	ThingResource, CertificateResource string
	PolicyResources                    []string // as Policies
}

// Limits of parameters. AWS IoT API reference, RegisterThing: names and values have no limit there;
// these keep what a device sends within the size of a message.
const (
	maxParameters     = 100
	maxParameterBytes = 32 << 10
)

// Expand works out what the template asks for. Parameters that the template does not declare are
// left aside. Refusals match [ErrParameters].
func (t *Template) Expand(parameters map[string]string) (*Plan, error) {
	return t.ExpandForDevice(parameters, nil)
}

// ExpandForDevice is Expand for a device that chose some of the parameters itself: foreign. In a policy
// document those may hold nothing that has a meaning there; AWS IoT takes them as they are.
func (t *Template) ExpandForDevice(parameters, foreign map[string]string) (*Plan, error) {
	if len(parameters) > maxParameters {
		return nil, refuse(ErrParameters, "%d parameters are more than %d", len(parameters), maxParameters)
	}
	size := 0
	for name, v := range parameters {
		size += len(name) + len(v)
	}
	if size > maxParameterBytes {
		return nil, refuse(ErrParameters, "parameters are longer than %d bytes", maxParameterBytes)
	}
	s := &scope{parameters: maps.Clone(parameters), foreign: foreign, mappings: t.mappings}
	if s.parameters == nil {
		s.parameters = make(map[string]string)
	}
	for _, name := range slices.Sorted(maps.Keys(t.parameters)) {
		if _, given := s.parameters[name]; given {
			continue
		}
		p := t.parameters[name]
		if !p.optional {
			return nil, refuse(ErrParameters, "parameter %q is missing", name)
		}
		s.parameters[name] = p.value
	}
	p := &Plan{DeviceConfiguration: make(map[string]string)}
	for _, step := range []func(*scope, *Plan) error{t.expandThing, t.expandCertificate, t.expandPolicies} {
		if err := step(s, p); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.device)) {
		v, err := t.device[name](s)
		if err != nil {
			return nil, fmt.Errorf("DeviceConfiguration %q: %w", name, err)
		}
		if v.isList {
			return nil, refuse(ErrParameters, "DeviceConfiguration %q is a list", name)
		}
		p.DeviceConfiguration[name] = v.text
	}
	return p, nil
}

// texts evaluates texts into their places; absent ones leave them empty.
func texts(s *scope, logical string, places map[string]struct {
	x    expression
	into *string
}) error {
	for _, name := range slices.Sorted(maps.Keys(places)) {
		place := places[name]
		if place.x == nil {
			continue
		}
		var err error
		if *place.into, err = place.x.textIn(s); err != nil {
			return fmt.Errorf("resource %q: %s: %w", logical, name, err)
		}
	}
	return nil
}

type text = struct {
	x    expression
	into *string
}

func (t *Template) expandThing(s *scope, p *Plan) error {
	r := t.thing
	if r == nil {
		return nil
	}
	thing := &registry.ProvisionThing{
		OverrideAttributes:   setting(r.override, "attributepayload", Merge),
		OverrideType:         setting(r.override, "thingtypename", DoNothing),
		OverrideGroups:       setting(r.override, "thinggroups", DoNothing),
		OverrideBillingGroup: setting(r.override, "billinggroup", DoNothing),
	}
	err := texts(s, r.logical, map[string]text{"ThingName": {r.name, &thing.Name}, "ThingTypeName": {r.thingType, &thing.Type},
		"BillingGroup": {r.billing, &thing.BillingGroup}})
	if err != nil {
		return err
	}
	if r.attributes != nil {
		thing.Attributes = make(map[string]string, len(r.attributes))
	}
	for _, name := range slices.Sorted(maps.Keys(r.attributes)) {
		if thing.Attributes[name], err = r.attributes[name].textIn(s); err != nil {
			return fmt.Errorf("resource %q: AttributePayload %q: %w", r.logical, name, err)
		}
	}
	if r.groups != nil {
		if thing.Groups, err = r.groups.listIn(s); err != nil {
			return fmt.Errorf("resource %q: ThingGroups: %w", r.logical, err)
		}
	}
	p.Thing, p.ThingResource = thing, r.logical
	return nil
}

func setting(given map[string]string, name, otherwise string) string {
	if s := given[name]; s != "" {
		return s
	}
	return otherwise
}

func (t *Template) expandCertificate(s *scope, p *Plan) error {
	r := t.cert
	if r == nil {
		return nil
	}
	c := &registry.ProvisionCertificate{OverrideStatus: setting(r.override, "status", Replace)}
	status := ""
	err := texts(s, r.logical, map[string]text{"CertificateId": {r.id, &c.ID}, "CertificateSigningRequest": {r.csr, &p.CSR},
		"CertificatePem": {r.pem, &c.PEM}, "CACertificatePem": {r.caPEM, &c.CAPEM}, "Status": {r.status, &status}, "ThingPrincipalType": {r.attachments, &c.AttachAs}})
	if err != nil {
		return err
	}
	switch c.Status = strings.ToUpper(status); c.Status {
	case "":
		c.Status = registry.Active
	case registry.Active, registry.Inactive:
	default:
		return refuse(ErrParameters, "resource %q: Status %q is neither ACTIVE nor INACTIVE", r.logical, status)
	}
	switch c.AttachAs {
	case "", registry.ExclusiveThing, registry.NonExclusiveThing:
	default:
		return refuse(ErrParameters, "resource %q: ThingPrincipalType %q is neither %s nor %s", r.logical, c.AttachAs, registry.ExclusiveThing, registry.NonExclusiveThing)
	}
	p.Certificate, p.CertificateResource = c, r.logical
	return nil
}

func (t *Template) expandPolicies(s *scope, p *Plan) error {
	for _, r := range t.policies {
		var pol registry.ProvisionPolicy
		document := ""
		if err := texts(s, r.logical, map[string]text{"PolicyName": {r.name, &pol.Name}}); err != nil {
			return err
		}
		s.document = true
		err := texts(s, r.logical, map[string]text{"PolicyDocument": {r.document, &document}})
		if s.document = false; err != nil {
			return err
		}
		if document != "" {
			pol.Document = []byte(document)
			if pol.Name == "" { // AWS IoT developer guide: a hash of the document
				sum := sha256.Sum256(pol.Document)
				pol.Name = hex.EncodeToString(sum[:])
			}
		}
		p.Policies, p.PolicyResources = append(p.Policies, pol), append(p.PolicyResources, r.logical)
	}
	return nil
}
