package provisioning

import (
	"context"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Registration is what RegisterThing made.
type Registration struct {
	CertificatePEM string            // "" without a certificate
	ResourceARNs   map[string]string // by logical name
}

// RegisterThing carries a template out for one device, with parameters of the caller. Nothing is
// made when it fails. ErrTemplate, ErrParameters, and the registry's errors.
func (s *Service) RegisterThing(ctx context.Context, body []byte, parameters map[string]string) (*Registration, error) {
	t, err := ParseTemplate(body)
	if err != nil {
		return nil, err
	}
	return s.register(ctx, t, parameters, nil)
}

// register is RegisterThing in one transaction with also.
func (s *Service) register(ctx context.Context, t *Template, parameters map[string]string, also func(tx *store.Tx, out *Registration) error) (*Registration, error) {
	plan, err := t.Expand(parameters)
	if err != nil {
		return nil, err
	}
	if plan.CSR != "" {
		if plan.Certificate.PEM, err = s.cfg.Authority.IssueFromCSR(plan.CSR); err != nil {
			return nil, err
		}
		plan.Certificate.Issued = true
	}
	var out *Registration
	_, err = s.cfg.Registry.Provision(ctx, plan.Provisioning, func(tx *store.Tx, done *registry.Provisioned) error {
		out = &Registration{ResourceARNs: make(map[string]string)}
		if done.Thing != nil {
			out.ResourceARNs[plan.ThingResource] = done.Thing.ARN
		}
		if done.Certificate != nil {
			out.CertificatePEM = done.Certificate.PEM
			out.ResourceARNs[plan.CertificateResource] = done.Certificate.ARN
		}
		for i, p := range plan.Policies {
			out.ResourceARNs[plan.PolicyResources[i]] = s.cfg.Registry.ARN("policy/" + p.Name)
		}
		if also != nil {
			return also(tx, out)
		}
		return nil
	})
	return out, err
}
