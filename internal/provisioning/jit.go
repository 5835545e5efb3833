package provisioning

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
)

// New certificates of one CA that are looked at: so many in a burst, and so many a second.
const (
	ratePerSecond = 50
	rateBurst     = 200
)

// rates limits, per CA, how often new devices are looked at.
type rates struct {
	now func() time.Time
	mu  sync.Mutex
	of  map[string]*rate
}

type rate struct {
	left float64
	at   time.Time
}

func (r *rates) take(ca string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	b := r.of[ca]
	if b == nil {
		if r.of == nil {
			r.of = make(map[string]*rate)
		}
		b = &rate{rateBurst, now}
		r.of[ca] = b
	}
	b.left = min(rateBurst, b.left+now.Sub(b.at).Seconds()*ratePerSecond)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// Expects reports whether a certificate, which is unknown or waits for its activation, is to be
// offered to Admit once the client has proved that it owns it: it is in date and a registered,
// ACTIVE CA whose devices may register themselves has signed it.
func (s *Service) Expects(ctx context.Context, cert *x509.Certificate) bool {
	_, err := s.signer(ctx, cert)
	return err == nil
}

func (s *Service) signer(ctx context.Context, cert *x509.Certificate) (*registry.CACertificate, error) {
	now := s.cfg.Now()
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return nil, errors.New("the certificate is not valid at this time")
	}
	ca, err := s.cfg.Registry.SignerOf(ctx, cert)
	if err != nil {
		return nil, err
	}
	switch {
	case ca.Status != registry.Active:
		return nil, fmt.Errorf("CA certificate %s is %s", ca.ID, ca.Status)
	case !ca.AutoRegistration:
		return nil, fmt.Errorf("CA certificate %s does not allow automatic registration", ca.ID)
	case now.Before(ca.NotBefore) || now.After(ca.NotAfter):
		return nil, fmt.Errorf("CA certificate %s is not valid at this time", ca.ID)
	}
	return ca, nil
}

// Admit registers a certificate that Expects takes as PENDING_ACTIVATION, then runs the template of
// its CA, or publishes the event of just-in-time registration and asks the CA's activation rule. It
// always returns an error that says what the device is to do, since this connection is over: AWS
// IoT drops the first one too (AWS IoT developer guide, "Just-in-time provisioning").
func (s *Service) Admit(ctx context.Context, cert *x509.Certificate) error {
	ca, err := s.signer(ctx, cert)
	if err != nil {
		return err
	}
	if !s.rates.take(ca.ID) {
		return fmt.Errorf("too many new certificates of CA certificate %s at once: the device must try again later", ca.ID)
	}
	id := registry.CertificateID(cert.Raw)
	c, err := s.cfg.Registry.DescribeCertificate(ctx, id)
	if errors.Is(err, registry.ErrNotFound) {
		c, err = s.cfg.Registry.AddCertificate(ctx, registry.NewCertificate{PEM: string(pemOf(cert)), Status: registry.PendingActivation, Mode: ca.Mode, CACertificateID: ca.ID})
		if errors.Is(err, registry.ErrAlreadyExists) { // another connection of the same device
			c, err = s.cfg.Registry.DescribeCertificate(ctx, id)
		}
	}
	if err != nil {
		return err
	}
	if c.Status != registry.PendingActivation {
		return fmt.Errorf("certificate %s is %s", id, c.Status)
	}
	body, err := s.templateOf(ctx, ca)
	if err != nil {
		return fmt.Errorf("just-in-time provisioning of certificate %s: %w", id, err)
	}
	if body != "" {
		if err := s.runTemplate(ctx, body, cert, nil); err != nil {
			return fmt.Errorf("just-in-time provisioning of certificate %s failed: %w", id, err)
		}
		return fmt.Errorf("certificate %s is now provisioned: the device is let in when it connects again", id)
	}
	s.announce(c, ca)
	return s.activate(ctx, ca, cert)
}

// templateOf returns the body of the template on a CA, "" if there is none.
func (s *Service) templateOf(ctx context.Context, ca *registry.CACertificate) (string, error) {
	if ca.Registration.TemplateName == "" {
		return ca.Registration.TemplateBody, nil
	}
	t, err := s.DescribeTemplate(ctx, ca.Registration.TemplateName)
	if err != nil {
		return "", err
	}
	if t.Type != JustInTime || !t.Enabled {
		return "", fmt.Errorf("provisioning template %s is not enabled for just-in-time provisioning", t.Name)
	}
	return t.Body, nil
}

// runTemplate carries a template out for a certificate that waits for its activation.
func (s *Service) runTemplate(ctx context.Context, body string, cert *x509.Certificate, overrides map[string]string) error {
	t, err := ParseTemplate([]byte(body))
	if err != nil {
		return err
	}
	parameters := subjectParameters(cert)
	foreign := maps.Clone(parameters)
	for name, v := range overrides {
		parameters[name] = v
		delete(foreign, name)
	}
	id := registry.CertificateID(cert.Raw)
	parameters[CertificateIDParameter] = id
	plan, err := t.ExpandForDevice(parameters, foreign)
	if err != nil {
		return err
	}
	if plan.Certificate == nil || plan.Certificate.ID != id {
		return refuse(ErrParameters, "the template does not use the device's certificate: its CertificateId must be a Ref to %s", CertificateIDParameter)
	}
	if _, err := s.cfg.Registry.Provision(ctx, plan.Provisioning, nil); err != nil {
		return err
	}
	s.justInTime.Add(1)
	s.cfg.Log.Info("device provisioned just in time", "certificate_id", id, "subject", cert.Subject.String())
	return nil
}

// Attributes of a subject (RFC 4519) and the parameters that hold them.
var subjectAttributes = []struct {
	oid             asn1.ObjectIdentifier
	parameter, name string
}{
	{asn1.ObjectIdentifier{2, 5, 4, 6}, "Country", "C"},
	{asn1.ObjectIdentifier{2, 5, 4, 10}, "Organization", "O"},
	{asn1.ObjectIdentifier{2, 5, 4, 11}, "OrganizationalUnit", "OU"},
	{asn1.ObjectIdentifier{2, 5, 4, 46}, "DistinguishedNameQualifier", "DNQ"},
	{asn1.ObjectIdentifier{2, 5, 4, 8}, "StateName", "ST"},
	{asn1.ObjectIdentifier{2, 5, 4, 3}, "CommonName", "CN"},
	{asn1.ObjectIdentifier{2, 5, 4, 5}, "SerialNumber", "SERIALNUMBER"},
}

// subjectParameters are the parameters that a certificate's subject gives; of an attribute that is
// there more than once, the first.
func subjectParameters(cert *x509.Certificate) map[string]string {
	out := map[string]string{}
	for _, a := range subjectAttributes {
		if v, ok := subjectValue(cert, a.oid); ok {
			out[certificateParameters+a.parameter] = v
		}
	}
	return out
}

func subjectValue(cert *x509.Certificate, oid asn1.ObjectIdentifier) (string, bool) {
	for _, n := range cert.Subject.Names {
		if v, ok := n.Value.(string); ok && n.Type.Equal(oid) {
			return v, true
		}
	}
	return "", false
}

// announce publishes the event of just-in-time registration.
func (s *Service) announce(c *registry.Certificate, ca *registry.CACertificate) {
	var b bytes.Buffer
	json.NewEncoder(&b).Encode(struct {
		CertificateID    string `json:"certificateId"`
		CACertificateID  string `json:"caCertificateId"`
		Timestamp        int64  `json:"timestamp"`
		Status           string `json:"certificateStatus"`
		Account          string `json:"awsAccountId"`
		RegistrationTime string `json:"certificateRegistrationTimestamp"`
	}{c.ID, ca.ID, s.cfg.Now().UnixMilli(), c.Status, s.cfg.Registry.Account(), strconv.FormatInt(c.Created.UnixMilli(), 10)})
	s.cfg.Router.Publish(&router.Publication{Topic: "$aws/events/certificates/registered/" + ca.ID, Payload: bytes.TrimSpace(b.Bytes()), QoS: 1, Origin: s.origin}, func(error) {})
}
