package provisioning

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// claimLife is the life of a temporary claim certificate (AWS IoT developer guide, "Provisioning by
// trusted user").
const claimLife = 5 * time.Minute

// Claim is a temporary claim certificate with its key, which exists nowhere else.
type Claim struct {
	*ca.Issued
	CertificateID string
	Expires       time.Time
}

// CreateClaim issues a certificate that is good for five minutes and for one template. It is not
// among the registry's certificates. registry.ErrNotFound.
func (s *Service) CreateClaim(ctx context.Context, name string) (*Claim, error) {
	t, err := s.DescribeTemplate(ctx, name)
	if err != nil {
		return nil, err
	}
	if t.Type != FleetProvisioning || !t.Enabled {
		return nil, invalid("provisioning template %s is not enabled for fleet provisioning", name)
	}
	expires := s.cfg.Now().Add(claimLife).Truncate(time.Second)
	issued, err := s.cfg.Authority.IssueClaim(expires)
	if err != nil {
		return nil, err
	}
	cert, err := registry.ParseCertificate(issued.CertificatePEM)
	if err != nil {
		return nil, err
	}
	c := &Claim{issued, registry.CertificateID(cert.Raw), expires}
	return c, s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO provisioning_claim (certificate, template, pem, expires) VALUES (?, ?, ?, ?)`, c.CertificateID, name, issued.CertificatePEM, expires.UnixMilli())
		return err
	})
}

// Claim returns a temporary claim certificate in PEM and the policy that holds for it; ok is false
// for one that is none or has expired.
func (s *Service) Claim(ctx context.Context, certificateID string) (certPEM string, policy []byte, ok bool, err error) {
	var template string
	var expires int64
	err = s.cfg.Store.QueryRow(ctx, `SELECT template, pem, expires FROM provisioning_claim WHERE certificate = ?`, []any{certificateID}, &template, &certPEM, &expires)
	if errors.Is(err, store.ErrNoRows) || err == nil && expires <= s.cfg.Now().UnixMilli() {
		return "", nil, false, nil
	}
	if err != nil {
		return "", nil, false, err
	}
	policy, err = json.Marshal(s.claimPolicy(template))
	return certPEM, policy, err == nil, err
}

type statement struct {
	Effect   string
	Action   []string
	Resource []string
}

type document struct {
	Version   string
	Statement []statement
}

// claimPolicy lets a device connect and do nothing but be provisioned by one template.
func (s *Service) claimPolicy(template string) document {
	var topics, filters []string
	for _, t := range []string{certificatesPrefix + "create/*", certificatesPrefix + "create-from-csr/*", templatesPrefix + template + "/provision/*"} {
		topics = append(topics, s.cfg.Registry.ARN("topic/"+t))
		filters = append(filters, s.cfg.Registry.ARN("topicfilter/"+t))
	}
	return document{"2012-10-17", []statement{
		{"Allow", []string{"iot:Connect"}, []string{"*"}},
		{"Allow", []string{"iot:Publish", "iot:Receive"}, topics},
		{"Allow", []string{"iot:Subscribe"}, filters},
	}}
}
