package provisioning

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Activation is what is done with devices that registered themselves with a certificate of a CA
// without a template: those that it lets in are activated and get a thing and policies, for which
// one would otherwise write a function that listens to the event.
type Activation struct {
	// Subjects are the patterns of subjects that are let in, such as "CN=lamp-*,O=Acme": every
	// attribute (C, O, OU, DNQ, ST, CN, SERIALNUMBER) must match, with * and ?. Without any, every
	// certificate of the CA is let in that Approval approves.
	Subjects []string `json:"subjects,omitempty"`
	// Approval is asked about every certificate, if set. It is called like a pre-provisioning hook.
	Approval string `json:"approval,omitempty"`
	// ThingName is a text as in Fn::Sub; default ${AWS::IoT::Certificate::CommonName}.
	ThingName string `json:"thingName,omitempty"`
	ThingType string `json:"thingTypeName,omitempty"`
	// Groups are thing groups, Policies those to attach to the certificate.
	Groups   []string `json:"thingGroups,omitempty"`
	Policies []string `json:"policies,omitempty"`
}

// template is the provisioning template that does what the rule says.
func (a *Activation) template() (string, error) {
	name := a.ThingName
	if name == "" {
		name = "${" + certificateParameters + "CommonName}"
	}
	thing := map[string]any{"ThingName": map[string]any{"Fn::Sub": name}}
	if a.ThingType != "" {
		thing["ThingTypeName"] = a.ThingType
	}
	if a.Groups != nil {
		thing["ThingGroups"] = a.Groups
	}
	resources := map[string]any{
		"thing": map[string]any{"Type": typeThing, "Properties": thing, "OverrideSettings": map[string]any{"ThingGroups": Merge}},
		"certificate": map[string]any{"Type": typeCertificate,
			"Properties": map[string]any{"CertificateId": map[string]any{"Ref": CertificateIDParameter}, "Status": registry.Active}},
	}
	for i, p := range a.Policies {
		resources[fmt.Sprintf("policy%d", i)] = map[string]any{"Type": typePolicy, "Properties": map[string]any{"PolicyName": p}}
	}
	b, err := json.Marshal(map[string]any{"Resources": resources})
	return string(b), err
}

func (s *Service) checkActivation(a *Activation) error {
	if len(a.Subjects) == 0 && a.Approval == "" {
		return invalid("activation needs a pattern of subjects or an approval: otherwise every certificate of the CA would be let in; the pattern CN=* says so")
	}
	for _, p := range a.Subjects {
		if _, err := parseSubject(p); err != nil {
			return err
		}
	}
	if a.Approval != "" {
		if err := s.checkHook(a.Approval); err != nil {
			return err
		}
	}
	body, err := a.template()
	if err != nil {
		return err
	}
	_, err = ParseTemplate([]byte(body))
	return err
}

// SetActivation keeps the rule for the devices of a CA. registry.ErrNotFound, ErrTemplate.
func (s *Service) SetActivation(ctx context.Context, caID string, a Activation) error {
	if err := s.checkActivation(&a); err != nil {
		return err
	}
	if _, err := s.cfg.Registry.DescribeCACertificate(ctx, caID); err != nil {
		return err
	}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO provisioning_activation (ca, rule) VALUES (?, ?) ON CONFLICT (ca) DO UPDATE SET rule = excluded.rule`, caID, string(b))
		return err
	})
}

// Activation returns the rule for the devices of a CA; registry.ErrNotFound if there is none.
func (s *Service) Activation(ctx context.Context, caID string) (*Activation, error) {
	var rule string
	err := s.cfg.Store.QueryRow(ctx, `SELECT rule FROM provisioning_activation WHERE ca = ?`, []any{caID}, &rule)
	if errors.Is(err, store.ErrNoRows) {
		return nil, notFound("CA certificate %s has no activation rule", caID)
	}
	if err != nil {
		return nil, err
	}
	a := new(Activation)
	return a, json.Unmarshal([]byte(rule), a)
}

// RemoveActivation forgets the rule of a CA; one that does not exist counts as forgotten.
func (s *Service) RemoveActivation(ctx context.Context, caID string) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM provisioning_activation WHERE ca = ?`, caID)
		return err
	})
}

// activate asks the rule of a CA about a certificate that waits for its activation. The error says
// what came of it.
func (s *Service) activate(ctx context.Context, ca *registry.CACertificate, cert *x509.Certificate) error {
	id := registry.CertificateID(cert.Raw)
	rule, err := s.Activation(ctx, ca.ID)
	if errors.Is(err, registry.ErrNotFound) {
		return fmt.Errorf("certificate %s is registered as PENDING_ACTIVATION: the device is let in when it connects again after something has set it ACTIVE", id)
	}
	if err != nil {
		return err
	}
	if len(rule.Subjects) > 0 && !rule.matches(cert) {
		return fmt.Errorf("certificate %s (subject %q) stays PENDING_ACTIVATION: no pattern of the activation rule matches", id, cert.Subject)
	}
	var overrides map[string]string
	if rule.Approval != "" {
		parameters := subjectParameters(cert)
		parameters[CertificateIDParameter] = id
		if overrides, err = s.ask(ctx, rule.Approval, hookInput{CertificateID: id, CertificatePEM: string(pemOf(cert)), Parameters: parameters}); err != nil {
			return fmt.Errorf("certificate %s stays PENDING_ACTIVATION: %w", id, err)
		}
	}
	body, err := rule.template()
	if err != nil {
		return err
	}
	if err := s.runTemplate(ctx, body, cert, overrides); err != nil {
		return fmt.Errorf("activation of certificate %s failed: %w", id, err)
	}
	return fmt.Errorf("certificate %s is now active: the device is let in when it connects again", id)
}

func pemOf(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func (a *Activation) matches(cert *x509.Certificate) bool {
	for _, p := range a.Subjects {
		want, err := parseSubject(p)
		if err != nil {
			continue
		}
		all := true
		for i, pattern := range want {
			v, there := subjectValue(cert, subjectAttributes[i].oid)
			all = all && there && glob(pattern, v)
		}
		if all {
			return true
		}
	}
	return false
}

// parseSubject reads a pattern such as "CN=lamp-*,O=Acme" into patterns by index of
// subjectAttributes.
func parseSubject(text string) (map[int]string, error) {
	out := make(map[int]string)
	for part := range strings.SplitSeq(text, ",") {
		name, pattern, ok := strings.Cut(strings.TrimSpace(part), "=")
		at := -1
		for i, a := range subjectAttributes {
			if strings.EqualFold(a.name, name) {
				at = i
			}
		}
		if !ok || at < 0 || pattern == "" {
			return nil, invalid("subject pattern %q: %q is not ATTRIBUTE=PATTERN with one of C, O, OU, DNQ, ST, CN, SERIALNUMBER", text, part)
		}
		out[at] = pattern
	}
	return out, nil
}

// glob matches with * for any number of bytes and ? for one.
func glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
